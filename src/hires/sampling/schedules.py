"""ComfyUI's schedules: how the noise levels of a run are spaced. Each returns float32 sigmas, descending.

Every function ends its list with a 0 unless it says otherwise. `a` and `b` are the smallest and largest sigma.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from hires.errors import SettingError
from hires.sampling.levels import NoiseLevels

Schedule = Callable[[int, NoiseLevels], Tensor]

DROPS_EXTRA_STEP = frozenset({"dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"})
"""Samplers for which ComfyUI makes the schedule of one step more and drops its last non-zero sigma."""


def with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def karras(n: int, a: float, b: float, rho: float = 7.0) -> Tensor:
    """Karras et al. 2022, equation 5."""
    low, high = a ** (1 / rho), b ** (1 / rho)
    return with_zero((high + torch.linspace(0, 1, n) * (low - high)) ** rho)


def exponential(n: int, a: float, b: float) -> Tensor:
    return with_zero(torch.linspace(math.log(b), math.log(a), n).exp())


def polyexponential(n: int, a: float, b: float, rho: float = 1.0) -> Tensor:
    ramp = torch.linspace(1, 0, n) ** rho
    return with_zero((ramp * (math.log(b) - math.log(a)) + math.log(a)).exp())


def laplace(n: int, a: float, b: float, mu: float = 0.0, beta: float = 0.5) -> Tensor:
    """Hang et al. 2024. Ends at a positive level: no 0 is appended."""
    x = torch.linspace(0, 1, n)
    log_sigma = mu - beta * torch.sign(0.5 - x) * torch.log(1 - 2 * (0.5 - x).abs() + 1e-5)
    return log_sigma.exp().clamp(a, b)


def variance_preserving(n: int, beta_d: float = 19.9, beta_min: float = 0.1, eps_s: float = 1e-3) -> Tensor:
    """The continuous VP schedule of Song et al. 2021."""
    t = torch.linspace(1, eps_s, n)
    return with_zero((beta_d * t**2 / 2 + beta_min * t).expm1().sqrt())


def normal(n: int, levels: NoiseLevels) -> Tensor:
    """Equally spaced timesteps, both ends included."""
    first, last = _timestep_range(levels)
    if math.isclose(float(levels.sigma(last)), 0, abs_tol=1e-5):
        return levels.sigma(torch.linspace(float(first), float(last), n + 1))
    return with_zero(levels.sigma(torch.linspace(float(first), float(last), n)))


def sgm_uniform(n: int, levels: NoiseLevels) -> Tensor:
    """Equally spaced timesteps of which the last is left out."""
    first, last = _timestep_range(levels)
    return with_zero(levels.sigma(torch.linspace(float(first), float(last), n + 1)[:-1]))


def simple(n: int, levels: NoiseLevels) -> Tensor:
    stride = len(levels.sigmas) / n
    return with_zero(levels.sigmas[[-(1 + int(i * stride)) for i in range(n)]])


def ddim_uniform(n: int, levels: NoiseLevels) -> Tensor:
    """Every (table length // n)-th level from the second on; may give more than n steps."""
    stride = max(len(levels.sigmas) // n, 1)
    return with_zero(levels.sigmas[1::stride].flip(0))


def beta(n: int, levels: NoiseLevels, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Quantiles of a beta distribution over the timesteps (Lee et al. 2024); repeated levels are dropped."""
    quantiles = scipy.stats.beta.ppf(1 - np.linspace(0, 1, n, endpoint=False), alpha, beta)
    index = np.rint(quantiles * (len(levels.sigmas) - 1)).astype(int)
    kept = [k for i, k in enumerate(index) if i == 0 or k != index[i - 1]]
    return with_zero(levels.sigmas[kept])


def linear_quadratic(n: int, levels: NoiseLevels) -> Tensor:
    """Small linear steps, then quadratic ones (Polyak et al. 2024)."""
    if n == 1:
        return torch.tensor([1.0, 0.0]) * levels.sigmas[-1]
    threshold, linear = 0.025, n // 2
    rest = n - linear
    excess = linear - threshold * n
    square = excess / (linear * rest**2)
    slope = threshold / linear - 2 * excess / rest**2
    offset = square * linear**2
    falls = [i * threshold / linear for i in range(linear)]
    falls += [square * i**2 + slope * i + offset for i in range(linear, n)]
    return torch.tensor([1.0 - fall for fall in [*falls, 1.0]]) * levels.sigmas[-1]


def kl_optimal(n: int, a: float, b: float) -> Tensor:
    """Sabour et al. 2024, equation of theorem 3.1. One step is 0/0 in the formula; it starts at b here."""
    if n == 1:
        return torch.tensor([b, 0.0])
    share = torch.arange(n, dtype=torch.float32) / (n - 1)
    return with_zero((share * math.atan(a) + (1 - share) * math.atan(b)).tan())


def sd_turbo(steps: int, levels: NoiseLevels, denoise: float = 1.0) -> Tensor:
    """The ten levels that SD Turbo was distilled for, from the one that `denoise` (0..1) asks for."""
    start = 10 - int(10 * denoise)
    timesteps = torch.arange(999, 0, -100)[start : start + steps]
    return with_zero(levels.sigma(timesteps))


ALIGN_YOUR_STEPS: Mapping[str, Sequence[float]] = {
    "SD1": (14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092, 0.9642583904,
            0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582),
    "SDXL": (14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141, 0.5550693289,
             0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582),
    "SVD": (700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}  # fmt: skip


def align_your_steps(family: str, steps: int, denoise: float = 1.0) -> Tensor:
    """Sabour et al. 2024's optimised tables as ComfyUI's node uses them: the last level is replaced by 0."""
    table: Sequence[float] = ALIGN_YOUR_STEPS[closest_choice(family, ALIGN_YOUR_STEPS, "model type")]
    kept = steps
    if denoise < 1.0:
        if denoise <= 0.0:
            return torch.zeros(0)
        kept = round(steps * denoise)
    if steps + 1 != len(table):
        table = interpolate_logarithm(table, steps + 1)
    sigmas = torch.tensor(table, dtype=torch.float32)[-(kept + 1) :]
    sigmas[-1] = 0.0
    return sigmas


def interpolate_logarithm(table: Sequence[float], n: int) -> list[float]:
    """n levels equally spaced along a table, linear in log sigma (float64)."""
    ends_first = np.log(np.asarray(table, dtype=np.float64)[::-1])
    places = np.linspace(0, 1, n)
    return list(np.exp(np.interp(places, np.linspace(0, 1, len(table)), ends_first))[::-1])


SCHEDULES: Mapping[str, Schedule] = {
    "simple": simple,
    "sgm_uniform": sgm_uniform,
    "karras": lambda n, levels: karras(n, levels.sigma_min, levels.sigma_max),
    "exponential": lambda n, levels: exponential(n, levels.sigma_min, levels.sigma_max),
    "ddim_uniform": ddim_uniform,
    "beta": beta,
    "normal": normal,
    "linear_quadratic": linear_quadratic,
    "kl_optimal": lambda n, levels: kl_optimal(n, levels.sigma_min, levels.sigma_max),
}
"""ComfyUI's KSampler schedulers in its order."""


def schedule(scheduler: str, steps: int, levels: NoiseLevels) -> Tensor:
    """The sigmas of a named ComfyUI schedule for a number of steps."""
    if steps < 1:
        raise SettingError(f"Steps must be 1 or more, not {steps}.")
    return SCHEDULES[closest_choice(scheduler, SCHEDULES, "scheduler")](steps, levels).float()


def run_sigmas(
    sampler: str, scheduler: str, steps: int, levels: NoiseLevels, denoise: float = 1.0, *, node: bool = False
) -> Tensor:
    """The sigmas that ComfyUI's KSampler runs: one step dropped for some samplers, and the tail that `denoise` keeps.

    `node` follows BasicScheduler instead: no dropped step, and every denoise below 1 cuts.
    """
    if denoise <= 0.0:
        return torch.zeros(0)
    whole = denoise >= 1.0 if node else denoise > 0.9999
    total = steps if whole else int(steps / denoise)
    drop = not node and sampler in DROPS_EXTRA_STEP
    sigmas = schedule(scheduler, total + 1 if drop else total, levels)
    if drop:
        sigmas = drop_penultimate(sigmas)
    return sigmas if whole else sigmas[-(steps + 1) :]


def drop_penultimate(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas[:-2], sigmas[-1:]])


def window(sigmas: Tensor, start: int | None, end: int | None, leftover: bool) -> Tensor | None:
    """KSamplerAdvanced's part of a run. None: the input latent is to be returned as it is.

    With `leftover` the noise left at the end of the window stays; otherwise the last sigma becomes 0.
    """
    if end is not None and end < len(sigmas) - 1:
        sigmas = sigmas[: end + 1].clone()
        if not leftover:
            sigmas[-1] = 0.0
    if start is not None:
        if start >= len(sigmas) - 1:
            return None
        sigmas = sigmas[start:]
    return sigmas


def split(sigmas: Tensor, step: int) -> tuple[Tensor, Tensor]:
    return sigmas[: step + 1], sigmas[step:]


def split_denoise(sigmas: Tensor, denoise: float) -> tuple[Tensor, Tensor]:
    steps = round(max(len(sigmas) - 1, 0) * denoise)
    return sigmas[:-steps], sigmas[-(steps + 1) :]


def flip(sigmas: Tensor) -> Tensor:
    """Noise levels from low to high; a leading 0, which no sampler can leave, becomes 0.0001."""
    if len(sigmas) == 0:
        return sigmas
    flipped = sigmas.flip(0)
    if flipped[0] == 0:
        flipped[0] = 0.0001
    return flipped


def set_first(sigmas: Tensor, sigma: float) -> Tensor:
    changed = sigmas.clone()
    changed[0] = sigma
    return changed


def extend_intermediate(
    sigmas: Tensor,
    steps: int,
    start_at_sigma: float,
    end_at_sigma: float,
    spacing: Literal["linear", "cosine", "sine"] = "linear",
) -> Tensor:
    """Each step that starts within [end_at_sigma, start_at_sigma] cut into `steps`; a negative start means all."""
    bend = {
        "linear": lambda x: x,
        "cosine": lambda x: torch.sin(x * math.pi / 2),
        "sine": lambda x: 1 - torch.cos(x * math.pi / 2),
    }[spacing]
    shares = bend(torch.linspace(0, 1, steps + 1)[1:-1])
    start = math.inf if start_at_sigma < 0 else start_at_sigma
    pieces = []
    for sigma, sigma_next in itertools.pairwise(sigmas):
        pieces.append(sigma[None])
        if end_at_sigma <= sigma <= start:
            pieces.append(shares * (sigma_next - sigma) + sigma)
    return torch.cat([*pieces, sigmas[-1:]])


def closest_choice(name: str, choices: Iterable[str], what: str) -> str:
    """`name` if it is one of the choices; otherwise an error that names the ones it may have meant."""
    known = list(choices)
    if name in known:
        return name
    lowered = {choice.lower(): choice for choice in known}
    near = [lowered[match] for match in difflib.get_close_matches(str(name).lower(), lowered, n=3, cutoff=0.5)]
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."
    raise SettingError(f"Unknown {what} {name!r}.", hint)


def _timestep_range(levels: NoiseLevels) -> tuple[Tensor, Tensor]:
    return levels.timestep(levels.sigmas[-1]), levels.timestep(levels.sigmas[0])
