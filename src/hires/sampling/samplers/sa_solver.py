"""SA-Solver (Xue et al. 2023): stochastic Adams predictor and corrector in lambda = -ln sigma.

The step at sigma evaluates the predicted point, corrects the move that led there with that value, and predicts on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hires.sampling.samplers.base import ANCESTRAL, Denoise, Sampler
from hires.sampling.state import Option, Plan, State


def sa_solver(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma, sigma_next = plan.pair(state.step)
    pece = bool(plan.options["use_pece"])
    predictor_order, corrector_order = orders(plan, state.step, len(state.tensors("denoised")) + 1)
    denoised = denoise(state.x, sigma).denoised
    history = (denoised, *state.tensors("denoised"))[:4]
    lambdas = (-sigma.log(), *state.tensors("lam"))[:4]

    x = state.x
    if corrector_order > 0:
        x = adams_move(plan, state.tensor("corrected"), state.tensor("sigma"), sigma, history[:corrector_order],
                       lambdas[:corrector_order], state.number("tau"), corrector=True)  # fmt: skip
        if "noise" in state.memory:
            x = x + state.tensor("noise")
        if pece:
            denoised = denoise(x, sigma).denoised
            history = (denoised, *history[1:])
    if sigma_next == 0:
        return state.after(denoised, corrected=x)

    tau = tau_at(plan, sigma_next)
    predicted = adams_move(plan, x, sigma, sigma_next, history[:predictor_order], lambdas[:predictor_order], tau)
    memory: dict[str, Tensor | tuple[Tensor, ...] | float] = {
        "corrected": x, "sigma": sigma, "tau": tau, "denoised": history[:3], "lam": lambdas[:3]
    }  # fmt: skip
    rng = state.rng
    if tau > 0:
        h = -sigma_next.log() - lambdas[0]
        noise, rng = state.draw()
        noise = noise * sigma_next * (-2 * tau**2 * h).expm1().neg().sqrt() * plan.number("s_noise")
        memory["noise"] = noise
        predicted = predicted + noise
    return state.after(predicted, rng, **memory)


def orders(plan: Plan, step: int, known: int) -> tuple[int, int]:
    """(predictor, corrector) of a step with `known` estimates in hand, lowered towards a run's end at 0."""
    last, pece = bool(plan.sigmas[step + 1] == 0), bool(plan.options["use_pece"])
    predictor = min(int(plan.number("predictor_order")), known)
    corrector = 0 if known == 1 or (last and not pece) else min(int(plan.number("corrector_order")), known)
    if plan.sigmas[-1] == 0:
        predictor = min(predictor, plan.steps - 1 - step)
        corrector = min(corrector, plan.steps - step)
    return predictor, corrector


def tau_at(plan: Plan, sigma: Tensor) -> float:
    """How stochastic the move to sigma is: eta in the middle of the noise range, nothing outside."""
    high = plan.levels.percent_to_sigma(plan.number("sde_start_percent"))
    low = plan.levels.percent_to_sigma(plan.number("sde_end_percent"))
    return plan.number("eta") if plan.number("eta") > 0 and high >= float(sigma) >= low else 0.0


def adams_move(
    plan: Plan, x: Tensor, sigma: Tensor, sigma_next: Tensor, history: tuple[Tensor, ...],
    lambdas: tuple[Tensor, ...], tau: float, corrector: bool = False,
) -> Tensor:  # fmt: skip
    """From sigma to sigma_next with the estimates at `lambdas` (newest first); noise is the caller's."""
    lam, lam_next = -sigma.log(), -sigma_next.log()
    nodes = torch.stack(lambdas[::-1])
    simple = bool(plan.options["simple_order_2"]) and len(nodes) == 2
    if simple:
        weights = simple_weights(sigma_next, nodes, lam, lam_next, tau, corrector)
    else:
        weights = adams_weights(sigma_next, nodes, lam, lam_next, tau)
    decayed = sigma_next / sigma * (-(tau**2) * (lam_next - lam)).exp() * x
    return decayed + torch.tensordot(torch.stack(history[::-1], dim=1), weights.to(x.device), dims=([1], [0]))


def adams_weights(sigma_next: Tensor, nodes: Tensor, start: Tensor, end: Tensor, tau: float) -> Tensor:
    """Weights of the estimates at `nodes` (ascending): the exponential integrals of their Lagrange basis.

    Ill-conditioned in float32, so the reference's way of computing it, logarithms of factorials and all, is kept.
    """
    mu = 1 + tau**2
    power = torch.arange(len(nodes), dtype=torch.float32)
    moments = end**power - start**power * (-mu * (end - start)).exp()
    log_factorial = (power + 1).lgamma()
    depth = power[:, None] - power[None, :]
    coefficients = log_factorial[:, None] - log_factorial[None, :]
    if tau > 0:
        coefficients = coefficients - depth * math.log(mu)
    signs = torch.where(depth % 2 == 0, 1.0, -1.0)
    integrals = (coefficients.exp() * signs).tril() @ moments
    vandermonde = torch.vander(nodes, len(nodes), increasing=True).T
    return sigma_next * end.exp() * torch.linalg.solve(vandermonde, integrals)


def simple_weights(
    sigma_next: Tensor, nodes: Tensor, start: Tensor, end: Tensor, tau: float, corrector: bool
) -> Tensor:
    """The second-order weights of the paper's repository, (older, newer)."""
    mu, h, alpha = 1 + tau**2, end - start, sigma_next * end.exp()
    total = -(-mu * h).expm1() * alpha
    if corrector:
        newer = 0.5 * mu * h * alpha
        return torch.stack([total - newer, newer])
    older = 0.5 * mu * h**2 * alpha / (nodes[0] - start)
    return torch.stack([older, total - older])


def sa_reads(plan: Plan, step: int, state: State | None) -> tuple[float, ...]:
    """Orders as if all earlier steps' estimates were known; how many are is in the state."""
    predictor, corrector = orders(plan, step, step + 1)
    return predictor, corrector, tau_at(plan, plan.sigmas[step + 1])


def sa_latent(plan: Plan, state: State) -> Tensor:
    """The reference returns the corrected state, one step noisier, when a run ends above 0."""
    if state.step == plan.steps and plan.steps and plan.sigmas[-1] > 0 and plan.finish == "reference":
        return state.tensor("corrected")
    return state.x


OPTIONS: dict[str, Option] = {
    **ANCESTRAL, "predictor_order": 3, "corrector_order": 4, "sde_start_percent": 0.2, "sde_end_percent": 0.8,
    "simple_order_2": False,
}  # fmt: skip

SAMPLERS = (
    Sampler(
        "sa_solver", sa_solver, "gauss", "B", options={**OPTIONS, "use_pece": False}, reads=sa_reads, latent=sa_latent
    ),
    Sampler(
        "sa_solver_pece", sa_solver, "gauss", "B", calls=2, options={**OPTIONS, "use_pece": True}, reads=sa_reads,
        latent=sa_latent,
    ),
)  # fmt: skip
