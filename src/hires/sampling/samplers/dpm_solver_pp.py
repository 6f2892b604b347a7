"""DPM-Solver++ (Lu et al. 2022b): data prediction in lambda = -ln sigma, single-step, multistep and as an SDE."""

from __future__ import annotations

from torch import Tensor

from hires.sampling.samplers.base import ANCESTRAL, Denoise, Sampler, Step, ancestral, draw_if, slope
from hires.sampling.state import Option, Plan, State


def dpmpp_2s_ancestral(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    down, up = ancestral(sigma, sigma_next, plan.number("eta"))
    x, denoised = state.x, denoise(state.x, sigma).denoised
    if down == 0:
        x = x + slope(x, sigma, denoised) * (down - sigma)
    else:
        t, t_next = -sigma.log(), -down.log()
        h = t_next - t
        sigma_s = (-(t + 0.5 * h)).exp()
        x_2 = (sigma_s / (-t).exp()) * x - (-h * 0.5).expm1() * denoised
        denoised_2 = denoise(x_2, sigma_s).denoised
        x = ((-t_next).exp() / (-t).exp()) * x - (-h).expm1() * denoised_2
    noise, rng = draw_if(bool(sigma_next > 0), state)
    return state.after(x + noise * plan.number("s_noise") * up, rng)


def dpmpp_sde(plan: Plan, state: State, denoise: Denoise) -> State:
    """Two ancestral moves per step, the second with the slope that the first one's end gave."""
    sigma, sigma_next = plan.pair(state.step)
    x, denoised = state.x, denoise(state.x, sigma).denoised
    if sigma_next == 0:
        return state.after(denoised)
    noise, eta, s_noise, r = plan.brownian(x), plan.number("eta"), plan.number("s_noise"), plan.number("r")
    half = 1 / (2 * r)
    lam, lam_next = -sigma.log(), -sigma_next.log()
    lam_s = lam + r * (lam_next - lam)
    sigma_s = (-lam_s).exp()
    # k-diffusion asks its path at exp(log sigma), ComfyUI at sigma; a last bit may choose another node of the path
    start, end = ((-lam).exp(), (-lam_next).exp()) if plan.dialect == "webui" else (sigma, sigma_next)

    down, up = ancestral((-lam).exp(), (-lam_s).exp(), eta)
    g = -down.log() - lam
    x_2 = (-g).exp() * x - (-g).expm1() * denoised
    if up > 0:
        x_2 = x_2 + noise(start, sigma_s) * s_noise * up
    denoised_2 = denoise(x_2, sigma_s).denoised

    down, up = ancestral((-lam).exp(), (-lam_next).exp(), eta)
    g = -down.log() - lam
    x = (-g).exp() * x - (-g).expm1() * ((1 - half) * denoised + half * denoised_2)
    if up > 0:
        x = x + noise(start, end) * s_noise * up
    return state.after(x)


def dpmpp_2m(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    denoised = denoise(state.x, sigma).denoised
    t, t_next = -sigma.log(), -sigma_next.log()
    h = t_next - t
    extrapolated = denoised
    if state.memory and sigma_next != 0:
        r = (t - -state.tensor("sigma").log()) / h
        extrapolated = (1 + 1 / (2 * r)) * denoised - (1 / (2 * r)) * state.tensor("denoised")
    x = (sigma_next / sigma) * state.x - (-h).expm1() * extrapolated
    return state.after(x, denoised=denoised, sigma=sigma)


def dpmpp_2m_sde(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    x, denoised = state.x, denoise(state.x, sigma).denoised
    if sigma_next == 0:
        return state.after(denoised)
    eta = plan.number("eta")
    h = -sigma_next.log() - -sigma.log()
    h_eta = h * (eta + 1)
    x = (sigma_next / sigma) * (-h * eta).exp() * x + (-h_eta).expm1().neg() * denoised
    if state.memory:
        r = state.tensor("h") / h
        midpoint = plan.options["solver_type"] == "midpoint"
        weight = 0.5 * (-h_eta).expm1().neg() if midpoint else (-h_eta).expm1().neg() / (-h_eta) + 1
        x = x + weight * (1 / r) * (denoised - state.tensor("denoised"))
    return state.after(x + sde_noise(plan, state, h), denoised=denoised, h=h)


def dpmpp_3m_sde(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    x, denoised = state.x, denoise(state.x, sigma).denoised
    if sigma_next == 0:
        return state.after(denoised)
    eta = plan.number("eta")
    h = -sigma_next.log() - -sigma.log()
    h_eta = h * (eta + 1)
    x = (sigma_next / sigma) * (-h * eta).exp() * x + (-h_eta).expm1().neg() * denoised
    earlier, sizes = state.tensors("denoised"), state.tensors("h")
    phi_2 = h_eta.neg().expm1() / h_eta + 1
    if len(earlier) == 2:
        phi_3 = phi_2 / h_eta - 0.5
        r_0, r_1 = sizes[0] / h, sizes[1] / h
        newer, older = (denoised - earlier[0]) / r_0, (earlier[0] - earlier[1]) / r_1
        first = newer + (newer - older) * r_0 / (r_0 + r_1)
        second = (newer - older) / (r_0 + r_1)
        x = x + phi_2 * first - phi_3 * second
    elif len(earlier) == 1:
        x = x + phi_2 * ((denoised - earlier[0]) / (sizes[0] / h))
    x = x + sde_noise(plan, state, h)
    return state.after(x, denoised=(denoised, *earlier)[:2], h=(h, *sizes)[:2])


def sde_noise(plan: Plan, state: State, h: Tensor) -> Tensor | float:
    sigma, sigma_next = plan.pair(state.step)
    eta, s_noise = plan.number("eta"), plan.number("s_noise")
    if eta <= 0 or s_noise <= 0:
        return 0.0
    return plan.brownian(state.x)(sigma, sigma_next) * sigma_next * (-2 * h * eta).expm1().neg().sqrt() * s_noise


def path_range(plan: Plan, step: int, state: State | None) -> tuple[float, ...]:
    return plan.brownian_bounds() if plan.number("eta") > 0 else ()


def sde(name: str, step: Step, calls: int = 1, **options: Option) -> Sampler:
    return Sampler(name, step, "brownian", "C", calls=calls, options={**ANCESTRAL, **options}, reads=path_range)


SAMPLERS = (
    Sampler("dpmpp_2s_ancestral", dpmpp_2s_ancestral, "gauss", calls=2, options=ANCESTRAL),
    sde("dpmpp_sde", dpmpp_sde, calls=2, r=0.5),
    Sampler("dpmpp_2m", dpmpp_2m),
    sde("dpmpp_2m_sde", dpmpp_2m_sde, solver_type="midpoint"),
    sde("dpmpp_2m_sde_heun", dpmpp_2m_sde, solver_type="heun"),
    sde("dpmpp_3m_sde", dpmpp_3m_sde),
)
