from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import SettingError
from hires.sampling import schedules
from hires.sampling.levels import standard_levels, zero_snr_levels

LEVELS = standard_levels()
FIVE = {
    "normal": [14.61464, 4.086081, 1.61558, 0.69515, 0.029167],
    "sgm_uniform": [14.61464, 5.092408, 2.279731, 1.162865, 0.571189],
    "karras": [14.614643, 4.796535, 1.274101, 0.24795, 0.029167],
    "exponential": [14.61464, 3.088976, 0.652892, 0.137996, 0.029167],
    "simple": [14.614641, 5.087763, 2.276463, 1.160578, 0.569285],
    "ddim_uniform": [5.134431, 2.292854, 1.168216, 0.57405, 0.041314],
    "beta": [14.614641, 7.371844, 2.615236, 1.027329, 0.39551],
    "linear_quadratic": [14.614641, 14.431958, 14.249275, 12.544234, 7.794476],
    "kl_optimal": [14.614633, 2.142741, 0.961588, 0.419836, 0.029167],
}


@pytest.mark.parametrize("name", FIVE)
def test_five_steps_of_every_schedule(name: str) -> None:
    sigmas = schedules.schedule(name, 5, LEVELS)
    assert sigmas.dtype == torch.float32
    assert sigmas[:-1].tolist() == pytest.approx(FIVE[name], rel=2e-5, abs=1e-6)
    assert sigmas[-1] == 0


def test_zero_snr_normal() -> None:
    sigmas = schedules.schedule("normal", 5, zero_snr_levels())
    assert sigmas.tolist() == pytest.approx([4518.764, 5.40662, 1.77132, 0.72914, 0.02917, 0], rel=1e-4, abs=1e-6)


@given(st.sampled_from(list(schedules.SCHEDULES)), st.integers(1, 60))
def test_every_schedule_falls_to_zero(name: str, steps: int) -> None:
    sigmas = schedules.schedule(name, steps, LEVELS)
    assert sigmas[-1] == 0
    assert torch.all(sigmas[:-1] > 0)
    assert torch.all(sigmas.diff() < 0)


@pytest.mark.parametrize(("steps", "length"), [(5, 5), (7, 8), (13, 14), (33, 34), (150, 167)])
def test_ddim_uniform_may_be_longer_than_asked(steps: int, length: int) -> None:
    assert len(schedules.schedule("ddim_uniform", steps, LEVELS)) - 1 == length


def test_beta_drops_repeated_levels() -> None:
    assert len(schedules.schedule("beta", 150, LEVELS)) - 1 == 149


def test_one_step_of_the_formulas_that_divide_by_steps_less_one() -> None:
    assert schedules.schedule("kl_optimal", 1, LEVELS).tolist() == pytest.approx([14.614641, 0])
    assert schedules.schedule("linear_quadratic", 1, LEVELS).tolist() == pytest.approx([14.614641, 0])


def test_align_your_steps() -> None:
    expected = [14.61464, 3.86367, 1.88419, 0.96426, 0.39775, 0]
    assert schedules.align_your_steps("SD1", 5).tolist() == pytest.approx(expected, abs=6e-6)
    assert schedules.align_your_steps("SD1", 10).tolist()[:2] == pytest.approx([14.6146412, 6.4745761])
    assert len(schedules.align_your_steps("SDXL", 10, denoise=0.5)) == 6
    assert len(schedules.align_your_steps("SDXL", 10, denoise=0.0)) == 0


def test_laplace_has_no_zero_and_stays_in_range() -> None:
    sigmas = schedules.laplace(9, LEVELS.sigma_min, LEVELS.sigma_max)
    assert len(sigmas) == 9
    assert float(sigmas[4]) == pytest.approx(1.0, rel=1e-4)
    assert float(sigmas[-1]) == pytest.approx(LEVELS.sigma_min)


def test_sd_turbo_and_vp() -> None:
    sigmas = schedules.sd_turbo(2, LEVELS, denoise=0.5)
    assert sigmas[:2].tolist() == LEVELS.sigmas[[499, 399]].tolist()
    vp = schedules.variance_preserving(3)
    assert float(vp[0]) == pytest.approx((torch.tensor(10.05).double().exp() - 1).sqrt().item(), rel=1e-5)
    assert schedules.polyexponential(5, 0.1, 10).tolist() == pytest.approx(schedules.exponential(5, 0.1, 10).tolist())


def test_denoise_keeps_the_tail_of_a_longer_schedule() -> None:
    sigmas = schedules.run_sigmas("euler", "normal", 5, LEVELS, denoise=0.65)
    assert torch.equal(sigmas, schedules.schedule("normal", 7, LEVELS)[-6:])
    assert len(schedules.run_sigmas("euler", "normal", 5, LEVELS, denoise=0.0)) == 0
    whole = schedules.run_sigmas("euler", "normal", 5, LEVELS, denoise=0.99995)
    assert torch.equal(whole, schedules.schedule("normal", 5, LEVELS))
    assert len(schedules.run_sigmas("euler", "karras", 5, LEVELS, denoise=0.99995, node=True)) == 6


@pytest.mark.parametrize("sampler", sorted(schedules.DROPS_EXTRA_STEP))
def test_some_samplers_drop_the_last_but_one_sigma(sampler: str) -> None:
    longer = schedules.schedule("karras", 7, LEVELS)
    sigmas = schedules.run_sigmas(sampler, "karras", 6, LEVELS)
    assert sigmas.tolist() == [*longer[:-2].tolist(), 0.0]
    assert torch.equal(
        schedules.run_sigmas(sampler, "karras", 6, LEVELS, node=True), schedules.schedule("karras", 6, LEVELS)
    )


def test_windows_of_a_run() -> None:
    sigmas = schedules.schedule("normal", 9, LEVELS)
    kept = schedules.window(sigmas, 2, 6, leftover=True)
    assert kept is not None
    assert torch.equal(kept, sigmas[2:7])
    closed = schedules.window(sigmas, 2, 6, leftover=False)
    assert closed is not None
    assert closed.tolist() == [*sigmas[2:6].tolist(), 0.0]
    assert sigmas[6] > 0
    assert torch.equal(schedules.window(sigmas, 0, 10000, leftover=True), sigmas)
    assert schedules.window(sigmas, 9, None, leftover=False) is None
    assert schedules.window(sigmas, 0, 0, leftover=True) is None
    assert schedules.window(sigmas, 5, 4, leftover=True) is None


def test_tools_over_sigmas() -> None:
    sigmas = torch.tensor([4.0, 2.0, 1.0, 0.0])
    assert [part.tolist() for part in schedules.split(sigmas, 1)] == [[4.0, 2.0], [2.0, 1.0, 0.0]]
    assert [part.tolist() for part in schedules.split_denoise(sigmas, 0.34)] == [[4.0, 2.0, 1.0], [1.0, 0.0]]
    assert schedules.flip(sigmas).tolist() == pytest.approx([0.0001, 1.0, 2.0, 4.0])
    assert schedules.set_first(sigmas, 9.0).tolist() == [9.0, 2.0, 1.0, 0.0]
    assert schedules.extend_intermediate(sigmas, 2, -1, 1.0).tolist() == [4.0, 3.0, 2.0, 1.5, 1.0, 0.5, 0.0]
    assert schedules.extend_intermediate(sigmas, 2, 3.0, 1.5, "cosine").tolist() == pytest.approx(
        [4.0, 2.0, 2.0 - 0.7071068, 1.0, 0.0]
    )


def test_an_unknown_scheduler_is_told_its_neighbours() -> None:
    with pytest.raises(SettingError, match=r"Unknown scheduler 'karas'.*Did you mean karras"):
        schedules.run_sigmas("euler", "karas", 5, LEVELS)
    with pytest.raises(SettingError, match=r"'qqqq'.*Known: simple"):
        schedules.schedule("qqqq", 5, LEVELS)
    with pytest.raises(SettingError, match="1 or more"):
        schedules.schedule("karras", 0, LEVELS)
