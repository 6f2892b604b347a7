"""How the sampling nodes run: schedule, noise, guidance and mask put together, in ComfyUI's way and in A1111's.

ComfyUI draws a batch as one run with one stream of noise. The web UI gives every image its own seed; here each image
of a batch is a run of its own, so that it comes out the same, to the bit, alone and in any batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hires.errors import HiresError, ModelFileError
from hires.imaging.batches import repeat_to
from hires.models.handles import DiffusionModel
from hires.nodes.context import RunContext
from hires.nodes.guiding import guidance_rules, noise_levels
from hires.nodes.latents import changed
from hires.nodes.resolve import resolve
from hires.nodes.types import ConditioningList, LatentDict
from hires.sampling import run as runs
from hires.sampling.guidance import Guidance, masked, tensor_key
from hires.sampling.noise import initial_noise, mask_noise
from hires.sampling.rules import DifferentialMask
from hires.sampling.samplers import SAMPLERS
from hires.sampling.schedules import run_sigmas, window
from hires.sampling.state import Plan, Prediction, State


@dataclass(frozen=True, eq=False)
class Run:
    """What a sampling node was asked for. `start` and `end` are a window of the schedule's steps."""

    model: DiffusionModel
    seed: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    positive: ConditioningList
    negative: ConditioningList
    latent: LatentDict
    denoise: float = 1.0
    start: int = 0
    end: int = 10_000
    add_noise: bool = True
    leftover: bool = False


def draw_comfyui(run: Run, context: RunContext) -> LatentDict:
    """One run over the whole batch, with ComfyUI's numbers."""
    check_model(run)
    levels = noise_levels(run.model)
    sigmas: Tensor | None = run_sigmas(run.sampler, run.scheduler, run.steps, levels, run.denoise)
    if (run.start, run.end, run.leftover) != (0, 10_000, False):
        assert sigmas is not None
        sigmas = window(sigmas, run.start, run.end, run.leftover)
    if sigmas is None or len(sigmas) == 0:
        return run.latent
    samples = run.latent["samples"]
    noise = torch.zeros_like(samples)
    if run.add_noise:
        noise = initial_noise(run.seed, samples.shape, run.latent.get("batch_index"))
    plan = runs.make_plan(run.sampler, sigmas, run.seed, levels=levels)
    state = sample_plan(run, plan, runs.start(plan, scaled_latent(run), noise), noise, context)
    return changed(run.latent, runs.latent(plan, state) / run.model.latent_scale)


def check_model(run: Run) -> None:
    """Raise ModelFileError for a checkpoint without a UNet and a latent of the wrong kind."""
    if run.model is None:
        raise ModelFileError("the checkpoint holds no diffusion model", "Use a complete checkpoint.")
    channels = run.latent["samples"].shape[1]
    if channels != 4:
        raise ModelFileError(f"the latent has {channels} channels, Stable Diffusion draws in 4")


def scaled_latent(run: Run) -> Tensor:
    """The latent in the space that the model works in; an empty latent stays empty."""
    return run.latent["samples"] * run.model.latent_scale


def sample_plan(
    run: Run,
    plan: Plan,
    state: State,
    noise: Tensor,
    context: RunContext,
    until: int | None = None,
    part: tuple[int, int] = (0, 1),
) -> State:
    """The steps of one plan, with guidance, mask, cache, progress and interruption.

    noise is the run's initial noise, for what lies outside a mask; part = (index, count) of this run among those that
    the node makes, for its progress.
    """
    sampler = SAMPLERS[plan.sampler]
    mask = noise_mask(run, state.x.shape)
    shown = None if mask is None else (scaled_latent(run), mask)
    positive, negative = resolve(run.model, plan.levels, run.positive, run.negative, state.x.shape, shown)
    guidance = Guidance(
        network=run.model,
        levels=plan.levels,
        positive=positive,
        negative=negative,
        cfg=run.cfg * sampler.cfg_scale,
        needs_uncond=sampler.needs_uncond,
        calls_a_step=sampler.calls,
        fractional_timesteps=plan.dialect == "webui",
        rules=guidance_rules(run.model, plan.levels, state.x.shape),
    )
    denoise, key = _with_mask(run, plan, guidance, mask, noise)
    counted = partial(_count, context, denoise)
    total = (until or plan.steps) - state.step
    first = state.step
    computed = 0

    def on_step(report: runs.StepReport) -> None:
        nonlocal computed
        computed += 1
        value, steps = report.step - first, total
        if report.steps is None:
            value, steps = round(report.progress * 1000), 1000
        context.progress(part[0] * steps + value, part[1] * steps, report.denoised)

    with torch.inference_mode():
        state = runs.sample(
            plan,
            state,
            counted,
            guidance_key=key,
            on_step=on_step,
            interrupted=context.is_stopped,
            cache=context.trajectories,
            until=until,
        )
    context.counts.computed_steps += computed
    context.counts.reused_steps += state.step - first - computed
    if not torch.isfinite(state.x).all():
        raise HiresError(
            "the model gave values that are no numbers (NaN), so there is no picture",
            "Its weights may be broken, or overflow in half precision: try --weights float32.",
        )
    return state


def _count(context: RunContext, denoise: runs.Denoiser, x: Tensor, sigma: Tensor, call: int) -> Prediction:
    context.counts.denoiser_calls += 1
    return denoise(x, sigma, call)


def noise_mask(run: Run, shape: Sequence[int]) -> Tensor | None:
    """The latent's noise mask at the latent's size and batch, (batch, 1, h, w); None where it has none."""
    mask = run.latent.get("noise_mask")
    if mask is None:
        return None
    mask = mask.float().reshape(-1, 1, *mask.shape[-2:])
    return repeat_to(interpolate(mask, size=tuple(shape[2:]), mode="bilinear"), shape[0])


def _with_mask(
    run: Run, plan: Plan, guidance: Guidance, mask: Tensor | None, noise: Tensor
) -> tuple[runs.Denoiser, runs.GuidanceKey]:
    """The guidance, restricted to the latent's noise mask where it has one; and the key of what it answers."""
    if mask is None:
        return guidance, guidance.key
    behind = mask_noise(plan.sampler, noise, run.seed)
    kept = scaled_latent(run)
    parts = b"".join(tensor_key(tensor) for tensor in (mask, kept, behind))
    strength = run.model.options.get("differential")
    mask_at = None if not strength else DifferentialMask.of(plan.levels, plan.sigmas, strength)
    parts += b"" if mask_at is None else mask_at.key

    def key(step: int, calls: int, sigma: float, sigma_next: float) -> bytes:
        return hashlib.sha256(guidance.key(step, calls, sigma, sigma_next) + parts).digest()

    return masked(guidance, mask, kept, behind, mask_at), key
