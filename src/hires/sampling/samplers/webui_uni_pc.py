"""UniPC (Zhao et al. 2023) as the A1111 web UI runs it: on a grid of continuous times, with its three variants."""

from __future__ import annotations

import functools
import math
from typing import Literal

import torch
from torch import Tensor

from hires.sampling.levels import NoiseLevels
from hires.sampling.samplers.base import Denoise, Sampler
from hires.sampling.samplers.uni_pc import Marginal, orders, unified_move
from hires.sampling.samplers.webui import noise_estimates
from hires.sampling.state import Plan, State

SkipType = Literal["time_uniform", "time_quadratic", "logSNR"]
FIRST_TIME = 1 / 1000


def knots(levels: NoiseLevels) -> tuple[Tensor, Tensor]:
    """(times, ln alpha) of the table, ascending times (k + 1) / n."""
    count = len(levels.sigmas)
    return torch.arange(1, count + 1) / count, 0.5 * torch.log(1 / (levels.sigmas**2 + 1))


def interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Piecewise linear through (xs, ys), xs ascending, extended linearly at both ends."""
    low = (torch.searchsorted(xs, x, right=True) - 1).clamp(0, len(xs) - 2)
    return ys[low] + (x - xs[low]) * (ys[low + 1] - ys[low]) / (xs[low + 1] - xs[low])


def marginal_of_time(t: Tensor, levels: NoiseLevels) -> Marginal:
    log_alpha = interpolate(t, *knots(levels))
    variance = 1.0 - torch.exp(2.0 * log_alpha)
    return Marginal(log_alpha.exp(), variance.sqrt(), log_alpha - 0.5 * torch.log(variance))


def time_grid(skip_type: SkipType, steps: int, levels: NoiseLevels, start: float = 1.0) -> Tensor:
    """steps + 1 times from `start` down to 1/1000."""
    if skip_type == "time_uniform":
        return torch.linspace(start, FIRST_TIME, steps + 1)
    if skip_type == "time_quadratic":
        return torch.linspace(math.sqrt(start), math.sqrt(FIRST_TIME), steps + 1) ** 2
    first, last = (float(marginal_of_time(torch.tensor(t), levels).lam) for t in (start, FIRST_TIME))
    lam = torch.linspace(first, last, steps + 1)
    log_alpha = -0.5 * torch.logaddexp(torch.zeros(1), -2.0 * lam)
    times, log_alphas = knots(levels)
    return interpolate(log_alpha, log_alphas.flip(0), times.flip(0))


def sigmas_of_times(times: Tensor, levels: NoiseLevels) -> Tensor:
    """The noise levels that the network is asked at: those of the fractional timesteps."""
    return levels.sigma((times - FIRST_TIME) * 1000.0)


def uni_pc(plan: Plan, state: State, denoise: Denoise) -> State:
    assert plan.times is not None
    marginal = functools.partial(marginal_of_time, levels=plan.levels)
    time, time_next = plan.times[state.step], plan.times[state.step + 1]
    here, there = marginal(time), marginal(time_next)
    epsilon, _ = noise_estimates(state.x, plan.sigmas[state.step], denoise)
    estimate = (state.x - here.sigma * epsilon) / here.alpha
    variant, top = str(plan.options["variant"]), int(plan.number("order"))
    order, order_next = orders(plan.steps, state.step, top, bool(plan.options["lower_order_final"]))
    move = varying_move if variant == "vary_coeff" else functools.partial(unified_move, variant=variant)
    history, times = state.tensors("estimate"), state.tensors("time")
    corrected = state.x
    if state.step > 0:
        corrected = move(
            state.tensor("corrected"), here, history, times, order, marginal=marginal, estimate_there=estimate
        )
    history, times = (estimate, *history)[:top], (time, *times)[:top]
    predicted = move(corrected, there, history, times, order_next, marginal=marginal)
    return state.after(predicted, corrected=corrected, estimate=history, time=times)


def varying_move(
    x: Tensor, there: Marginal, history: tuple[Tensor, ...], points: tuple[Tensor, ...], order: int,
    marginal: functools.partial[Marginal], estimate_there: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Varying coefficients (the paper's appendix): the inverse of the ratios' matrix weighs the differences.

    The corrector leaves out the last row of that inverse but for one weight, taken from row max(order - 1, 1): the
    original has it so, and converges no faster than first order.
    """
    here = marginal(points[0])
    h = there.lam - here.lam
    y = -h
    newest = history[0]
    ratios = [(marginal(point).lam - here.lam) / h for point in points[1:order]]
    differences = [(older - newest) / r for older, r in zip(history[1:order], ratios, strict=True)]
    spread = torch.stack([*ratios, torch.ones_like(h)])
    columns = torch.stack([spread ** (k - 1) / math.factorial(k) for k in range(1, order + 1)], dim=1)
    g = [torch.expm1(y)]
    for k in range(1, order + 1):
        g.append(g[-1] / y - 1 / math.factorial(k))
    x = there.sigma / here.sigma * x - there.alpha * g[0] * newest
    corrector = estimate_there is not None
    weights = torch.linalg.inv(columns if corrector else columns[:-1, :-1]) if corrector or differences else None
    for k in range(order - 1):
        assert weights is not None
        mixed = sum(w * difference for w, difference in zip(weights[k], differences, strict=False))
        x = x - there.alpha * g[k + 1] * mixed
    if estimate_there is not None:
        assert weights is not None
        x = x - there.alpha * g[order] * weights[max(order - 2, 0), -1] * (estimate_there - newest)
    return x


def uni_pc_reads(plan: Plan, step: int, state: State | None) -> tuple[float, ...]:
    assert plan.times is not None
    levels = orders(plan.steps, step, int(plan.number("order")), bool(plan.options["lower_order_final"]))
    return (*levels, float(plan.times[step]), float(plan.times[step + 1]))


SAMPLERS = (
    Sampler(
        "uni_pc_timesteps", uni_pc, "none", "B", space="vp", reads=uni_pc_reads,
        options={"variant": "bh1", "order": 3, "lower_order_final": True},
    ),
)  # fmt: skip
