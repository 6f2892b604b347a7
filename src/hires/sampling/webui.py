"""The A1111 web UI's samplers by its names, and plans of its runs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hires.errors import SettingError
from hires.sampling.levels import NoiseLevels, lcm_levels
from hires.sampling.noise import Source
from hires.sampling.run import find_sampler, make_plan
from hires.sampling.samplers.webui_uni_pc import FIRST_TIME, SkipType, sigmas_of_times, time_grid
from hires.sampling.schedules import with_zero
from hires.sampling.schedules_webui import (
    BY_NAME,
    SCHEDULES,
    ScheduleOptions,
    WebuiSchedule,
    find_schedule,
    full_sigmas,
    img2img_steps,
    timesteps,
)
from hires.sampling.state import Option, Plan
from hires.sampling.webui_names import SAMPLERS, WebuiSampler

NO_SCHEDULE = ScheduleOptions()


_BY_NAME: Mapping[str, WebuiSampler] = {
    name.lower(): entry for entry in SAMPLERS for name in (entry.label, *entry.aliases)
}


def split_name(name: str) -> tuple[WebuiSampler, WebuiSchedule | None]:
    """The sampler of a label or alias in any letter case, and the schedule that old names ended in."""
    lowered = " ".join(name.lower().split())
    if lowered in _BY_NAME:
        return _BY_NAME[lowered], None
    for ending in sorted(BY_NAME, key=len, reverse=True):
        base = lowered.removesuffix(" " + ending)
        if base != lowered and base in _BY_NAME:
            return _BY_NAME[base], BY_NAME[ending]
    labels = {entry.label.lower(): entry.label for entry in SAMPLERS}
    near = [labels[match] for match in difflib.get_close_matches(lowered, labels, n=3, cutoff=0.5)]
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(labels.values())}."
    raise SettingError(f"Sampler not found: {name!r}.", hint)


def resolve(name: str, schedule: str | None = None) -> tuple[WebuiSampler, WebuiSchedule]:
    """A run's sampler and schedule; `Automatic` (or none) is the one in the name, or else the sampler's own."""
    entry, named = split_name(name)
    if schedule is not None and schedule.lower() != "automatic":
        return entry, find_schedule(schedule)
    return entry, named or find_schedule(entry.schedule)


def comfyui_sampler(name: str) -> str | None:
    """ComfyUI's name of a web UI sampler, if it has that method."""
    return split_name(name)[0].comfyui


def webui_sampler(comfyui: str) -> str | None:
    """The web UI's label of a ComfyUI sampler, if it has that method."""
    name = comfyui.removesuffix("_gpu").replace("uni_pc_bh2", "uni_pc")
    return next((entry.label for entry in SAMPLERS if entry.comfyui == name), None)


def comfyui_scheduler(name: str) -> str | None:
    """ComfyUI's scheduler with a web UI schedule's numbers (at its default options), if there is one."""
    return find_schedule(name).comfyui


def webui_schedule(comfyui: str) -> str | None:
    """The web UI's label of a ComfyUI scheduler's numbers, if it has them."""
    if comfyui == "normal":
        return "Normal"
    return next((entry.label for entry in SCHEDULES if entry.comfyui == comfyui), None)


def webui_plan(
    name: str,
    schedule: str | None,
    steps: int,
    levels: NoiseLevels,
    seeds: Sequence[int],
    *,
    denoising: float | None = None,
    fixed_steps: bool = False,
    schedule_options: ScheduleOptions = NO_SCHEDULE,
    options: Mapping[str, Option] | None = None,
    skip_type: SkipType = "time_uniform",
    discard_penultimate: bool = False,
    rng_source: Source = "NV",
    ensd: int = 0,
    shared_path: bool = False,
) -> Plan:
    """The plan of a web UI run. `denoising` None is txt2img; with 0 in a fixed-step pass there is nothing to run.

    `seeds` is one for each image; `options` go to the sampler over the web UI's own defaults. The plan's levels are
    those that the denoiser must use (the LCM sampler has its own).
    """
    entry, spacing = resolve(name, schedule)
    if steps < 1:
        raise SettingError(f"Steps must be 1 or more, not {steps}.")
    length, t_enc = (steps, steps - 1) if denoising is None else img2img_steps(steps, denoising, fixed_steps)
    known = find_sampler(entry.sampler).options
    given = {key: value for key, value in (options or {}).items() if key in known or key not in ANY_OPTION}
    settings = {**entry.options, **given}
    plan = Plan(entry.sampler, torch.zeros(0), tuple(seeds), dialect="webui", rng_source=rng_source, ensd=ensd,
                shared_path=shared_path, levels=lcm_levels(levels) if entry.lcm else levels)  # fmt: skip
    if length == 0:
        return _filled(plan, torch.zeros(0), settings)
    discard = discard_penultimate or entry.discard_penultimate
    cut = None if denoising is None else t_enc
    if entry.kind in ("timesteps", "times"):
        return _timestep_plan(entry, plan, length + discard, cut, schedule_options, settings, skip_type)
    sigmas = full_sigmas(spacing, length, plan.levels, schedule_options, discard_penultimate=discard)
    if entry.kind == "range" and denoising is None:
        sigmas = torch.linspace(levels.sigma_max, levels.sigma_min, steps + 1)
    bounds = (float(sigmas[sigmas > 0].min()), float(sigmas.max()))
    return _filled(plan, sigmas if cut is None else sigmas[length - t_enc - 1 :], settings, bounds=bounds)


ANY_OPTION = frozenset({"eta", "s_churn", "s_tmin", "s_tmax", "s_noise"})
"""Options that a request may carry whatever its sampler; one that does not know them leaves them out."""


def _timestep_plan(
    entry: WebuiSampler, plan: Plan, length: int, t_enc: int | None, schedule_options: ScheduleOptions,
    settings: Mapping[str, Option], skip_type: SkipType,
) -> Plan:  # fmt: skip
    """Plans of the samplers that count in timesteps.

    The original noises an img2img latent to T[t_enc] and starts one step lower; without its quirks the run starts
    where the latent is, makes all its steps, and ends at 0.
    """
    original, levels = schedule_options.original, plan.levels
    listed = timesteps(length, original)
    start_sigma = None
    if t_enc is not None:
        if original:
            start_sigma = float(levels.sigmas[listed[t_enc]])
        listed = listed[: t_enc if original else t_enc + 1]
    if not listed:
        return _filled(plan, torch.zeros(0), settings)
    if entry.kind == "timesteps":
        sigmas = levels.sigmas[listed].flip(0)
        return _filled(plan, sigmas if original else with_zero(sigmas), settings, start_sigma=start_sigma)
    order = int(settings.get("order", 3))
    if len(listed) < order:
        raise SettingError(
            f"UniPC of order {order} needs at least {order} steps and this run has {len(listed)}.",
            "Ask for more steps, more denoising, or a lower UniPC order.",
        )
    first = 1.0 if t_enc is None else listed[-1] / 1000 + FIRST_TIME
    times = time_grid(skip_type, len(listed), levels, first)
    return _filled(plan, sigmas_of_times(times, levels), settings, times=times, start_sigma=start_sigma)


def _filled(
    plan: Plan, sigmas: Tensor, settings: Mapping[str, Option], *, bounds: tuple[float, float] | None = None,
    times: Tensor | None = None, start_sigma: float | None = None,
) -> Plan:  # fmt: skip
    return make_plan(
        plan.sampler, sigmas, plan.seeds, settings, dialect=plan.dialect, rng_source=plan.rng_source, ensd=plan.ensd,
        shared_path=plan.shared_path, levels=plan.levels, bounds=bounds, times=times, start_sigma=start_sigma,
    )  # fmt: skip
