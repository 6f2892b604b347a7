"""Runs in the A1111 web UI's way: a seed for every image, its noise, schedules and hand-over to a refiner."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor

from hires.models.handles import DiffusionModel
from hires.nodes.context import RunContext
from hires.nodes.drawing import Parts, Run, check_model, noise_mask, run_noise, sample_plan, scaled_latent
from hires.nodes.guiding import noise_levels
from hires.nodes.latents import changed
from hires.nodes.types import ConditioningList, LatentDict
from hires.nodes.webui_sampling import webui_sampling_of
from hires.sampling import run as runs
from hires.sampling.inpainting import Masking, start_factor
from hires.sampling.meeting import Meeting, abreast
from hires.sampling.noise import Source, image_noise
from hires.sampling.schedules import run_sigmas, window
from hires.sampling.schedules_webui import BY_NAME
from hires.sampling.state import Option, Plan, State
from hires.sampling.webui import SAMPLERS, webui_plan, webui_schedule

UNIPC = "UniPC"
PER_IMAGE = ("mask", "concat_latent_image", "concat_mask")
"""Options of conditioning that may hold a tensor for each image of the batch."""


@dataclass(frozen=True)
class WebuiNoise:
    """Where the noise of a run comes from; `resize_from` (width, height) in pixels, 0 = off.

    original keeps the web UI's quirks of some schedules (KL Optimal and DDIM stop short of 0), to repeat its pictures.
    The initial noise is scaled by `multiplier`; `extra` adds more of it, as much as its noise level counts from 0.
    """

    source: str
    variation_seed: int
    variation_strength: float
    resize_from: tuple[int, int]
    ensd: int
    original: bool
    multiplier: float = 1.0
    extra: float = 0.0


@dataclass(frozen=True)
class WebuiOptions:
    """A1111's options of samplers; eta -1 is the sampler's own, s_tmax 0 is no bound."""

    eta: float
    s_churn: float
    s_tmin: float
    s_tmax: float
    s_noise: float

    def given(self) -> dict[str, Option]:
        """Those that say something; a sampler that lacks one leaves it out."""
        churn: dict[str, Option] = {"s_churn": self.s_churn, "s_tmin": self.s_tmin, "s_noise": self.s_noise}
        return churn | {"s_tmax": self.s_tmax or math.inf} | ({"eta": self.eta} if self.eta >= 0 else {})


@dataclass(frozen=True)
class Handover:
    """What a run that stopped before its end gives to the next: the plan and the state of each image.

    `start` is the schedule's step at which the plans begin. A run that takes over at this very place goes on in the
    middle of the sampler's history, as A1111's refiner does; any other starts from the latent.
    """

    start: int
    runs: tuple[tuple[Plan, State], ...]


def draw_webui(run: Run, noise: WebuiNoise, options: WebuiOptions, context: RunContext) -> LatentDict:
    """Each image of the batch as a run of its own: seed + its row, or with variation the variation seed + its row."""
    check_model(run)
    rows = run.latent.get("batch_index", list(range(len(run.latent["samples"]))))
    parts = Parts(len(rows))
    images = [_Image(run, noise, options, index, row, parts) for index, row in enumerate(rows)]
    if context.together > 1 and len(images) > 1 and context.meeting is None:
        made = abreast([partial(image.drawn, context) for image in images], context.together)
    else:
        made = [image.drawn(context) for image in images]
    result = changed(run.latent, torch.cat([one.latent for one in made]))
    done = [(one.plan, one.state) for one in made if one.state is not None]
    if run.leftover and run.end < run.steps and len(done) == len(rows):
        result["sampler_state"] = Handover(made[-1].start, tuple(done))
    return result


class _Made(NamedTuple):
    """What a run came to; state None where there was nothing to do. `start` is its plan's first step."""

    latent: Tensor
    plan: Plan
    state: State | None
    start: int


@dataclass(frozen=True, eq=False)
class _Image:
    """One image of a batch: of a row, whose number its seeds count on by."""

    run: Run
    noise: WebuiNoise
    options: WebuiOptions
    index: int
    row: int
    parts: Parts

    def drawn(self, context: RunContext, meeting: Meeting | None = None) -> _Made:
        """The image's own run; beside those of others, where there is a meeting."""
        run, noise = self.run, self.noise
        one = replace(
            run,
            latent=_item(run.latent, self.index),
            positive=_conditioning_item(run.positive, self.index),
            negative=_conditioning_item(run.negative, self.index),
            seed=run.seed + (self.row if noise.variation_strength == 0 else 0),
            original=noise.original,
        )
        plan = replace(_plan(one, noise, self.options), anchor=run.anchor)
        initial = _noise(one, noise, self.row)
        handed, start = run.latent.get("sampler_state"), run.start
        if handed is not None and _goes_on(handed, self.index, plan, run):
            (plan, state), start = handed.runs[self.index], handed.start
        elif plan.steps == 0:
            return _Made(one.latent["samples"], plan, None, start)
        else:
            sgm = webui_sampling_of(run.model).sgm_noise and run.denoise >= 1.0
            start_noise = _starting(initial, plan, noise)
            state = runs.start(plan, scaled_latent(one), start_noise, sgm_noise_multiplier=sgm)
        until = run.end - start if run.leftover and run.end < run.steps else None
        one = replace(one, model=_distilled(run), first_step=start)
        state = sample_plan(one, plan, state, initial, context, until, (self.index, self.parts), meeting=meeting)
        made = _latent(plan, state) / run.model.latent_scale
        return _Made(_kept_outside(one, made) if runs.is_finished(plan, state) else made, plan, state, start)


def _distilled(run: Run) -> DiffusionModel:
    """The web UI's LCM sampler reads any model as one distilled to 50 levels."""
    entry = next((entry for entry in SAMPLERS if entry.label == webui_label(run.sampler)), None)
    return replace(run.model, prediction="lcm") if entry is not None and entry.lcm else run.model


def _latent(plan: Plan, state: State) -> Tensor:
    """What is handed on, at sigma scale also by the samplers that work at unit variance."""
    x = runs.latent(plan, state)
    if runs.find_sampler(plan.sampler).space == "vp" and not runs.is_finished(plan, state):
        return x * (plan.sigmas[state.step] ** 2 + 1.0).sqrt()
    return x


def _item(latent: LatentDict, index: int) -> LatentDict:
    """One image of a batch, with its part of the mask."""
    item: LatentDict = {"samples": latent["samples"][index : index + 1]}
    mask = latent.get("noise_mask")
    if mask is not None:
        item["noise_mask"] = mask[index : index + 1] if len(mask) > index else mask[-1:]
    inverted = latent.get("inverted")
    if inverted is not None:
        item["inverted"] = inverted.item(index)
    masking: Masking | None = latent.get("masking")
    if masking is not None:
        item["masking"] = masking.items(index, index + 1)
    return item


def _starting(noise: Tensor, plan: Plan, how: WebuiNoise) -> Tensor:
    """Unit noise as img2img's options scale it."""
    if how.multiplier == 1.0 and how.extra == 0.0:
        return noise
    sigma = float(plan.sigmas[0]) if plan.start_sigma is None else plan.start_sigma
    return noise * start_factor(sigma, how.multiplier, how.extra)


def _kept_outside(run: Run, made: Tensor) -> Tensor:
    """The result under a hard mask of the web UI's, and the original outside it."""
    masking: Masking | None = run.latent.get("masking")
    mask = noise_mask(run, made.shape)
    if masking is None or masking.soft is not None or mask is None:
        return made
    return made * mask + masking.original * (1.0 - mask)


def _conditioning_item(entries: ConditioningList, index: int) -> ConditioningList:
    """The conditioning of one image of a batch: its part of masks and of an inpainting network's pictures."""
    items: ConditioningList = []
    for tensor, options in entries:
        given = {name: options[name] for name in PER_IMAGE if options.get(name) is not None}
        own = {name: value[min(index, len(value) - 1)][None] for name, value in given.items()}
        items.append((tensor, {**options, **own}))
    return items


def _noise(run: Run, noise: WebuiNoise, row: int) -> Tensor:
    samples = run.latent["samples"]
    if not run.add_noise:
        return torch.zeros_like(samples)
    anchor = run.anchor
    shape = samples.shape[1:] if anchor is None else anchor.whole(samples.shape[1:])

    def draw() -> Tensor:
        return image_noise(
            [run.seed],
            shape,
            cast(Source, noise.source),
            subseeds=[noise.variation_seed + row],
            subseed_strength=noise.variation_strength,
            resize_from=noise.resize_from if min(noise.resize_from) > 0 else None,
        )

    drawn = draw() if anchor is None else anchor.cut(anchor.once(("initial", run.seed, row), draw), samples.shape)
    return run_noise(run, drawn)


def _plan(run: Run, noise: WebuiNoise, options: WebuiOptions) -> Plan:
    """The whole schedule from the window's start; cut at its end only where no noise is to be left over."""
    levels = noise_levels(run.model)
    label, schedule = webui_label(run.sampler), webui_spacing(run.scheduler)
    chosen = webui_sampling_of(run.model)
    sdxl = run.model.family.startswith("sdxl")
    schedule_options = replace(chosen.schedule, sdxl=sdxl, original=noise.original)
    source = cast(Source, noise.source)
    if label is not None and schedule is not None:
        # the plan of the whole schedule, so that runs which end at different steps share what they begin with
        plan = webui_plan(
            label,
            schedule,
            run.steps,
            levels,
            [run.seed],
            denoising=None if run.denoise >= 1.0 else run.denoise,
            fixed_steps=run.fixed_steps,
            schedule_options=schedule_options,
            options=options.given() | (chosen.unipc if label == UNIPC else {}),
            skip_type=chosen.unipc_skip,
            discard_penultimate=chosen.discard_penultimate,
            rng_source=source,
            ensd=noise.ensd,
        )
    else:
        # what the web UI does not have runs on ComfyUI's schedule, still with a seed for every image
        sigmas = run_sigmas(run.sampler, run.scheduler, run.steps, levels, run.denoise)
        known = runs.find_sampler(run.sampler).options
        given = {key: value for key, value in options.given().items() if key in known}
        plan = runs.make_plan(
            run.sampler, sigmas, run.seed, given, dialect="webui", rng_source=source, ensd=noise.ensd, levels=levels
        )
    return _windowed(plan, run)


def _windowed(plan: Plan, run: Run) -> Plan:
    if plan.steps == 0 or (run.start == 0 and (run.leftover or run.end >= run.steps)):
        return plan
    sigmas = window(plan.sigmas, run.start, None if run.leftover else run.end, leftover=False)
    bounds = plan.bounds or plan.brownian_bounds()
    if sigmas is None:
        return replace(plan, sigmas=torch.zeros(0))
    times = None if plan.times is None else plan.times[run.start :][: len(sigmas)]
    return replace(plan, sigmas=sigmas, bounds=bounds, times=times)


def _goes_on(handed: Handover, index: int, plan: Plan, run: Run) -> bool:
    """Whether this run takes over exactly where the other stopped: same sampler, same levels, no new noise."""
    if run.add_noise or index >= len(handed.runs):
        return False
    before, state = handed.runs[index]
    if handed.start + state.step != run.start or before.options != plan.options:
        return False
    return before.sampler == plan.sampler and torch.equal(before.sigmas[state.step :], plan.sigmas)


def webui_label(sampler: str) -> str | None:
    """The web UI's label of a sampler by ComfyUI's name or ours; None where it has no such method."""
    return next((entry.label for entry in SAMPLERS if sampler in (entry.comfyui, entry.sampler)), None)


def webui_spacing(scheduler: str) -> str | None:
    """The web UI's label of a schedule by its name or ComfyUI's; None where it has none of these numbers."""
    known = BY_NAME.get(scheduler.lower())
    return known.label if known is not None else webui_schedule(scheduler)
