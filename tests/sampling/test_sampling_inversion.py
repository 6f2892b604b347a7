"""Noise inversion against closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hires.errors import SettingError
from hires.sampling import run
from hires.sampling.guidance import Cond, Guidance
from hires.sampling.inversion import Inverted, inverted_noise, renoise_mask, retouched
from hires.sampling.levels import standard_levels
from hires.sampling.noise import initial_noise
from hires.sampling.schedules import run_sigmas
from hires.sampling.state import Prediction

LEVELS = standard_levels()
SPREAD = 0.7


def gaussian(x: Tensor, sigma: Tensor, call: int) -> Prediction:
    """The right estimate where clean latents are normal with a standard deviation of 0.7."""
    return Prediction(x * SPREAD**2 / (SPREAD**2 + sigma**2), None)


def test_many_steps_up_and_down_are_the_way_back() -> None:
    """Of normal latents the exact noise is known: x / sigma_m at the top of x0 sqrt(1 + sigma_m² / 0.7²)."""
    latent = SPREAD * initial_noise(1, (1, 4, 8, 8))
    sigmas = run_sigmas("euler", "karras", 400, LEVELS)
    rising = sigmas.flip(0)[1:]
    noise = inverted_noise(latent, rising, gaussian)
    top = float(rising[-1])
    exact = latent * ((1 + top**2 / SPREAD**2) ** 0.5 - 1) / top
    torch.testing.assert_close(noise, exact, rtol=0.05, atol=0.02)
    plan = run.make_plan("heun", sigmas, levels=LEVELS)
    back = run.sample(plan, run.begin(plan, latent + noise * sigmas[0]), gaussian).x
    torch.testing.assert_close(back, latent, rtol=0.05, atol=0.02)


class Velocity:
    """A v-prediction network for latents of spread 1: v = 0 there."""

    identity, prediction = "v", "v"

    def predict(self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)


def test_v_prediction_keeps_the_share_of_x() -> None:
    """With v = 0 the estimate is x / (1 + sigma²), for which the noise is known too; without c_skip it would be 0."""
    latent = initial_noise(2, (1, 4, 8, 8))
    rising = run_sigmas("euler", "karras", 400, LEVELS).flip(0)[1:]
    guidance = Guidance(Velocity(), LEVELS, [Cond(torch.zeros(1, 1, 1))], [], 1.0)
    noise = inverted_noise(latent, rising, guidance)
    top = float(rising[-1])
    torch.testing.assert_close(noise, latent * ((1 + top**2) ** 0.5 - 1) / top, rtol=0.05, atol=0.02)


def test_fresh_noise_is_mixed_at_unit_variance() -> None:
    found, fresh = initial_noise(1, (1, 4, 64, 64)), initial_noise(2, (1, 4, 64, 64))
    for share in (0.0, 0.3, 1.0):
        mixed = Inverted(found, torch.full((1, 1, 64, 64), share)).mixed(fresh)
        assert abs(float(mixed.var()) - 1) < 0.03
    assert torch.equal(Inverted(found).mixed(fresh), found)
    assert torch.equal(Inverted(found, torch.ones(1, 1, 64, 64)).mixed(fresh), fresh)
    with pytest.raises(SettingError):
        Inverted(found).mixed(fresh[..., :32])


def test_edges_get_less_fresh_noise_than_flat_parts() -> None:
    image = torch.full((1, 64, 64, 3), 0.2)
    image[:, :, 30:34] = 0.8
    mask = renoise_mask(image, 1.0, 16, 8, 8)
    assert mask.shape == (1, 1, 8, 8)
    assert float(mask[0, 0, 4, 0]) == pytest.approx(1.0, abs=0.01) and float(mask[0, 0, 4, 4]) < 0.985
    assert not renoise_mask(image, 0.0, 16, 8, 8).any()
    assert float(renoise_mask(image, 2.0, 512, 8, 8).max()) == 1.0


def test_a_retouched_network_is_told_lower_timesteps() -> None:
    told: list[Any] = []

    class Network(Velocity):
        def predict(self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None) -> Tensor:
            told.append(timestep)
            return x

    network = Network()
    assert retouched(network, 1.0) is network
    changed = retouched(network, 2.0)
    changed.predict(torch.zeros(1, 4, 2, 2), torch.tensor([500.0]), torch.zeros(1, 1, 1))
    assert float(told[0]) == 250.0 and changed.identity != network.identity and changed.prediction == "v"
