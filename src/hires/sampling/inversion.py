"""Noise inversion: from a picture's latent up to the noise that a sampler would have made it of.

Euler's method runs up the noise levels with the positive prompt alone; the noise found keeps an img2img run close to
the picture at strengths where fresh noise would not. (Noise inversion of the Tiled Diffusion extension, with the
denoised estimate that is right for v-prediction too.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from hires.errors import SettingError
from hires.sampling.guidance import NoisePredictor
from hires.sampling.state import Prediction

EDGE_SOFTNESS = 0.01
"""epsilon of the guided filter that finds flat parts."""


@dataclass(frozen=True, eq=False)
class Inverted:
    """Noise that leads to a latent, (batch, 4, h, w), and the share of fresh noise, (batch, 1, h, w) or None."""

    noise: Tensor
    fresh: Tensor | None = None

    def mixed(self, noise: Tensor) -> Tensor:
        """((1 - m) found + m fresh) / sqrt(m² + (1 - m)²): of unit variance where the two are independent."""
        if self.noise.shape[2:] != noise.shape[2:]:
            raise SettingError("the latent has another size than when its noise was inverted", "Invert it once more.")
        found = self.noise.to(noise)
        if self.fresh is None:
            return found
        m = self.fresh.to(noise)
        return ((1.0 - m) * found + m * noise) / (m**2 + (1.0 - m) ** 2).sqrt()

    def item(self, index: int) -> Inverted:
        """That of one image of the batch."""
        row = slice(min(index, len(self.noise) - 1), min(index, len(self.noise) - 1) + 1)
        return replace(self, noise=self.noise[row], fresh=None if self.fresh is None else self.fresh[row])


def inverted_noise(
    latent: Tensor,
    sigmas: Tensor,
    denoise: Callable[[Tensor, Tensor, int], Prediction],
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """The noise of a scaled latent (batch, 4, h, w), over rising noise levels sigmas (m,), all above 0.

    x' = (x - D(x, sigma_i)) / sigma_i is followed from sigma_{i-1} to sigma_i; on_step(done, all) hears of each step.
    """
    x, before = latent, torch.zeros(())
    for step, sigma in enumerate(sigmas):
        estimate = denoise(x, sigma, step).denoised
        x = x + (x - estimate) / sigma * (sigma - before)
        before = sigma
        if on_step is not None:
            on_step(step + 1, len(sigmas))
    return (x - latent) / sigmas[-1]


def renoise_mask(image: Tensor, strength: float, kernel: int, height: int, width: int) -> Tensor:
    """How much fresh noise parts of an image (batch, h, w, 3) get: `strength` in flat parts, less on edges and texture.

    A self-guided filter with a box of `kernel` pixels is taken from the grey picture; (batch, 1, height, width), 0..1.
    Where the extension's 8-bit differences wrap around below zero, the absolute difference is taken here.
    """
    grey = (image[..., :3] @ torch.tensor([0.299, 0.587, 0.114]).to(image))[:, None]
    smooth = _guided(grey, max(2, min(kernel, *grey.shape[2:])))
    difference = interpolate((smooth - grey).abs(), size=(height, width), mode="bilinear")
    return (strength * (1.0 - difference)).clamp(0.0, 1.0)


def _guided(grey: Tensor, kernel: int) -> Tensor:
    """He et al.'s guided filter of a picture by itself, its coefficients not averaged again."""
    mean = _box(grey, kernel)
    variance = (_box(grey * grey, kernel) - mean * mean).clamp(min=0.0)
    a = variance / (variance + EDGE_SOFTNESS)
    return a * grey + mean * (1.0 - a)


def _box(x: Tensor, kernel: int) -> Tensor:
    before = kernel // 2
    spread = pad(x, (before, kernel - 1 - before, before, kernel - 1 - before), mode="replicate")
    return avg_pool2d(spread, kernel, stride=1)


@dataclass(frozen=True, eq=False)
class Retouched:
    """A network that is told lower timesteps than those of the noise it sees, by a factor."""

    network: Any
    factor: float

    @property
    def prediction(self) -> str:
        return str(self.network.prediction)

    @property
    def identity(self) -> str:
        return hashlib.sha256(f"{self.network.identity} retouched {self.factor!r}".encode()).hexdigest()

    @property
    def wants_sigma(self) -> bool:
        return bool(getattr(self.network, "wants_sigma", False))

    def predict(
        self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None, **named: Any
    ) -> Tensor:
        result: Tensor = self.network.predict(x, timestep / self.factor, context, vector, **named)
        return result


def retouched(network: NoisePredictor, factor: float) -> NoisePredictor:
    """The network itself for a factor of 1."""
    return network if factor == 1.0 else Retouched(network, factor)
