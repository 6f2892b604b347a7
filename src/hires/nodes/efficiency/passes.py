"""The passes that a sampler of the pack makes: first, enlarged, in tiles, and what is decoded of them.

Every pass is a run of its own through the cache of sampler states, so that what comes before a changed setting is
drawn once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from hires.errors import ModelFileError, SettingError
from hires.imaging.resample import resample
from hires.models.handles import DiffusionModel, VaeModel
from hires.nodes.context import RunContext
from hires.nodes.controlnets import apply_controlnet, load_controlnet
from hires.nodes.drawing import Run, draw_comfyui
from hires.nodes.efficiency.loading import Side
from hires.nodes.efficiency.noise import initial_noise_of
from hires.nodes.efficiency.scripts import SAME, TRAINED, ControlOption, HiresFix, NoiseControl, Script
from hires.nodes.efficiency.tiles import tile_splitter
from hires.nodes.image_filters import canny
from hires.nodes.image_sizes import image_scale_by, image_upscale_with_model
from hires.nodes.latents import latent_upscale_by
from hires.nodes.types import ConditioningList, LatentDict
from hires.nodes.vae import vae_decode, vae_decode_tiled, vae_encode
from hires.sampling.noise import Source

Kind = Literal["regular", "advanced", "sdxl"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """What one picture (or batch) is drawn with. `refine_at` None: no refiner."""

    kind: Kind
    base: Side
    refiner: Side | None = None
    vae: VaeModel | None
    latent: LatentDict
    seed: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    denoise: float = 1.0
    add_noise: bool = True
    start: int = 0
    end: int = 10_000
    leftover: bool = False
    refine_at: int | None = None
    hands_noise_over: bool = False
    tiled_decode: bool = False


@dataclass(frozen=True, eq=False)
class Drawn:
    """The latent, the picture where one was made on the way, hints to be shown, and what the user should know."""

    latent: LatentDict
    image: Tensor | None = None
    hints: tuple[Tensor, ...] = ()
    warnings: tuple[str, ...] = ()


def draw(job: Job, script: Script, context: RunContext) -> Drawn:
    """All passes in their order, without decoding the last latent."""
    drawn = Drawn(draw_first(job, script.noise, context))
    if script.hires is not None and script.hires.iterations > 0:
        drawn = draw_hires(job, script.hires, drawn, context)
    if script.tiled is not None and script.tiled.strategy != "none":
        drawn = draw_tiled(job, script, drawn, context)
    return drawn


def draw_first(job: Job, noise: NoiseControl | None, context: RunContext) -> LatentDict:
    """The first pass; for SDXL base and refiner.

    As released, the pack's base denoises fully at the cut and the refiner adds fresh noise of the same seed;
    `hands_noise_over` leaves the noise in and adds none.
    """
    refine_at = job.steps if job.refine_at is None or job.refiner is None else job.refine_at
    run = run_of(job, job.base)
    if noise is not None:
        source = _source(noise)
        run = replace(run, noise=initial_noise_of(noise, source), rng_source=source)
    if job.kind == "regular":
        return draw_comfyui(replace(run, denoise=job.denoise), context)
    if job.kind == "advanced":
        run = replace(run, add_noise=job.add_noise, start=job.start, end=job.end, leftover=job.leftover)
        return draw_comfyui(run, context)
    over = job.hands_noise_over and refine_at < job.steps
    latent = draw_comfyui(replace(run, start=job.start, end=refine_at, leftover=over), context)
    if job.refiner is None or refine_at >= job.steps:
        return latent
    side = job.refiner
    second = replace(run, model=side.model, positive=side.positive, negative=side.negative, latent=latent)
    return draw_comfyui(replace(second, start=refine_at, add_noise=not over), context)


def run_of(job: Job, side: Side) -> Run:
    """A plain run with a job's settings."""
    return Run(
        model=side.model,
        positive=side.positive,
        negative=side.negative,
        cfg=job.cfg,
        latent=job.latent,
        seed=job.seed,
        sampler=job.sampler,
        scheduler=job.scheduler,
        steps=job.steps,
    )


def _source(noise: NoiseControl) -> Source:
    for source in ("CPU", "NV", "GPU"):
        if noise.source == source:
            return source
    raise SettingError(f"Noise Control: there is no generator {noise.source!r}", "Choose cpu, gpu or nv.")


# ---- the second pass ------------------------------------------------------------------------------------------------


def draw_hires(job: Job, fix: HiresFix, drawn: Drawn, context: RunContext) -> Drawn:
    """Enlarge and draw again, `iterations` times; "pixel" enlarges the picture only."""
    if fix.kind == "pixel":
        return replace(drawn, image=enlarged_picture(job, fix, decoded(job, drawn, context), context))
    side = job.base
    positive, hints = _steered(side.positive, fix.control, job, drawn, context)
    latent, warnings = drawn.latent, drawn.warnings
    if fix.kind == "latent" and fix.latent_upscaler in TRAINED:
        warnings = (*warnings, f"{fix.latent_upscaler} is not here: bislerp enlarges in its place")
    for _ in range(fix.iterations):
        if fix.kind == "both":
            picture = enlarged_picture(job, fix, decoded(job, Drawn(latent), context), context)
            latent = vae_encode(pixels=picture, vae=_vae(job), context=context)
        else:
            latent = _enlarged_latent(latent, fix, context)
        run = replace(
            run_of(job, side),
            model=_hires_model(fix, side, context),
            positive=positive,
            latent=latent,
            seed=job.seed if fix.seed is None else fix.seed,
            steps=fix.steps,
            denoise=fix.denoise,
        )
        latent = draw_comfyui(run, context)
    return Drawn(latent, None, hints if fix.control is not None and fix.control.shows_hints else (), warnings)


def _enlarged_latent(latent: LatentDict, fix: HiresFix, context: RunContext) -> LatentDict:
    method, factor = fix.latent_upscaler, fix.factor
    if method.startswith("city96"):
        factor = min((1.25, 1.5, 2.0), key=lambda known: abs(known - factor))
    elif method.startswith("ttl_nn"):
        factor = min(max(factor, 1.0), 2.0)
    method = "bislerp" if method in TRAINED else method
    return latent_upscale_by(samples=latent, upscale_method=method, scale_by=factor, context=context)


def enlarged_picture(job: Job, fix: HiresFix, picture: Tensor, context: RunContext) -> Tensor:
    """By the network's own factor, then reduced to the one asked for."""
    network = context.store.upscaler(fix.pixel_upscaler)
    large = image_upscale_with_model(upscale_model=network, image=picture, context=context)
    share = fix.factor / network.scale
    return image_scale_by(image=large, upscale_method=fix.reduction, scale_by=share, context=context)


def _hires_model(fix: HiresFix, side: Side, context: RunContext) -> DiffusionModel:
    if fix.checkpoint == SAME:
        return side.model
    model = context.store.checkpoint(fix.checkpoint).model
    if model is None:
        raise ModelFileError(f"HighRes-Fix: the checkpoint {fix.checkpoint!r} holds no diffusion model")
    return model


def _steered(
    positive: ConditioningList, control: ControlOption | None, job: Job, drawn: Drawn, context: RunContext
) -> tuple[ConditioningList, tuple[Tensor, ...]]:
    """The positive side under a ControlNet whose hint is made of the picture so far, and the hint."""
    if control is None:
        return positive, ()
    hint = decoded(job, drawn, context)
    if control.preprocessor == "CannyEdgePreprocessor":
        hint = canny(image=hint)
    net = load_controlnet(control_net_name=control.name, context=context)
    return apply_controlnet(conditioning=positive, control_net=net, image=hint, strength=control.strength), (hint,)


# ---- the pass in tiles ----------------------------------------------------------------------------------------------


def draw_tiled(job: Job, script: Script, drawn: Drawn, context: RunContext) -> Drawn:
    """Enlarge the picture by pixels, encode it, and draw over it tile by tile in every step."""
    tiled = script.tiled
    assert tiled is not None
    picture = image_scale_by(
        image=decoded(job, drawn, context), upscale_method="nearest-exact", scale_by=tiled.factor, context=context
    )
    latent = vae_encode(pixels=picture, vae=_vae(job), context=context)
    positive, _ = _steered(job.base.positive, tiled.control, job, replace(drawn, image=picture), context)
    run = replace(
        run_of(job, job.base),
        positive=positive,
        latent=latent,
        seed=tiled.seed,
        steps=tiled.steps,
        denoise=tiled.denoise,
        split=tile_splitter(tiled.strategy, tiled.tile_size, tiled.seed),
    )
    return replace(drawn, latent=draw_comfyui(run, context), image=None)


# ---- pictures -------------------------------------------------------------------------------------------------------


def decoded(job: Job, drawn: Drawn, context: RunContext) -> Tensor:
    """The picture so far."""
    if drawn.image is not None:
        return drawn.image
    if job.tiled_decode:
        return vae_decode_tiled(samples=drawn.latent, vae=_vae(job), tile_size=512, context=context)
    return vae_decode(samples=drawn.latent, vae=_vae(job), context=context)


def with_hints(image: Tensor, hints: tuple[Tensor, ...]) -> Tensor:
    """The pictures and, behind them, the hints at their size."""
    height, width = image.shape[1:3]
    fitted = [resample(hint.movedim(-1, 1), width, height, "bilinear").movedim(1, -1) for hint in hints]
    return torch.cat([image, *fitted])


def _vae(job: Job) -> VaeModel:
    if job.vae is None:
        raise ModelFileError("this script works on pictures, and no VAE is connected", "Connect one to optional_vae.")
    return job.vae
