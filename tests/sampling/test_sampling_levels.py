from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hires.sampling import levels

STANDARD = levels.standard_levels()


def test_the_standard_table() -> None:
    assert STANDARD.sigma_min == 0.029167158529162407
    assert STANDARD.sigma_max == 14.614641189575195
    index = torch.tensor([0, 1, 99, 199, 249, 499, 500, 749, 999])
    expected = [0.029168, 0.041314, 0.341674, 0.569285, 0.693205, 1.612886, 1.618279, 4.081729, 14.614642]
    assert STANDARD.sigmas[index].tolist() == pytest.approx(expected, abs=2e-6)


def test_the_zero_terminal_snr_table() -> None:
    table = levels.zero_snr_levels()
    assert table.sigma_max == pytest.approx(4518.763671875, abs=1e-3)
    assert float(table.sigmas[998]) == pytest.approx(2254.238, abs=1e-3)
    assert float(table.sigmas[0]) == pytest.approx(STANDARD.sigma_min, rel=1e-6)


def test_the_downcast_table_rounds_alpha_bar_to_half() -> None:
    table = levels.downcast_levels()
    alpha_bar = 1 / (table.sigmas.double() ** 2 + 1)
    assert torch.allclose(alpha_bar, alpha_bar.half().double(), rtol=1e-6)
    assert torch.allclose(table.sigmas, STANDARD.sigmas, rtol=0.1)
    assert torch.all(table.sigmas.diff() > 0)


def test_percent_to_sigma() -> None:
    assert STANDARD.percent_to_sigma(0.2) == pytest.approx(5.0924082, rel=1e-6)
    assert STANDARD.percent_to_sigma(0.5) == pytest.approx(1.6155803, rel=1e-6)
    assert STANDARD.percent_to_sigma(0.8) == pytest.approx(0.5711889, rel=1e-6)
    assert STANDARD.percent_to_sigma(0.0) == 999999999.9
    assert STANDARD.percent_to_sigma(1.0) == 0.0


@given(st.floats(0, 999))
def test_an_interpolated_timestep_goes_there_and_back(timestep: float) -> None:
    sigma = STANDARD.sigma(torch.tensor(timestep))
    assert float(STANDARD.timestep(sigma, interpolate=True)) == pytest.approx(timestep, abs=2e-3)
    assert abs(float(STANDARD.timestep(sigma)) - timestep) <= 0.51


def test_timesteps_beyond_the_table_are_its_ends() -> None:
    sigma = torch.tensor([0.0, 1e-6, 1e6])
    assert STANDARD.timestep(sigma).tolist() == [0, 0, 999]
    assert STANDARD.timestep(sigma, interpolate=True).tolist() == [0, 0, 999]


def test_lcm_levels_are_one_in_twenty() -> None:
    table = levels.lcm_levels()
    assert len(table.sigmas) == 50
    assert table.sigmas[-1] == STANDARD.sigmas[999]
    assert table.sigmas[0] == STANDARD.sigmas[19]
    assert table.timestep(STANDARD.sigmas[[19, 39, 999]]).tolist() == [19, 39, 999]
    assert torch.equal(table.sigma(torch.tensor([19.0, 999.0])), STANDARD.sigma(torch.tensor([19.0, 999.0])))


@pytest.mark.parametrize("sigma", [0.03, 1.0, 14.6])
def test_every_prediction_type_recovers_the_clean_latent(sigma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(2, 4, 3, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    s = torch.tensor(sigma, dtype=torch.float64)
    x, root = clean + s * noise, (s**2 + 1) ** 0.5
    alpha = 1 / root
    outputs = {"eps": noise, "v": alpha * noise - s * alpha * clean, "x0": clean}
    outputs["edm"] = (clean - x / (s**2 + 1)) * root / s
    for prediction, output in outputs.items():
        assert torch.allclose(levels.denoised(prediction, output, x, s, STANDARD), clean, atol=1e-10), prediction
        batched = levels.denoised(prediction, output, x, s.expand(2), STANDARD)
        assert torch.allclose(batched, clean, atol=1e-10), prediction


def test_the_lcm_prediction_mixes_by_timestep() -> None:
    table = levels.lcm_levels()
    x, output, sigma = torch.full((1, 4, 2, 2), 2.0), torch.full((1, 4, 2, 2), 0.5), table.sigmas[0]
    skip, out = 0.25 / (190**2 + 0.25), 190 / math.sqrt(190**2 + 0.25)
    expected = (2.0 - 0.5 * float(sigma)) * out + 2.0 * skip
    assert float(levels.denoised("lcm", output, x, sigma, table)[0, 0, 0, 0]) == pytest.approx(expected, rel=1e-6)


def test_an_unknown_prediction_type_is_a_fault() -> None:
    with pytest.raises(ValueError, match="none of eps"):
        levels.denoised("epsilon", torch.zeros(1), torch.zeros(1), torch.ones(()), STANDARD)


def test_only_a_run_from_the_highest_level_starts_from_pure_noise() -> None:
    assert levels.is_maximum(STANDARD, STANDARD.sigma_max)
    assert levels.is_maximum(STANDARD, 20.0)
    assert not levels.is_maximum(STANDARD, 14.6)


def test_scaled_input_has_unit_variance() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, 64, 64, generator=generator) * (1 + 5.0**2) ** 0.5
    assert float(levels.scale_input(x, torch.tensor([5.0, 5.0])).std()) == pytest.approx(1.0, abs=0.02)
