"""The web UI's dialect: names, schedules, step counts, and its own samplers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from closed_forms import LEVELS, SHAPE, gaussian, wavy
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import SettingError
from hires.sampling import noise, run, webui
from hires.sampling.samplers.uni_pc import orders
from hires.sampling.samplers.webui import restart_pairs
from hires.sampling.samplers.webui_uni_pc import SkipType, marginal_of_time, time_grid
from hires.sampling.schedules import karras
from hires.sampling.schedules_webui import (
    SCHEDULES,
    ScheduleOptions,
    find_schedule,
    full_sigmas,
    img2img_steps,
    timesteps,
)
from hires.sampling.state import Plan

TEN = {
    "Uniform": [14.6146, 7.8399, 4.6092, 2.9183, 1.9502, 1.3449, 0.9324, 0.6250, 0.3687, 0.0292],
    "Normal": [14.6146, 7.8399, 4.6092, 2.9183, 1.9502, 1.3449, 0.9324, 0.6250, 0.3687, 0.0292],
    "Karras": [14.6146, 9.1029, 5.4784, 3.1686, 1.7494, 0.9141, 0.4469, 0.2014, 0.0819, 0.0292],
    "Exponential": [14.6146, 7.3249, 3.6712, 1.8400, 0.9222, 0.4622, 0.2317, 0.1161, 0.0582, 0.0292],
    "Polyexponential": [14.6146, 7.3249, 3.6712, 1.8400, 0.9222, 0.4622, 0.2317, 0.1161, 0.0582, 0.0292],
    "SGM Uniform": [14.6146, 8.3072, 5.0924, 3.3251, 2.2797, 1.6156, 1.1629, 0.8319, 0.5712, 0.3437],
    "Simple": [14.6146, 8.3028, 5.0878, 3.3211, 2.2765, 1.6129, 1.1606, 0.8299, 0.5693, 0.3417],
    "Turbo": [14.6146, 8.3028, 5.0878, 3.3211, 2.2765, 1.6129, 1.1606, 0.8299, 0.5693, 0.3417],
    "DDIM": [8.3907, 5.1344, 3.3478, 2.2929, 1.6237, 1.1682, 0.8357, 0.5741, 0.3462, 0.0413],
    "Beta": [14.6146, 13.9278, 12.4910, 10.5976, 8.4424, 6.2014, 4.0462, 2.1528, 0.7160, 0.0292],
    "Align Your Steps": [14.6150, 6.1135, 3.5651, 2.3939, 1.6500, 1.1358, 0.7425, 0.4450, 0.1692, 0.0290],
}


def schedule(name: str, steps: int, discard: bool = False, **options: object) -> torch.Tensor:
    settings = ScheduleOptions(**options)  # type: ignore[arg-type]
    return full_sigmas(find_schedule(name), steps, LEVELS, settings, discard_penultimate=discard)


@pytest.mark.parametrize("name", TEN)
def test_ten_steps_of_every_schedule(name: str) -> None:
    sigmas = schedule(name, 10)
    assert sigmas[:-1].tolist() == pytest.approx(TEN[name], abs=6e-5)
    assert sigmas[-1] == 0


def test_kl_optimal_ends_at_sigma_min_in_the_original_only() -> None:
    original = [14.6146, 4.5650, 2.6329, 1.7864, 1.2948, 0.9616, 0.7116, 0.5094, 0.3356, 0.1783, 0.0292]
    assert schedule("KL Optimal", 10).tolist() == pytest.approx(original, abs=6e-5)
    mended = schedule("KL Optimal", 10, original=False)
    assert len(mended) == 11
    assert mended[-1] == 0
    assert float(mended[-2]) == pytest.approx(0.0292, abs=6e-5)


def test_tables_keep_their_points_and_append_zero() -> None:
    assert len(schedule("Align Your Steps", 11)) == 12
    assert float(schedule("Align Your Steps 11", 11, sdxl=True)[1]) == pytest.approx(6.315)
    assert float(schedule("align_your_steps_gits", 11)[1]) == pytest.approx(4.617)
    assert float(schedule("Align Your Steps 32", 32)[1]) == pytest.approx(11.23951352)
    assert len(schedule("Align Your Steps 32", 20)) == 21


def test_schedule_options() -> None:
    twenty = [14.6146, 11.7254, 9.3402, 7.3836, 5.7894, 4.4998, 3.4648, 2.6408, 1.9909, 1.4832, 1.0908, 0.7909, 0.5647,
              0.3964, 0.2730, 0.1842, 0.1213, 0.0779, 0.0485, 0.0292, 0.0]  # fmt: skip
    assert schedule("Karras", 20).tolist() == pytest.approx(twenty, abs=6e-5)
    assert schedule("Karras", 5, sigma_min=0.1, sigma_max=10.0).tolist() == pytest.approx(karras(5, 0.1, 10).tolist())
    assert schedule("Karras", 5, old_karras_sigmas=True).tolist() == pytest.approx(karras(5, 0.1, 10).tolist())
    bent = karras(5, LEVELS.sigma_min, LEVELS.sigma_max, rho=3.0)
    assert schedule("Karras", 5, rho=3.0).tolist() == pytest.approx(bent.tolist())
    assert float(schedule("Normal", 5, sigma_max=7.0)[0]) == pytest.approx(7.0, rel=1e-4)
    assert float(schedule("Uniform", 5, sigma_max=7.0)[0]) == pytest.approx(14.6146, rel=1e-4)


def test_the_penultimate_sigma_is_discarded() -> None:
    longer = schedule("Karras", 11)
    assert schedule("Karras", 10, discard=True).tolist() == [*longer[:-2].tolist(), 0.0]
    for name in ("DPM2", "DPM2 a", "DPM++ 3M SDE"):
        plan = webui.webui_plan(name, "Karras", 10, LEVELS, [0])
        assert torch.equal(plan.sigmas, schedule("Karras", 10, discard=True))
    assert torch.equal(webui.webui_plan("Euler", "Karras", 10, LEVELS, [0]).sigmas, schedule("Karras", 10))


def test_names() -> None:
    def found(name: str, asked: str | None = None) -> tuple[str, str]:
        sampler, spacing = webui.resolve(name, asked)
        return sampler.label, spacing.label

    assert found("DPM++ 2M") == ("DPM++ 2M", "Karras")
    assert found("dpm++ 2m karras") == ("DPM++ 2M", "Karras")
    assert found("DPM++ 2M SDE Exponential") == ("DPM++ 2M SDE", "Exponential")
    assert found("DPM++ 2M SDE Heun Karras") == ("DPM++ 2M SDE Heun", "Karras")
    assert found("Euler a SGMUniform") == ("Euler a", "SGM Uniform")
    assert found("k_euler_ancestral", "Automatic") == ("Euler a", "Uniform")
    assert found("Euler Karras", "exponential") == ("Euler", "Exponential")
    assert found("DPM++ SDE Align Your Steps") == ("DPM++ SDE", "Align Your Steps")
    with pytest.raises(SettingError, match=r"Sampler not found: 'DPM\+\+ 2N'.*DPM\+\+ 2M"):
        webui.resolve("DPM++ 2N")
    with pytest.raises(SettingError, match=r"Unknown schedule type 'Karas'.*Karras"):
        webui.resolve("Euler", "Karas")


def test_every_sampler_and_schedule_has_a_plan() -> None:
    for entry in webui.SAMPLERS:
        for name in (entry.label, *entry.aliases):
            assert webui.split_name(name)[0] is entry
    for spacing in SCHEDULES:
        for name in (spacing.label, spacing.name, *spacing.aliases):
            assert find_schedule(name.upper()) is spacing
        plan = webui.webui_plan("Euler", spacing.label, 12, LEVELS, [0])
        assert torch.all(plan.sigmas.diff() < 0)


def test_names_in_both_dialects() -> None:
    assert webui.comfyui_sampler("DPM++ 2M Karras") == "dpmpp_2m"
    assert webui.comfyui_sampler("Restart") is None
    assert webui.webui_sampler("dpmpp_2m_sde_gpu") == "DPM++ 2M SDE"
    assert webui.webui_sampler("seeds_2") is None
    assert webui.comfyui_scheduler("SGM Uniform") == "sgm_uniform"
    assert webui.comfyui_scheduler("Beta") is None
    assert webui.webui_schedule("normal") == "Normal"
    assert webui.webui_schedule("ddim_uniform") == "DDIM"
    assert webui.webui_schedule("linear_quadratic") is None
    for entry in webui.SAMPLERS:
        if entry.comfyui is not None:
            assert webui.webui_sampler(entry.comfyui) == entry.label


@pytest.mark.parametrize(("denoising", "plain", "fixed"), [(0.75, 16, 26), (0.5, 11, 40), (0.3, 7, 66), (1.0, 20, 20)])
def test_img2img_step_counts(denoising: float, plain: int, fixed: int) -> None:
    assert img2img_steps(20, denoising, fixed=True)[0] == fixed
    run_plain = webui.webui_plan("Euler", "Karras", 20, LEVELS, [0], denoising=denoising)
    assert run_plain.steps == plain
    run_fixed = webui.webui_plan("DPM++ 2M SDE", "Karras", 20, LEVELS, [0], denoising=denoising, fixed_steps=True)
    assert run_fixed.steps == 20
    whole = schedule("Karras", fixed)
    assert torch.equal(run_fixed.sigmas, whole[-21:])
    assert run_fixed.brownian_bounds() == (float(whole[-2]), float(whole[0]))


def test_a_hires_pass_without_denoising_runs_nothing() -> None:
    for name in ("Euler", "DDIM", "UniPC"):
        plan = webui.webui_plan(name, None, 20, LEVELS, [0], denoising=0.0, fixed_steps=True)
        assert plan.steps == 0


@given(st.integers(1, 60))
def test_restart_makes_as_many_steps_as_asked(steps: int) -> None:
    sigmas = karras(steps, LEVELS.sigma_min, LEVELS.sigma_max)
    pairs = restart_pairs(sigmas)
    assert len(pairs) == steps
    assert pairs[0][0] == sigmas[0]
    assert pairs[-1][1] == 0
    jumps = sum(bool(before[1] < after[0]) for before, after in itertools.pairwise(pairs))
    assert jumps <= 3
    assert (jumps > 0) == (steps >= 20)


def test_restart_adds_the_noise_of_the_jump() -> None:
    plan = webui.webui_plan("Restart", None, 20, LEVELS, [5], rng_source="CPU")
    pairs = restart_pairs(plan.sigmas)
    jump = next(i for i in range(1, 20) if pairs[i - 1][1] < pairs[i][0])
    x = 14.6 * noise.image_noise([5], SHAPE[1:])
    before = run.sample(plan, run.begin(plan, x), wavy, until=jump)
    silent = run.make_plan("restart", plan.sigmas, [5], {"s_noise": 0.0}, dialect="webui")
    seen: list[torch.Tensor] = []

    def watch(x: torch.Tensor, sigma: torch.Tensor, call: int) -> run.Prediction:
        seen.append(x)
        return wavy(x, sigma)

    run.sample(plan, before, watch, until=jump + 1)
    run.sample(silent, before, watch, until=jump + 1)
    generator = torch.Generator().manual_seed(5)
    drawn = [torch.randn(SHAPE[1:], generator=generator) for _ in range(2)][1]
    height = (pairs[jump][0] ** 2 - pairs[jump - 1][1] ** 2) ** 0.5
    assert torch.allclose(seen[0] - seen[2], drawn * height, atol=1e-5)


def test_timesteps_and_calls_of_the_original_and_mended() -> None:
    assert timesteps(20, original=True) == list(range(1, 1000, 50))
    assert len(timesteps(30, original=True)) == 31
    assert timesteps(30, original=True)[:2] == [1, 34]
    for name in ("DDIM", "DDIM CFG++"):
        plan = webui.webui_plan(name, None, 20, LEVELS, [0])
        assert run.sample(plan, vp_state(plan), wavy).calls == 19
        mended = webui.webui_plan(name, None, 30, LEVELS, [0], schedule_options=ScheduleOptions(original=False))
        assert run.sample(mended, vp_state(mended), wavy).calls == 30
        assert mended.sigmas[-1] == 0
    plan = webui.webui_plan("PLMS", None, 20, LEVELS, [0])
    assert run.sample(plan, vp_state(plan), wavy).calls == 20


def vp_state(plan: Plan, x: torch.Tensor | None = None) -> run.State:
    return run.begin(plan, noise.initial_noise(0, SHAPE) if x is None else x)


@pytest.mark.parametrize("name", ["DDIM", "DDIM CFG++"])
def test_ddim_is_exact_to_the_formula(name: str) -> None:
    """For data of one point, D = c, the trajectory is a straight line in sigma whatever the steps."""
    point = 0.3
    plan = webui.webui_plan(name, None, 20, LEVELS, [0])
    x = noise.initial_noise(0, SHAPE)
    constant = lambda x, sigma, call: run.Prediction(torch.full_like(x, point), torch.full_like(x, point))  # noqa: E731
    last = run.sample(plan, vp_state(plan, x), constant).x
    first, end = (float(sigma) for sigma in (plan.sigmas[0], plan.sigmas[-1]))
    x_ve = point + (x * (1 + first**2) ** 0.5 - point) * end / first
    assert torch.allclose(last * (1 + end**2) ** 0.5, x_ve, atol=2e-4)


@pytest.mark.parametrize("name", ["DDIM", "PLMS", "UniPC"])
def test_timestep_samplers_follow_the_exact_trajectory(name: str) -> None:
    errors = []
    for steps in (10, 50):
        plan = webui.webui_plan(name, None, steps, LEVELS, [0])
        errors.append(gaussian_error(plan))
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.04


def gaussian_error(plan: Plan, deviation: float = 1.5) -> float:
    """Distance from where normal data of a deviation would be carried, in the variance-preserving scale."""
    x = noise.initial_noise(0, SHAPE)
    last = run.sample(plan, vp_state(plan, x), gaussian(deviation)).x
    first, end = plan.sigmas[0], plan.sigmas[-1]

    def spread(sigma: torch.Tensor) -> torch.Tensor:
        return ((deviation**2 + sigma**2) / (1 + sigma**2)) ** 0.5

    return float((last - x * spread(end) / spread(first)).pow(2).mean().sqrt())


@pytest.mark.parametrize("variant", ["bh1", "bh2", "vary_coeff"])
@pytest.mark.parametrize("skip_type", ["time_uniform", "time_quadratic", "logSNR"])
def test_unipc_variants_and_grids(variant: str, skip_type: SkipType) -> None:
    errors = []
    for steps in (10, 25):
        options = {"variant": variant}
        plan = webui.webui_plan("UniPC", None, steps, LEVELS, [0], options=options, skip_type=skip_type)
        assert plan.times is not None
        assert float(plan.times[0]) == pytest.approx(1.0, abs=1e-5)
        assert float(plan.times[-1]) == pytest.approx(1e-3, abs=1e-5)
        errors.append(gaussian_error(plan))
    share, limit = (0.6, 0.05) if variant == "vary_coeff" else (0.5, 0.02)
    assert errors[1] < max(share * errors[0], 2e-3)
    assert errors[1] < limit


def test_unipc_of_higher_order_is_nearer() -> None:
    errors = [
        gaussian_error(webui.webui_plan("UniPC", None, 20, LEVELS, [0], options={"order": order}))
        for order in (1, 2, 3)
    ]
    assert max(errors[1:]) < 0.5 * errors[0]
    with pytest.raises(SettingError, match="needs at least 3 steps and this run has 2"):
        webui.webui_plan("UniPC", None, 2, LEVELS, [0])


def test_unipc_orders_warm_up_and_are_lowered_at_the_end() -> None:
    assert [orders(6, step, 3)[1] for step in range(6)] == [1, 2, 3, 3, 2, 1]
    assert [orders(6, step, 3, lower_final=False)[1] for step in range(6)] == [1, 2, 3, 3, 3, 3]


def test_log_snr_times_are_equally_spaced_in_lambda() -> None:
    lam = marginal_of_time(time_grid("logSNR", 10, LEVELS), LEVELS).lam
    assert torch.allclose(lam.diff(), lam.diff().mean().expand(10), rtol=1e-3)


def test_ddim_with_eta_draws_from_the_images_streams() -> None:
    plan = webui.webui_plan("DDIM", None, 100, LEVELS, [3, 4], options={"eta": 1.0, "s_churn": 5.0})
    x = torch.cat([noise.initial_noise(seed, SHAPE) for seed in (3, 4)])
    last = run.sample(plan, vp_state(plan, x), gaussian(1.0))
    assert last.rng is not None
    assert last.rng.drawn == 1 + 99
    assert float(last.x.std()) == pytest.approx(1.0, abs=0.15)
    swapped = replace(plan, seeds=(3, 5))
    other = run.sample(swapped, vp_state(swapped, x), gaussian(1.0))
    assert torch.equal(other.x[0], last.x[0])
    assert not torch.equal(other.x[1], last.x[1])


def test_img2img_of_the_timestep_samplers_is_one_index_off_in_the_original() -> None:
    latent, unit = noise.initial_noise(1, SHAPE), noise.initial_noise(2, SHAPE)
    plan = webui.webui_plan("DDIM", None, 20, LEVELS, [0], denoising=0.5)
    assert plan.start_sigma == float(LEVELS.sigmas[501])
    assert plan.sigmas[0] == LEVELS.sigmas[451]
    alpha_bar = 1 / (LEVELS.sigmas[501] ** 2 + 1)
    expected = alpha_bar.sqrt() * latent + (1 - alpha_bar).sqrt() * unit
    assert torch.allclose(run.start(plan, latent, unit).x, expected)
    assert run.sample(plan, run.start(plan, latent, unit), wavy).calls == 9
    exact = ScheduleOptions(original=False)
    mended = webui.webui_plan("DDIM", None, 20, LEVELS, [0], denoising=0.5, schedule_options=exact)
    assert mended.start_sigma is None
    assert mended.sigmas[0] == LEVELS.sigmas[501]
    assert mended.steps == 11


def test_plain_noise_starts_a_timestep_sampler() -> None:
    plan = webui.webui_plan("DDIM", None, 20, LEVELS, [0])
    unit = noise.initial_noise(2, SHAPE)
    assert torch.equal(run.start(plan, torch.zeros(SHAPE), unit).x, unit)


def test_step_noise_goes_on_after_the_initial_noise_or_from_ensd() -> None:
    def first_step(ensd: int) -> torch.Tensor:
        plan = webui.webui_plan("LCM", None, 4, LEVELS, [7], rng_source="CPU", ensd=ensd)
        state = run.begin(plan, noise.image_noise([7], SHAPE[1:]))
        last = run.sample(plan, state, lambda x, sigma, call: run.Prediction(torch.zeros_like(x)), until=1)
        return last.x / plan.sigmas[1]

    generator = torch.Generator().manual_seed(7)
    drawn = [torch.randn(SHAPE[1:], generator=generator) for _ in range(2)]
    assert torch.allclose(first_step(0)[0], drawn[1])
    generator.manual_seed(7 + 31337)
    assert torch.allclose(first_step(31337)[0], torch.randn(SHAPE[1:], generator=generator))


def test_lcm_runs_on_its_own_levels() -> None:
    plan = webui.webui_plan("LCM", None, 4, LEVELS, [7])
    assert len(plan.levels.sigmas) == 50
    assert float(plan.sigmas[0]) == pytest.approx(LEVELS.sigma_max)
    assert float(plan.sigmas[-2]) == pytest.approx(float(LEVELS.sigmas[19]))


def test_dpm_fast_and_adaptive_ignore_the_schedule_in_txt2img() -> None:
    for name in ("DPM fast", "DPM adaptive"):
        plan = webui.webui_plan(name, "Karras", 10, LEVELS, [7])
        assert plan.options["eta"] == 1.0
        assert float(plan.sigmas[0]) == pytest.approx(LEVELS.sigma_max)
        assert float(plan.sigmas[-1]) == pytest.approx(LEVELS.sigma_min)
        assert plan.steps == 10
        cut = webui.webui_plan(name, "Karras", 10, LEVELS, [7], denoising=0.5)
        assert torch.equal(cut.sigmas, schedule("Karras", 10)[4:])


def test_churn_draws_in_every_step() -> None:
    """Where a window of sigma switches churn off, the web UI draws all the same, and ComfyUI does not."""
    options = {"s_churn": 4.0, "s_tmax": 1.0}
    plan = webui.webui_plan("Euler", "Karras", 6, LEVELS, [7], options=options)
    x = 14.6 * noise.image_noise([7], SHAPE[1:], "NV")
    last = run.sample(plan, run.begin(plan, x), wavy)
    assert last.rng is not None
    assert last.rng.drawn == 1 + 6
    comfyui = run.make_plan("euler", plan.sigmas, 7, options)
    last = run.sample(comfyui, run.begin(comfyui, x), wavy)
    assert last.rng is not None
    assert last.rng.drawn == 1 + int((plan.sigmas[:-1] <= 1.0).sum())


def test_options_that_a_sampler_lacks() -> None:
    plan = webui.webui_plan("LMS", None, 6, LEVELS, [7], options={"eta": 0.5, "s_noise": 1.0})
    assert "eta" not in plan.options
    with pytest.raises(SettingError, match="has no option 'varient'"):
        webui.webui_plan("UniPC", None, 6, LEVELS, [7], options={"varient": "bh2"})
    with pytest.raises(SettingError, match="1 or more"):
        webui.webui_plan("Euler", None, 0, LEVELS, [7])
