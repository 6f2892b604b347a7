"""What a user asks for: the fields of txt2img with hires fix and refiner, under the web UI's names and defaults."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from hires.errors import SettingError
from hires.imaging.sizes import check_size, floor_to_latent
from hires.recipes.controlnets import ControlNetUnit, check_units
from hires.recipes.fine_sampling import OF_THE_LEVELS, FineSampling, check_fine
from hires.recipes.sizes import hires_size
from hires.recipes.tiled import DeepShrink, TiledDiffusion, check_shrink, check_tiled, with_region_seeds

FORMATS = ("png", "jpg", "webp", "avif")
FP8_MODES = {"Disable": "off", "Enable for SDXL": "sdxl", "Enable": "all"}
"""A1111's choices, and what loaders call them."""
SEAMLESS = ("off", "both", "x", "y")
REFINER_PASSES = ("first pass", "second pass", "both passes")
RANDOM_SEEDS = 4294967294
"""A1111 draws random seeds from 0 to 4294967293."""


@dataclass(frozen=True)
class HiresFix:
    """The second pass. None and empty mean "as in the first pass".

    denoise in 0..1 (0 = enlarge only); steps 0 = the first pass's; width/height 0 = by scale.
    """

    upscaler: str = "Latent"
    scale: float = 2.0
    width: int = 0
    height: int = 0
    steps: int = 0
    denoise: float = 0.7
    sampler: str | None = None
    schedule: str | None = None
    prompt: str = ""
    negative: str = ""
    cfg: float | None = None
    checkpoint: str | None = None


@dataclass(frozen=True)
class Refiner:
    """A second checkpoint that takes over during sampling.

    switch_at in 0.01..1: over the share of noise removed (A1111 since 1.8), or of steps with by_steps. switch_step, if
    set, names the first step (0-based) that the refiner takes. passes: with hires fix, where it works.
    """

    checkpoint: str
    switch_at: float = 0.8
    by_steps: bool = False
    switch_step: int | None = None
    passes: str = "second pass"


@dataclass(frozen=True)
class Templates:
    """The prompts of both passes as they were before their choices were made."""

    prompt: str = ""
    negative: str = ""
    hires_prompt: str = ""
    hires_negative: str = ""


@dataclass(frozen=True)
class Txt2Img:
    """Text to image. width and height 0 take the model's own size; seed -1 a random one.

    seamless (off, both, x, y) names the sides across which pictures go on: A1111's Tiling.

    vae is a file; "Automatic" one of the checkpoint's own name where there is one; None the checkpoint's own.

    vae_mode is how pictures are decoded and encoded (auto, untiled, exact, exact-lowram, exact-disk, fast, blend),
    vae_tile the side of a tile in pixels, where tiles are used.

    styles are names of styles that are still to be applied. With wildcards, the choices of prompts (`{a|b}`,
    `__name__`) are made by each picture's seed; templates then keep the prompts as they were. With comments, what
    stands behind # is left out (A1111's dialect). comma_backtrack is how many tokens back a full chunk of 75 is cut at
    a comma, 0 never. old_scheduling reads `[a:b:when]` as A1111 did before 1.6.

    original_quirks repeats A1111's pictures where hires mends a schedule that stops short of the clean picture
    (DDIM, PLMS, UniPC, KL Optimal); it is set for infotexts that A1111 wrote.

    token_merging is the share (0..1) of the tokens at the network's top level that share their self-attention with
    like ones; token_merging_hires that of the hires pass, 0 for the same.

    fp8 (Disable, Enable for SDXL, Enable) holds the weights of the UNet's layers in 8 bits: less memory, other numbers.

    face_restoration names who restores the faces of finished pictures (CodeFormer, GFPGAN; "" nobody), face_weight is
    CodeFormer's: 0 changes a face most, 1 least.

    extra_fields are what an infotext says beyond this; they are written again. hashes are the hashes that it states for
    "lora:name" and "embedding:name", by which files that were renamed are found. format (png, jpg, webp, avif) and
    quality (1 to 100, of the last three) say how pictures are written.
    """

    prompt: str = ""
    negative: str = ""
    checkpoint: str | None = None
    vae: str | None = None
    vae_mode: str = "auto"
    vae_tile: int = 512
    seamless: str = "off"
    sampler: str = "DPM++ 2M"
    schedule: str = "Automatic"
    steps: int = 20
    cfg: float = 7.0
    width: int = 0
    height: int = 0
    seed: int = -1
    batch_size: int = 1
    batch_count: int = 1
    clip_skip: int = 1
    hires: HiresFix | None = None
    refiner: Refiner | None = None
    tiled: TiledDiffusion | None = None
    deep_shrink: DeepShrink | None = None
    controlnets: tuple[ControlNetUnit, ...] = ()
    save_first_pass: bool = False
    variation_seed: int = -1
    variation_strength: float = 0.0
    seed_resize_width: int = 0
    seed_resize_height: int = 0
    ensd: int = 0
    rng: str = "NV"
    emphasis: str = "Original"
    eta: float | None = None
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = 0.0
    s_noise: float = 1.0
    fine: FineSampling = field(default_factory=FineSampling)
    token_merging: float = 0.0
    token_merging_hires: float = 0.0
    fp8: str = "Disable"
    face_restoration: str = ""
    face_weight: float = 0.5
    dialect: str = "webui"
    original_quirks: bool = False
    styles: tuple[str, ...] = ()
    wildcards: bool = True
    templates: Templates | None = None
    comments: bool = True
    comma_backtrack: int = 20
    old_scheduling: bool = False
    extra_fields: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    format: str = "png"
    quality: int = 90


def with_seeds(request: Txt2Img, chooser: random.Random | None = None) -> Txt2Img:
    """The request with -1 replaced by random seeds: the only use of unseeded randomness, unless a chooser is given."""
    chooser = chooser or random.SystemRandom()
    seed = request.seed if request.seed >= 0 else chooser.randrange(RANDOM_SEEDS)
    variation = request.variation_seed if request.variation_seed >= 0 else chooser.randrange(RANDOM_SEEDS)
    tiled = None if request.tiled is None else with_region_seeds(request.tiled, chooser)
    return replace(request, seed=seed, variation_seed=variation, tiled=tiled)


def check_request(request: Txt2Img, max_megapixels: float) -> None:
    """Raise SettingError for the first value that is out of range. Sizes must be set (not 0)."""
    _range("steps", request.steps, 1, 10_000)
    _range("cfg", request.cfg, 0, 1000)
    _range("batch size", request.batch_size, 1, 256)
    _range("batch count", request.batch_count, 1, 10_000)
    _range("clip skip", request.clip_skip, 1, 12)
    _range("seed", request.seed, -1, 2**64 - 1)
    _range("variation strength", request.variation_strength, 0, 1)
    _range("comma backtrack", request.comma_backtrack, 0, 75)
    _check_emphasis(request.emphasis)
    if request.seed_resize_width < 0 or request.seed_resize_height < 0:
        raise SettingError("the size that the seed is resized from cannot be negative", "Use 0 for off.")
    _check_vae_mode(request)
    if request.format not in FORMATS:
        raise SettingError(f"there is no format {request.format!r}", f"Use one of {', '.join(FORMATS)}.")
    _range("quality", request.quality, 1, 100)
    check_size(request.width, request.height, max_megapixels, "the first pass", request.batch_size)
    if request.rng not in ("CPU", "NV"):
        raise SettingError(f"unknown random source {request.rng!r}", "Use CPU or NV.")
    if request.hires is not None:
        _check_hires(request, request.hires, max_megapixels)
    if request.refiner is not None:
        _check_refiner(request.refiner, request.steps)
    if request.tiled is not None:
        check_tiled(request.tiled)
    if request.deep_shrink is not None:
        check_shrink(request.deep_shrink)
    check_units(request.controlnets)
    _check_seamless(request)
    _range("token merging ratio", request.token_merging, 0, 1)
    if request.fp8 not in FP8_MODES:
        raise SettingError(f"there is no FP8 mode {request.fp8!r}", f"Use one of {', '.join(FP8_MODES)}.")
    _range("face restoration weight", request.face_weight, 0, 1)
    _range("token merging ratio of the hires pass", request.token_merging_hires, 0, 1)
    check_fine(request.fine)
    named = ", ".join(name for name in request.fine.changed() if name not in OF_THE_LEVELS)
    if named and request.dialect != "webui":
        raise SettingError(f"ComfyUI's dialect has no sampling options ({named})", "Leave out --dialect comfyui.")


def _check_seamless(request: Txt2Img) -> None:
    if request.seamless not in SEAMLESS:
        raise SettingError(f"a picture cannot be seamless across {request.seamless!r}", f"Use {', '.join(SEAMLESS)}.")
    if request.seamless != "off" and request.tiled is not None:
        raise SettingError(
            "a seamless picture cannot be drawn in tiles, which end within it", "Leave out --tiled or --seamless."
        )


def _check_emphasis(emphasis: str) -> None:
    from hires.text.encode import check_emphasis

    check_emphasis(emphasis)


def _check_hires(request: Txt2Img, hires: HiresFix, max_megapixels: float) -> None:
    _range("hires steps", hires.steps, 0, 10_000)
    _range("denoising strength", hires.denoise, 0, 1)
    _range("hires scale", hires.scale, 0.05, 64)
    if hires.cfg is not None:
        _range("hires cfg", hires.cfg, 0, 1000)
    if hires.width < 0 or hires.height < 0:
        raise SettingError(f"the hires size cannot be {hires.width}x{hires.height}", "Use 0 for by scale.")
    size = hires_size(request.width, request.height, hires.scale, hires.width, hires.height)
    check_size(size.width, size.height, max_megapixels, "the hires pass", request.batch_size)
    check_size(*size.delivered, max_megapixels, "the hires pass", request.batch_size)


def _check_vae_mode(request: Txt2Img) -> None:
    from hires.nodes.vae_modes import MODES

    if request.vae_mode not in MODES:
        raise SettingError(f"unknown VAE mode {request.vae_mode!r}", f"Use one of {', '.join(MODES)}.")
    _range("VAE tile", request.vae_tile, 128, 4096)


def _check_refiner(refiner: Refiner, steps: int) -> None:
    _range("refiner switch", refiner.switch_at, 0.01, 1)
    if refiner.switch_step is not None:
        _range("refiner switch step", refiner.switch_step, 0, steps)
    if refiner.passes not in REFINER_PASSES:
        raise SettingError(f"unknown refiner passes {refiner.passes!r}", f"Use one of {', '.join(REFINER_PASSES)}.")


def _range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingError(f"{name} must be from {low} to {high}, not {value}")


def delivered_size(request: Txt2Img) -> tuple[int, int]:
    """(width, height) in pixels of the final picture."""
    if request.hires is None:
        return floor_to_latent(request.width), floor_to_latent(request.height)
    hires = request.hires
    return hires_size(request.width, request.height, hires.scale, hires.width, hires.height).delivered
