"""Canny's edge detector (1986) with the numbers of kornia, on which ComfyUI's node is built."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, pad

LUMA = (0.299, 0.587, 0.114)
# (dx, dy) of the neighbour that a gradient of k * 45 degrees points to, y downwards.
DIRECTIONS = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))


def canny(image: Tensor, low: float, high: float) -> Tensor:
    """Edges of images (batch, h, w, 3) -> (batch, h, w), 1 on an edge.

    Pixels steeper than `high` are edges, and those steeper than `low` that such a one reaches through others.
    """
    grey = (image[..., :3] * torch.tensor(LUMA)).sum(-1)[:, None]
    magnitude, direction = _gradient(_smoothed(grey))
    magnitude = _thinned(magnitude, direction)
    weak, strong = magnitude > min(low, high), magnitude > max(low, high)
    edges = strong
    while True:
        reached = max_pool2d(edges.float(), 3, stride=1, padding=1) > 0
        grown = strong | (reached & weak)
        if torch.equal(grown, edges):
            return edges[:, 0].float()
        edges = grown


def _smoothed(grey: Tensor) -> Tensor:
    """A Gaussian of 5 x 5 pixels, sigma 1."""
    line = torch.exp(-(torch.arange(-2, 3) ** 2) / 2.0)
    line = line / line.sum()
    padded = pad(grey, (2, 2, 2, 2), mode="reflect" if min(grey.shape[-2:]) > 2 else "replicate")
    return conv2d(conv2d(padded, line.reshape(1, 1, 1, 5)), line.reshape(1, 1, 5, 1))


def _gradient(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's gradient: its length, and its direction in eighths of a turn (0..7)."""
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    padded = pad(grey, (1, 1, 1, 1), mode="replicate")
    dx, dy = conv2d(padded, sobel[None, None]), conv2d(padded, sobel.T[None, None])
    direction = torch.round(180.0 * (torch.atan2(dy, dx) / math.pi) / 45.0).long() % 8
    return torch.sqrt(dx * dx + dy * dy + 1e-6), direction


def _thinned(magnitude: Tensor, direction: Tensor) -> Tensor:
    """Zero wherever the gradient is not steeper than at both neighbours along it."""
    height, width = magnitude.shape[-2:]
    padded = pad(magnitude, (1, 1, 1, 1))
    neighbours = torch.cat(
        [padded[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dx, dy in DIRECTIONS], dim=1
    )
    ahead, behind = neighbours.gather(1, direction), neighbours.gather(1, (direction + 4) % 8)
    return torch.where((magnitude > ahead) & (magnitude > behind), magnitude, torch.zeros_like(magnitude))
