"""What a sampler is, and the few quantities that all of them are written with.

sigma is the noise level of a step and sigma_next the one it goes to; lambda = -ln sigma; h = lambda_next - lambda.
Scalars are 0-d float32 tensors combined in the order of the reference implementations: at small sigma the rounding
is part of the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from hires.sampling.noise import StreamState
from hires.sampling.state import Memory, Option, Plan, Prediction, State

Denoise = Callable[[Tensor, Tensor], Prediction]
"""denoise(x, sigma) -> what the network estimates, guidance applied."""

Step = Callable[[Plan, State, Denoise], State]


def schedule_steps(plan: Plan) -> int | None:
    return plan.steps


def schedule_interval(plan: Plan, state_step: int) -> tuple[Tensor, Tensor]:
    return plan.pair(state_step)


def reads_nothing(plan: Plan, step: int, state: State | None) -> tuple[float, ...]:
    return ()


def begin_as_is(plan: Plan, x0: Tensor) -> tuple[Tensor, Memory]:
    return x0, {}


def latent_is_x(plan: Plan, state: State) -> Tensor:
    return state.x


@dataclass(frozen=True)
class Sampler:
    """A sampler's entry in the registry.

    rng       the noise it draws: a stream of normal tensors, the churn of Karras et al. (the same stream, later),
              a Brownian path, or none
    sharing   how far runs with different tails share their steps: A the whole prefix; B until an order or a
              look-ahead differs; C only with equal Brownian bounds; D on a grid of its own
    calls     the most denoiser calls that a step makes
    options   what may be set, with defaults
    space     "ve": x = latent + sigma * noise; "vp": x scaled to unit variance, as DDIM has it
    cfg_scale factor on the guidance scale that the sampler expects to be applied for it
    steps     number of steps of a plan (None: not known beforehand)
    interval  highest and lowest noise level that a step's calls may be at; names the step together with
    reads     further numbers that the step uses and that are not in the state
    attempts_left  for a sampler whose number of steps is not known: whether there is more to do
    """

    name: str
    step: Step
    rng: Literal["none", "gauss", "churn", "brownian"] = "none"
    sharing: Literal["A", "B", "C", "D"] = "A"
    calls: int = 1
    options: Mapping[str, Option] = field(default_factory=dict)
    needs_uncond: bool = False
    space: Literal["ve", "vp"] = "ve"
    cfg_scale: float = 1.0
    steps: Callable[[Plan], int | None] = schedule_steps
    interval: Callable[[Plan, int], tuple[Tensor, Tensor]] = schedule_interval
    reads: Callable[[Plan, int, State | None], tuple[float, ...]] = reads_nothing
    begin: Callable[[Plan, Tensor], tuple[Tensor, Memory]] = begin_as_is
    latent: Callable[[Plan, State], Tensor] = latent_is_x
    attempts_left: Callable[[Plan, State], bool] | None = None
    progress: Callable[[Plan, State], float] | None = None

    def finished(self, plan: Plan, state: State) -> bool:
        if plan.steps == 0:
            return True
        if self.attempts_left is not None:
            return not self.attempts_left(plan, state)
        return state.step >= (self.steps(plan) or 0)


def slope(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """dx/dsigma of the probability flow, (x - D) / sigma (Karras et al. 2022)."""
    return (x - denoised) / sigma


def ancestral(sigma: Tensor, sigma_next: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """(down, up): where the deterministic part of an ancestral step ends, and the noise added after it."""
    if eta == 0:
        return sigma_next, torch.zeros_like(sigma_next)
    variance = sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2
    up = torch.minimum(sigma_next, eta * variance**0.5)
    return (sigma_next**2 - up**2) ** 0.5, up


def draw_if(wanted: bool, state: State) -> tuple[Tensor | float, StreamState | None]:
    """The next tensor of the stream, or 0 and the stream left alone."""
    return state.draw() if wanted else (0.0, state.rng)


CHURN: Mapping[str, Option] = {"s_churn": 0.0, "s_tmin": 0.0, "s_tmax": math.inf, "s_noise": 1.0}
ANCESTRAL: Mapping[str, Option] = {"eta": 1.0, "s_noise": 1.0}


def churn_factor(plan: Plan, step: int) -> float:
    """gamma of Karras et al. 2022, algorithm 2."""
    sigma = plan.sigmas[step]
    if not plan.number("s_tmin") <= sigma <= plan.number("s_tmax"):
        return 0.0
    return min(plan.number("s_churn") / plan.steps, math.sqrt(2) - 1)


def churn(plan: Plan, state: State, *, always_draws: bool = False) -> tuple[Tensor, Tensor, StreamState | None]:
    """x with noise added up to sigma * (1 + gamma), that level, and the stream after.

    A1111 draws its tensor in every step, ComfyUI where gamma > 0 only (heunpp2: always).
    """
    sigma, gamma = plan.sigmas[state.step], churn_factor(plan, state.step)
    if plan.number("s_churn") == 0:
        return state.x, sigma, state.rng
    noise, rng = draw_if(gamma > 0 or always_draws or plan.dialect == "webui", state)
    if gamma == 0:
        return state.x, sigma, rng
    sigma_hat = sigma * (gamma + 1)
    return state.x + noise * plan.number("s_noise") * (sigma_hat**2 - sigma**2) ** 0.5, sigma_hat, rng


def churned_interval(plan: Plan, step: int) -> tuple[Tensor, Tensor]:
    sigma, sigma_next = plan.pair(step)
    return sigma * (churn_factor(plan, step) + 1), sigma_next


def churn_reads(plan: Plan, step: int, state: State | None) -> tuple[float, ...]:
    return float(plan.sigmas[step]), churn_factor(plan, step)


def uncond_of(prediction: Prediction) -> Tensor:
    """The unconditional estimate, which the CFG++ samplers and DDIM CFG++ cannot do without."""
    if prediction.uncond is None:
        raise ValueError("a CFG++ sampler was run with a denoiser that answers no unconditional estimate")
    return prediction.uncond
