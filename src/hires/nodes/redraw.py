"""Redrawing enlarged pictures in tiles: hires' SD upscale and Ultimate SD upscale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, cast

import torch
from torch import Tensor

from hires.errors import SettingError
from hires.graph.declare import node
from hires.graph.inputs import Choice, Float, Int, OptionalInput
from hires.imaging.sizes import check_size
from hires.nodes.context import RunContext
from hires.nodes.drawing_webui import WebuiNoise, WebuiOptions
from hires.nodes.redraw_brush import Brush
from hires.nodes.redraw_conditioning import SIZES, Sizes
from hires.nodes.redraw_run import OnTile, redraw
from hires.nodes.sampling import Churn, Delta, Eta, RandomSource, SamplerName, SchedulerName
from hires.nodes.tile_words import TilePrompt, Told, is_told, tiles_told
from hires.nodes.types import Cfg, Conditioning, Denoise, Dialect, Image, Model, Seed, Steps, Vae
from hires.tiling.grid_presets import sd_upscale_seeds
from hires.tiling.redraw import (
    MODES,
    PRESETS,
    SEAMS,
    Mode,
    Preset,
    RedrawPlan,
    Seams,
    Ultimate,
    mending_plan,
    sd_upscale_plan,
    ultimate_plan,
    widened_plan,
)
from hires.tiling.redraw_pixels import on_cells
from hires.tiling.redraw_presets import sd_upscale_preset, ultimate_preset
from hires.tiling.seams import SeamReport, seam_index

CATEGORY = "image/upscaling"
REDRAWN = ("IMAGE", "STRING")
"""The picture, and which tiles were told what where that is not the whole prompt."""
TILE_PROMPTS = ("regions", "attention", "off")
TileSide = Annotated[int, Int(64, 8192, 8), OptionalInput]
Padding = Annotated[int, Int(0, 8192, 8), OptionalInput]
Blur = Annotated[int, Int(0, 64, 1), OptionalInput]
Share = Annotated[float, Float(0.0, 1.0, 0.01), OptionalInput]
AnyPreset = Annotated[Preset, Choice(PRESETS), OptionalInput]
SdPreset = Annotated[Literal["even", "a1111"], Choice(("even", "a1111")), OptionalInput]
NoiseFrom = Annotated[Literal["canvas", "tile"], Choice(("canvas", "tile")), OptionalInput]
TilePrompts = Annotated[Literal["regions", "attention", "off"], Choice(TILE_PROMPTS), OptionalInput]
SizeConditioning = Annotated[Sizes, Choice(SIZES), OptionalInput]
Threshold = Annotated[float, Float(0.0, 10.0, 0.01), OptionalInput]
SeamDenoise = Annotated[float, Float(0.0, 1.0, 0.01), OptionalInput]
ModeName = Annotated[Mode, Choice(MODES), OptionalInput]
SeamsName = Annotated[Seams, Choice(SEAMS), OptionalInput]
BatchSize = Annotated[int, Int(1, 4096), OptionalInput]


def ultimate_of(height: int, width: int, options: Ultimate, preset: Preset) -> RedrawPlan:
    """The plan of Ultimate SD upscale for a picture of this size, in one of the geometries."""
    if preset == "even":
        return ultimate_plan(-(-height // 8) * 8, -(-width // 8) * 8, options)
    return ultimate_preset(height, width, options, preset)


def sd_upscale_of(height: int, width: int, tile: tuple[int, int], overlap: int, preset: str) -> RedrawPlan:
    """The plan of SD upscale for a picture of this size, in one of the geometries."""
    if overlap >= min(tile):
        raise SettingError(
            f"an overlap of {overlap} leaves nothing of tiles of {tile[1]}x{tile[0]}", "Make it smaller than the tile."
        )
    if preset == "even":
        return sd_upscale_plan(-(-height // 8) * 8, -(-width // 8) * 8, tile, overlap)
    return sd_upscale_preset(height, width, tile, overlap)


@node("HiresUltimateUpscale", title="Ultimate SD Upscale (hires)", category=CATEGORY, outputs=REDRAWN)
def hires_ultimate_upscale(
    *,
    image: Image,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 7.0,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    denoise: Denoise = 0.35,
    mode: ModeName = "Linear",
    tile_width: TileSide = 512,
    tile_height: TileSide = 512,
    padding: Padding = 64,
    mask_blur: Blur = 8,
    seams: SeamsName = "None",
    seam_denoise: SeamDenoise = 0.35,
    seam_width: Padding = 64,
    seam_blur: Blur = 8,
    seam_padding: Padding = 32,
    preset: AnyPreset = "even",
    noise: NoiseFrom = "canvas",
    lock: Share = 1.0,
    mend_above: Threshold = 0.0,
    tile_prompts: TilePrompts = "regions",
    size_conditioning: SizeConditioning = "crop",
    dialect: Dialect = "comfyui",
    rng: RandomSource = "NV",
    ensd: Delta = 0,
    eta: Eta = -1.0,
    s_churn: Churn = 0.0,
    s_tmin: Churn = 0.0,
    s_tmax: Churn = 0.0,
    s_noise: Churn = 1.0,
    tile_prompt: Told | None = None,
    context: RunContext,
) -> tuple[Tensor, str]:
    """Redraw an enlarged picture in cells with context around each, and the joins again if asked.

    lock keeps each tile's low frequencies at the picture's. mend_above (0: never): joins whose seam index is higher
    than this and than this times the picture's own are drawn once more. tile_prompts: regions of the conditioning are
    cut to each tile; attention: beside that each is told the parts of the prompt that `tile_prompt` finds in it; off:
    all are told what holds for the whole picture. The presets other than "even" draw as the originals do, with their
    noise for each tile and without these options.
    """
    options = Ultimate((tile_height, tile_width), padding, mask_blur, mode, seams, seam_width, seam_blur, seam_padding)
    brush = Brush(
        model=model, positive=positive, negative=negative, vae=vae, seed=seed, steps=steps, cfg=cfg,
        sampler=sampler_name, scheduler=scheduler, denoise=denoise, seam_denoise=seam_denoise,
        dialect=cast(Literal["comfyui", "webui"], dialect),
        noise=WebuiNoise(rng, 0, 0.0, (0, 0), ensd, original=False),
        options=WebuiOptions(eta, s_churn, s_tmin, s_tmax, s_noise),
        anchored=noise == "canvas", lock=lock, sizes=size_conditioning, regions=tile_prompts != "off",
        words=words_of(tile_prompt, tile_prompts, preset),
    )  # fmt: skip

    def work(picture: Tensor) -> Tensor:
        plan = ultimate_of(picture.shape[1], picture.shape[2], options, preset)
        made = redrawn(picture, plan, brush, context)
        if preset == "even" and mend_above > 0 and denoise > 0:
            mend = partial(mending_plan, *plan.canvas, options)
            made = _mended(made, picture, plan, mend, brush, mend_above, context)
        return made

    return each_picture(image, work, context, brush.words)


@node("HiresSDUpscale", title="SD Upscale (hires)", category=CATEGORY, outputs=REDRAWN)
def hires_sd_upscale(
    *,
    image: Image,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 7.0,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    denoise: Denoise = 0.35,
    tile_width: TileSide = 512,
    tile_height: TileSide = 512,
    overlap: Padding = 64,
    preset: SdPreset = "even",
    batch_size: BatchSize = 1,
    noise: NoiseFrom = "canvas",
    lock: Share = 1.0,
    mend_above: Threshold = 0.0,
    tile_prompts: TilePrompts = "regions",
    size_conditioning: SizeConditioning = "crop",
    dialect: Dialect = "comfyui",
    rng: RandomSource = "NV",
    ensd: Delta = 0,
    eta: Eta = -1.0,
    s_churn: Churn = 0.0,
    s_tmin: Churn = 0.0,
    s_tmax: Churn = 0.0,
    s_noise: Churn = 1.0,
    tile_prompt: Told | None = None,
    context: RunContext,
) -> tuple[Tensor, str]:
    """Redraw an enlarged picture in overlapping tiles, each for itself, and blend them.

    mend_above (0: never): tiles beside joins whose seam index is higher than this and than this times the picture's own
    are drawn once more with wider overlaps there. tile_prompts as in Ultimate SD upscale. batch_size matters for the
    preset "a1111" alone: its batches share seeds.
    """
    brush = Brush(
        model=model, positive=positive, negative=negative, vae=vae, seed=seed, steps=steps, cfg=cfg,
        sampler=sampler_name, scheduler=scheduler, denoise=denoise, seam_denoise=denoise,
        dialect=cast(Literal["comfyui", "webui"], dialect),
        noise=WebuiNoise(rng, 0, 0.0, (0, 0), ensd, original=False),
        options=WebuiOptions(eta, s_churn, s_tmin, s_tmax, s_noise),
        anchored=noise == "canvas", lock=lock, sizes=size_conditioning, regions=tile_prompts != "off",
        words=words_of(tile_prompt, tile_prompts, preset),
    )  # fmt: skip

    def work(picture: Tensor) -> Tensor:
        plan = sd_upscale_of(picture.shape[1], picture.shape[2], (tile_height, tile_width), overlap, preset)
        seeds = sd_upscale_seeds(seed, plan.jobs, batch_size if preset == "a1111" else 1)
        own = preset == "a1111" or noise == "tile"
        drawn = replace(brush, seeds=seeds if own else ())
        made = redrawn(picture, plan, drawn, context)
        if preset == "even" and mend_above > 0 and denoise > 0:
            mend = partial(widened_plan, *plan.canvas, (tile_height, tile_width), overlap)
            made = _mended(made, picture, plan, mend, replace(drawn, seeds=()), mend_above, context)
        return made

    return each_picture(image, work, context, brush.words)


def words_of(tile_prompt: TilePrompt | None, tile_prompts: str, preset: str) -> TilePrompt | None:
    """The prompt whose parts go to the tiles that they concern, where that is asked for."""
    if tile_prompts != "attention":
        return None
    if preset != "even":
        raise SettingError(f"the preset {preset!r} tells every tile the same", "Use the preset even.")
    if tile_prompt is None:
        raise SettingError(
            "nothing says where the words of the prompt stand in the picture", "Link Tile Prompts to tile_prompt."
        )
    return tile_prompt


def each_picture(image: Tensor, work: Any, context: RunContext, words: TilePrompt | None = None) -> tuple[Tensor, str]:
    """work(picture) for each of a batch (batch, height, width, channels), and what was noted of words; transparency is
    dropped."""
    height, width = image.shape[1:3]
    check_size(max(width, 16), max(height, 16), context.max_megapixels, "the picture", len(image))
    if words is not None and len(image) > 1:
        raise SettingError(f"{len(image)} pictures cannot share one prompt's places", "Give them one by one.")
    before = len(context.notes)
    made = torch.cat([work(picture[None, ..., :3].float()) for picture in image])
    return made, "; ".join(note for note in context.notes[before:] if is_told(note))


def redrawn(
    picture: Tensor,
    plan: RedrawPlan,
    brush: Brush,
    context: RunContext,
    on_tile: OnTile | None = None,
    source: Tensor | None = None,
) -> Tensor:
    """The picture redrawn by a plan of its size or of the next multiples of 8; says the plan and its seams. `source` is
    what it was before an earlier redraw."""
    height, width = picture.shape[1:3]
    source = picture if source is None else source
    if plan.preset != "even":
        sizes: Sizes = "native" if plan.method.startswith("SD") else "as given"
        brush = replace(brush, anchored=False, lock=0.0, sizes=sizes)
    fits = plan.canvas == (height, width)
    canvas, beneath = (picture, source) if fits else (on_cells(picture), on_cells(source))
    context.note(plan.describe())
    for line in [] if brush.words is None else tiles_told(brush.words, plan):
        context.note(line)
    made = redraw(canvas, plan, brush, context, on_tile, beneath)[:, :height, :width]
    report = seam_index(made[0], *plan.joins, reference=source[0])
    context.note(report.describe())
    return made


def _mended(
    made: Tensor,
    picture: Tensor,
    plan: RedrawPlan,
    mend: Callable[[Sequence[int], Sequence[int]], RedrawPlan],
    brush: Brush,
    above: float,
    context: RunContext,
) -> Tensor:
    """The picture with those joins drawn once more whose seam index is too high."""
    rows = [join for join in plan.joins[0] if _shows(seam_index(made[0], [join], [], picture[0]), above)]
    columns = [join for join in plan.joins[1] if _shows(seam_index(made[0], [], [join], picture[0]), above)]
    if not rows and not columns:
        return made
    context.note(f"{len(rows) + len(columns)} joins show and are drawn again")
    return redrawn(made, mend(rows, columns), brush, context, source=picture)


def _shows(report: SeamReport, above: float) -> bool:
    return report.index > above and report.index > above * (report.reference_index or 1.0)
