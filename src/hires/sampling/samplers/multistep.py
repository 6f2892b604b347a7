"""Linear multistep methods in sigma, and those that take their slopes from earlier steps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from hires.sampling.samplers.base import Denoise, Sampler, ancestral, draw_if, slope
from hires.sampling.state import Plan, State


def lms(plan: Plan, state: State, denoise: Denoise) -> State:
    """Adams-Bashforth on the sigmas as they are; the coefficients are exact integrals in float64."""
    sigma, sigma_next = plan.pair(state.step)
    denoised = denoise(state.x, sigma).denoised
    slopes = (slope(state.x, sigma, denoised), *state.tensors("d"))
    sigmas = (sigma, *state.tensors("sigma"))
    if sigma_next == 0:
        x = denoised
    else:
        nodes = [float(node) for node in sigmas]
        weights = lagrange_integrals(nodes, nodes[0], float(sigma_next))
        x = state.x + sum(weight * d for weight, d in zip(weights, slopes, strict=True))
    kept = int(plan.number("order")) - 1
    return state.after(x, d=slopes[:kept], sigma=sigmas[:kept])


def lagrange_integrals(nodes: list[float], start: float, end: float) -> list[float]:
    """The integrals over [start, end] of the Lagrange basis polynomials of some nodes."""
    weights = []
    for j, node in enumerate(nodes):
        basis = Polynomial([1.0])
        for k, other in enumerate(nodes):
            if k != j:
                basis = basis * Polynomial([-other, 1.0]) / (node - other)
        integral = basis.integ()
        weights.append(float(integral(end) - integral(start)))
    return weights


ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the newest slope first, for equal steps."""


def ipndm(plan: Plan, state: State, denoise: Denoise) -> State:
    """Liu et al. 2022 as in Zhang and Chen 2023: the equal-step weights on unequal steps."""
    sigma, sigma_next = plan.pair(state.step)
    denoised = denoise(state.x, sigma).denoised
    slopes = (slope(state.x, sigma, denoised), *state.tensors("d"))
    order = min(len(slopes), int(plan.number("max_order")))
    combined = sum(weight * d for weight, d in zip(ADAMS_BASHFORTH[order - 1], slopes, strict=False))
    x = denoised if sigma_next == 0 else state.x + (sigma_next - sigma) * combined
    return state.after(x, d=slopes[: int(plan.number("max_order")) - 1])


def ipndm_v(plan: Plan, state: State, denoise: Denoise) -> State:
    """The same with weights for the steps as they are."""
    sigma, sigma_next = plan.pair(state.step)
    denoised = denoise(state.x, sigma).denoised
    slopes = (slope(state.x, sigma, denoised), *state.tensors("d"))
    sigmas = (sigma, *state.tensors("sigma"))
    order = min(len(slopes), int(plan.number("max_order")))
    if sigma_next == 0:
        x = denoised
    else:
        levels = (sigma_next, *sigmas[:order])
        weights = variable_step_weights([new - old for new, old in itertools.pairwise(levels)])
        x = state.x + (sigma_next - sigma) * sum(w * d for w, d in zip(weights, slopes, strict=False))
    kept = int(plan.number("max_order")) - 1
    return state.after(x, d=slopes[:kept], sigma=sigmas[:kept])


def variable_step_weights(steps: list[Tensor]) -> list[Tensor]:
    """Weights for the step sizes k (this step), k_1, k_2, k_3 (earlier ones): orders 1 to 4.

    In the third term the ratio of steps multiplies the subtracted fraction only; a textbook's would multiply the
    bracket. The reference's numbers have it so, and the two agree for equal steps.
    """
    k, *earlier = steps
    if not earlier:
        return [torch.ones_like(k)]
    k_1 = earlier[0]
    q = k / k_1
    if len(earlier) == 1:
        return [1 + q / 2, -q / 2]
    k_2 = earlier[1]
    rho = k_1 / k_2
    third = (1 - k / (3 * (k + k_1)) * (k * (k + k_1)) / (k_1 * (k_1 + k_2))) / 2
    if len(earlier) == 2:
        return [1 + q / 2 + third, -q / 2 - (1 + rho) * third, rho * third]
    k_3 = earlier[2]
    omega = k_1 * (k_1 + k_2) / (k_2 * (k_2 + k_3))
    bracket = (1 - k / (3 * (k + k_1))) / 2 + (1 - k / (2 * (k + k_1))) * k / (6 * (k + k_1 + k_2))
    fourth = bracket * (k * (k + k_1) * (k + k_1 + k_2)) / (k_1 * (k_1 + k_2) * (k_1 + k_2 + k_3))
    return [
        1 + q / 2 + third + fourth,
        -q / 2 - (1 + rho) * third - (1 + rho + omega) * fourth,
        rho * third + (rho + omega * (1 + k_2 / k_3)) * fourth,
        -(omega * rho) * fourth,
    ]


DEIS_GRID = 10000


def deis(plan: Plan, state: State, denoise: Denoise) -> State:
    """Zhang and Chen 2023, mode "tab": polynomial extrapolation in the time of a fixed VP process."""
    sigma, sigma_next = plan.pair(state.step)
    denoised = denoise(state.x, sigma).denoised
    slopes = (slope(state.x, sigma, denoised), *state.tensors("d"))
    sigmas = (sigma, *state.tensors("sigma"))
    order = min(len(slopes), int(plan.number("max_order")))
    if sigma_next == 0 or order == 1:
        x = state.x + (sigma_next - sigma) * slopes[0]
    else:
        weights = deis_weights([float(level) for level in sigmas[:order]], float(sigma_next))
        x = state.x + sum(weight * d for weight, d in zip(weights, slopes, strict=False))
    kept = int(plan.number("max_order")) - 1
    return state.after(x, d=slopes[:kept], sigma=sigmas[:kept])


def deis_weights(sigmas: list[float], sigma_next: float) -> list[float]:
    """Plain sums over a grid of 10000 points that counts both ends: their error of 1e-4 is part of the numbers."""

    def log_variance(sigma: float) -> float:
        return math.log(sigma**2 + 1)

    beta_d = 2 * (log_variance(0.002) / 0.001 - log_variance(80.0)) / (0.001 - 1)
    beta_min = log_variance(80.0) - 0.5 * beta_d

    def time(sigma: float) -> float:
        return (math.sqrt(beta_min**2 + 2 * beta_d * log_variance(sigma)) - beta_min) / beta_d

    start, end, nodes = time(sigmas[0]), time(sigma_next), [time(sigma) for sigma in sigmas]
    tau = np.linspace(start, end, DEIS_GRID)
    alpha = np.exp(-0.5 * beta_d * tau**2 - beta_min * tau)
    integrand = 0.5 * (beta_d * tau + beta_min) / np.sqrt(alpha * (1 - alpha))
    weights = []
    for j, node in enumerate(nodes):
        basis = np.ones_like(tau)
        for k, other in enumerate(nodes):
            if k != j:
                basis = basis * (tau - other) / (node - other)
        weights.append(float(np.sum(integrand * basis) * (end - start) / DEIS_GRID))
    return weights


def res_multistep(plan: Plan, state: State, denoise: Denoise) -> State:
    """Refined exponential solver, second order (Zhang et al. 2023)."""
    sigma, sigma_next = plan.pair(state.step)
    x, denoised = state.x, denoise(state.x, sigma).denoised
    down, up = ancestral(sigma, sigma_next, plan.number("eta"))
    if down == 0 or not state.memory:
        x = x + slope(x, sigma, denoised) * (down - sigma)
    else:
        h, b_1, b_2 = refined_weights(sigma, down, state.tensor("sigma"), state.tensor("down"))
        x = (-h).exp() * x + h * (b_1 * denoised + b_2 * state.tensor("denoised"))
    noise, rng = draw_if(bool(sigma_next > 0 and up > 0), state)
    x = x + noise * plan.number("s_noise") * up
    return state.after(x, rng, denoised=denoised, sigma=sigma, down=down)


def refined_weights(sigma: Tensor, down: Tensor, sigma_1: Tensor, down_1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(h, b_1, b_2): the step in -ln sigma and the weights of this estimate and the one before."""
    t, t_old, t_next, t_prev = -sigma.log(), -down_1.log(), -down.log(), -sigma_1.log()
    h = t_next - t
    c = (t_prev - t_old) / h
    phi_1 = (-h).expm1() / (-h)
    phi_2 = (phi_1 - 1.0) / (-h)
    return h, torch.nan_to_num(phi_1 - phi_2 / c, nan=0.0), torch.nan_to_num(phi_2 / c, nan=0.0)


def gradient_estimation(plan: Plan, state: State, denoise: Denoise) -> State:
    """Permenter and Yuan 2024: the slope corrected by how it changed since the step before."""
    sigma, sigma_next = plan.pair(state.step)
    denoised = denoise(state.x, sigma).denoised
    d, dt = slope(state.x, sigma, denoised), sigma_next - sigma
    if sigma_next == 0:
        return state.after(denoised, d=d)
    x = state.x + d * dt
    if state.memory:
        x = x + (plan.number("ge_gamma") - 1) * (d - state.tensor("d")) * dt
    return state.after(x, d=d)


SAMPLERS = (
    Sampler("lms", lms, options={"order": 4}),
    Sampler("ipndm", ipndm, options={"max_order": 4}),
    Sampler("ipndm_v", ipndm_v, options={"max_order": 4}),
    Sampler("deis", deis, options={"max_order": 3}),
    Sampler("res_multistep", res_multistep, "gauss", options={"eta": 0.0, "s_noise": 1.0}),
    Sampler("res_multistep_ancestral", res_multistep, "gauss", options={"eta": 1.0, "s_noise": 1.0}),
    Sampler("gradient_estimation", gradient_estimation, options={"ge_gamma": 2.0}),
)
