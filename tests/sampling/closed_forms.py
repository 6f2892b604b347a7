"""Denoisers with known answers, and short ways to run a sampler, shared by the tests of this room."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hires.sampling import noise, run
from hires.sampling.levels import standard_levels
from hires.sampling.schedules import run_sigmas
from hires.sampling.state import Plan, Prediction, State

SHAPE = (1, 4, 8, 8)
LEVELS = standard_levels()


def wavy(x: Tensor, sigma: Tensor, call: int = 0) -> Prediction:
    """The non-linear denoiser that the golden values of the samplers were made with."""
    uncond = x / (1 + sigma**2)
    return Prediction(uncond + 0.5 * torch.sin(x / (1 + sigma) + 0.3 * sigma.log()), uncond)


def gaussian(deviation: float) -> Callable[..., Prediction]:
    """The exact denoiser of data that is normal with this deviation: its trajectories are known (see `flow`)."""

    def denoise(x: Tensor, sigma: Tensor, call: int = 0) -> Prediction:
        denoised = deviation**2 * x / (deviation**2 + sigma**2)
        return Prediction(denoised, denoised)

    return denoise


def flow(x: Tensor, sigma: float, sigma_next: float, deviation: float) -> Tensor:
    """Where the probability flow takes x under `gaussian`."""
    return x * ((deviation**2 + sigma_next**2) / (deviation**2 + sigma**2)) ** 0.5


def start(plan: Plan, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> State:
    return run.start(plan, torch.zeros(shape), noise.initial_noise(seed, shape))


def result(plan: Plan, **options: object) -> Tensor:
    state = run.sample(plan, start(plan), wavy, **options)  # type: ignore[arg-type]
    return run.latent(plan, state)


def karras(sampler: str, steps: int) -> Tensor:
    return run_sigmas(sampler, "karras", steps, LEVELS)
