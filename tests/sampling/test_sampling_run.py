"""The loop, and states: every sampler stops after any step, is saved, and goes on bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from closed_forms import LEVELS, SHAPE, karras, result, start, wavy
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from hires.errors import Interrupted
from hires.sampling import noise, run
from hires.sampling.samplers import SAMPLERS
from hires.sampling.schedules import run_sigmas
from hires.sampling.state import Plan, State
from hires.sampling.trajectories import TrajectoryCache
from hires.sampling.webui import SAMPLERS as WEBUI
from hires.sampling.webui import webui_plan

COMFYUI_PLANS = {
    name: run.make_plan(name, karras(name, 6), 11) for name, entry in SAMPLERS.items() if name != "uni_pc_timesteps"
}
WEBUI_PLANS = {
    f"{entry.label} {source}": webui_plan(
        entry.label, None, 22 if entry.label == "Restart" else 6, LEVELS, [11, 4], rng_source=source, options=churned
    )
    for entry in WEBUI
    for source, churned in (("NV", {"s_churn": 2.0}), ("CPU", {"eta": 0.7}))
}
PLANS = {**COMFYUI_PLANS, **WEBUI_PLANS}


def saved_and_loaded(state: State) -> State:
    """Through safetensors and JSON, as a file would hold it."""
    flat = state.to_dict()
    tensors = {name: value.contiguous() for name, value in flat.items() if isinstance(value, torch.Tensor)}
    scalars = {name: value for name, value in flat.items() if name not in tensors}
    loaded: dict[str, Any] = {**json.loads(json.dumps(scalars)), **load(save(tensors))}
    return State.from_dict(loaded)


def key(step: int, calls: int, sigma: float, sigma_next: float) -> bytes:
    return b"one guidance"


def first_state(plan: Plan) -> State:
    if plan.dialect == "comfyui":
        return start(plan, seed=plan.seeds[0])
    shape = (len(plan.seeds), *SHAPE[1:])
    return run.start(plan, torch.zeros(shape), noise.image_noise(plan.seeds, shape[1:], plan.rng_source))


@pytest.mark.parametrize("name", PLANS)
def test_a_run_resumed_after_every_step_is_the_same_run(name: str) -> None:
    plan = PLANS[name]
    before = torch.get_rng_state()
    whole = run.sample(plan, first_state(plan), wavy)
    state = saved_and_loaded(first_state(plan))
    while not run.is_finished(plan, state):
        state = saved_and_loaded(run.sample(plan, state, wavy, until=state.step + 1))
    assert (state.step, state.calls) == (whole.step, whole.calls)
    assert torch.equal(state.x, whole.x)
    assert torch.equal(run.latent(plan, state), run.latent(plan, whole))
    assert torch.isfinite(whole.x).all()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", [name for name in WEBUI_PLANS if "adaptive" not in name])
def test_an_image_of_a_webui_batch_is_the_image_alone(name: str) -> None:
    plan = WEBUI_PLANS[name]
    both = run.sample(plan, first_state(plan), wavy)
    alone_plan = replace(plan, seeds=plan.seeds[1:])
    alone = run.sample(alone_plan, first_state(alone_plan), wavy)
    assert torch.equal(run.latent(plan, both)[1:], run.latent(alone_plan, alone))


@pytest.mark.parametrize("name", WEBUI_PLANS)
def test_webui_runs_share_their_steps_too(name: str) -> None:
    plan, cache = WEBUI_PLANS[name], TrajectoryCache(10**8)
    other_eta = {"eta": 0.3} if "eta" in plan.options else {}
    changed = replace(plan, options={**plan.options, **other_eta})
    for each in (plan, plan, changed):
        shared = run.sample(each, first_state(each), wavy, guidance_key=key, cache=cache)
        assert torch.equal(shared.x, run.sample(each, first_state(each), wavy).x)
    steps = run.sample(plan, first_state(plan), wavy).step
    assert cache.reused_steps == (steps if other_eta else 2 * steps)


CLASS_A = [name for name, entry in SAMPLERS.items() if entry.sharing == "A" and entry.space == "ve"]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CLASS_A), st.integers(0, 8), st.integers(0, 8), st.integers(0, 8), st.sampled_from([0, 1]))
def test_two_windows_with_the_state_handed_on_are_the_whole(
    name: str, a: int, b: int, c: int, last_is_zero: int
) -> None:
    a, b, c = sorted((a, b, c))
    sigmas = run_sigmas("euler", "karras", 8, LEVELS)[: 9 if last_is_zero else 8]
    c = min(c, len(sigmas) - 1)
    b = min(b, c)

    def plan(first: int, last: int) -> Plan:
        return run.make_plan(name, sigmas[first : last + 1], 5)

    x = 3.0 * noise.initial_noise(5, SHAPE)
    whole = run.sample(plan(a, c), run.begin(plan(a, c), x), wavy)
    state = run.sample(plan(a, b), run.begin(plan(a, b), x), wavy)
    if b > a:
        state = run.sample(plan(b, c), replace(state, step=0), wavy)
    else:
        state = run.sample(plan(b, c), run.begin(plan(b, c), x), wavy)
    assert torch.equal(state.x, whole.x)


def test_an_empty_schedule_leaves_the_latent_alone() -> None:
    plan = run.make_plan("uni_pc", torch.zeros(0))
    latent = noise.initial_noise(1, SHAPE)
    state = run.start(plan, latent, noise.initial_noise(2, SHAPE))
    assert run.is_finished(plan, state)
    assert run.latent(plan, run.sample(plan, state, wavy)) is latent
    assert run.progress(plan, state) == 1.0


def test_a_run_from_the_top_and_one_from_the_middle_scale_their_noise_differently() -> None:
    latent, unit = noise.initial_noise(1, SHAPE), noise.initial_noise(2, SHAPE)
    top = run.make_plan("euler", karras("euler", 4))
    sigma = top.sigmas[0]
    assert torch.equal(run.start(top, latent, unit).x, latent + unit * (1 + sigma**2).sqrt())
    middle = run.make_plan("euler", karras("euler", 4)[1:])
    assert torch.equal(run.start(middle, latent, unit).x, latent + unit * middle.sigmas[0])
    webui = run.make_plan("euler", karras("euler", 4), [1], dialect="webui")
    assert torch.equal(run.start(webui, latent, unit).x, latent + unit * sigma)
    rooted = run.start(webui, latent, unit, sgm_noise_multiplier=True)
    assert torch.equal(rooted.x, latent + unit * (1 + sigma**2).sqrt())


@pytest.mark.parametrize("name", ["euler", "heun", "dpm_fast", "dpm_adaptive", "restart", "uni_pc"])
def test_reports(name: str) -> None:
    plan = run.make_plan(name, karras(name, 20), [3])
    reports: list[run.StepReport] = []
    last = run.sample(plan, first_state(plan), wavy, on_step=reports.append)
    assert [report.step for report in reports] == list(range(1, last.step + 1))
    assert [report.progress for report in reports] == sorted(report.progress for report in reports)
    assert reports[-1].progress == pytest.approx(1.0, abs=1e-5)
    assert reports[-1].calls == last.calls
    assert {report.steps for report in reports} == {None if name == "dpm_adaptive" else last.step}
    first = wavy(first_state(run.make_plan("euler", plan.sigmas, [3])).x, plan.sigmas[0]).denoised
    assert torch.allclose(reports[0].denoised, first, atol=2e-4)


def test_an_interrupted_run_says_where_it_stood_and_can_go_on() -> None:
    plan = run.make_plan("heun", karras("heun", 6), 1)
    asked = iter([False] * 8 + [True])
    with pytest.raises(run.SamplingInterrupted) as caught:
        run.sample(plan, start(plan), wavy, interrupted=lambda: next(asked))
    assert isinstance(caught.value, Interrupted)
    assert caught.value.state.step == 2
    assert caught.value.state.calls == 4
    estimate = wavy(caught.value.state.x, plan.sigmas[2]).denoised
    assert caught.value.denoised is not None
    assert torch.equal(caught.value.denoised, estimate)
    assert torch.equal(run.latent(plan, run.sample(plan, caught.value.state, wavy)), result(plan))


def test_an_interrupt_before_the_first_call_has_no_estimate() -> None:
    plan = run.make_plan("euler", karras("euler", 3))
    with pytest.raises(run.SamplingInterrupted) as caught:
        run.sample(plan, start(plan), wavy, interrupted=lambda: True)
    assert caught.value.denoised is None
    assert caught.value.state.step == 0


def test_a_webui_run_needs_a_seed_for_each_image() -> None:
    plan = run.make_plan("euler_ancestral", karras("euler", 3), [1], dialect="webui")
    with pytest.raises(ValueError, match="as many seeds"):
        run.begin(plan, torch.zeros(2, 4, 8, 8))
