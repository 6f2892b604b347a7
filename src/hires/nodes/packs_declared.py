"""Nodes of other packs whose work hires does not do yet: declared, so that workflows with them can be read, checked
and edited. Running one says so."""

from __future__ import annotations

from typing import Annotated, NoReturn

from hires.errors import HiresError
from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Float, Int, OptionalInput
from hires.nodes.samplers import Sampler
from hires.nodes.types import MAX_SEED, Conditioning, Denoise, Image, Latent, Model, Seed, Sigmas, Steps, Upscaler, Vae
from hires.sampling.samplers import COMFYUI_SAMPLERS
from hires.sampling.schedules import SCHEDULES

UPSCALING, TESTING = "image/upscaling", "_for_testing"
Factor = Annotated[float, Float(0.05, 4.0, 0.05)]
Cfg = Annotated[float, Float(0.0, 100.0)]
SamplerName = Annotated[str, Choice(COMFYUI_SAMPLERS)]
SchedulerName = Annotated[str, Choice(tuple(SCHEDULES))]
Mode = Annotated[str, Choice(("Linear", "Chess", "None"))]
TileSide = Annotated[int, Int(64, 8192, 8)]
Blur = Annotated[int, Int(0, 64, 1)]
Padding = Annotated[int, Int(0, 8192, 8)]
SeamMode = Annotated[str, Choice(("None", "Band Pass", "Half Tile", "Half Tile + Intersections"))]
Switch = Annotated[bool, Bool()]
Batch = Annotated[int, Int(1, 4096), OptionalInput]


def not_yet(name: str, instead: str) -> NoReturn:
    """The one line that a user gets."""
    raise HiresError(f"this version of hires reads {name} but cannot run it yet", instead)


INSTEAD_OF_UPSCALE = "Enlarge with ImageUpscaleWithModel and draw over it with KSampler at a low denoise."
INSTEAD_OF_TILES = "Draw without tiles, or use PatchModelAddDownscale for large sizes."
INSTEAD_OF_VAE = "Use VAEEncodeTiled or VAEDecodeTiled."


@node("UltimateSDUpscale", title="Ultimate SD Upscale", category=UPSCALING, outputs=("IMAGE",))
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
) -> NoReturn:
    """Enlarge a picture and draw over it tile by tile."""
    not_yet("Ultimate SD Upscale", INSTEAD_OF_UPSCALE)


@node(
    "UltimateSDUpscaleNoUpscale",
    title="Ultimate SD Upscale (No Upscale)",
    category=UPSCALING,
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
) -> NoReturn:
    """Draw over a picture tile by tile."""
    not_yet("Ultimate SD Upscale", INSTEAD_OF_UPSCALE)


@node(
    "UltimateSDUpscaleCustomSample",
    title="Ultimate SD Upscale (Custom Sample)",
    category=UPSCALING,
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
) -> NoReturn:
    """Enlarge a picture and draw over it tile by tile, with a sampler and noise levels of one's own."""
    not_yet("Ultimate SD Upscale", INSTEAD_OF_UPSCALE)


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
) -> NoReturn:
    """Evaluate the model on overlapping tiles of the latent."""
    not_yet("Tiled Diffusion", INSTEAD_OF_TILES)


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
) -> NoReturn:
    """How SpotDiffusion's tiles move from step to step."""
    not_yet("Tiled Diffusion", INSTEAD_OF_TILES)


@node("VAEEncodeTiled_TiledDiffusion", title="Tiled VAE Encode", category=TESTING, outputs=("LATENT",))
def tiled_vae_encode(
    *,
    pixels: Image,
    vae: Vae,
    tile_size: Annotated[int, Int(256, 4096, 16)] = 512,
    fast: Switch = True,
    color_fix: Switch = True,
) -> NoReturn:
    """Encode in tiles that share their statistics."""
    not_yet("Tiled VAE Encode", INSTEAD_OF_VAE)


@node("VAEDecodeTiled_TiledDiffusion", title="Tiled VAE Decode", category=TESTING, outputs=("IMAGE",))
def tiled_vae_decode(
    *,
    samples: Latent,
    vae: Vae,
    tile_size: Annotated[int, Int(384, 4096, 16)] = 512,
    fast: Switch = True,
) -> NoReturn:
    """Decode in tiles that share their statistics."""
    not_yet("Tiled VAE Decode", INSTEAD_OF_VAE)
