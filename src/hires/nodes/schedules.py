"""The custom samplers' noise levels: making them, and cutting, turning and changing them."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from torch import Tensor

from hires.errors import SettingError
from hires.graph.declare import node
from hires.graph.inputs import Choice, Float, Int
from hires.nodes.guiding import noise_levels
from hires.nodes.types import Denoise, Model, Sigmas, StepIndex, Steps
from hires.sampling import schedules
from hires.sampling.schedules import ALIGN_YOUR_STEPS, SCHEDULES

CATEGORY = "sampling/custom_sampling/schedulers"
SIGMA_MIN, SIGMA_MAX = 0.0291675, 14.614642
"""The ends of Stable Diffusion's table, as ComfyUI's nodes round them."""

Sigma = Annotated[float, Float(0.0, 5000.0, 0.01, False)]
Beta = Annotated[float, Float(0.0, 50.0, 0.01, False)]
Rho = Annotated[float, Float(0.0, 100.0, 0.01, False)]
Spacing = Literal["linear", "cosine", "sine"]


@node("BasicScheduler", category=CATEGORY, outputs=("SIGMAS",))
def basic_scheduler(
    *, model: Model, scheduler: Annotated[str, Choice(tuple(SCHEDULES))], steps: Steps = 20, denoise: Denoise = 1.0
) -> Tensor:
    """A schedule over the model's own noise levels; denoise below 1 keeps the tail of a finer one."""
    return schedules.run_sigmas("", scheduler, steps, noise_levels(model), denoise, node=True)


@node("KarrasScheduler", category=CATEGORY, outputs=("SIGMAS",))
def karras_scheduler(
    *, steps: Steps = 20, sigma_max: Sigma = SIGMA_MAX, sigma_min: Sigma = SIGMA_MIN, rho: Rho = 7.0
) -> Tensor:
    """Karras et al. 2022, equation 5."""
    if rho <= 0.0:
        raise SettingError("KarrasScheduler: rho is 0", "Give it more than 0; 7 is usual.")
    return schedules.karras(steps, sigma_min, sigma_max, rho)


@node("ExponentialScheduler", category=CATEGORY, outputs=("SIGMAS",))
def exponential_scheduler(*, steps: Steps = 20, sigma_max: Sigma = SIGMA_MAX, sigma_min: Sigma = SIGMA_MIN) -> Tensor:
    """Equal ratios."""
    _positive("ExponentialScheduler", sigma_max=sigma_max, sigma_min=sigma_min)
    return schedules.exponential(steps, sigma_min, sigma_max)


@node("PolyexponentialScheduler", category=CATEGORY, outputs=("SIGMAS",))
def polyexponential_scheduler(
    *, steps: Steps = 20, sigma_max: Sigma = SIGMA_MAX, sigma_min: Sigma = SIGMA_MIN, rho: Rho = 1.0
) -> Tensor:
    """A power of equal steps in log sigma."""
    _positive("PolyexponentialScheduler", sigma_max=sigma_max, sigma_min=sigma_min)
    return schedules.polyexponential(steps, sigma_min, sigma_max, rho)


@node("LaplaceScheduler", category=CATEGORY, outputs=("SIGMAS",))
def laplace_scheduler(
    *,
    steps: Steps = 20,
    sigma_max: Sigma = SIGMA_MAX,
    sigma_min: Sigma = SIGMA_MIN,
    mu: Annotated[float, Float(-10.0, 10.0, 0.1, False)] = 0.0,
    beta: Annotated[float, Float(0.0, 10.0, 0.1, False)] = 0.5,
) -> Tensor:
    """Laplace-distributed log sigmas; ends above 0."""
    return schedules.laplace(steps, sigma_min, sigma_max, mu, beta)


@node("VPScheduler", category=CATEGORY, outputs=("SIGMAS",))
def vp_scheduler(
    *,
    steps: Steps = 20,
    beta_d: Sigma = 19.9,
    beta_min: Sigma = 0.1,
    eps_s: Annotated[float, Float(0.0, 1.0, 0.0001, False)] = 0.001,
) -> Tensor:
    """The continuous variance-preserving schedule."""
    return schedules.variance_preserving(steps, beta_d, beta_min, eps_s)


@node("BetaSamplingScheduler", category=CATEGORY, outputs=("SIGMAS",))
def beta_sampling_scheduler(*, model: Model, steps: Steps = 20, alpha: Beta = 0.6, beta: Beta = 0.6) -> Tensor:
    """Quantiles of a beta distribution over the model's timesteps."""
    _positive("BetaSamplingScheduler", alpha=alpha, beta=beta)
    return schedules.beta(steps, noise_levels(model), alpha, beta)


@node("SDTurboScheduler", category=CATEGORY, outputs=("SIGMAS",))
def sd_turbo_scheduler(*, model: Model, steps: Annotated[int, Int(1, 10)] = 1, denoise: Denoise = 1.0) -> Tensor:
    """The ten levels that SD Turbo was distilled for."""
    return schedules.sd_turbo(steps, noise_levels(model), denoise)


@node("AlignYourStepsScheduler", category=CATEGORY, outputs=("SIGMAS",))
def align_your_steps_scheduler(
    *, model_type: Annotated[str, Choice(tuple(ALIGN_YOUR_STEPS))], steps: Steps = 10, denoise: Denoise = 1.0
) -> Tensor:
    """Optimised levels of a model family."""
    return schedules.align_your_steps(model_type, steps, denoise)


def _positive(name: str, **numbers: float) -> None:
    """Refuse a number that a formula divides by or takes the logarithm of."""
    for number, value in numbers.items():
        if value <= 0.0:
            raise SettingError(f"{name}: {number} is {value:g}", "Give it more than 0.")


# ---- changing them --------------------------------------------------------------------------------------------------

SIGMAS = "sampling/custom_sampling/sigmas"


@node("SplitSigmas", category=SIGMAS, outputs=("SIGMAS", "SIGMAS"), output_names=("high_sigmas", "low_sigmas"))
def split_sigmas(*, sigmas: Sigmas, step: StepIndex = 0) -> tuple[Tensor, Tensor]:
    """Cut at a step; both parts have the level there."""
    return schedules.split(sigmas, step)


@node("SplitSigmasDenoise", category=SIGMAS, outputs=("SIGMAS", "SIGMAS"), output_names=("high_sigmas", "low_sigmas"))
def split_sigmas_denoise(*, sigmas: Sigmas, denoise: Denoise = 1.0) -> tuple[Tensor, Tensor]:
    """Cut so that the second part has the share `denoise` of the steps."""
    return schedules.split_denoise(sigmas, denoise)


@node("FlipSigmas", category=SIGMAS, outputs=("SIGMAS",))
def flip_sigmas(*, sigmas: Sigmas) -> Tensor:
    """From low to high, to go from a picture to its noise."""
    return schedules.flip(sigmas)


@node("SetFirstSigma", category=SIGMAS, outputs=("SIGMAS",))
def set_first_sigma(*, sigmas: Sigmas, sigma: Annotated[float, Float(0.0, 20000.0, 0.001, False)] = 136.0) -> Tensor:
    """Another first level."""
    if len(sigmas) == 0:
        raise SettingError("SetFirstSigma: there are no sigmas", "The scheduler before it gave none: its denoise is 0.")
    return schedules.set_first(sigmas, sigma)


@node("ExtendIntermediateSigmas", category=SIGMAS, outputs=("SIGMAS",))
def extend_intermediate_sigmas(
    *,
    sigmas: Sigmas,
    steps: Annotated[int, Int(1, 100)] = 2,
    start_at_sigma: Annotated[float, Float(-1.0, 20000.0, 0.01, False)] = -1.0,
    end_at_sigma: Annotated[float, Float(0.0, 20000.0, 0.01, False)] = 12.0,
    spacing: Annotated[str, Choice(("linear", "cosine", "sine"))],
) -> Tensor:
    """More levels between those that lie in a range; -1 has no upper end."""
    return schedules.extend_intermediate(sigmas, steps, start_at_sigma, end_at_sigma, cast(Spacing, spacing))
