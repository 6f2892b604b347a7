"""UniPC (Zhao et al. 2023), data prediction, as ComfyUI runs it: on sigmas, x in the variance-preserving scale.

The step at sigma evaluates the predicted point, corrects the move that led there, and predicts on. The web UI's own
form of it, on a grid of times, is in webui_uni_pc.py and shares `unified_move`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hires.sampling.samplers.base import Denoise, Sampler
from hires.sampling.state import Memory, Plan, State

LAST_SIGMA = 0.001
"""Where a run that ends at 0 ends."""


class Marginal(NamedTuple):
    """x = alpha * clean + sigma * noise at a level; lam = ln(alpha / sigma)."""

    alpha: Tensor
    sigma: Tensor
    lam: Tensor


def marginal_of_sigma(sigma: Tensor) -> Marginal:
    log_alpha = 0.5 * torch.log(1 / (sigma * sigma + 1))
    variance = 1.0 - torch.exp(2.0 * log_alpha)
    return Marginal(log_alpha.exp(), variance.sqrt(), log_alpha - 0.5 * torch.log(variance))


def uni_pc(plan: Plan, state: State, denoise: Denoise) -> State:
    sigma = plan.sigmas[state.step]
    here = marginal_of_sigma(sigma)
    x_ve = state.x * (sigma**2 + 1.0) ** 0.5
    epsilon = (x_ve - denoise(x_ve, sigma).denoised) / sigma
    estimate = (state.x - here.sigma * epsilon) / here.alpha
    order, order_next = orders(plan.steps, state.step)
    if order_next == 0:  # a single step: the reference evaluates once and moves nowhere
        return state.after(state.x)
    variant = str(plan.options["variant"])
    history, sigmas = state.tensors("estimate"), state.tensors("sigma")
    corrected = state.x
    if state.step > 0:
        corrected = unified_move(
            state.tensor("corrected"), here, history, sigmas, order, variant, marginal_of_sigma, estimate
        )
    history, sigmas = (estimate, *history)[:3], (sigma, *sigmas)[:3]
    there = marginal_of_sigma(last_replaced(plan.sigmas[state.step + 1]))
    predicted = unified_move(corrected, there, history, sigmas, order_next, variant, marginal_of_sigma)
    return state.after(predicted, corrected=corrected, estimate=history, sigma=sigmas)


def unified_move(
    x: Tensor, there: Marginal, history: tuple[Tensor, ...], points: tuple[Tensor, ...], order: int, variant: str,
    marginal: Callable[[Tensor], Marginal], estimate_there: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """From points[0] to `there` with the estimates of the last `order` points (newest first).

    With an estimate of the end point itself this is the corrector, without it the predictor.
    """
    here = marginal(points[0])
    h = there.lam - here.lam
    y = -h
    decay = torch.expm1(y)
    scale = y if variant == "bh1" else decay
    newest = history[0]
    ratios = [(marginal(point).lam - here.lam) / h for point in points[1:order]]
    differences = [(older - newest) / r for older, r in zip(history[1:order], ratios, strict=True)]
    base = there.sigma / here.sigma * x - there.alpha * decay * newest
    matrix, right = order_conditions(torch.stack([*ratios, torch.ones_like(h)]), y, decay, scale)
    correction: Tensor | float = 0.0
    if estimate_there is not None:
        rho = torch.full((1,), 0.5) if order == 1 else torch.linalg.solve(matrix, right)
        correction = rho[-1] * (estimate_there - newest)
    elif order > 2:
        rho = torch.linalg.solve(matrix[:-1, :-1], right[:-1])
    else:
        rho = torch.full((1,), 0.5)
    if differences:
        correction = sum(w * difference for w, difference in zip(rho, differences, strict=False)) + correction
    return base - there.alpha * scale * correction


def order_conditions(ratios: Tensor, y: Tensor, decay: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The linear system of the paper's theorem 3.1: powers of the ratios, and the phi functions of y."""
    rows, right = [], []
    g, factorial = decay / y - 1, 1
    for j in range(1, len(ratios) + 1):
        rows.append(ratios ** (j - 1))
        right.append(g * factorial / scale)
        factorial *= j + 1
        g = g / y - 1 / factorial
    return torch.stack(rows), torch.stack(right)


def orders(steps: int, step: int, order: int | None = None, lower_final: bool = True) -> tuple[int, int]:
    """Order of the move that led to point `step` and of the one that leads on, warming up and lowered at the end."""
    top = min(3, steps - 1) if order is None else order

    def order_to(point: int) -> int:
        if point < top:
            return point
        return min(top, steps + 1 - point) if lower_final else top

    return order_to(step), order_to(step + 1)


def last_replaced(sigma: Tensor) -> Tensor:
    return sigma if sigma > 0 else torch.tensor(LAST_SIGMA)


def uni_pc_begin(plan: Plan, x0: Tensor) -> tuple[Tensor, Memory]:
    return x0 / torch.sqrt(1.0 + plan.sigmas[0] ** 2.0), {}


def uni_pc_reads(plan: Plan, step: int, state: State | None) -> tuple[float, ...]:
    return orders(plan.steps, step)


def uni_pc_latent(plan: Plan, state: State) -> Tensor:
    if state.step == plan.steps:
        return state.x / marginal_of_sigma(last_replaced(plan.sigmas[-1])).alpha
    return state.x * (plan.sigmas[state.step] ** 2 + 1.0) ** 0.5


def unified(name: str, variant: str) -> Sampler:
    return Sampler(name, uni_pc, "none", "B", options={"variant": variant}, reads=uni_pc_reads, begin=uni_pc_begin,
                   latent=uni_pc_latent)  # fmt: skip


SAMPLERS = (unified("uni_pc", "bh1"), unified("uni_pc_bh2", "bh2"))
