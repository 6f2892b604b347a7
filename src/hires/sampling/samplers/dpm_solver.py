"""DPM-Solver (Lu et al. 2022) in t = -ln sigma: on a grid of its own (fast) and with step size control (adaptive)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hires.sampling.samplers.base import Denoise, Sampler, ancestral, draw_if
from hires.sampling.state import Memory, Plan, State


class Solver:
    """The single-step formulas from t to u, h = u - t. Evaluations at t and at the first inner point are kept."""

    def __init__(self, denoise: Denoise, x: Tensor, t: Tensor, u: Tensor) -> None:
        self.denoise, self.x, self.t, self.u, self.h = denoise, x, t, u, u - t
        self._inner: dict[float, tuple[Tensor, Tensor]] = {}
        self.epsilon = self._epsilon(x, t)

    def order_1(self) -> Tensor:
        return self.x - sigma_of(self.u) * self.h.expm1() * self.epsilon

    def order_2(self, r: float = 1 / 2) -> Tensor:
        _, epsilon_1 = self._first_inner(r)
        decay = sigma_of(self.u) * self.h.expm1()
        return self.x - decay * self.epsilon - sigma_of(self.u) / (2 * r) * self.h.expm1() * (epsilon_1 - self.epsilon)

    def order_3(self, r_1: float = 1 / 3, r_2: float = 2 / 3) -> Tensor:
        _, epsilon_1 = self._first_inner(r_1)
        h, epsilon = self.h, self.epsilon
        s_2 = self.t + r_2 * h
        difference = epsilon_1 - epsilon
        curve = sigma_of(s_2) * (r_2 / r_1) * ((r_2 * h).expm1() / (r_2 * h) - 1)
        u_2 = self.x - sigma_of(s_2) * (r_2 * h).expm1() * epsilon - curve * difference
        epsilon_2 = self._epsilon(u_2, s_2)
        curve = sigma_of(self.u) / r_2 * (h.expm1() / h - 1)
        return self.x - sigma_of(self.u) * h.expm1() * epsilon - curve * (epsilon_2 - epsilon)

    def _first_inner(self, r: float) -> tuple[Tensor, Tensor]:
        if r not in self._inner:
            s_1 = self.t + r * self.h
            u_1 = self.x - sigma_of(s_1) * (r * self.h).expm1() * self.epsilon
            self._inner[r] = u_1, self._epsilon(u_1, s_1)
        return self._inner[r]

    def _epsilon(self, x: Tensor, t: Tensor) -> Tensor:
        sigma = sigma_of(t)
        return (x - self.denoise(x, sigma).denoised) / sigma


def sigma_of(t: Tensor) -> Tensor:
    return t.neg().exp()


def time_range(plan: Plan) -> tuple[Tensor, Tensor]:
    """t of the first sigma and of the last that is not 0: the solver never goes to 0."""
    sigma_low = plan.sigmas[-1] if plan.sigmas[-1] > 0 else plan.sigmas[-2]
    return -plan.sigmas[0].log(), -sigma_low.log()


def fast_grid(plan: Plan) -> tuple[Tensor, list[int]]:
    """Times (moves + 1,) and the order of each move, N model evaluations in all."""
    n = plan.steps
    start, end = time_range(plan)
    grid = torch.linspace(float(start), float(end), n // 3 + 2)
    if n % 3 == 0:
        return grid, [3] * (n // 3 - 1) + [2, 1]
    return grid, [3] * (n // 3) + [n % 3]


def fast_steps(plan: Plan) -> int:
    return len(fast_grid(plan)[1]) if plan.steps else 0


def fast_interval(plan: Plan, step: int) -> tuple[Tensor, Tensor]:
    grid, _ = fast_grid(plan)
    return sigma_of(grid[step]), sigma_of(grid[step + 1])


def fast_reads(plan: Plan, step: int, state: State | None) -> tuple[float, ...]:
    grid, orders = fast_grid(plan)
    return (orders[step], float(grid[step]), float(grid[step + 1]), float(grid[-1]))


def dpm_fast(plan: Plan, state: State, denoise: Denoise) -> State:
    grid, orders = fast_grid(plan)
    t, u = grid[state.step], grid[state.step + 1]
    target, up = noise_split(plan, t, u, grid[-1])
    solver = Solver(denoise, state.x, t, target)
    x = {1: solver.order_1, 2: solver.order_2, 3: solver.order_3}[orders[state.step]]()
    noise, rng = draw_if(plan.number("eta") > 0, state)
    return state.after(x + up * plan.number("s_noise") * noise, rng)


def noise_split(plan: Plan, t: Tensor, u: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Where the deterministic part of a move goes, and the noise that brings it back up to u."""
    eta = plan.number("eta")
    if eta == 0:
        return u, torch.zeros_like(u)
    down, _ = ancestral(sigma_of(t), sigma_of(u), eta)
    target = torch.minimum(end, -down.log())
    return target, (sigma_of(u) ** 2 - sigma_of(target) ** 2).clamp(min=0) ** 0.5


def adaptive_begin(plan: Plan, x0: Tensor) -> tuple[Tensor, Memory]:
    return x0, {"s": time_range(plan)[0], "h": plan.number("h_init"), "previous": x0}


def adaptive_left(plan: Plan, state: State) -> bool:
    """Whether attempts remain: the end is reached to within 1e-5."""
    return plan.steps > 0 and bool(state.tensor("s") < time_range(plan)[1] - 1e-5)


def adaptive_reads(plan: Plan, step: int, state: State | None) -> tuple[float, ...]:
    """The end of the range matters through the attempt's target only (and, with eta, through the clamp)."""
    assert state is not None
    end = time_range(plan)[1]
    target = torch.minimum(end, state.tensor("s") + state.number("h"))
    return (float(target), float(end) if plan.number("eta") > 0 else 0.0)


def adaptive_progress(plan: Plan, state: State) -> float:
    start, end = time_range(plan)
    return 1.0 if end <= start else float((state.tensor("s") - start) / (end - start))


def dpm_adaptive(plan: Plan, state: State, denoise: Denoise) -> State:
    """One attempt: two solutions of adjoining orders, accepted when they agree; a PID controller sets the next size."""
    order, number = int(plan.number("order")), plan.number
    end = time_range(plan)[1]
    s, h, x, previous = state.tensor("s"), state.number("h"), state.x, state.tensor("previous")
    t = torch.minimum(end, s + h)
    target, up = noise_split(plan, s, t, end)
    solver = Solver(denoise, x, s, target)
    low, high = (solver.order_1(), solver.order_2()) if order == 2 else (solver.order_2(1 / 3), solver.order_3())
    delta = torch.maximum(torch.full_like(x, number("atol")), number("rtol") * torch.maximum(low.abs(), previous.abs()))
    error = float(torch.linalg.norm((low - high) / delta) / math.sqrt(x.numel()))
    inverse = 1 / (error + 1e-8)
    e_2, e_3 = (state.number("e_2"), state.number("e_3")) if "e_2" in state.memory else (inverse, inverse)
    factor = 1 + math.atan(controller(plan, inverse, e_2, e_3) - 1)
    if factor < number("accept_safety"):
        return state.after(x, s=s, h=h * factor, previous=previous, e_2=e_2, e_3=e_3)
    noise, rng = draw_if(number("eta") > 0, state)
    high = high + up * number("s_noise") * noise
    return state.after(high, rng, s=t, h=h * factor, previous=low, e_2=inverse, e_3=e_2)


def controller(plan: Plan, e_1: float, e_2: float, e_3: float) -> float:
    """Söderlind 2003: the factor on the step size from the inverse errors of the last three attempts."""
    order = 1.5 if plan.number("eta") > 0 else plan.number("order")
    p, i, d = plan.number("pcoeff"), plan.number("icoeff"), plan.number("dcoeff")
    return float(e_1 ** ((p + i + d) / order) * e_2 ** (-(p + 2 * d) / order) * e_3 ** (d / order))


ADAPTIVE = {
    "eta": 0.0, "s_noise": 1.0, "order": 3, "rtol": 0.05, "atol": 0.0078, "h_init": 0.05, "pcoeff": 0.0,
    "icoeff": 1.0, "dcoeff": 0.0, "accept_safety": 0.81,
}  # fmt: skip

SAMPLERS = (
    Sampler(
        "dpm_fast", dpm_fast, "gauss", "D", calls=3, options={"eta": 0.0, "s_noise": 1.0},
        steps=fast_steps, interval=fast_interval, reads=fast_reads,
    ),
    Sampler(
        "dpm_adaptive", dpm_adaptive, "gauss", "D", calls=3, options=ADAPTIVE, steps=lambda plan: None,
        interval=lambda plan, step: (plan.sigmas[0], plan.sigmas[-1]), reads=adaptive_reads,
        begin=adaptive_begin, attempts_left=adaptive_left, progress=adaptive_progress,
    ),
)  # fmt: skip
