"""How the sampling nodes run: schedule, noise, guidance and mask put together, in ComfyUI's way and in A1111's.

ComfyUI draws a batch as one run with one stream of noise. The web UI gives every image its own seed; here each image
of a batch is a run of its own, so that it comes out the same, to the bit, alone and in any batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hires.errors import HiresError, ModelFileError
from hires.imaging.batches import repeat_to
from hires.models.budget import without_gaps
from hires.models.handles import DiffusionModel
from hires.nodes.context import RunContext
from hires.nodes.fitting import calls_that_fit
from hires.nodes.guiding import guidance_rules, noise_levels
from hires.nodes.joint import joint_tiles
from hires.nodes.latents import changed
from hires.nodes.regions import with_region_noise
from hires.nodes.resolve import resolve_sides
from hires.nodes.types import ConditioningList, LatentDict
from hires.nodes.webui_sampling import skipped_negative
from hires.sampling import run as runs
from hires.sampling.guidance import Cond, Guidance, Rule, masked, tensor_key
from hires.sampling.inpainting import Masking, masked_webui
from hires.sampling.inversion import Inverted
from hires.sampling.levels import is_maximum, noised
from hires.sampling.meeting import Meeting
from hires.sampling.noise import Anchor, Source, initial_noise, mask_noise
from hires.sampling.rules import DifferentialMask
from hires.sampling.samplers import SAMPLERS
from hires.sampling.schedules import run_sigmas, window
from hires.sampling.state import Option, Plan, Prediction, State


@dataclass(frozen=True, eq=False, kw_only=True)
class Guided:
    """What is drawn on and what guides it, whatever the noise levels.

    `combine` makes a rule that takes the place of classifier-free guidance, from the resolved sides: "positive",
    "negative" and those of `further`. `rng_source` is where the steps' noise comes from. `original` repeats the web
    UI's quirks under a mask. split(conds, sigmas, size) may put others in the place of each side's entries: tiles, for
    a latent of `size` (height, width). `first_step` is where in the schedule the first noise level stands. With an
    `anchor` all noise is a part of that of a larger canvas.
    """

    model: DiffusionModel
    positive: ConditioningList
    negative: ConditioningList
    cfg: float
    latent: LatentDict
    seed: int
    further: Mapping[str, ConditioningList] = field(default_factory=dict)
    combine: Callable[[Mapping[str, Sequence[Cond]]], Rule] | None = None
    rng_source: Source = "CPU"
    original: bool = False
    split: Callable[[Sequence[Cond], Tensor, tuple[int, int]], list[Cond]] | None = None
    first_step: int = 0
    anchor: Anchor | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Run(Guided):
    """What a sampling node was asked for. `start` and `end` are a window of the schedule's steps.

    In the A1111 dialect a denoise below 1 makes all steps over a part of a longer schedule, or, without `fixed_steps`,
    as its img2img does, that part of the steps.

    noise(latent, seed) gives the initial noise; None: ComfyUI's.
    """

    sampler: str
    scheduler: str
    steps: int
    denoise: float = 1.0
    start: int = 0
    end: int = 10_000
    add_noise: bool = True
    leftover: bool = False
    fixed_steps: bool = True
    noise: Callable[[LatentDict, int], Tensor] | None = None


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
    noise = (run.noise or partial(latent_noise, anchor=run.anchor))(run.latent, run.seed) if run.add_noise else None
    run = replace(run, first_step=run.start)
    return draw_sigmas(run, run.sampler, {}, sigmas, noise, context)[0]


def latent_noise(latent: LatentDict, seed: int, anchor: Anchor | None = None) -> Tensor:
    """ComfyUI's noise for a latent, of its shape."""
    shape, index = latent["samples"].shape, latent.get("batch_index")
    if anchor is None:
        return initial_noise(seed, shape, index)
    key = ("initial", seed, len(shape), shape[0], None if index is None else tuple(index))
    return anchor.cut(anchor.once(key, lambda: initial_noise(seed, anchor.whole(shape), index)), shape)


def draw_sigmas(
    run: Guided,
    sampler: str,
    options: Mapping[str, Option],
    sigmas: Tensor,
    noise: Tensor | None,
    context: RunContext,
    *,
    estimate: bool = False,
) -> tuple[LatentDict, LatentDict]:
    """A run over explicit noise levels: what it comes to, and, where `estimate` asks for it, the last estimate of the
    clean latent that it went by. noise None adds none."""
    check_model(run)
    if len(sigmas) == 0:
        return run.latent, run.latent
    noise = torch.zeros_like(run.latent["samples"]) if noise is None else run_noise(run, noise)
    levels = noise_levels(run.model)
    plan = runs.make_plan(
        sampler, sigmas, run.seed, options, levels=levels, rng_source=run.rng_source, anchor=run.anchor
    )
    if plan.steps == 0:  # a single level: the latent with its noise
        x = noised(scaled_latent(run), noise, sigmas[0], pure=is_maximum(levels, float(sigmas[0])))
        result = changed(run.latent, x / run.model.latent_scale)
        return result, result
    seen: list[Tensor] = []
    state = runs.start(plan, scaled_latent(run), noise)
    state = sample_plan(run, plan, state, noise, context, seen=seen if estimate else None)
    result = changed(run.latent, runs.latent(plan, state) / run.model.latent_scale)
    return result, changed(run.latent, seen[-1] / run.model.latent_scale) if seen else result


def run_noise(run: Guided, noise: Tensor) -> Tensor:
    """The initial noise, with that of regions with a seed, and mixed with noise that was found for the latent."""
    noise = with_region_noise(noise, run.positive)
    inverted: Inverted | None = run.latent.get("inverted")
    return noise if inverted is None else inverted.mixed(noise)


def check_model(run: Guided) -> None:
    """Raise ModelFileError for a checkpoint without a UNet and a latent of the wrong kind."""
    if run.model is None:
        raise ModelFileError("the checkpoint holds no diffusion model", "Use a complete checkpoint.")
    channels = run.latent["samples"].shape[1]
    if channels != 4:
        raise ModelFileError(f"the latent has {channels} channels, Stable Diffusion draws in 4")


def scaled_latent(run: Guided) -> Tensor:
    """The latent in the space that the model works in; an empty latent stays empty."""
    return run.latent["samples"] * run.model.latent_scale


def sample_plan(
    run: Guided,
    plan: Plan,
    state: State,
    noise: Tensor,
    context: RunContext,
    until: int | None = None,
    part: tuple[int, Parts] | None = None,
    seen: list[Tensor] | None = None,
    meeting: Meeting | None = None,
) -> State:
    """The steps of one plan, with guidance, mask, cache, progress and interruption.

    noise is the run's initial noise, for what lies outside a mask; part = (index of this run, all those that the node
    makes), for its progress. `meeting` is where runs beside this one go through the network with it. `seen` is given
    the estimate of the clean latent that the last step went by.
    """
    sampler = SAMPLERS[plan.sampler]
    index, parts = part or (0, Parts(1))
    said = _Said(context, index, parts, (until or plan.steps) - state.step, state.step)
    mask = noise_mask(run, state.x.shape)
    shown = None if mask is None else (scaled_latent(run), mask)
    entries = {"positive": run.positive, **run.further, "negative": run.negative}
    sides = resolve_sides(run.model, plan.levels, entries, state.x.shape, shown)
    if run.split is not None:
        size = (state.x.shape[2], state.x.shape[3])
        sides = {name: run.split(conds, plan.sigmas, size) for name, conds in sides.items()}
    combine = None if run.combine is None else run.combine(sides)
    calls = calls_that_fit(run.model, state.x.shape, context)
    guidance = Guidance(
        network=run.model,
        levels=plan.levels,
        positive=sides["positive"],
        negative=sides["negative"],
        cfg=run.cfg * sampler.cfg_scale,
        needs_uncond=sampler.needs_uncond,
        calls_a_step=sampler.calls,
        fractional_timesteps=plan.dialect == "webui",
        rules=guidance_rules(run.model, plan.levels, state.x.shape, combine),
        skipped=skipped_negative(run.model, plan),
        tiles=joint_tiles(run.model, plan.sigmas, run.seed, run.first_step),
        on_call=said.on_call,
        together=calls.together,
        meeting=meeting or context.meeting,
    )
    denoise, key = _with_mask(run, plan, guidance, mask, noise)
    counted = partial(_count, context, denoise)
    begun, first = state, state.step

    take = partial(
        runs.sample, plan, guidance_key=key, on_step=said.on_step, interrupted=context.is_stopped, clock=guidance.clock
    )
    with without_gaps(calls.tight), torch.inference_mode():
        state = take(begun, counted, cache=context.trajectories, until=until)
        if seen is not None and said.last is None:  # every step was known, and with them no estimate is kept
            steps = sampler.steps(plan)
            before = begun if steps is None else take(begun, counted, cache=context.trajectories, until=steps - 1)
            take(before, counted, cache=None)
    if seen is not None and said.last is not None:
        seen.append(said.last)
    parts.shares[index] = 1.0
    if guidance.meeting is not None and (news := guidance.meeting.news()):
        context.note(news)
    computed = said.computed
    context.counts.computed_steps += computed
    reused = state.step - first - computed
    context.counts.reused_steps += reused
    if reused > 0:
        context.note(f"shared trajectory up to step {first + reused}, {computed} of {reused + computed} steps computed")
    if not torch.isfinite(state.x).all():
        raise HiresError(
            "the model gave values that are no numbers (NaN), so there is no picture",
            "Its weights may be broken, or overflow in half precision: try --weights float32.",
        )
    return state


class Parts:
    """How far each of the runs is that a node makes, 0..1; they may go on beside each other."""

    def __init__(self, count: int) -> None:
        self.shares = [0.0] * count


@dataclass
class _Said:
    """What a run tells of its progress: in steps, or in calls of the network where a step is made of tiles."""

    context: RunContext
    index: int
    parts: Parts
    steps: int
    first: int
    computed: int = 0
    step: int = 0
    calls: int = 1
    last: Tensor | None = None

    def on_call(self, done: int, calls: int) -> None:
        """Before a call of the network over tiles; a second denoiser call of a step does not count backwards."""
        self.context.counts.tile_calls += 1
        self.calls = calls
        self._say(self.step * calls + done, self.steps * calls, None)

    def on_step(self, report: runs.StepReport) -> None:
        self.computed += 1
        self.last = report.denoised
        self.step = report.step - self.first
        if report.steps is None:
            self._say(round(report.progress * 1000), 1000, report.denoised)
        else:
            self._say(self.step * self.calls, self.steps * self.calls, report.denoised)

    def _say(self, value: int, total: int, preview: Tensor | None) -> None:
        shares = self.parts.shares
        shares[self.index] = value / total
        self.context.progress(round(sum(shares) * total), len(shares) * total, preview)


def _count(context: RunContext, denoise: runs.Denoiser, x: Tensor, sigma: Tensor, call: int) -> Prediction:
    context.counts.denoiser_calls += 1
    return denoise(x, sigma, call)


def noise_mask(run: Guided, shape: Sequence[int]) -> Tensor | None:
    """The latent's noise mask at the latent's size and batch, (batch, 1, h, w); None where it has none."""
    mask = run.latent.get("noise_mask")
    if mask is None:
        return None
    mask = mask.float().reshape(-1, 1, *mask.shape[-2:])
    return repeat_to(interpolate(mask, size=tuple(shape[2:]), mode="bilinear"), shape[0])


def _with_mask(
    run: Guided, plan: Plan, guidance: Guidance, mask: Tensor | None, noise: Tensor
) -> tuple[runs.Denoiser, runs.GuidanceKey]:
    """The guidance, restricted to the latent's noise mask where it has one; and the key of what it answers."""
    if mask is None:
        return guidance, guidance.key
    masking: Masking | None = run.latent.get("masking") if plan.dialect == "webui" else None
    behind = noise if masking is not None else mask_noise(plan.sampler, noise, run.seed)
    kept = scaled_latent(run) if masking is None else masking.original * run.model.latent_scale
    parts = b"".join(tensor_key(tensor) for tensor in (mask, kept, behind))
    parts += b"" if masking is None else masking.key + bytes([run.original])
    strength = run.model.options.get("differential")
    mask_at = None if not strength else DifferentialMask.of(plan.levels, plan.sigmas, strength)
    parts += b"" if mask_at is None else mask_at.key

    def key(step: int, calls: int, sigma: float, sigma_next: float) -> bytes:
        return hashlib.sha256(guidance.key(step, calls, sigma, sigma_next) + parts).digest()

    if masking is None:
        return masked(guidance, mask, kept, behind, mask_at), key
    space = SAMPLERS[plan.sampler].space
    how: dict[str, Any] = {"space": space, "soft": masking.soft, "original": run.original, "mask_at": mask_at}
    return masked_webui(guidance, mask, kept, behind, **how), key
