"""Sharing of steps: what is shared, that it is exact, and that what differs is not shared."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from closed_forms import LEVELS, SHAPE, karras, start, wavy

from hires.sampling import noise, run
from hires.sampling.samplers import SAMPLERS
from hires.sampling.schedules import run_sigmas
from hires.sampling.state import Plan, Prediction
from hires.sampling.trajectories import TrajectoryCache

STEPS = 8
FULL = run_sigmas("euler", "karras", STEPS, LEVELS)
BOUNDS = (float(FULL[-2]), float(FULL[0]))
PREFIX = [name for name, entry in SAMPLERS.items() if entry.sharing in "AC" and entry.space == "ve"]
EVERY = [name for name in SAMPLERS if name not in ("uni_pc_timesteps", "restart")]


def key(step: int, calls: int, sigma: float, sigma_next: float) -> bytes:
    return b"the same everywhere"


def base_stage(name: str, switch: int) -> Plan:
    """The first part of a run, up to a switch of model, with the noise of the whole run."""
    return run.make_plan(name, FULL[: switch + 1], 9, bounds=BOUNDS)


def shared(plan: Plan, cache: TrajectoryCache) -> torch.Tensor:
    return run.latent(plan, run.sample(plan, start(plan, seed=9), wavy, guidance_key=key, cache=cache))


def alone(plan: Plan) -> torch.Tensor:
    return run.latent(plan, run.sample(plan, start(plan, seed=9), wavy))


@pytest.mark.parametrize("name", PREFIX)
def test_five_switch_points_cost_the_longest_of_them(name: str) -> None:
    cache = TrajectoryCache(10**8)
    for switch in (5, 3, 7, 4, 6):
        plan = base_stage(name, switch)
        assert torch.equal(shared(plan, cache), alone(plan))
    assert cache.computed_steps == 7
    assert cache.reused_steps == 5 + 3 + 4 + 5 + 6 - 5
    longest = base_stage(name, 7)
    assert cache.denoiser_calls == run.sample(longest, start(longest, seed=9), wavy).calls


@pytest.mark.parametrize("name", EVERY)
def test_shared_runs_are_exact_whatever_they_read_of_the_plan(name: str) -> None:
    cache = TrajectoryCache(10**8)
    plans = [base_stage(name, switch) for switch in (4, 6, 3)]
    plans += [run.make_plan(name, karras(name, steps), 9) for steps in (8, 8, 6)]
    for plan in plans:
        assert torch.equal(shared(plan, cache), alone(plan))
    assert cache.reused_steps >= run.sample(plans[4], start(plans[4], seed=9), wavy).step


def test_orders_limit_what_uni_pc_shares() -> None:
    cache = TrajectoryCache(10**8)
    shared(base_stage("uni_pc", 8), cache)
    shared(base_stage("uni_pc", 6), cache)
    # the orders of the moves to the last two points are lowered, and a step reads the move that it makes
    assert cache.reused_steps == 4
    assert cache.computed_steps == 10


def test_without_common_bounds_sde_runs_share_nothing() -> None:
    cache = TrajectoryCache(10**8)
    for switch in (6, 5):
        plan = run.make_plan("dpmpp_2m_sde", FULL[: switch + 1], 9)
        assert torch.equal(shared(plan, cache), alone(plan))
    assert cache.reused_steps == 0


def test_different_tails_share_their_prefix() -> None:
    cache = TrajectoryCache(10**8)
    bent = FULL.clone()
    bent[5:-1] *= 0.8
    for sigmas in (FULL, bent):
        plan = run.make_plan("heun", sigmas, 9)
        assert torch.equal(shared(plan, cache), alone(plan))
    assert cache.reused_steps == 4


@pytest.mark.parametrize("change", ["seed", "sampler", "option", "latent", "dialect", "guidance"])
def test_what_differs_is_not_shared(change: str) -> None:
    plan = run.make_plan("euler_ancestral", FULL, 9)
    other, x = plan, start(plan, seed=9).x
    other_x, other_key = x, key
    match change:
        case "seed":
            other = replace(plan, seeds=(10,))
        case "sampler":
            other = run.make_plan("dpm_2_ancestral", FULL, 9)
        case "option":
            other = run.make_plan("euler_ancestral", FULL, 9, {"eta": 0.5})
        case "latent":
            other_x = x + 1e-6
        case "dialect":
            other = replace(plan, dialect="webui")
        case "guidance":

            def other_key(step: int, calls: int, sigma: float, sigma_next: float) -> bytes:
                return b"another prompt"

    cache = TrajectoryCache(10**8)
    run.sample(plan, run.begin(plan, x), wavy, guidance_key=key, cache=cache)
    run.sample(other, run.begin(other, other_x), wavy, guidance_key=other_key, cache=cache)
    assert cache.reused_steps == 0


def test_guidance_that_changes_late_is_shared_until_then() -> None:
    def late(step: int, calls: int, sigma: float, sigma_next: float) -> bytes:
        return b"low" if sigma < 1.0 else b"high"

    def other(step: int, calls: int, sigma: float, sigma_next: float) -> bytes:
        return b"changed" if sigma < 1.0 else b"high"

    def changed(x: torch.Tensor, sigma: torch.Tensor, call: int) -> Prediction:
        prediction = wavy(x, sigma)
        return prediction if sigma >= 1.0 else Prediction(prediction.denoised * 1.1)

    plan = run.make_plan("euler", FULL, 9)
    cache = TrajectoryCache(10**8)
    run.sample(plan, start(plan, seed=9), wavy, guidance_key=late, cache=cache)
    last = run.sample(plan, start(plan, seed=9), changed, guidance_key=other, cache=cache)
    assert cache.reused_steps == int((FULL[:-1] >= 1.0).sum())
    assert torch.equal(last.x, run.sample(plan, start(plan, seed=9), changed).x)


def test_the_least_recently_used_states_are_dropped() -> None:
    plan = run.make_plan("dpmpp_2m", FULL, 9)
    size = run.sample(plan, start(plan, seed=9), wavy).nbytes
    cache = TrajectoryCache(2 * size + size // 2)
    first = shared(plan, cache)
    assert cache.held_bytes <= cache.limit_bytes
    # the early states are gone, but their names are known: the last state is found through them
    assert torch.equal(shared(plan, cache), first)
    assert cache.reused_steps == STEPS
    shared(run.make_plan("euler", FULL, 9), cache)
    assert torch.equal(shared(plan, cache), first)
    assert cache.computed_steps == 3 * STEPS
    nothing = TrajectoryCache(10)
    assert torch.equal(shared(plan, nothing), first)
    assert nothing.held_bytes == 0
    cache.clear()
    assert cache.held_bytes == 0


def test_an_origin_may_name_the_latent() -> None:
    plan = run.make_plan("euler", FULL, 9)
    latent, unit = torch.zeros(SHAPE), noise.initial_noise(9, SHAPE)
    cache = TrajectoryCache(10**8)
    for name in ("empty seed 9", "empty seed 9", "another"):
        state = run.start(plan, latent, unit, origin=name)
        run.sample(plan, state, wavy, guidance_key=key, cache=cache)
    assert cache.reused_steps == STEPS
    assert cache.computed_steps == 2 * STEPS


def test_a_stopped_run_goes_on_in_its_trajectory() -> None:
    plan = run.make_plan("dpmpp_2m", FULL, 9)
    cache = TrajectoryCache(10**8)
    shared(plan, cache)
    state = run.sample(plan, start(plan, seed=9), wavy, guidance_key=key, until=3)
    last = run.sample(plan, state, wavy, guidance_key=key, cache=cache)
    assert cache.reused_steps == STEPS - 3
    assert torch.equal(last.x, alone(plan))


def test_a_cache_without_a_guidance_key_is_a_fault() -> None:
    plan = run.make_plan("euler", FULL)
    with pytest.raises(ValueError, match="guidance_key"):
        run.sample(plan, start(plan), wavy, cache=TrajectoryCache(10))
