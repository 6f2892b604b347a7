"""The nodes of ComfyUI_UltimateSDUpscale, with its numbers."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from hires.errors import SettingError
from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Float, Int, OptionalInput
from hires.imaging.sizes import check_size
from hires.models.upscale import UpscaleModel
from hires.nodes.context import RunContext
from hires.nodes.image_sizes import image_upscale_with_model
from hires.nodes.redraw_brush import Brush
from hires.nodes.redraw_run import in_batches, redraw
from hires.nodes.samplers import ChosenSampler, Sampler
from hires.nodes.types import Conditioning, Denoise, Image, Model, Seed, Sigmas, Steps, Upscaler, Vae
from hires.sampling.samplers import COMFYUI_SAMPLERS
from hires.sampling.schedules import SCHEDULES
from hires.tiling.redraw import MODES, SEAMS, Ultimate
from hires.tiling.redraw_pixels import resize, to_bytes
from hires.tiling.redraw_presets import ultimate_preset
from hires.tiling.seams import seam_index

CATEGORY = "image/upscaling"
Factor = Annotated[float, Float(0.05, 4.0, 0.05)]
Cfg = Annotated[float, Float(0.0, 100.0)]
SamplerName = Annotated[str, Choice(COMFYUI_SAMPLERS)]
SchedulerName = Annotated[str, Choice(tuple(SCHEDULES))]
Mode = Annotated[str, Choice(MODES)]
TileSide = Annotated[int, Int(64, 8192, 8)]
Blur = Annotated[int, Int(0, 64, 1)]
Padding = Annotated[int, Int(0, 8192, 8)]
SeamMode = Annotated[str, Choice(SEAMS)]
Switch = Annotated[bool, Bool()]
Batch = Annotated[int, Int(1, 4096), OptionalInput]


@node("UltimateSDUpscale", title="Ultimate SD Upscale", category=CATEGORY, outputs=("IMAGE",))
def ultimate_upscale(
    *,
    image: Image,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    upscale_by: Factor = 2.0,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 8.0,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    denoise: Denoise = 0.2,
    upscale_model: Upscaler,
    mode_type: Mode,
    tile_width: TileSide = 512,
    tile_height: TileSide = 512,
    mask_blur: Blur = 8,
    tile_padding: Padding = 32,
    seam_fix_mode: SeamMode,
    seam_fix_denoise: Denoise = 1.0,
    seam_fix_width: Padding = 64,
    seam_fix_mask_blur: Blur = 8,
    seam_fix_padding: Padding = 16,
    force_uniform_tiles: Switch = True,
    tiled_decode: Switch = False,
    batch_size: Batch = 1,
    context: RunContext,
) -> Tensor:
    """Enlarge a picture and draw over it tile by tile."""
    given = dict(locals())
    return _redrawn(enlarged(image, upscale_by, upscale_model, context), _size(image), given)


@node(
    "UltimateSDUpscaleNoUpscale",
    title="Ultimate SD Upscale (No Upscale)",
    category=CATEGORY,
    outputs=("IMAGE",),
)
def ultimate_upscale_no_upscale(
    *,
    upscaled_image: Image,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 8.0,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    denoise: Denoise = 0.2,
    mode_type: Mode,
    tile_width: TileSide = 512,
    tile_height: TileSide = 512,
    mask_blur: Blur = 8,
    tile_padding: Padding = 32,
    seam_fix_mode: SeamMode,
    seam_fix_denoise: Denoise = 1.0,
    seam_fix_width: Padding = 64,
    seam_fix_mask_blur: Blur = 8,
    seam_fix_padding: Padding = 16,
    force_uniform_tiles: Switch = True,
    tiled_decode: Switch = False,
    batch_size: Batch = 1,
    context: RunContext,
) -> Tensor:
    """Draw over a picture tile by tile."""
    given = dict(locals())
    return _redrawn(upscaled_image, _size(upscaled_image), given)


@node(
    "UltimateSDUpscaleCustomSample",
    title="Ultimate SD Upscale (Custom Sample)",
    category=CATEGORY,
    outputs=("IMAGE",),
)
def ultimate_upscale_custom(
    *,
    image: Image,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    upscale_by: Factor = 2.0,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 8.0,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    denoise: Denoise = 0.2,
    mode_type: Mode,
    tile_width: TileSide = 512,
    tile_height: TileSide = 512,
    mask_blur: Blur = 8,
    tile_padding: Padding = 32,
    seam_fix_mode: SeamMode,
    seam_fix_denoise: Denoise = 1.0,
    seam_fix_width: Padding = 64,
    seam_fix_mask_blur: Blur = 8,
    seam_fix_padding: Padding = 16,
    force_uniform_tiles: Switch = True,
    tiled_decode: Switch = False,
    batch_size: Batch = 1,
    upscale_model: Upscaler | None = None,
    custom_sampler: Sampler | None = None,
    custom_sigmas: Sigmas | None = None,
    context: RunContext,
) -> Tensor:
    """Enlarge a picture and draw over it tile by tile, with a sampler and noise levels of one's own."""
    given = dict(locals())
    return _redrawn(enlarged(image, upscale_by, upscale_model, context), _size(image), given)


def enlarged(image: Tensor, factor: float, model: UpscaleModel | None, context: RunContext) -> Tensor:
    """(batch, height, width, 3) by a network, run until it is large enough, then Lanczos; sides to multiples of 8.

    Python rounds halves to even, as the port does. Without a network, or below 1, Lanczos alone.
    """
    old_height, old_width = image.shape[1:3]
    height, width = (max(round(side * factor / 8), 2) * 8 for side in (old_height, old_width))
    check_size(width, height, context.max_megapixels, "the enlarged picture", len(image))
    picture = to_bytes(image[..., :3])
    if model is not None and model.scale > 1:
        while max(picture.shape[1:3]) < max(height, width):
            picture = to_bytes(image_upscale_with_model(upscale_model=model, image=picture, context=context))
    return resize(picture, (height, width))


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[1], image.shape[2]


def _redrawn(picture: Tensor, source: tuple[int, int], given: dict[str, Any]) -> Tensor:
    context: RunContext = given["context"]
    height, width = picture.shape[1:3]
    check_size(max(width, 16), max(height, 16), context.max_megapixels, "the picture", len(picture))
    options = Ultimate(
        tile=(given["tile_height"], given["tile_width"]),
        padding=given["tile_padding"],
        blur=given["mask_blur"],
        mode=given["mode_type"],
        seams=given["seam_fix_mode"],
        seam_width=given["seam_fix_width"],
        seam_blur=given["seam_fix_mask_blur"],
        seam_padding=given["seam_fix_padding"],
        uniform=given["force_uniform_tiles"],
    )
    if given["batch_size"] > 1 and not options.uniform:
        raise SettingError("tiles of different sizes cannot be drawn in batches", "Turn force_uniform_tiles on.")
    sampler: ChosenSampler | None = given.get("custom_sampler")
    sigmas: Tensor | None = given.get("custom_sigmas")
    brush = Brush(
        model=given["model"],
        positive=given["positive"],
        negative=given["negative"],
        vae=given["vae"],
        seed=given["seed"],
        steps=given["steps"],
        cfg=given["cfg"],
        sampler=given["sampler_name"],
        scheduler=given["scheduler"],
        denoise=given["denoise"],
        seam_denoise=given["seam_fix_denoise"],
        custom=None if sampler is None or sigmas is None else (sampler, sigmas),
        anchored=False,
        sizes="as given",
        source=source,
        tiled_decode=given["tiled_decode"],
        batch=given["batch_size"],
    )
    plan = in_batches(ultimate_preset(height, width, options, "comfyui"), given["batch_size"])
    context.note(plan.describe())
    canvas = to_bytes(picture[..., :3].float())
    made = redraw(canvas, plan, brush, context)
    context.note(seam_index(made[0], *plan.joins, reference=canvas[0]).describe())
    return made
