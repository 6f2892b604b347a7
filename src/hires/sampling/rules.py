"""Rules of guidance beyond the plain one: each changes the guided estimate of one call (see `guidance.Rule`)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from hires.sampling.guidance import Answer, Cond, NoisePredictor
from hires.sampling.levels import NoiseLevels


def numbers_key(name: str, *numbers: object) -> bytes:
    return hashlib.sha256(f"{name} {numbers!r}".encode()).digest()


@dataclass(frozen=True)
class RescaleCfg:
    """Lin et al. 2023, equations 14 to 16: the guided v is given the spread of the conditional one, by `multiplier`."""

    multiplier: float
    needs_uncond: bool = False

    @property
    def key(self) -> bytes:
        return numbers_key("rescale", self.multiplier)

    def __call__(self, answer: Answer) -> Tensor:
        if answer.uncond is None:
            return answer.denoised
        sigma, x = answer.sigma, answer.x
        root = (sigma**2 + 1.0) ** 0.5
        unit = x / (sigma**2 + 1.0)
        v_cond, v_uncond = ((unit - part) * root / sigma for part in (answer.cond, answer.uncond))
        guided = v_uncond + answer.guidance.cfg * (v_cond - v_uncond)
        spread = v_cond.std(dim=(1, 2, 3), keepdim=True) / guided.std(dim=(1, 2, 3), keepdim=True)
        v = self.multiplier * (guided * spread) + (1.0 - self.multiplier) * guided
        return unit - v * sigma / root


@dataclass(frozen=True)
class ImageCfg:
    """Brooks et al. 2023, InstructPix2Pix, equation 3: how far towards what the picture beside the noise asks for.

    u + scale (i - u) + cfg (c - i): c is shown text and picture, i the picture, u neither; the negative prompt stands
    for no text, and zeros for no picture.
    """

    scale: float
    needs_uncond: bool = True

    @property
    def key(self) -> bytes:
        return numbers_key("image cfg", self.scale)

    def __call__(self, answer: Answer) -> Tensor:
        if answer.uncond is None:
            return answer.denoised
        unseen = [
            cond if cond.concat is None else replace(cond, concat=torch.zeros_like(cond.concat))
            for cond in answer.guidance.negative
        ]
        return answer.denoised + (self.scale - 1.0) * (answer.uncond - answer.estimate(unseen))


@dataclass(frozen=True, eq=False)
class PerpNeg:
    """Armandpour et al. 2023: of the negative only what is perpendicular to the positive counts. `empty` is the prompt
    that both are measured from. Sums run over the whole batch, as in ComfyUI."""

    empty: Sequence[Cond]
    scale: float
    needs_uncond: bool = False

    @property
    def key(self) -> bytes:
        return numbers_key("perp", self.scale) + b"".join(cond.key for cond in self.empty)

    def __call__(self, answer: Answer) -> Tensor:
        nothing = answer.estimate(self.empty)
        uncond = torch.zeros_like(nothing) if answer.uncond is None else answer.uncond
        positive, negative = answer.cond - nothing, uncond - nothing
        along = (negative * positive).sum() / positive.norm() ** 2 * positive
        return nothing + answer.guidance.cfg * (positive - (negative - along) * self.scale)


@dataclass(frozen=True, eq=False)
class DualCfg:
    """Two guidances: from the negative to `middle` by cfg_middle, and from `middle` to the positive by cfg.

    `nested` lets the second reach over the whole of the first; ComfyUI's formulas.
    """

    middle: Sequence[Cond]
    cfg: float
    cfg_middle: float
    nested: bool
    needs_uncond: bool = True

    @property
    def key(self) -> bytes:
        return numbers_key("dual", self.cfg, self.cfg_middle, self.nested) + b"".join(c.key for c in self.middle)

    def __call__(self, answer: Answer) -> Tensor:
        middle = answer.estimate(self.middle)
        negative = torch.zeros_like(middle) if answer.uncond is None else answer.uncond
        towards = (answer.cond - middle) * self.cfg
        if self.nested:
            return negative + (middle + towards - negative) * self.cfg_middle
        return negative + (middle - negative) * self.cfg_middle + towards


Variant = Callable[[NoisePredictor], NoisePredictor]
"""The same network with a patch."""


@dataclass(frozen=True, eq=False)
class PerturbedAttention:
    """Ahn et al. 2024: away from what the network draws without self-attention in its middle."""

    scale: float
    perturbed: Variant
    needs_uncond: bool = False

    @property
    def key(self) -> bytes:
        return numbers_key("perturbed", self.scale)

    def __call__(self, answer: Answer) -> Tensor:
        if self.scale == 0.0:
            return answer.denoised
        guidance = answer.guidance
        worse = answer.estimate(guidance.positive, network=self.perturbed(guidance.network))
        return answer.denoised + (answer.cond - worse) * self.scale


@dataclass(frozen=True, eq=False)
class SelfAttentionGuidance:
    """Hong et al. 2023: away from what the network makes of its own estimate, blurred where attention was strong.

    `recording` gives a network that notes the middle's self-attention, and the list of its notes; it costs one more
    evaluation of the negative.
    """

    scale: float
    blur_sigma: float
    recording: Callable[[NoisePredictor], tuple[NoisePredictor, list[Tensor]]]
    needs_uncond: bool = True

    @property
    def key(self) -> bytes:
        return numbers_key("self-attention", self.scale, self.blur_sigma)

    def __call__(self, answer: Answer) -> Tensor:
        uncond = answer.uncond
        if uncond is None or min(answer.x.shape[2:]) <= 4:
            return answer.denoised
        network, notes = self.recording(answer.guidance.network)
        negative = answer.guidance.negative
        answer.estimate(negative, network=network)
        if not notes:
            return answer.denoised
        degraded = blurred_where_attended(uncond, notes[-1].to(uncond), self.blur_sigma)
        again = answer.estimate(negative, x=degraded + answer.x - uncond)
        return answer.denoised + (degraded - again) * self.scale


def blurred_where_attended(x0: Tensor, attention: Tensor, sigma: float, threshold: float = 1.0) -> Tensor:
    """x0 (batch, 4, h, w), blurred where the attention (batch * heads, tokens, tokens) that cells get exceeds 1."""
    batch, _, height, width = x0.shape
    tokens = attention.shape[-1]
    attended = attention.reshape(batch, -1, tokens, tokens).mean(dim=1).sum(dim=1) > threshold
    rows = _rows(tokens, height / width)
    mask = interpolate(attended.reshape(batch, 1, rows, tokens // rows).to(x0), size=(height, width))
    return gaussian_blur(x0, 9, sigma) * mask + x0 * (1.0 - mask)


def _rows(tokens: int, aspect: float) -> int:
    """The number of rows that divides `tokens` and is nearest to the latent's aspect (height / width)."""
    wanted = round(math.sqrt(aspect * tokens))
    for distance in range(tokens):
        for rows in (wanted + distance, max(1, wanted - distance)):
            if tokens % rows == 0:
                return rows
    return 1


def gaussian_blur(x: Tensor, size: int, sigma: float) -> Tensor:
    """x (batch, channels, h, w) blurred by a kernel of odd size, mirrored at the borders."""
    line = torch.linspace(-(size - 1) / 2, (size - 1) / 2, size, device=x.device, dtype=x.dtype)
    weights = (-0.5 * (line / max(sigma, 1e-6)) ** 2).exp()
    weights = weights / weights.sum()
    kernel = torch.outer(weights, weights).expand(x.shape[1], 1, size, size)
    return conv2d(pad(x, [size // 2] * 4, mode="reflect"), kernel, groups=x.shape[1])


@dataclass(frozen=True, eq=False)
class DifferentialMask:
    """Differential Diffusion (Levin and Fried 2023): a cell is repainted from the call on at which the share of the
    timesteps left falls to its mask's value; `strength` blends this with the mask as it is."""

    levels: NoiseLevels
    first: float
    last: float
    strength: float

    @classmethod
    def of(cls, levels: NoiseLevels, sigmas: Tensor, strength: float) -> DifferentialMask:
        """For a run over `sigmas`, descending."""
        ends = torch.stack([sigmas[0].float(), sigmas[-1].float().clamp(min=levels.sigma_min)])
        first, last = levels.timestep(ends).tolist()
        return cls(levels, first, last, strength)

    @property
    def key(self) -> bytes:
        return numbers_key("differential", self.first, self.last, self.strength)

    def __call__(self, mask: Tensor, sigma: Tensor) -> Tensor:
        now = float(self.levels.timestep(sigma))
        threshold = (now - self.last) / (self.first - self.last) if self.first != self.last else 0.0
        binary = (mask >= threshold).to(mask)
        return binary if self.strength >= 1.0 else self.strength * binary + (1.0 - self.strength) * mask
