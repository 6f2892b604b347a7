"""Tiled Diffusion: large latents denoised in tiles that are joined at every call, regions, noise inversion."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import torch
from torch import Tensor

from hires.errors import SettingError
from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Float, Int
from hires.models.clip import TextStack
from hires.models.handles import PIXELS_PER_LATENT, DiffusionModel
from hires.models.patches import with_option
from hires.nodes.conditioning import text_encode
from hires.nodes.context import RunContext
from hires.nodes.guiding import noise_levels
from hires.nodes.joint import OPTION, SPOT_OPTION, Spot, joint_tiles
from hires.nodes.latents import changed
from hires.nodes.regions import BACKGROUNDS, with_regions
from hires.nodes.resolve import resolve
from hires.nodes.types import (
    MAX_SEED,
    Clip,
    Conditioning,
    ConditioningList,
    Image,
    Latent,
    LatentDict,
    Model,
    Prompt,
)
from hires.sampling.guidance import Guidance
from hires.sampling.inversion import Inverted, inverted_noise, renoise_mask, retouched
from hires.sampling.schedules import run_sigmas
from hires.tiling.joint import METHODS, MICRO_CONDS, JointTiling
from hires.tiling.regions import BLENDS, Region, read_regions
from hires.tiling.seams import seam_index
from hires.tiling.windows import WINDOWS, WindowKind

TESTING, TILING = "_for_testing", "hires/tiling"
BY_METHOD = "by method"
GRAINS = {"sdxl": 4, "sdxl_refiner": 4}
"""The total stride of a UNet in latent cells, by family; 8 for all others."""
Cells = Annotated[int, Int(8, 2048, 8)]
Share = Annotated[float, Float(0.0, 1.0, 0.0001)]
RegionSeed = Annotated[int, Int(-1, MAX_SEED)]
Background = Annotated[str, Choice(BACKGROUNDS)]


def tiled(model: DiffusionModel, tiling: JointTiling) -> DiffusionModel:
    """The model with its calls tiled; replaces what an earlier node set."""
    return with_option(model, OPTION, tiling, tiling)


@node("TiledDiffusion", title="Tiled Diffusion", category=TESTING, outputs=("MODEL",))
def tiled_diffusion(
    *,
    model: Model,
    method: Annotated[
        str, Choice(("MultiDiffusion", "Mixture of Diffusers", "SpotDiffusion"))
    ] = "Mixture of Diffusers",
    tile_width: Annotated[int, Int(16, 8192, 16)] = 768,
    tile_height: Annotated[int, Int(16, 8192, 16)] = 768,
    tile_overlap: Annotated[int, Int(0, 2048, 32)] = 64,
    tile_batch_size: Annotated[int, Int(1, 8192, 1)] = 4,
) -> DiffusionModel:
    """Evaluate the model on overlapping tiles of the latent. Sizes in pixels."""
    tiling = JointTiling(
        method=method,
        tile=(tile_height // PIXELS_PER_LATENT, tile_width // PIXELS_PER_LATENT),
        overlap=tile_overlap // PIXELS_PER_LATENT,
        tile_batch=tile_batch_size,
        grid="roll" if method == "SpotDiffusion" else "even",
        published=True,
    )
    return tiled(model, tiling)


@node(
    "SpotDiffusionParams_TiledDiffusion",
    title="SpotDiffusion Parameters",
    category=TESTING,
    outputs=("MODEL",),
)
def spot_diffusion_params(
    *,
    model: Model,
    shift_method: Annotated[str, Choice(("random", "sorted", "fibonacci"))],
    seed: Annotated[int, Int(0, MAX_SEED)] = 0,
) -> DiffusionModel:
    """How SpotDiffusion's tiles move from step to step."""
    spot = Spot(shift_method, seed)
    return with_option(model, SPOT_OPTION, spot, spot)


@node("HiresTiledDiffusion", title="Tiled Diffusion (hires)", category=TILING, outputs=("MODEL",))
def hires_tiled_diffusion(
    *,
    model: Model,
    method: Annotated[str, Choice(tuple(METHODS))] = "Cosine",
    tile_width: Cells = 96,
    tile_height: Cells = 96,
    overlap: Annotated[int, Int(0, 1024)] = 24,
    tile_batch: Annotated[int, Int(1, 256)] = 4,
    window: Annotated[str, Choice((BY_METHOD, *WINDOWS))] = BY_METHOD,
    jitter: Annotated[bool, Bool(), "Move the grid from step to step: seams average out with little overlap."] = False,
    jitter_seed: Annotated[float, Float(0.0, 1.0, 0.001), "Where the moves begin."] = 0.0,
    micro_cond: Annotated[
        str, Choice(MICRO_CONDS), "What SDXL is told of a tile: a crop at its offset, the canvas, or a picture alone."
    ] = "crop",
    control_on_cpu: Annotated[bool, Bool(), "Keep ControlNets' pictures in main memory."] = False,
) -> DiffusionModel:
    """Evaluate the model on tiles of the latent and join them at every call, for any sampler. Sizes in latent cells."""
    grid: Literal["even", "jitter", "roll"] = "jitter" if jitter else "roll" if method == "SpotDiffusion" else "even"
    if jitter and method == "SpotDiffusion":
        raise SettingError("SpotDiffusion moves its grid itself", "Choose another method for jitter, or switch it off.")
    tiling = JointTiling(
        method=method,
        tile=(tile_height, tile_width),
        overlap=overlap,
        tile_batch=tile_batch,
        grid=grid,
        window=None if window == BY_METHOD else cast(WindowKind, window),
        granularity=GRAINS.get(model.family, 8),
        seed_offset=jitter_seed,
        micro_cond=micro_cond,
    )
    model = tiled(model, tiling)
    return with_option(model, "hints_on_cpu", True) if control_on_cpu else model


# ---- regions --------------------------------------------------------------------------------------------------------


@node(
    "HiresRegion",
    title="Region Prompt",
    category=TILING,
    outputs=("CONDITIONING", "CONDITIONING"),
    output_names=("positive", "negative"),
)
def hires_region(
    *,
    positive: Conditioning,
    negative: Conditioning,
    region_positive: Conditioning,
    region_negative: Conditioning,
    x: Share = 0.4,
    y: Share = 0.4,
    width: Share = 0.2,
    height: Share = 0.2,
    blend: Annotated[str, Choice(BLENDS)],
    feather: Share = 0.2,
    seed: RegionSeed = -1,
    background: Background,
) -> tuple[ConditioningList, ConditioningList]:
    """A rectangle, in fractions of the picture, with prompts and perhaps noise of its own."""
    region = Region(x, y, width, height, "", "", blend, feather, seed)
    return (
        with_regions(positive, [(region, region_positive)], background),
        with_regions(negative, [(region, region_negative)], background),
    )


@node(
    "HiresRegions",
    title="Region Prompts (JSON)",
    category=TILING,
    outputs=("CONDITIONING", "CONDITIONING"),
    output_names=("positive", "negative"),
)
def hires_regions(
    *, clip: Clip, text: Prompt, negative_text: Prompt, regions: Prompt, background: Background
) -> tuple[ConditioningList, ConditioningList]:
    """Regions as Tiled Diffusion saves them ({"bbox_controls": [...]}): each is told the main prompt and its own."""
    found = read_regions(regions)
    positive = [(region, _encoded(clip, text, region.prompt)) for region in found]
    negative = [(region, _encoded(clip, negative_text, region.negative)) for region in found]
    return (
        with_regions(_encoded(clip, text), positive, background),
        with_regions(_encoded(clip, negative_text), negative, background),
    )


def joined_prompt(main: str, own: str) -> str:
    """What a region is told."""
    return ", ".join(part for part in (main, own) if part.strip())


def _encoded(clip: TextStack, main: str, own: str = "") -> ConditioningList:
    return text_encode(text=joined_prompt(main, own), clip=clip)


# ---- noise inversion ------------------------------------------------------------------------------------------------


@node("NoiseInversion_TiledDiffusion", title="Noise Inversion", category="sampling", outputs=("LATENT",))
def noise_inversion(
    *,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    image: Image,
    steps: Annotated[int, Int(1, 208, 1)] = 10,
    retouch: Annotated[float, Float(1.0, 100.0, 0.1)] = 1.0,
    renoise_strength: Annotated[float, Float(0.0, 2.0, 0.01)] = 1.0,
    renoise_kernel_size: Annotated[int, Int(2, 512, 1)] = 64,
    context: RunContext,
) -> LatentDict:
    """Find the noise that leads to a picture, for the sampler that draws over it. `negative` has no part in it."""
    levels = noise_levels(model)
    latent = latent_image["samples"] * model.latent_scale
    sigmas = run_sigmas("euler", "normal", steps, levels).flip(0)[1:]
    guidance = Guidance(
        network=retouched(model, retouch),
        levels=levels,
        positive=resolve(model, levels, positive, [], latent.shape)[0],
        negative=[],
        cfg=1.0,
        tiles=joint_tiles(model, sigmas, 0),
        on_call=lambda done, calls: context.check_interrupted(),
    )

    def on_step(done: int, total: int) -> None:
        guidance.clock.step = done
        context.progress(done, total)

    with torch.inference_mode():
        noise = inverted_noise(latent, sigmas, guidance, on_step)
    fresh = None
    if renoise_strength > 0:
        fresh = renoise_mask(image, renoise_strength, renoise_kernel_size, *latent.shape[2:])
    result: dict[str, Any] = {**changed(latent_image, latent_image["samples"])}
    result["inverted"] = Inverted(noise, fresh)
    return cast(LatentDict, result)


@node("HiresSeamIndex", title="Seam Index (hires)", category=TILING, outputs=("IMAGE",))
def hires_seam_index(*, image: Image, model: Model, source: Image | None = None, context: RunContext) -> Tensor:
    """Say how much the joins of the model's tiles show in a picture that it drew, beside the same of the picture it was
    drawn over. The picture goes through as it is; a moving grid is taken as it lies in the first step."""
    height, width = image.shape[1:3]
    tiles = joint_tiles(model, torch.zeros(2), 0)
    joins = ((), ()) if tiles is None else tiles.joins(height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT)
    reference = source[0, ..., :3] if source is not None and source.shape[1:3] == image.shape[1:3] else None
    context.note(seam_index(image[0, ..., :3], *joins, reference=reference).describe())
    return image
