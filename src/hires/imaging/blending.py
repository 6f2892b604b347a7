"""Two pictures to one: blend modes, and Porter and Duff's rules for pictures with transparency (1984)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Blend = Callable[[Tensor, Tensor], Tensor]
Rule = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(source colour, source alpha, destination colour, destination alpha), premultiplied -> (colour, alpha)."""


def overlay(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(a <= 0.5, 2 * a * b, 1 - 2 * (1 - a) * (1 - b))


def soft_light(a: Tensor, b: Tensor) -> Tensor:
    """W3C's soft light: b lights a."""
    root = torch.where(a <= 0.25, ((16 * a - 12) * a + 4) * a, a.clamp(min=0.0).sqrt())
    return torch.where(b <= 0.5, a - (1 - 2 * b) * a * (1 - a), a + (2 * b - 1) * (root - a))


BLEND_MODES: Mapping[str, Blend] = {
    "normal": lambda a, b: b,
    "multiply": lambda a, b: a * b,
    "screen": lambda a, b: 1 - (1 - a) * (1 - b),
    "overlay": overlay,
    "soft_light": soft_light,
    "difference": lambda a, b: a - b,
}


def blend(image: Tensor, other: Tensor, mode: str, factor: float) -> Tensor:
    """image towards mode(image, other) by `factor`, clamped to 0..1."""
    return (image * (1.0 - factor) + BLEND_MODES[mode](image, other) * factor).clamp(0.0, 1.0)


def _union(a: Tensor, b: Tensor) -> Tensor:
    return a + b - a * b


def _overlay_rule(s: Tensor, sa: Tensor, d: Tensor, da: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(2 * d < da, 2 * s * d, sa * da - 2 * (da - s) * (sa - d)), _union(sa, da)


# s, d: premultiplied colours; sa, da: alphas. ADD ... XOR as Android and Skia define them.
PORTER_DUFF: Mapping[str, Rule] = {
    "ADD": lambda s, sa, d, da: ((s + d).clamp(0, 1), (sa + da).clamp(0, 1)),
    "CLEAR": lambda s, sa, d, da: (torch.zeros_like(d), torch.zeros_like(da)),
    "DARKEN": lambda s, sa, d, da: ((1 - da) * s + (1 - sa) * d + torch.minimum(s, d), _union(sa, da)),
    "DST": lambda s, sa, d, da: (d, da),
    "DST_ATOP": lambda s, sa, d, da: (sa * d + (1 - da) * s, sa),
    "DST_IN": lambda s, sa, d, da: (d * sa, sa * da),
    "DST_OUT": lambda s, sa, d, da: ((1 - sa) * d, (1 - sa) * da),
    "DST_OVER": lambda s, sa, d, da: (d + (1 - da) * s, da + (1 - da) * sa),
    "LIGHTEN": lambda s, sa, d, da: ((1 - da) * s + (1 - sa) * d + torch.maximum(s, d), _union(sa, da)),
    "MULTIPLY": lambda s, sa, d, da: (s * d, sa * da),
    "OVERLAY": _overlay_rule,
    "SCREEN": lambda s, sa, d, da: (_union(s, d), _union(sa, da)),
    "SRC": lambda s, sa, d, da: (s, sa),
    "SRC_ATOP": lambda s, sa, d, da: (da * s + (1 - sa) * d, da),
    "SRC_IN": lambda s, sa, d, da: (s * da, sa * da),
    "SRC_OUT": lambda s, sa, d, da: ((1 - da) * s, (1 - da) * sa),
    "SRC_OVER": lambda s, sa, d, da: (s + (1 - sa) * d, sa + (1 - sa) * da),
    "XOR": lambda s, sa, d, da: ((1 - da) * s + (1 - sa) * d, (1 - da) * sa + (1 - sa) * da),
}


def porter_duff(
    source: Tensor, source_alpha: Tensor, destination: Tensor, destination_alpha: Tensor, mode: str
) -> tuple[Tensor, Tensor]:
    """Colours (batch, h, w, 3) and alphas (batch, h, w), not premultiplied -> the same of their composition."""
    sa, da = source_alpha[..., None], destination_alpha[..., None]
    colour, alpha = PORTER_DUFF[mode](source * sa, sa, destination * da, da)
    plain = torch.where(alpha > 1e-5, colour / alpha, torch.zeros_like(colour))
    return plain.clamp(0.0, 1.0), alpha[..., 0]
