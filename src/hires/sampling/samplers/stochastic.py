"""Stochastic exponential integrators: ER-SDE (Cui et al. 2023) and SEEDS (Gonzalez et al. 2023)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hires.sampling.samplers.base import ANCESTRAL, Denoise, Sampler
from hires.sampling.state import Plan, State

ER_POINTS = 200


def er_sde(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    denoised = denoise(state.x, sigma).denoised
    earlier, sigmas = state.tensors("denoised"), state.tensors("sigma")
    kept: dict[str, Any] = {"denoised": (denoised,), "sigma": (sigma, *sigmas)[:2]}
    if sigma_next == 0:
        return state.after(denoised, **kept)
    stages = min(int(plan.number("max_stage")), len(sigmas) + 1)
    r = noise_scale(plan, sigma_next) / noise_scale(plan, sigma)
    x = r * state.x + (1 - r) * denoised
    if stages >= 2:
        dt = sigma_next - sigma
        width = -dt / ER_POINTS
        points = sigma_next + torch.arange(ER_POINTS, dtype=torch.float32) * width
        scales = noise_scale(plan, points)
        first = (denoised - earlier[0]) / (sigma - sigmas[0])
        x = x + (dt + torch.sum(1 / scales) * width * noise_scale(plan, sigma_next)) * first
        kept["first"] = first
        if stages >= 3:
            second = (first - state.tensor("first")) / ((sigma - sigmas[1]) / 2)
            integral = torch.sum((points - sigma) / scales) * width
            x = x + ((dt**2) / 2 + integral * noise_scale(plan, sigma_next)) * second
    if plan.number("s_noise") <= 0 or plan.options["solver_type"] == "ODE":
        return state.after(x, **kept)
    noise, rng = state.draw()
    deviation = (sigma_next**2 - sigma**2 * r**2).sqrt().nan_to_num(nan=0.0)
    return state.after(x + noise * plan.number("s_noise") * deviation, rng, **kept)


def noise_scale(plan: Plan, sigma: Tensor) -> Tensor:
    """phi of the paper, which says how much noise is put back."""
    match plan.options["solver_type"]:
        case "ODE":
            return sigma
        case "Reverse-time SDE":
            return sigma ** (plan.number("eta") + 1)
        case _:
            return sigma * ((sigma**0.3).exp() + 10.0)


def seeds_2(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    x, denoised = state.x, denoise(state.x, sigma).denoised
    if sigma_next == 0:
        return state.after(denoised)
    eta, s_noise, r = plan.number("eta"), plan.number("s_noise"), plan.number("r")
    lam, lam_next = -sigma.log(), -sigma_next.log()
    h = lam_next - lam
    h_eta = h * (eta + 1)
    sigma_s = (-torch.lerp(lam, lam_next, r)).exp()
    noisy = eta > 0 and s_noise > 0
    rng, z = state.rng, torch.zeros_like(x)

    x_2 = (sigma_s / sigma) * (-r * h * eta).exp() * x - (-r * h_eta).expm1() * denoised
    if noisy:
        assert rng is not None
        noise, rng = rng.draw(x)
        z = (-2 * r * h * eta).expm1().neg().sqrt() * noise
        x_2 = x_2 + z * sigma_s * s_noise
    denoised_2 = denoise(x_2, sigma_s).denoised

    mixed = torch.lerp(denoised, denoised_2, 1 / (2 * r))
    x = (sigma_next / sigma) * (-h * eta).exp() * x - (-h_eta).expm1() * mixed
    if noisy:
        assert rng is not None
        noise, rng = rng.draw(x)
        carry = ((r - 1) * h * eta).exp()
        z = z * carry + (2 * (r - 1) * h * eta).expm1().neg().sqrt() * noise
        x = x + z * sigma_next * s_noise
    return state.after(x, rng)


def seeds_3(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    x, denoised = state.x, denoise(state.x, sigma).denoised
    if sigma_next == 0:
        return state.after(denoised)
    eta, s_noise, r_1, r_2 = (plan.number(name) for name in ("eta", "s_noise", "r_1", "r_2"))
    lam, lam_next = -sigma.log(), -sigma_next.log()
    h = lam_next - lam
    h_eta = h * (eta + 1)
    sigma_1, sigma_2 = (-torch.lerp(lam, lam_next, r_1)).exp(), (-torch.lerp(lam, lam_next, r_2)).exp()
    noisy = eta > 0 and s_noise > 0
    rng, z = state.rng, torch.zeros_like(x)

    x_2 = (sigma_1 / sigma) * (-r_1 * h * eta).exp() * x - (-r_1 * h_eta).expm1() * denoised
    if noisy:
        assert rng is not None
        noise, rng = rng.draw(x)
        z = (-2 * r_1 * h * eta).expm1().neg().sqrt() * noise
        x_2 = x_2 + z * sigma_1 * s_noise
    denoised_2 = denoise(x_2, sigma_1).denoised

    weight = r_2 / r_1 * phi_2(-r_2 * h_eta)
    mixed = ((-r_2 * h_eta).expm1() - weight) * denoised + weight * denoised_2
    x_3 = (sigma_2 / sigma) * (-r_2 * h * eta).exp() * x - mixed
    if noisy:
        assert rng is not None
        noise, rng = rng.draw(x)
        z = z * ((r_1 - r_2) * h * eta).exp() + (2 * (r_1 - r_2) * h * eta).expm1().neg().sqrt() * noise
        x_3 = x_3 + z * sigma_2 * s_noise
    denoised_3 = denoise(x_3, sigma_2).denoised

    weight = phi_2(-h_eta) / r_2
    mixed = ((-h_eta).expm1() - weight) * denoised + weight * denoised_3
    x = (sigma_next / sigma) * (-h * eta).exp() * x - mixed
    if noisy:
        assert rng is not None
        noise, rng = rng.draw(x)
        z = z * ((r_2 - 1) * h * eta).exp() + (2 * (r_2 - 1) * h * eta).expm1().neg().sqrt() * noise
        x = x + z * sigma_next * s_noise
    return state.after(x, rng)


def phi_2(y: Tensor) -> Tensor:
    return (y.expm1() - y) / y


SAMPLERS = (
    Sampler("er_sde", er_sde, "gauss", options={**ANCESTRAL, "max_stage": 3, "solver_type": "ER-SDE"}),
    Sampler("seeds_2", seeds_2, "gauss", calls=2, options={**ANCESTRAL, "r": 0.5}),
    Sampler("seeds_3", seeds_3, "gauss", calls=3, options={**ANCESTRAL, "r_1": 1 / 3, "r_2": 2 / 3}),
)
