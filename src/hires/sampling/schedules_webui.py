"""The A1111 web UI's schedules, by its labels and with its numbers, where Forge's are added; and its step counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from hires.errors import SettingError
from hires.sampling import schedules
from hires.sampling.levels import TRAINING_STEPS, NoiseLevels
from hires.sampling.schedules import closest_choice, drop_penultimate, interpolate_logarithm, with_zero
from hires.sampling.webui_names import SCHEDULE_NAMES, ScheduleName


@dataclass(frozen=True)
class ScheduleOptions:
    """The web UI's options of the same names; 0 means the schedule's or the model's own value.

    `original` keeps its quirks, for pictures made with it: KL Optimal ends at sigma_min instead of 0, and the
    timestep samplers make one step fewer than asked and stop short of 0.
    """

    sigma_min: float = 0.0
    sigma_max: float = 0.0
    rho: float = 0.0
    beta_alpha: float = 0.6
    beta_beta: float = 0.6
    old_karras_sigmas: bool = False
    sdxl: bool = False
    original: bool = True

    def ends(self, levels: NoiseLevels) -> tuple[float, float]:
        low, high = (0.1, 10.0) if self.old_karras_sigmas else (levels.sigma_min, levels.sigma_max)
        return self.sigma_min or low, self.sigma_max or high


Make = Callable[[int, NoiseLevels, ScheduleOptions], Tensor]


@dataclass(frozen=True, kw_only=True)
class WebuiSchedule(ScheduleName):
    """A schedule and how its levels are made."""

    make: Make


def uniform(n: int, levels: NoiseLevels, options: ScheduleOptions) -> Tensor:
    return schedules.normal(n, levels)


def karras(n: int, levels: NoiseLevels, options: ScheduleOptions) -> Tensor:
    return schedules.karras(n, *options.ends(levels), options.rho or 7.0)


def exponential(n: int, levels: NoiseLevels, options: ScheduleOptions) -> Tensor:
    return schedules.exponential(n, *options.ends(levels))


def polyexponential(n: int, levels: NoiseLevels, options: ScheduleOptions) -> Tensor:
    return schedules.polyexponential(n, *options.ends(levels), options.rho or 1.0)


def sgm_uniform(n: int, levels: NoiseLevels, options: ScheduleOptions) -> Tensor:
    return with_zero(levels.sigma(torch.linspace(*_timestep_ends(levels, options), n + 1)[:-1]))


def normal(n: int, levels: NoiseLevels, options: ScheduleOptions) -> Tensor:
    return with_zero(levels.sigma(torch.linspace(*_timestep_ends(levels, options), n)))


def kl_optimal(n: int, levels: NoiseLevels, options: ScheduleOptions) -> Tensor:
    """The original has n + 1 levels, the last sigma_min, so that its noise stays in the picture."""
    low, high = options.ends(levels)
    if not options.original:
        return schedules.kl_optimal(n, low, high)
    share = torch.arange(n + 1, dtype=torch.float32) / n
    return (share * math.atan(low) + (1 - share) * math.atan(high)).tan()


def simple(n: int, levels: NoiseLevels, options: ScheduleOptions) -> Tensor:
    return schedules.simple(n, levels)


def ddim(n: int, levels: NoiseLevels, options: ScheduleOptions) -> Tensor:
    return schedules.ddim_uniform(n, levels)


def beta(n: int, levels: NoiseLevels, options: ScheduleOptions) -> Tensor:
    """Quantiles between sigma_min and sigma_max themselves, where ComfyUI takes quantiles of timesteps."""
    low, high = options.ends(levels)
    quantiles = scipy.stats.beta.ppf(1 - np.linspace(0, 1, n), options.beta_alpha, options.beta_beta)
    return with_zero(torch.from_numpy(low + quantiles * (high - low)).float())


def turbo(n: int, levels: NoiseLevels, options: ScheduleOptions) -> Tensor:
    index = (torch.arange(1, n + 1) * float(TRAINING_STEPS / n) - 1).flip(0).round().long()
    return with_zero(levels.sigmas[index.clamp(0, len(levels.sigmas) - 1)])


def table(sd1: Sequence[float], sdxl: Sequence[float]) -> Make:
    """A schedule read from a table, interpolated in log sigma when another number of steps is asked."""

    def make(n: int, levels: NoiseLevels, options: ScheduleOptions) -> Tensor:
        levels_listed = sdxl if options.sdxl else sd1
        sigmas = levels_listed if n == len(levels_listed) else interpolate_logarithm(levels_listed, n)
        return with_zero(torch.tensor(list(sigmas), dtype=torch.float32))

    return make


ALIGN_YOUR_STEPS = table(
    (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
)
ALIGN_YOUR_STEPS_GITS = table(
    (14.615, 4.617, 2.507, 1.236, 0.702, 0.402, 0.240, 0.156, 0.104, 0.094, 0.029),
    (14.615, 4.734, 2.567, 1.529, 0.987, 0.652, 0.418, 0.268, 0.179, 0.127, 0.029),
)
ALIGN_YOUR_STEPS_32 = table(
    (14.615, 11.23951352, 8.64363081, 6.64729424, 5.57250862, 4.71648546, 3.99196065, 3.5195609, 3.13490466,
     2.79228788, 2.48773628, 2.21663865, 1.97508351, 1.7793172, 1.61475335, 1.46540953, 1.314849, 1.16642497,
     1.03475547, 0.91573744, 0.80748169, 0.71202361, 0.621739, 0.53065202, 0.4529096, 0.37491455, 0.27461819,
     0.2011529, 0.14105873, 0.06682881, 0.03166121, 0.015),
    (14.615, 11.1491618, 8.50522127, 6.48827151, 5.43707402, 4.60398619, 3.89854704, 3.27407457, 2.74396527,
     2.29968659, 1.95448514, 1.67108715, 1.42878152, 1.23181009, 1.06789649, 0.92579443, 0.80290886, 0.69660121,
     0.60436903, 0.52852552, 0.46773344, 0.41393379, 0.36258186, 0.31008517, 0.26518925, 0.22326461, 0.17653877,
     0.13959192, 0.10587381, 0.05519369, 0.02877334, 0.015),
)  # fmt: skip

MAKES: Mapping[str, Make] = {
    "uniform": uniform,
    "karras": karras,
    "exponential": exponential,
    "polyexponential": polyexponential,
    "sgm_uniform": sgm_uniform,
    "kl_optimal": kl_optimal,
    "align_your_steps": ALIGN_YOUR_STEPS,
    "simple": simple,
    "normal": normal,
    "ddim": ddim,
    "beta": beta,
    "turbo": turbo,
    "align_your_steps_GITS": ALIGN_YOUR_STEPS_GITS,
    "align_your_steps_11": ALIGN_YOUR_STEPS,
    "align_your_steps_32": ALIGN_YOUR_STEPS_32,
}

SCHEDULES: tuple[WebuiSchedule, ...] = tuple(
    WebuiSchedule(**vars(entry), make=MAKES[entry.name]) for entry in SCHEDULE_NAMES
)
"""In the order of the web UI's list; the last four are Forge's."""

BY_NAME: Mapping[str, WebuiSchedule] = {
    name.lower(): entry for entry in reversed(SCHEDULES) for name in (entry.label, entry.name, *entry.aliases)
}


def find_schedule(name: str) -> WebuiSchedule:
    """The schedule of a label, name or alias in any letter case."""
    if name.lower() in BY_NAME:
        return BY_NAME[name.lower()]
    closest_choice(name, ["Automatic", *(entry.label for entry in SCHEDULES)], "schedule type")
    raise SettingError(f"Schedule type {name!r} must be resolved with its sampler.", "Name a schedule instead.")


def full_sigmas(
    schedule: WebuiSchedule, steps: int, levels: NoiseLevels, options: ScheduleOptions, *, discard_penultimate: bool
) -> Tensor:
    """The whole schedule of a run, before img2img cuts it."""
    if steps < 1:
        raise SettingError(f"Steps must be 1 or more, not {steps}.")
    sigmas = schedule.make(steps + 1 if discard_penultimate else steps, levels, options)
    return drop_penultimate(sigmas) if discard_penultimate else sigmas


def img2img_steps(steps: int, denoising: float, fixed: bool) -> tuple[int, int]:
    """(schedule length, t_enc): t_enc + 1 steps are run, the schedule's last.

    `fixed` (option img2img_fix_steps, and always in a hires pass) lengthens the schedule so that `steps` are run.
    """
    share = min(denoising, 0.999)
    if fixed:
        return (int(steps / share) if denoising > 0 else 0), steps - 1
    return steps, int(share * steps)


def timesteps(steps: int, original: bool) -> list[int]:
    """Timesteps of DDIM, PLMS and UniPC, ascending. The original may list more than asked for."""
    if original:
        return [min(t + 1, TRAINING_STEPS - 1) for t in range(0, TRAINING_STEPS, max(TRAINING_STEPS // steps, 1))]
    return [min(int(k * TRAINING_STEPS / steps) + 1, TRAINING_STEPS - 1) for k in range(steps)]


def _timestep_ends(levels: NoiseLevels, options: ScheduleOptions) -> tuple[float, float]:
    low, high = options.ends(levels)
    ends = levels.timestep(torch.tensor([high, low]), interpolate=True)
    return float(ends[0]), float(ends[1])
