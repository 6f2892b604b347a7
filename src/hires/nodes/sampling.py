"""The samplers' nodes: one run over a latent, whole or a window of its schedule."""

from __future__ import annotations

from typing import Annotated

from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Extra, Float, Int
from hires.nodes.context import RunContext
from hires.nodes.drawing import Run, draw_comfyui
from hires.nodes.drawing_webui import WebuiNoise, WebuiOptions, draw_webui
from hires.nodes.types import (
    MAX_SEED,
    Cfg,
    Conditioning,
    Denoise,
    Dialect,
    Latent,
    LatentDict,
    Model,
    Pixels,
    Seed,
    StepIndex,
    Steps,
    Toggle,
    ToggleOff,
)
from hires.sampling.samplers import COMFYUI_SAMPLERS, SAMPLERS
from hires.sampling.schedules import SCHEDULES
from hires.sampling.schedules_webui import SCHEDULES as WEBUI_SCHEDULES

SAMPLER_NAMES = (*COMFYUI_SAMPLERS, *(name for name in SAMPLERS if name not in COMFYUI_SAMPLERS))
SCHEDULE_NAMES = (*SCHEDULES, *(entry.name for entry in WEBUI_SCHEDULES if entry.name not in SCHEDULES))

SamplerName = Annotated[str, Choice(SAMPLER_NAMES)]
SchedulerName = Annotated[str, Choice(SCHEDULE_NAMES)]
RandomSource = Annotated[str, Choice(("NV", "CPU", "GPU")), Extra]
VariationSeed = Annotated[int, Int(0, MAX_SEED), Extra]
Strength = Annotated[float, Float(0.0, 1.0), Extra]
ExtraPixels = Annotated[Pixels, Extra]
Delta = Annotated[int, Int(0, 2**32), Extra]
Eta = Annotated[float, Float(-1.0, 10.0), Extra, "-1: the sampler's own"]
Quirks = Annotated[bool, Bool(), Extra]
Churn = Annotated[float, Float(0.0, 1e6), Extra]
FixedSteps = Annotated[bool, Bool(), Extra, "With a denoise below 1: all steps, over a part of a longer schedule."]


@node("KSampler", category="sampling", outputs=("LATENT",))
def ksampler(
    *,
    model: Model,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 8.0,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: Denoise = 1.0,
    dialect: Dialect = "comfyui",
    rng: RandomSource = "NV",
    variation_seed: VariationSeed = 0,
    variation_strength: Strength = 0.0,
    seed_resize_width: ExtraPixels = 0,
    seed_resize_height: ExtraPixels = 0,
    ensd: Delta = 0,
    eta: Eta = -1.0,
    s_churn: Churn = 0.0,
    s_tmin: Churn = 0.0,
    s_tmax: Churn = 0.0,
    s_noise: Churn = 1.0,
    original: Quirks = False,
    fixed_steps: FixedSteps = True,
    noise_multiplier: Churn = 1.0,
    extra_noise: Churn = 0.0,
    context: RunContext,
) -> LatentDict:
    """Denoise a latent; denoise below 1 starts from the latent itself, noised that far."""
    run = Run(
        model=model,
        positive=positive,
        negative=negative,
        cfg=cfg,
        latent=latent_image,
        seed=seed,
        sampler=sampler_name,
        scheduler=scheduler,
        steps=steps,
        denoise=denoise,
        fixed_steps=fixed_steps,
    )
    if dialect == "comfyui":
        return draw_comfyui(run, context)
    resize = (seed_resize_width, seed_resize_height)
    scaled = (noise_multiplier, extra_noise)
    noise = WebuiNoise(rng, variation_seed, variation_strength, resize, ensd, original, *scaled)
    return draw_webui(run, noise, WebuiOptions(eta, s_churn, s_tmin, s_tmax, s_noise), context)


@node("KSamplerAdvanced", title="KSampler (Advanced)", category="sampling", outputs=("LATENT",))
def ksampler_advanced(
    *,
    model: Model,
    add_noise: Toggle = "enable",
    noise_seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 8.0,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    start_at_step: StepIndex = 0,
    end_at_step: StepIndex = 10_000,
    return_with_leftover_noise: ToggleOff = "disable",
    dialect: Dialect = "comfyui",
    rng: RandomSource = "NV",
    variation_seed: VariationSeed = 0,
    variation_strength: Strength = 0.0,
    seed_resize_width: ExtraPixels = 0,
    seed_resize_height: ExtraPixels = 0,
    ensd: Delta = 0,
    eta: Eta = -1.0,
    s_churn: Churn = 0.0,
    s_tmin: Churn = 0.0,
    s_tmax: Churn = 0.0,
    s_noise: Churn = 1.0,
    original: Quirks = False,
    noise_multiplier: Churn = 1.0,
    extra_noise: Churn = 0.0,
    context: RunContext,
) -> LatentDict:
    """Denoise over a window of the schedule, with or without noise added before and left after it."""
    run = Run(
        model=model,
        positive=positive,
        negative=negative,
        cfg=cfg,
        latent=latent_image,
        seed=noise_seed,
        sampler=sampler_name,
        scheduler=scheduler,
        steps=steps,
        start=start_at_step,
        end=end_at_step,
        add_noise=add_noise == "enable",
        leftover=return_with_leftover_noise == "enable",
    )
    if dialect == "comfyui":
        return draw_comfyui(run, context)
    resize = (seed_resize_width, seed_resize_height)
    scaled = (noise_multiplier, extra_noise)
    noise = WebuiNoise(rng, variation_seed, variation_strength, resize, ensd, original, *scaled)
    return draw_webui(run, noise, WebuiOptions(eta, s_churn, s_tmin, s_tmax, s_noise), context)
