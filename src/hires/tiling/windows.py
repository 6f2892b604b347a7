"""How much each point of a tile counts where tiles overlap."""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import Literal, get_args

import torch
from torch import Tensor

from hires.tiling.grid import Box

WindowKind = Literal["uniform", "gaussian", "linear", "cosine"]
WINDOWS: tuple[str, ...] = get_args(WindowKind)
Sides = tuple[int, int, int, int]
"""Lengths at the top, left, bottom and right."""

VARIANCE = 0.01
"""Of the Gaussian window, in squared tile lengths (Mixture of Diffusers, arXiv 2302.02412)."""


def window(
    kind: WindowKind,
    height: int,
    width: int,
    *,
    overlaps: Sides = (0, 0, 0, 0),
    as_published: bool = False,
) -> Tensor:
    """A tile's weights (height, width), float32: the outer product of two lines.

    "linear" rises from 0 to 1 over each side's own overlap with its neighbour (`overlaps`; 0 at the canvas's border)
    and is 1 inside. `as_published` gives the Gaussian its authors' way: half a pixel off the middle vertically, and
    with the width's spread on both axes.
    """
    rows, columns = _lines(kind, height, width, overlaps, as_published)
    return (rows[:, None] * columns[None, :]).float()


def _lines(kind: str, height: int, width: int, overlaps: Sides, as_published: bool) -> tuple[Tensor, Tensor]:
    if kind == "uniform":
        return torch.ones(height), torch.ones(width)
    if kind == "gaussian":
        middle, spread = (height / 2, width) if as_published else ((height - 1) / 2, height)
        return _gaussian(height, middle, spread), _gaussian(width, (width - 1) / 2, width)
    if kind == "linear":
        top, left, bottom, right = overlaps
        return _trapezium(height, top, bottom), _trapezium(width, left, right)
    if kind == "cosine":
        return _cosine(height), _cosine(width)
    raise ValueError(f"no window {kind!r}; there are {', '.join(WINDOWS)}")


def _gaussian(size: int, middle: float, spread: float) -> Tensor:
    place = torch.arange(size, dtype=torch.float64) - middle
    return torch.exp(-(place**2) / (2 * VARIANCE * spread**2)) / (2 * pi * VARIANCE) ** 0.5


def _trapezium(size: int, before: int, after: int) -> Tensor:
    line = torch.ones(size, dtype=torch.float64)
    for ramp, end in ((min(before, size), line), (min(after, size), line.flip(0))):
        if ramp > 0:
            rise = torch.linspace(0, 1, ramp, dtype=torch.float64) if ramp > 1 else torch.tensor([0.5])
            risen = end[:ramp] * rise
            if end is line:
                line[:ramp] = risen
            else:
                line[size - ramp :] = risen.flip(0)
    return line


def _cosine(size: int) -> Tensor:
    return torch.cos(pi * (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) / size)


def windows(kind: WindowKind, boxes: Sequence[Box], *, as_published: bool = False) -> list[Tensor]:
    """The window of each box of a grid; "linear" ramps over the box's true overlaps with its neighbours."""
    found = []
    for box in boxes:
        overlaps = overlaps_of(box, boxes) if kind == "linear" else (0, 0, 0, 0)
        found.append(window(kind, box.height, box.width, overlaps=overlaps, as_published=as_published))
    return found


def overlaps_of(box: Box, boxes: Sequence[Box]) -> Sides:
    """By how much a box overlaps its nearest neighbours of the same column and row of a grid."""
    column = [other for other in boxes if other.left == box.left]
    row = [other for other in boxes if other.top == box.top]
    return (
        max((other.bottom - box.top for other in column if other.top < box.top), default=0),
        max((other.right - box.left for other in row if other.left < box.left), default=0),
        max((box.bottom - other.top for other in column if other.top > box.top), default=0),
        max((box.right - other.left for other in row if other.left > box.left), default=0),
    )


def normalised(boxes: Sequence[Box], windows: Sequence[Tensor], height: int, width: int) -> list[Tensor]:
    """The windows divided by their sum over the canvas: they sum to one everywhere (float32, within 1e-6).

    ValueError where a point of the canvas has no weight.
    """
    total = torch.zeros(height, width, dtype=torch.float64)
    for box, weight in zip(boxes, windows, strict=True):
        total[box.slices] += weight
    if not bool((total > 0).all()):
        raise ValueError("the tiles leave points of the canvas without any weight")
    return [(weight / total[box.slices]).float() for box, weight in zip(boxes, windows, strict=True)]


def feather(height: int, width: int, ratio: float) -> Tensor:
    """A region's mask (height, width): (d / R)² up to R from the nearest edge, then 1; R is a share of half a side.

    Ratio 0 is a hard edge, 1 fades to the middle. The outermost line has d = 0. (Tiled Diffusion's foreground regions.)
    """
    radius = int(min(height // 2, width // 2) * ratio)
    if radius < 1:
        return torch.ones(height, width)
    rows, columns = (torch.minimum(torch.arange(size), torch.arange(size).flip(0)) for size in (height, width))
    distance = torch.minimum(rows[:, None], columns[None, :]).clamp(max=radius)
    return (distance / radius) ** 2
