"""Samplers of the A1111 web UI's own: Restart, and DDIM and PLMS in the variance-preserving scale."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from hires.sampling.samplers.base import Denoise, Sampler, uncond_of
from hires.sampling.samplers.multistep import ADAMS_BASHFORTH
from hires.sampling.samplers.runge_kutta import heun_move
from hires.sampling.schedules import karras
from hires.sampling.state import Plan, State

RESTART_LOW, RESTART_HIGH = 0.1, 2.0


def restart_pairs(sigmas: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The (sigma, sigma_next) of Restart's steps (Xu et al. 2023) as the web UI lays them out: as many as asked for.

    Runs of 20 steps and more go through the levels between 0.1 and 2 again, once or (from 36) twice.
    """
    n = len(sigmas) - 1
    base = sigmas
    again, times = (9, 1) if n < 36 else (n // 4, 2)
    if n >= 20:
        base = karras(n - again * times, float(sigmas[-2]), float(sigmas[0]))
    pairs = list(itertools.pairwise(base))
    low, high = (int((base - level).abs().argmin()) for level in (RESTART_LOW, RESTART_HIGH))
    if n < 20 or high >= low:
        return pairs
    back = karras(again + 1, float(base[low]), float(base[high]))[:-1]
    return pairs[:low] + list(itertools.pairwise(back)) * times + pairs[low:]


def restart(plan: Plan, state: State, denoise: Denoise) -> State:
    """Heun's step; where the levels jump up, noise is added to match."""
    pairs = restart_pairs(plan.sigmas)
    sigma, sigma_next = pairs[state.step]
    x, rng = state.x, state.rng
    if state.step and pairs[state.step - 1][1] < sigma:
        noise, rng = state.draw()
        x = x + noise * plan.number("s_noise") * (sigma**2 - pairs[state.step - 1][1] ** 2) ** 0.5
    return state.after(heun_move(x, sigma, sigma_next, denoise), rng)


def restart_interval(plan: Plan, step: int) -> tuple[Tensor, Tensor]:
    return restart_pairs(plan.sigmas)[step]


def restart_reads(plan: Plan, step: int, state: State | None) -> tuple[float, ...]:
    return (float(restart_pairs(plan.sigmas)[step - 1][1]),) if step else ()


def alpha_bar(sigma: Tensor) -> float:
    """The share of the clean latent's variance at a level, rounded to float32 as the web UI's table is."""
    return float(1 / (sigma**2 + 1))


def noise_estimates(x: Tensor, sigma: Tensor, denoise: Denoise, uncond: bool = False) -> tuple[Tensor, Tensor]:
    """epsilon of the guided and (if asked for) the unconditional estimate at x in the variance-preserving scale."""
    x_ve = x * (sigma**2 + 1) ** 0.5
    prediction = denoise(x_ve, sigma)
    epsilon = (x_ve - prediction.denoised) / sigma
    return epsilon, (x_ve - uncond_of(prediction)) / sigma if uncond else epsilon


def ddim(plan: Plan, state: State, denoise: Denoise) -> State:
    """Song et al. 2020, equation 12."""
    return ddim_move(plan, state, *noise_estimates(state.x, plan.sigmas[state.step], denoise))


def ddim_cfg_pp(plan: Plan, state: State, denoise: Denoise) -> State:
    """DDIM with the direction of the unconditional estimate (Chung et al. 2024)."""
    return ddim_move(plan, state, *noise_estimates(state.x, plan.sigmas[state.step], denoise, uncond=True))


def ddim_move(plan: Plan, state: State, epsilon: Tensor, direction: Tensor) -> State:
    a, a_next = (alpha_bar(sigma) for sigma in plan.pair(state.step))
    eta = plan.number("eta")
    kappa = eta * math.sqrt((1 - a_next) / (1 - a) * (1 - a / a_next))
    clean = (state.x - math.sqrt(1 - a) * epsilon) / math.sqrt(a)
    x = math.sqrt(a_next) * clean + math.sqrt(1.0 - a_next - kappa**2) * direction
    if eta == 0:
        return state.after(x)
    noise, rng = state.draw()
    return state.after(x + kappa * noise, rng)


def plms(plan: Plan, state: State, denoise: Denoise) -> State:
    """Liu et al. 2022: Adams-Bashforth on epsilon, started with the improved Euler method."""
    sigma, sigma_next = plan.pair(state.step)
    epsilon, _ = noise_estimates(state.x, sigma, denoise)
    slopes = (epsilon, *state.tensors("epsilon"))
    if len(slopes) == 1 and sigma_next > 0:
        second, _ = noise_estimates(transfer(state.x, epsilon, sigma, sigma_next), sigma_next, denoise)
        combined = (epsilon + second) / 2
    else:
        combined = torch.zeros_like(epsilon)
        for weight, slope in zip(ADAMS_BASHFORTH[len(slopes) - 1], slopes, strict=True):
            combined = combined + weight * slope
    return state.after(transfer(state.x, combined, sigma, sigma_next), epsilon=slopes[:3])


def transfer(x: Tensor, epsilon: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """DDIM's deterministic move along epsilon."""
    a, a_next = alpha_bar(sigma), alpha_bar(sigma_next)
    clean = (x - math.sqrt(1 - a) * epsilon) / math.sqrt(a)
    return math.sqrt(a_next) * clean + math.sqrt(1.0 - a_next) * epsilon


SAMPLERS = (
    Sampler(
        "restart", restart, "gauss", "B", calls=2, options={"s_noise": 1.0},
        steps=lambda plan: len(restart_pairs(plan.sigmas)) if plan.steps else 0,
        interval=restart_interval, reads=restart_reads,
    ),
    Sampler("ddim_timesteps", ddim, "gauss", options={"eta": 0.0}, space="vp"),
    Sampler(
        "ddim_cfg_pp", ddim_cfg_pp, "gauss", options={"eta": 0.0}, needs_uncond=True, space="vp", cfg_scale=1 / 12.5
    ),
    Sampler("plms", plms, calls=2, space="vp"),
)  # fmt: skip
