"""First-order and Runge-Kutta steps in sigma: Karras et al. 2022 and their ancestral and consistency variants."""

from __future__ import annotations

import torch
from torch import Tensor

from hires.sampling.samplers.base import (
    ANCESTRAL,
    CHURN,
    Denoise,
    Sampler,
    Step,
    ancestral,
    churn,
    churn_factor,
    churn_reads,
    churned_interval,
    draw_if,
    slope,
)
from hires.sampling.state import Plan, State


def euler(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma_next = plan.sigmas[state.step + 1]
    x, sigma, rng = churn(plan, state)
    d = slope(x, sigma, denoise(x, sigma).denoised)
    return state.after(x + d * (sigma_next - sigma), rng)


def euler_ancestral(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    x, denoised = state.x, denoise(state.x, sigma).denoised
    down, up = ancestral(sigma, sigma_next, plan.number("eta"))
    if down == 0 and (sigma_next == 0 or plan.dialect == "comfyui"):
        return state.after(denoised)
    noise, rng = draw_if(bool(sigma_next > 0), state)
    d = slope(x, sigma, denoised)
    return state.after(x + d * (down - sigma) + noise * plan.number("s_noise") * up, rng)


def heun_move(x: Tensor, sigma: Tensor, sigma_next: Tensor, denoise: Denoise) -> Tensor:
    """Euler's proposal, then the mean of the slopes at both ends; Euler alone to 0."""
    dt = sigma_next - sigma
    d = slope(x, sigma, denoise(x, sigma).denoised)
    if sigma_next == 0:
        return x + d * dt
    x_2 = x + d * dt
    d_2 = slope(x_2, sigma_next, denoise(x_2, sigma_next).denoised)
    return x + (d + d_2) / 2 * dt


def heun(plan: Plan, state: State, denoise: Denoise) -> State:
    x, sigma, rng = churn(plan, state)
    return state.after(heun_move(x, sigma, plan.sigmas[state.step + 1], denoise), rng)


def heunpp2(plan: Plan, state: State, denoise: Denoise) -> State:
    """Heun++ (Carzit's): slopes at up to three levels, weighted by the levels' share of the first sigma."""
    x, sigma, rng = churn(plan, state, always_draws=True)
    sigma_next, first, last = plan.sigmas[state.step + 1], plan.sigmas[0], plan.sigmas[-1]
    dt = sigma_next - sigma
    d = slope(x, sigma, denoise(x, sigma).denoised)
    if sigma_next == last:
        return state.after(x + d * dt, rng)
    x_2 = x + d * dt
    d_2 = slope(x_2, sigma_next, denoise(x_2, sigma_next).denoised)
    sigma_after = plan.sigmas[state.step + 2]
    if sigma_after == last:
        w_2 = sigma_next / (2 * first)
        return state.after(x + (d * (1 - w_2) + d_2 * w_2) * dt, rng)
    x_3 = x_2 + d_2 * (sigma_after - sigma_next)
    d_3 = slope(x_3, sigma_after, denoise(x_3, sigma_after).denoised)
    w_2, w_3 = sigma_next / (3 * first), sigma_after / (3 * first)
    return state.after(x + (d * (1 - w_2 - w_3) + d_2 * w_2 + d_3 * w_3) * dt, rng)


def heunpp2_interval(plan: Plan, step: int) -> tuple[Tensor, Tensor]:
    return churned_interval(plan, step)[0], plan.sigmas[min(step + 2, plan.steps)]


def heunpp2_reads(plan: Plan, step: int, state: State | None) -> tuple[float, ...]:
    ahead = plan.sigmas[step + 1 : step + 3].tolist()
    calls = 1 + sum(level != float(plan.sigmas[-1]) for level in ahead)
    return calls, churn_factor(plan, step), float(plan.sigmas[step]), ahead[0], float(plan.sigmas[0])


def dpm_2(plan: Plan, state: State, denoise: Denoise) -> State:
    """The midpoint method, with the middle taken in log sigma."""
    x, sigma, rng = churn(plan, state)
    return state.after(midpoint_move(x, sigma, plan.sigmas[state.step + 1], denoise), rng)


def dpm_2_ancestral(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    down, up = ancestral(sigma, sigma_next, plan.number("eta"))
    x = midpoint_move(state.x, sigma, down, denoise)
    noise, rng = draw_if(bool(sigma_next > 0), state)
    return state.after(x + noise * plan.number("s_noise") * up, rng)


def midpoint_move(x: Tensor, sigma: Tensor, sigma_next: Tensor, denoise: Denoise) -> Tensor:
    d = slope(x, sigma, denoise(x, sigma).denoised)
    if sigma_next == 0:
        return x + d * (sigma_next - sigma)
    sigma_mid = sigma.log().lerp(sigma_next.log(), 0.5).exp()
    x_2 = x + d * (sigma_mid - sigma)
    d_2 = slope(x_2, sigma_mid, denoise(x_2, sigma_mid).denoised)
    return x + d_2 * (sigma_next - sigma)


def ddpm(plan: Plan, state: State, denoise: Denoise) -> State:
    """Ho et al. 2020 in the variance-preserving scale; the order of operations keeps the reference's rounding."""
    sigma, sigma_next = plan.pair(state.step)
    epsilon = slope(state.x, sigma, denoise(state.x, sigma).denoised)
    alpha_bar, alpha_bar_next = 1 / (sigma * sigma + 1), 1 / (sigma_next * sigma_next + 1)
    alpha = alpha_bar / alpha_bar_next
    v = state.x / torch.sqrt(1.0 + sigma**2.0)
    mean = (1.0 / alpha).sqrt() * (v - (1 - alpha) * epsilon / (1 - alpha_bar).sqrt())
    if sigma_next == 0:
        return state.after(mean)
    noise, rng = state.draw()
    mean = mean + ((1 - alpha) * (1.0 - alpha_bar_next) / (1.0 - alpha_bar)).sqrt() * noise
    return state.after(mean * torch.sqrt(1.0 + sigma_next**2.0), rng)


def lcm(plan: Plan, state: State, denoise: Denoise) -> State:
    """Luo et al. 2023: the estimate itself, noised to the next level."""
    sigma, sigma_next = plan.pair(state.step)
    denoised = denoise(state.x, sigma).denoised
    if sigma_next == 0:
        return state.after(denoised)
    noise, rng = state.draw()
    return state.after(denoised + sigma_next * noise, rng)


def churned(name: str, step: Step, calls: int = 1) -> Sampler:
    return Sampler(name, step, "churn", calls=calls, options=CHURN, interval=churned_interval, reads=churn_reads)


SAMPLERS = (
    churned("euler", euler),
    churned("ddim", euler),
    Sampler("euler_ancestral", euler_ancestral, "gauss", options=ANCESTRAL),
    churned("heun", heun, calls=2),
    Sampler("heunpp2", heunpp2, "churn", "B", calls=3, options=CHURN, interval=heunpp2_interval, reads=heunpp2_reads),
    churned("dpm_2", dpm_2, calls=2),
    Sampler("dpm_2_ancestral", dpm_2_ancestral, "gauss", calls=2, options=ANCESTRAL),
    Sampler("ddpm", ddpm, "gauss"),
    Sampler("lcm", lcm, "gauss"),
)
