"""Noise levels of a diffusion model: the table of sigmas, its timesteps, and what a network's output means at one.

sigma is the standard deviation of the noise added to a latent of unit scale (Karras et al. 2022); Stable Diffusion
numbers its levels by timesteps 0..999 of the training schedule.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

TRAINING_STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012
ZERO_TERMINAL_ALPHA_BAR = 4.8973451890853435e-8
"""ComfyUI's and A1111's stand-in for the alpha-bar of 0 that a zero-SNR schedule ends at."""


@dataclass(frozen=True, eq=False)
class NoiseLevels:
    """sigmas and log_sigmas: float32 (n,), ascending. Entry k belongs to timestep stride * k + stride - 1.

    sigma_data is the standard deviation that clean latents are taken to have (Karras et al. 2022).
    """

    sigmas: Tensor
    log_sigmas: Tensor
    stride: int = 1
    sigma_data: float = 1.0

    @property
    def sigma_min(self) -> float:
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigmas[-1])

    def timestep(self, sigma: Tensor, interpolate: bool = False) -> Tensor:
        """The model's timestep of noise levels (any shape), float32.

        ComfyUI takes the entry nearest in log sigma (the first on a tie); A1111 interpolates between entries.
        """
        log_sigma = sigma.float().log()
        table = self.log_sigmas.to(log_sigma.device)
        if not interpolate:
            index = (log_sigma[..., None] - table).abs().argmin(-1).float()
        else:
            low = (torch.searchsorted(table, log_sigma, right=True) - 1).clamp(0, len(table) - 2)
            weight = (log_sigma - table[low]) / (table[low + 1] - table[low])
            index = low + weight.clamp(0, 1)
        return index * self.stride + (self.stride - 1)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The noise level of timesteps (any shape): linear in log sigma between entries, float32."""
        index = ((timestep.float() - (self.stride - 1)) / self.stride).clamp(0, len(self.sigmas) - 1)
        low, high, weight = index.floor().long(), index.ceil().long(), index.frac()
        table = self.log_sigmas.to(index.device)
        return ((1 - weight) * table[low] + weight * table[high]).exp()

    def percent_to_sigma(self, percent: float) -> float:
        """The noise level at a share of the timesteps, 0 = start; beyond the ends a level that none reaches."""
        if percent <= 0.0:
            return 999999999.9
        if percent >= 1.0:
            return 0.0
        return float(self.sigma(torch.tensor((1.0 - percent) * 999.0)))

    def scaled(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x as the network takes it: unit variance at every noise level."""
        return x / (sigma**2 + self.sigma_data**2).sqrt()


@dataclass(frozen=True, eq=False)
class ContinuousLevels(NoiseLevels):
    """EDM's continuous levels: any sigma between the ends, told to the network as ln(sigma) / 4."""

    def timestep(self, sigma: Tensor, interpolate: bool = False) -> Tensor:
        return sigma.float().log() * 0.25

    def sigma(self, timestep: Tensor) -> Tensor:
        return (timestep.float() / 0.25).exp()

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0.0:
            return 999999999.9
        if percent >= 1.0:
            return 0.0
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return math.exp((high - low) * (1.0 - percent) + low)


def continuous_levels(sigma_min: float, sigma_max: float, sigma_data: float = 1.0) -> ContinuousLevels:
    """A thousand levels, equally spaced in ln sigma (ComfyUI)."""
    log_sigmas = torch.linspace(math.log(sigma_min), math.log(sigma_max), TRAINING_STEPS)
    return ContinuousLevels(log_sigmas.exp(), log_sigmas, 1, sigma_data)


@functools.cache
def standard_levels() -> NoiseLevels:
    """The scaled-linear schedule that SD1, SD2 and SDXL were trained with."""
    return _levels(_training_sigmas())


@functools.cache
def scaled_linear_levels(beta_start: float, beta_end: float) -> NoiseLevels:
    """The schedule of models trained between other betas (latent-diffusion calls it "linear")."""
    return _levels(_training_sigmas(beta_start, beta_end))


@functools.cache
def zero_snr_levels() -> NoiseLevels:
    """The same, shifted and scaled so that the last level is (nearly) pure noise (Lin et al. 2023)."""
    return _of_alpha_bar(_zero_terminal(_alpha_bar(_training_sigmas())))


@functools.cache
def downcast_levels(zero_snr: bool = False) -> NoiseLevels:
    """A1111's `use_downcasted_alpha_bar`: alpha-bar rounded to half precision, as versions before 1.7 had it.

    With zero_snr the rounded values are shifted and scaled; in A1111 that overflows at the last level.
    """
    alpha_bar = _alpha_bar(_training_sigmas()).astype(np.float16).astype(np.float64)
    return _of_alpha_bar(_zero_terminal(alpha_bar) if zero_snr else alpha_bar)


def levels_of(zero_snr: bool, downcast: bool = False) -> NoiseLevels:
    """The table of a model of the common schedule, as A1111's options change it."""
    if downcast:
        return downcast_levels(zero_snr)
    return zero_snr_levels() if zero_snr else standard_levels()


def lcm_levels(levels: NoiseLevels | None = None) -> NoiseLevels:
    """The 50 levels, one in 20, that latent consistency models are distilled for."""
    base = levels or standard_levels()
    index = torch.arange(19, TRAINING_STEPS, 20)
    return NoiseLevels(base.sigmas[index], base.log_sigmas[index], stride=20)


def denoised(prediction: str, output: Tensor, x: Tensor, sigma: Tensor, levels: NoiseLevels) -> Tensor:
    """The estimate of the clean latent from a network's raw output, for the prediction types.

    output, x (batch, channels, h, w); sigma 0-d or (batch,).
    """
    s = sigma.reshape(sigma.shape + (1,) * (x.ndim - sigma.ndim)) if sigma.ndim else sigma
    d = levels.sigma_data
    match prediction:
        case "eps":
            return x - output * s
        case "v":
            return x * d**2 / (s**2 + d**2) - output * s * d / (s**2 + d**2) ** 0.5
        case "edm":
            return x * d**2 / (s**2 + d**2) + output * s * d / (s**2 + d**2) ** 0.5
        case "x0" | "img_to_img":
            return output
        case "lcm":
            tau = levels.timestep(s) * 10.0
            return (x - output * s) * tau / (tau**2 + 0.25) ** 0.5 + x * 0.25 / (tau**2 + 0.25)
        case _:
            raise ValueError(f"prediction type {prediction!r} is none of eps, v, edm, x0, img_to_img, lcm")


def scale_input(x: Tensor, sigma: Tensor) -> Tensor:
    """x as the network takes it: unit variance at every noise level."""
    s = sigma.reshape(sigma.shape + (1,) * (x.ndim - sigma.ndim)) if sigma.ndim else sigma
    return x / (s**2 + 1.0) ** 0.5


def is_maximum(levels: NoiseLevels, sigma: float) -> bool:
    """Whether a run that starts here starts from pure noise (ComfyUI's test)."""
    return math.isclose(levels.sigma_max, sigma, rel_tol=1e-05) or sigma > levels.sigma_max


def noised(latent: Tensor, noise: Tensor, sigma: Tensor, *, pure: bool) -> Tensor:
    """A latent brought to noise level sigma; `pure` scales the noise as if the latent's own variance were in it."""
    return latent + noise * ((1.0 + sigma**2).sqrt() if pure else sigma)


def _training_sigmas(start: float = BETA_START, end: float = BETA_END) -> np.ndarray:
    betas = np.linspace(start**0.5, end**0.5, TRAINING_STEPS, dtype=np.float64) ** 2
    alpha_bar = np.cumprod(1.0 - betas)
    return np.sqrt((1.0 - alpha_bar) / alpha_bar)


def _alpha_bar(sigmas: np.ndarray) -> np.ndarray:
    return 1.0 / (sigmas**2 + 1.0)


def _zero_terminal(alpha_bar: np.ndarray) -> np.ndarray:
    root = np.sqrt(alpha_bar)
    first, last = root[0], root[-1]
    shifted = ((root - last) * first / (first - last)) ** 2
    shifted[-1] = ZERO_TERMINAL_ALPHA_BAR
    return shifted


def _of_alpha_bar(alpha_bar: np.ndarray) -> NoiseLevels:
    return _levels(np.sqrt((1.0 - alpha_bar) / alpha_bar))


def _levels(sigmas: np.ndarray) -> NoiseLevels:
    return NoiseLevels(torch.from_numpy(sigmas).float(), torch.from_numpy(np.log(sigmas)).float())
