"""The samplers' numbers: ComfyUI's on a closed form, and known trajectories."""

from __future__ import annotations

import pytest
import torch
from closed_forms import LEVELS, SHAPE, flow, gaussian, karras, result, start, wavy

from hires.errors import SettingError
from hires.sampling import noise, run
from hires.sampling.samplers import ALIASES, COMFYUI_SAMPLERS, SAMPLERS
from hires.sampling.schedules import run_sigmas

GOLDEN = """
euler -1.929701 -2.481472 1.538253 -1.560417 -3.381216 1.315448
euler_cfg_pp -2.084216 -2.590631 1.828062 -2.252644 -4.173300 1.911683
euler_ancestral -1.698243 -1.870937 1.540336 -1.402902 -2.235065 1.473707
euler_ancestral_cfg_pp -1.743059 -1.917089 1.593317 -1.831217 -2.656637 1.757777
heun -2.086306 -2.245718 2.667462 -1.781016 -3.690635 1.465112
heunpp2 -1.984981 -2.517249 1.614345 -1.647112 -3.504947 1.373220
dpm_2 -2.550728 -3.119065 2.113590 -1.835035 -3.978645 1.536046
dpm_2_ancestral -2.849118 -2.788860 3.042018 -1.921556 -2.994184 1.921072
lms -2.052119 -2.592734 1.703506 -1.647748 -3.517488 1.375972
dpm_fast -2.697585 -4.014030 2.118439 -1.504201 -3.274951 1.272307
dpm_adaptive -2.309292 -2.829856 2.116773 -1.729353 -3.613461 1.429106
dpmpp_2s_ancestral -2.155187 -2.232766 2.295399 -1.851106 -2.798069 1.747659
dpmpp_2s_ancestral_cfg_pp -2.197668 -2.262923 2.437068 -2.073041 -2.778250 1.889598
dpmpp_sde -2.394728 -1.139576 2.159004 -0.978431 -0.594111 1.564741
dpmpp_2m -2.351631 -2.968485 2.090853 -1.670071 -3.554198 1.391230
dpmpp_2m_cfg_pp -2.874798 -3.658643 2.977086 -2.566281 -4.537729 2.170640
dpmpp_2m_sde -2.490461 0.812332 2.215478 -1.350713 -0.619534 1.511693
dpmpp_2m_sde_heun -3.025418 2.079739 2.663239 -1.370246 -0.614069 1.538133
dpmpp_3m_sde -4.430855 3.799025 3.287978 -1.584619 -0.482974 1.575561
ddpm -1.698235 -1.870932 1.540331 -1.402902 -2.235065 1.473707
lcm -1.253464 -1.005490 1.403276 -0.275470 -0.024895 1.109981
ipndm -2.350097 -2.623466 2.160895 -1.692840 -3.578498 1.406505
ipndm_v -2.227114 -2.698887 1.952776 -1.677531 -3.561478 1.396630
deis -2.155400 -2.709153 1.859190 -1.673984 -3.555196 1.393855
res_multistep -2.488705 -3.167648 2.247008 -1.678357 -3.566952 1.396927
res_multistep_cfg_pp -1.963897 -3.228641 1.671350 -2.031311 -4.047042 1.730956
res_multistep_ancestral -2.318629 -2.399477 2.791356 -1.627104 -2.441864 1.669823
res_multistep_ancestral_cfg_pp -1.351498 -1.244581 1.706679 -1.466092 -2.302703 1.562154
gradient_estimation -2.372808 -2.784125 2.162230 -1.752158 -3.672103 1.446845
gradient_estimation_cfg_pp -2.210281 -2.925487 1.961363 -2.227443 -4.227226 1.864380
er_sde -2.261203 -2.720618 2.056384 -2.057951 -3.953623 1.674532
seeds_2 -2.303041 -0.634001 2.218892 -3.196979 -0.990709 1.608818
seeds_3 -2.385284 -1.698704 2.644562 -2.358736 -1.924676 1.601171
sa_solver -2.333286 -2.685415 2.269059 -2.250960 -3.607101 1.932587
sa_solver_pece -2.190061 -2.367131 2.422210 -2.234188 -3.600356 1.938879
ddim -1.929701 -2.481472 1.538253 -1.560417 -3.381216 1.315448
uni_pc -2.669029 -3.566307 2.177688 -1.780000 -3.892831 1.497423
uni_pc_bh2 -2.517053 -3.340840 2.025290 -1.774423 -3.885736 1.493937
"""
"""ComfyUI 0.3.64, float32 on the CPU: x[0], x[100] and root mean square of two runs from noise of seed 0.

A: karras, 6 steps, whole. B: normal, 9 steps, entries 2..6 as the run's list, ending above 0.
"""
ROWS = {row[0]: [float(value) for value in row[1:]] for row in (line.split() for line in GOLDEN.strip().splitlines())}


def figures(x: torch.Tensor) -> list[float]:
    flat = x.flatten()
    return [float(flat[0]), float(flat[100]), float(flat.pow(2).mean().sqrt())]


@pytest.mark.parametrize("name", ROWS)
def test_comfyui_numbers(name: str) -> None:
    whole = run.make_plan(name, karras(name, 6), 0)
    window = run.make_plan(name, run_sigmas(name, "normal", 9, LEVELS)[2:7], 0)
    assert figures(result(whole)) + figures(result(window)) == pytest.approx(ROWS[name], rel=4e-6, abs=2e-6)


def test_every_comfyui_name_is_a_sampler() -> None:
    assert len(COMFYUI_SAMPLERS) == len(set(COMFYUI_SAMPLERS)) == 42
    assert all(run.find_sampler(name) for name in COMFYUI_SAMPLERS)
    assert set(ROWS) | set(ALIASES) == set(COMFYUI_SAMPLERS)
    for gpu, plain in ALIASES.items():
        assert torch.equal(result(run.make_plan(gpu, karras(gpu, 4))), result(run.make_plan(plain, karras(plain, 4))))


CALLS = {
    "heun": [1, 3, 5, 11], "dpm_2": [1, 3, 5, 11], "dpm_2_ancestral": [1, 3, 5, 11], "heunpp2": [1, 3, 6, 15],
    "dpmpp_2s_ancestral": [1, 3, 5, 11], "dpmpp_2s_ancestral_cfg_pp": [1, 3, 5, 11], "dpmpp_sde": [1, 3, 5, 11],
    "seeds_2": [1, 3, 5, 11], "sa_solver_pece": [1, 3, 5, 11], "seeds_3": [1, 4, 7, 16],
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in COMFYUI_SAMPLERS if name != "dpm_adaptive" and name in ROWS])
def test_denoiser_calls(name: str) -> None:
    for steps, expected in zip((1, 2, 3, 6), CALLS.get(name, [1, 2, 3, 6]), strict=True):
        plan = run.make_plan(name, karras("euler", steps))
        numbers: list[int] = []

        def denoise(x: torch.Tensor, sigma: torch.Tensor, call: int, numbers: list[int] = numbers) -> run.Prediction:
            numbers.append(call)
            return wavy(x, sigma)

        assert run.sample(plan, start(plan), denoise).calls == expected
        assert numbers == list(range(expected))


def test_dpm_adaptive_finds_its_own_steps() -> None:
    loose = run.make_plan("dpm_adaptive", karras("euler", 6))
    tight = run.make_plan("dpm_adaptive", karras("euler", 6), options={"rtol": 0.005, "atol": 0.0008})
    reached = [run.sample(plan, start(plan), gaussian(2.0)) for plan in (loose, tight)]
    assert reached[1].step > reached[0].step > 6
    assert reached[0].calls == 3 * reached[0].step
    exact = flow(start(loose).x, float(loose.sigmas[0]), float(loose.sigmas[-2]), 2.0)
    errors = [float((state.x - exact).abs().max()) for state in reached]
    assert errors[1] < errors[0] < 0.2
    single = run.make_plan("dpm_adaptive", karras("euler", 1))
    assert torch.equal(run.sample(single, start(single), wavy).x, start(single).x)


DETERMINISTIC = [
    "euler", "heun", "dpm_2", "lms", "dpm_fast", "dpmpp_2m", "ipndm", "ipndm_v", "deis", "res_multistep",
    "gradient_estimation", "euler_cfg_pp", "dpmpp_2m_cfg_pp", "uni_pc", "uni_pc_bh2",
]  # fmt: skip


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_more_steps_come_nearer_to_the_exact_trajectory(name: str) -> None:
    errors = []
    for steps in (10, 80):
        plan = run.make_plan(name, run_sigmas("euler", "karras", steps, LEVELS)[:-1])
        first = run.begin(plan, 14.6 * noise.initial_noise(1, SHAPE))
        last = run.latent(plan, run.sample(plan, first, gaussian(1.5)))
        exact = flow(14.6 * noise.initial_noise(1, SHAPE), float(plan.sigmas[0]), float(plan.sigmas[-1]), 1.5)
        errors.append(float((last - exact).pow(2).mean().sqrt()))
    assert errors[1] < 0.35 * errors[0]
    assert errors[1] < 0.12


def test_euler_on_a_linear_denoiser() -> None:
    plan = run.make_plan("euler", torch.tensor([8.0, 4.0, 1.0, 0.25]))
    x = noise.initial_noise(2, SHAPE)
    last = run.sample(plan, run.begin(plan, x), lambda x, sigma, call: run.Prediction(0.25 * x))
    factor = 1.0
    for sigma, sigma_next in ((8.0, 4.0), (4.0, 1.0), (1.0, 0.25)):
        factor *= 1 + 0.75 * (sigma_next - sigma) / sigma
    assert torch.allclose(last.x, factor * x, rtol=1e-5)


STOCHASTIC = ["euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "ddpm",
              "dpmpp_2m_sde_heun", "dpmpp_3m_sde", "er_sde", "seeds_2", "seeds_3", "res_multistep_ancestral",
              "sa_solver", "sa_solver_pece"]  # fmt: skip


@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_samplers_end_with_the_datas_variance(name: str) -> None:
    plan = run.make_plan(name, karras("euler", 40), 3)
    last = run.latent(plan, run.sample(plan, start(plan, (1, 4, 32, 32), seed=1003), gaussian(1.0)))
    assert float(last.std()) == pytest.approx(1.0, abs=0.1)
    other = run.make_plan(name, karras("euler", 40), 4)
    differing = run.sample(other, start(other, (1, 4, 32, 32), seed=1003), gaussian(1.0))
    assert not torch.equal(last, run.latent(other, differing))


@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_2m_sde", "seeds_2", "dpm_2_ancestral"])
def test_without_eta_there_is_no_noise(name: str) -> None:
    plans = [run.make_plan(name, karras("euler", 8), seed, {"eta": 0.0}) for seed in (1, 2)]
    results = [run.sample(plan, start(plan, seed=0), wavy).x for plan in plans]
    assert torch.equal(*results)


def test_churn_draws_after_the_initial_noise() -> None:
    sigmas = torch.tensor([4.0, 1.0])
    plan = run.make_plan("euler", sigmas, 0, {"s_churn": 0.2})
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(SHAPE, generator=generator) for _ in range(2))
    x, sigma_hat = 4.0 * first, 4.0 * 1.2
    x = x + second * (sigma_hat**2 - 16.0) ** 0.5
    expected = x + (x - wavy(x, torch.tensor(sigma_hat)).denoised) / sigma_hat * (1.0 - sigma_hat)
    assert torch.allclose(run.sample(plan, start(plan), wavy).x, expected, rtol=1e-5, atol=1e-5)
    outside = run.make_plan("euler", sigmas, 0, {"s_churn": 0.2, "s_tmax": 3.0})
    plain = run.make_plan("euler", sigmas, 0)
    assert torch.equal(run.sample(outside, start(plan), wavy).x, run.sample(plain, start(plain), wavy).x)


def test_the_first_step_noise_is_the_initial_noise() -> None:
    plan = run.make_plan("lcm", torch.tensor([14.614641, 2.0]), 5)
    zero = run.sample(plan, start(plan, seed=5), lambda x, sigma, call: run.Prediction(torch.zeros_like(x)))
    assert torch.equal(zero.x, 2.0 * noise.initial_noise(5, SHAPE))
    moved = run.make_plan("lcm", torch.tensor([14.614641, 2.0]), 5, step_seed_offset=1)
    zero = run.sample(moved, start(moved, seed=5), lambda x, sigma, call: run.Prediction(torch.zeros_like(x)))
    assert torch.equal(zero.x, 2.0 * noise.initial_noise(6, SHAPE))


def test_sa_solver_may_hand_over_its_prediction() -> None:
    sigmas = karras("euler", 8)[:5]
    reference = run.make_plan("sa_solver", sigmas, 1)
    predicted = run.make_plan("sa_solver", sigmas, 1, finish="predicted")
    last = run.sample(reference, start(reference), wavy)
    assert torch.equal(run.latent(predicted, last), last.x)
    assert not torch.equal(run.latent(reference, last), last.x)


def test_a_cfg_pp_sampler_needs_the_unconditional_estimate() -> None:
    plan = run.make_plan("euler_cfg_pp", karras("euler", 3))
    assert SAMPLERS["euler_cfg_pp"].needs_uncond
    with pytest.raises(ValueError, match="unconditional"):
        run.sample(plan, start(plan), lambda x, sigma, call: run.Prediction(x))


@pytest.mark.parametrize("name", ["uni_pc", "dpm_fast", "dpm_adaptive"])
def test_single_steps_that_return_noise_are_noticed(name: str) -> None:
    plan = run.make_plan(name, karras("euler", 1))
    assert torch.equal(run.sample(plan, start(plan), wavy).x, start(plan).x)
    assert "2 steps" in (run.notice(plan) or "")
    assert run.notice(run.make_plan(name, karras("euler", 4))) is None
    assert run.notice(run.make_plan("euler", karras("euler", 1))) is None


def test_unknown_names_are_told_their_neighbours() -> None:
    with pytest.raises(SettingError, match=r"Unknown sampler 'dpmpp_2n'.*dpmpp_2m"):
        run.make_plan("dpmpp_2n", karras("euler", 3))
    with pytest.raises(SettingError, match=r"Sampler euler_ancestral has no option 'etta'.*eta"):
        run.make_plan("euler_ancestral", karras("euler", 3), 0, {"etta": 1.0})
