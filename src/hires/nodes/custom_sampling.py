"""Sampling over explicit noise levels, with noise, sampler and guidance as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from hires.errors import SettingError
from hires.graph.declare import node
from hires.graph.inputs import Bool, Socket
from hires.imaging.resample import resample
from hires.imaging.sizes import LATENT, check_size
from hires.nodes.context import RunContext
from hires.nodes.drawing import Guided, Parts, check_model, draw_sigmas, latent_noise, sample_plan, scaled_latent
from hires.nodes.guiders import ChosenGuider, Guider
from hires.nodes.guiding import noise_levels
from hires.nodes.latents import changed
from hires.nodes.samplers import ChosenSampler, Growth, Sampler
from hires.nodes.types import Cfg, Conditioning, Latent, LatentDict, Model, Seed, Sigmas
from hires.sampling import run as runs
from hires.sampling.noise import skip_one, start_stream

OUTPUTS = ("output", "denoised_output")


@dataclass(frozen=True)
class ChosenNoise:
    """A seed, and whether its noise is added; the seed is that of the sampler's own noise too."""

    seed: int
    adds: bool = True

    def for_latent(self, latent: LatentDict) -> Tensor:
        """Noise of the latent's shape."""
        return latent_noise(latent, self.seed) if self.adds else torch.zeros_like(latent["samples"])


Noise = Annotated[ChosenNoise, Socket("NOISE")]


@node("RandomNoise", category="sampling/custom_sampling/noise", outputs=("NOISE",))
def random_noise(*, noise_seed: Seed = 0) -> ChosenNoise:
    """Noise from a seed."""
    return ChosenNoise(noise_seed)


@node("DisableNoise", category="sampling/custom_sampling/noise", outputs=("NOISE",))
def disable_noise() -> ChosenNoise:
    """No noise, for latents that hold theirs."""
    return ChosenNoise(0, adds=False)


@node("AddNoise", category="_for_testing/custom_sampling/noise", outputs=("LATENT",), experimental=True)
def add_noise(*, model: Model, noise: Noise, sigmas: Sigmas, latent_image: Latent) -> LatentDict:
    """The noise that takes a latent from the last level to the first."""
    if len(sigmas) == 0:
        return latent_image
    scale = sigmas[0] if len(sigmas) == 1 else (sigmas[0] - sigmas[-1]).abs()
    noisy = latent_image["samples"] * model.latent_scale + noise.for_latent(latent_image) * scale
    return changed(latent_image, torch.nan_to_num(noisy / model.latent_scale, nan=0.0, posinf=0.0, neginf=0.0))


@node(
    "SamplerCustom",
    category="sampling/custom_sampling",
    outputs=("LATENT", "LATENT"),
    output_names=OUTPUTS,
)
def sampler_custom(
    *,
    model: Model,
    add_noise: Annotated[bool, Bool()] = True,
    noise_seed: Seed = 0,
    cfg: Cfg = 8.0,
    positive: Conditioning,
    negative: Conditioning,
    sampler: Sampler,
    sigmas: Sigmas,
    latent_image: Latent,
    context: RunContext,
) -> tuple[LatentDict, LatentDict]:
    """Denoise over noise levels as they are given."""
    guider = ChosenGuider(model, positive, negative, cfg)
    return draw_custom(guider, ChosenNoise(noise_seed, add_noise), sampler, sigmas, latent_image, context)


@node(
    "SamplerCustomAdvanced",
    category="sampling/custom_sampling",
    outputs=("LATENT", "LATENT"),
    output_names=OUTPUTS,
)
def sampler_custom_advanced(
    *, noise: Noise, guider: Guider, sampler: Sampler, sigmas: Sigmas, latent_image: Latent, context: RunContext
) -> tuple[LatentDict, LatentDict]:
    """Denoise over noise levels as they are given, with noise and guidance as values."""
    return draw_custom(guider, noise, sampler, sigmas, latent_image, context)


def draw_custom(
    guider: ChosenGuider,
    noise: ChosenNoise,
    sampler: ChosenSampler,
    sigmas: Tensor,
    latent: LatentDict,
    context: RunContext,
) -> tuple[LatentDict, LatentDict]:
    """What the run comes to, and the last estimate of the clean latent that it went by."""
    run = Guided(
        model=guider.model,
        positive=guider.positive,
        negative=guider.negative,
        cfg=guider.cfg,
        latent=latent,
        seed=noise.seed,
        further=guider.further,
        combine=guider.combine,
    )
    initial = noise.for_latent(latent)
    if sampler.growth is not None and len(sigmas) > 1:
        return _draw_growing(run, sampler.growth, sigmas, initial, context)
    return draw_sigmas(run, sampler.name, sampler.options, sigmas, initial, context, estimate=True)


def _draw_growing(
    run: Guided, growth: Growth, sigmas: Tensor, noise: Tensor, context: RunContext
) -> tuple[LatentDict, LatentDict]:
    """LCM step by step; behind the first `stages` steps the estimate is resized before it is noised again.

    The noise between steps goes on in the stream that the initial noise began.
    """
    check_model(run)
    if run.latent.get("noise_mask") is not None:
        raise SettingError("SamplerLCMUpscale cannot draw within a mask", "Take the mask away or use another sampler.")
    steps = len(sigmas) - 1
    stages = max(len(sigmas) // 2, 1) if growth.stages < 0 else min(growth.stages, len(sigmas))
    scales = np.linspace(1.0, growth.ratio, stages + 1)[1:]
    height, width = noise.shape[2:]
    largest = max([1.0, *scales])
    size = (round(width * largest) * LATENT, round(height * largest) * LATENT)
    check_size(*size, context.max_megapixels, "the enlarged latent", len(noise))
    levels = noise_levels(run.model)
    stream = skip_one(start_stream("CPU", (run.seed,), per_image=False), noise)
    x, estimate, parts = None, noise, Parts(steps)
    for step in range(steps):
        plan = runs.make_plan("lcm", torch.stack([sigmas[step], torch.zeros(())]), run.seed, levels=levels)
        state = runs.start(plan, scaled_latent(run), noise) if x is None else runs.begin(plan, x)
        estimate = x = sample_plan(run, plan, state, noise, context, part=(step, parts)).x
        if step < stages:
            x = resample(x, round(width * scales[step]), round(height * scales[step]), growth.method)
        if sigmas[step + 1] > 0:
            fresh, stream = stream.draw(x)
            x = x + sigmas[step + 1] * fresh
    assert x is not None
    scale = run.model.latent_scale
    return changed(run.latent, x / scale), changed(run.latent, estimate / scale)
