"""The one loop: a plan, a first state, and a sampler's steps until the plan is done."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hires.errors import Interrupted, SettingError
from hires.sampling.jobs import Clock
from hires.sampling.levels import is_maximum, noised
from hires.sampling.noise import StreamState, skip_one, start_stream
from hires.sampling.samplers import ALIASES, SAMPLERS, Sampler
from hires.sampling.schedules import closest_choice
from hires.sampling.state import Option, Plan, Prediction, State
from hires.sampling.trajectories import GuidanceKey, Trajectory, TrajectoryCache

Denoiser = Callable[[Tensor, Tensor, int], Prediction]
"""denoise(x, sigma, call): call is the number of denoiser calls made before in this run."""


@dataclass(frozen=True, eq=False)
class StepReport:
    """One finished step. `step` counts from 1; `steps` is None when not known beforehand (dpm_adaptive).

    sigma is the level the step began at, denoised the estimate of its first denoiser call, x the state after.
    """

    step: int
    steps: int | None
    sigma: float
    sigma_next: float
    denoised: Tensor
    x: Tensor
    progress: float
    calls: int


class SamplingInterrupted(Interrupted):
    """The run was stopped. `state` is the one after the last whole step, `denoised` the last estimate made, if any."""

    def __init__(self, plan: Plan, state: State, denoised: Tensor | None) -> None:
        super().__init__(f"stopped after step {state.step}")
        self.plan, self.state, self.denoised = plan, state, denoised


def find_sampler(name: str) -> Sampler:
    """The registry's entry for a name; an error naming close matches otherwise."""
    return SAMPLERS[ALIASES.get(name, "") or closest_choice(name, [*SAMPLERS, *ALIASES], "sampler")]


def make_plan(
    sampler: str,
    sigmas: Tensor,
    seed: int | Sequence[int] = 0,
    options: Mapping[str, Option] | None = None,
    **rest: Any,
) -> Plan:
    """A plan with its sampler's defaults filled in. `rest` are further fields of Plan."""
    entry = find_sampler(sampler)
    for name in options or {}:
        if name not in entry.options:
            near = difflib.get_close_matches(name, entry.options, n=2)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(entry.options) or 'none'}."
            raise SettingError(f"Sampler {entry.name} has no option {name!r}.", hint)
    seeds = (seed,) if isinstance(seed, int) else tuple(seed)
    levels = sigmas.detach().to("cpu", torch.float32)
    return Plan(entry.name, levels, seeds, {**entry.options, **(options or {})}, **rest)


def begin(plan: Plan, x0: Tensor, origin: str = "") -> State:
    """The state before the first step, of x0 = latent and noise at the plan's first level (see `start`).

    `origin` may name x0 (in `start`: the latent and the noise) for the trajectory cache instead of its bytes.
    """
    if plan.steps == 0:
        return State(x0)
    sampler = find_sampler(plan.sampler)
    x, memory = sampler.begin(plan, x0)
    state = State(x, memory=memory)
    if sampler.rng == "gauss" or (sampler.rng == "churn" and plan.number("s_churn") > 0):
        state = replace(state, rng=_first_stream(plan, sampler, x0))
    if origin:
        state = replace(state, key=Trajectory(plan, sampler, None).root(state, origin))
    return state


def start(plan: Plan, latent: Tensor, noise: Tensor, *, sgm_noise_multiplier: bool = False, origin: str = "") -> State:
    """The state before the first step, of a latent in the scaled space and unit noise, both (batch, channels, h, w).

    ComfyUI scales the noise of a run from the highest level by sqrt(1 + sigma^2), any other by sigma. A1111 scales
    by sigma unless asked for the root, and gives its timestep samplers unit variance.
    """
    if plan.steps == 0:
        return State(latent)
    sigma = plan.sigmas[0] if plan.start_sigma is None else torch.tensor(plan.start_sigma)
    if origin:
        origin = f"{origin} {float(sigma)!r} {sgm_noise_multiplier}"
    if find_sampler(plan.sampler).space == "vp":
        if torch.count_nonzero(latent) == 0:
            return begin(plan, noise, origin)
        alpha_bar = 1 / (sigma**2 + 1)
        return begin(plan, alpha_bar.sqrt() * latent + (1 - alpha_bar).sqrt() * noise, origin)
    pure = sgm_noise_multiplier if plan.dialect == "webui" else is_maximum(plan.levels, float(sigma))
    return begin(plan, noised(latent, noise, sigma, pure=pure), origin)


def sample(
    plan: Plan,
    state: State,
    denoise: Denoiser,
    *,
    guidance_key: GuidanceKey | None = None,
    on_step: Callable[[StepReport], None] | None = None,
    interrupted: Callable[[], bool] | None = None,
    cache: TrajectoryCache | None = None,
    until: int | None = None,
    clock: Clock | None = None,
) -> State:
    """Steps from `state` to the end of the plan (or to step number `until`).

    With a `cache`, steps that an earlier run has made are taken from it; `guidance_key(step, calls, sigma,
    sigma_next)` must then name everything that the denoiser's answers in a step depend on beside x and sigma.
    `interrupted` is asked before every step and denoiser call; a denoiser may also raise Interrupted itself. `clock` is
    told each step before its first call.
    """
    if plan.steps == 0:
        return state
    if cache is not None and guidance_key is None:
        raise ValueError("a trajectory cache needs a guidance_key")
    sampler = find_sampler(plan.sampler)
    trajectory = Trajectory(plan, sampler, guidance_key)
    if guidance_key is not None and not state.key:
        state = replace(state, key=trajectory.root(state))
    first = state.key
    if cache is not None:
        state = trajectory.resume(state, cache, until)
    loop = _Loop(plan, sampler, denoise, trajectory, on_step, interrupted, cache, clock or Clock(), first)
    while not sampler.finished(plan, state) and (until is None or state.step < until):
        state = loop.step(state)
    return state


def latent(plan: Plan, state: State) -> Tensor:
    """What a run hands over at this state, in the scaled space: its result when it is finished."""
    return state.x if plan.steps == 0 else find_sampler(plan.sampler).latent(plan, state)


def is_finished(plan: Plan, state: State) -> bool:
    return find_sampler(plan.sampler).finished(plan, state)


def notice(plan: Plan) -> str | None:
    """What a user should know of a run that does what the reference does and not what was meant."""
    if plan.steps == 1 and plan.sigmas[-1] == 0 and plan.sampler in RETURNS_NOISE:
        return f"{plan.sampler} returns its noise unchanged after a single step; ask for at least 2 steps"
    return None


RETURNS_NOISE = frozenset({"uni_pc", "uni_pc_bh2", "dpm_fast", "dpm_adaptive"})


def progress(plan: Plan, state: State) -> float:
    """How much of the run is done, 0..1."""
    sampler = find_sampler(plan.sampler)
    if plan.steps == 0:
        return 1.0
    if sampler.progress is not None:
        return min(max(sampler.progress(plan, state), 0.0), 1.0)
    return state.step / (sampler.steps(plan) or 1)


@dataclass
class _Loop:
    """One call of `sample`: what stays the same from step to step, and the last estimate made."""

    plan: Plan
    sampler: Sampler
    denoise: Denoiser
    trajectory: Trajectory
    on_step: Callable[[StepReport], None] | None
    interrupted: Callable[[], bool] | None
    cache: TrajectoryCache | None
    clock: Clock
    first: str = ""
    denoised: Tensor | None = None

    def step(self, state: State) -> State:
        estimates: list[Tensor] = []

        def call(x: Tensor, sigma: Tensor) -> Prediction:
            self._stop_if_asked(state)
            try:
                prediction = self.denoise(x, sigma, state.calls + len(estimates))
            except Interrupted:
                raise SamplingInterrupted(self.plan, state, self.denoised) from None
            estimates.append(prediction.denoised)
            self.denoised = prediction.denoised
            return prediction

        self._stop_if_asked(state)
        self.clock.step = state.step
        key = self.trajectory.next_key(state) if state.key else ""
        after = self.sampler.step(self.plan, state, call)
        after = replace(after, calls=state.calls + len(estimates), key=key)
        if self.cache is not None:
            self.cache.put(after, calls=len(estimates), first=self.first)
        if self.on_step is not None:
            self.on_step(self._report(state, after, estimates[0]))
        return after

    def _stop_if_asked(self, state: State) -> None:
        if self.interrupted is not None and self.interrupted():
            raise SamplingInterrupted(self.plan, state, self.denoised)

    def _report(self, before: State, after: State, denoised: Tensor) -> StepReport:
        sigma, sigma_next = self.sampler.interval(self.plan, before.step)
        return StepReport(
            step=after.step,
            steps=self.sampler.steps(self.plan),
            sigma=float(sigma),
            sigma_next=float(sigma_next),
            denoised=denoised,
            x=after.x,
            progress=progress(self.plan, after),
            calls=after.calls,
        )


def _first_stream(plan: Plan, sampler: Sampler, x0: Tensor) -> StreamState:
    """The stream of step noise at a run's start.

    A1111: each image's generator goes on after its initial noise, or is replaced by one of seed + ENSD. ComfyUI:
    a generator of the seed from its beginning, so that the first step's noise is the initial noise again; churn
    takes the tensors after that.
    """
    if plan.dialect == "webui":
        if len(plan.seeds) != len(x0):
            raise ValueError(f"a batch of {len(x0)} needs as many seeds, not {len(plan.seeds)}")
        if plan.ensd:
            seeds = [seed + plan.ensd for seed in plan.seeds]
            return start_stream(plan.rng_source, seeds, per_image=True, anchor=plan.anchor)
        return skip_one(start_stream(plan.rng_source, plan.seeds, per_image=True, anchor=plan.anchor), x0)
    seed = plan.seeds[0] + plan.step_seed_offset
    stream = start_stream(plan.rng_source, (seed,), per_image=False, anchor=plan.anchor)
    return skip_one(stream, x0) if sampler.rng == "churn" else stream
