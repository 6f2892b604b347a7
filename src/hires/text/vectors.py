"""SDXL's conditioning vector: the pooled text followed by sinusoids of sizes (Podell et al. 2023, section 2.2)."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

_WIDTH: Final = 256


def sinusoids(values: Tensor) -> Tensor:
    """(n,) numbers -> (n, 256): cos(v f_i) for i = 0..127, then sin(v f_i), with f_i = 10000^(-i/128)."""
    half = _WIDTH // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    angles = values.float()[:, None].cpu() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def size_vector_sdxl(
    pooled: Tensor,
    height: float,
    width: float,
    crop_h: float = 0,
    crop_w: float = 0,
    target_h: float | None = None,
    target_w: float | None = None,
) -> Tensor:
    """(batch, pooled width + 6*256): original size, crop offset, target size (default: the original), height first."""
    target_h = height if target_h is None else target_h
    target_w = width if target_w is None else target_w
    return _append(pooled, [height, width, crop_h, crop_w, target_h, target_w])


def size_vector_refiner(
    pooled: Tensor, height: float, width: float, crop_h: float = 0, crop_w: float = 0, aesthetic: float = 6.0
) -> Tensor:
    """(batch, pooled width + 5*256). Usual aesthetic scores: 6 for the prompt, 2.5 for the negative."""
    return _append(pooled, [height, width, crop_h, crop_w, aesthetic])


def _append(pooled: Tensor, numbers: list[float]) -> Tensor:
    sizes = sinusoids(torch.tensor(numbers, dtype=torch.float32)).flatten()
    return torch.cat([pooled, sizes.to(pooled).expand(pooled.shape[0], -1)], dim=-1)
