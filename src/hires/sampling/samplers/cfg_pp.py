"""CFG++ (Chung et al. 2024): the guided estimate is moved to, the unconditional one gives the direction of the noise.

These always need the unconditional estimate U, at a guidance scale of 1 too.
"""

from __future__ import annotations

from typing import Literal

from hires.sampling.samplers.base import Denoise, Sampler, Step, ancestral, draw_if, slope, uncond_of
from hires.sampling.samplers.multistep import refined_weights
from hires.sampling.state import Option, Plan, State


def euler_cfg_pp(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    prediction = denoise(state.x, sigma)
    if sigma_next == 0:
        return state.after(prediction.denoised)
    # 1 up to rounding; the reference's numbers carry that rounding
    alpha, alpha_next = sigma * (-sigma.log()).exp(), sigma_next * (-sigma_next.log()).exp()
    d = slope(state.x, sigma, alpha * uncond_of(prediction))
    down, up = ancestral(sigma / alpha, sigma_next / alpha_next, plan.number("eta"))
    x = alpha_next * prediction.denoised + alpha_next * down * d
    noise, rng = draw_if(plan.number("eta") > 0, state)
    return state.after(x + alpha_next * noise * plan.number("s_noise") * up, rng)


def dpmpp_2s_ancestral_cfg_pp(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    x = state.x
    down, up = ancestral(sigma, sigma_next, plan.number("eta"))
    prediction = denoise(x, sigma)
    denoised, uncond = prediction.denoised, uncond_of(prediction)
    if down == 0:
        x = denoised + slope(x, sigma, uncond) * down
    else:
        t, t_next = -sigma.log(), -down.log()
        h = t_next - t
        sigma_s = (-(t + 0.5 * h)).exp()
        x_2 = (sigma_s / (-t).exp()) * (x + (denoised - uncond)) - (-h * 0.5).expm1() * denoised
        second = denoise(x_2, sigma_s)
        # the second call's U, as the reference has it
        corrected = x + (denoised - uncond_of(second))
        x = ((-t_next).exp() / (-t).exp()) * corrected - (-h).expm1() * second.denoised
    noise, rng = draw_if(bool(sigma_next > 0), state)
    return state.after(x + noise * plan.number("s_noise") * up, rng)


def dpmpp_2m_cfg_pp(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    prediction = denoise(state.x, sigma)
    denoised, uncond = prediction.denoised, uncond_of(prediction)
    t, t_next = -sigma.log(), -sigma_next.log()
    h = t_next - t
    move = -(-h).exp() * uncond
    if state.memory and sigma_next != 0:
        r = (t - -state.tensor("sigma").log()) / h
        move = move - (-h).expm1() * (1 / (2 * r)) * (denoised - state.tensor("uncond"))
    return state.after(denoised + move + (-h).exp() * state.x, uncond=uncond, sigma=sigma)


def res_multistep_cfg_pp(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    x, prediction = state.x, denoise(state.x, sigma)
    denoised, uncond = prediction.denoised, uncond_of(prediction)
    down, up = ancestral(sigma, sigma_next, plan.number("eta"))
    if down == 0 or not state.memory:
        x = denoised + slope(x, sigma, uncond) * down
    else:
        h, b_1, b_2 = refined_weights(sigma, down, state.tensor("sigma"), state.tensor("down"))
        x = x + (denoised - uncond)
        x = (-h).exp() * x + h * (b_1 * uncond + b_2 * state.tensor("uncond"))
    noise, rng = draw_if(bool(sigma_next > 0 and up > 0), state)
    x = x + noise * plan.number("s_noise") * up
    return state.after(x, rng, uncond=uncond, sigma=sigma, down=down)


def gradient_estimation_cfg_pp(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    prediction = denoise(state.x, sigma)
    d = slope(state.x, sigma, uncond_of(prediction))
    if sigma_next == 0:
        return state.after(prediction.denoised, d=d)
    x = prediction.denoised + d * sigma_next
    if state.memory:
        x = x + (plan.number("ge_gamma") - 1) * (d - state.tensor("d")) * (sigma_next - sigma)
    return state.after(x, d=d)


def euler_cfg_pp_alternative(plan: Plan, state: State, denoise: Denoise) -> State:
    """ComfyUI's node `SamplerEulerCFGpp`, version "alternative"."""
    sigma, sigma_next = plan.pair(state.step)
    prediction = denoise(state.x, sigma)
    denoised, uncond = prediction.denoised, uncond_of(prediction)
    d = slope(state.x - denoised + uncond, sigma, denoised)
    return state.after(state.x + d * (sigma_next - sigma))


def cfg_pp(name: str, step: Step, calls: int = 1, eta: float | None = None, **options: Option) -> Sampler:
    noise = {} if eta is None else {"eta": eta, "s_noise": 1.0}
    rng: Literal["none", "gauss"] = "none" if eta is None else "gauss"
    return Sampler(name, step, rng, calls=calls, options={**noise, **options}, needs_uncond=True)


SAMPLERS = (
    cfg_pp("euler_cfg_pp", euler_cfg_pp, eta=0.0),
    cfg_pp("euler_ancestral_cfg_pp", euler_cfg_pp, eta=1.0),
    cfg_pp("dpmpp_2s_ancestral_cfg_pp", dpmpp_2s_ancestral_cfg_pp, calls=2, eta=1.0),
    cfg_pp("dpmpp_2m_cfg_pp", dpmpp_2m_cfg_pp),
    cfg_pp("res_multistep_cfg_pp", res_multistep_cfg_pp, eta=0.0),
    cfg_pp("res_multistep_ancestral_cfg_pp", res_multistep_cfg_pp, eta=1.0),
    cfg_pp("gradient_estimation_cfg_pp", gradient_estimation_cfg_pp, ge_gamma=2.0),
    cfg_pp("euler_cfg_pp_alternative", euler_cfg_pp_alternative),
)
