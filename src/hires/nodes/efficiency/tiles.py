"""Drawing in tiles (after BlenderNeko's tiled KSampler): noise and schedule are those of the whole latent, and in
every step all tiles advance together, on a grid that may move from step to step.

A tile is an area of the latent, so guidance cuts ControlNets and areas to it and joins what overlaps.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from hires.imaging.sizes import LATENT
from hires.sampling.guidance import Cond

Area = tuple[int, int, int, int]
"""(height, width, y, x) in latent cells."""

SMALLEST_PART = 8
"""Cells: narrower leftovers of a cut tile are joined to their neighbour, which a network sees better."""


def tile_splitter(
    strategy: str, tile_size: int, seed: int
) -> Callable[[Sequence[Cond], Tensor, tuple[int, int]], list[Cond]]:
    """For runs: entries -> entries on the tiles of each step. tile_size in pixels."""

    def split(conds: Sequence[Cond], sigmas: Tensor, size: tuple[int, int]) -> list[Cond]:
        levels = [math.inf, *sigmas.tolist()[1:]]  # samplers may round the first level up
        entries: list[Cond] = []
        grids = tile_grids(strategy, tile_size // LATENT, size, seed, len(levels) - 1)
        for grid, high, low in zip(grids, levels, levels[1:], strict=False):
            # a call at the next step's level is the next step's
            end = math.nextafter(low, math.inf) if low > 0.0 and low != levels[-1] else 0.0
            for tile in grid:
                entries += [part for cond in conds if (part := _on_tile(cond, tile, high, end)) is not None]
        return entries

    return split


def _on_tile(cond: Cond, tile: Area, high: float, end: float) -> Cond | None:
    """An entry on a tile between two noise levels; None where its own area or range lies elsewhere."""
    start, end = min(cond.sigma_start, high), max(cond.sigma_end, end)
    area = tile if cond.area is None else _common(cond.area, tile)
    if area is None or start < end:
        return None
    return replace(cond, area=area, sigma_start=start, sigma_end=end)


def _common(one: Area, other: Area) -> Area | None:
    top, left = max(one[2], other[2]), max(one[3], other[3])
    height = min(one[2] + one[0], other[2] + other[0]) - top
    width = min(one[3] + one[1], other[3] + other[1]) - left
    return (height, width, top, left) if height > 0 and width > 0 else None


def tile_grids(strategy: str, tile: int, size: tuple[int, int], seed: int, steps: int) -> list[list[Area]]:
    """The tiles of every step, which cover the latent of `size` (height, width).

    simple: a fixed grid. random: shifted by a random offset, the tiles at the border cut. random strict: the same,
    the tiles at the border moved inside. padded: a grid and the same shifted by half a tile, averaged.
    """
    generator = random.Random(seed)
    whole = (min(tile, size[0]), min(tile, size[1]))
    grids = []
    for _ in range(steps):
        offsets = [generator.randrange(side) for side in whole]
        if strategy in ("random", "random strict"):
            lines = [_line(size[axis], whole[axis], offsets[axis], strategy == "random strict") for axis in (0, 1)]
            grids.append(_product(*lines))
        elif strategy == "padded":
            both = [
                _line(size[axis], whole[axis], 0, True) + _line(size[axis], whole[axis], whole[axis] // 2, True)
                for axis in (0, 1)
            ]
            grids.append(_product(*both))
        else:
            grids.append(_product(*(_line(size[axis], whole[axis], 0, True) for axis in (0, 1))))
    return grids


def _line(size: int, tile: int, offset: int, keeps_size: bool) -> list[tuple[int, int]]:
    """(start, length) of the tiles along one side, the grid beginning at `offset` - tile."""
    if size <= tile:
        return [(0, size)]
    parts: list[tuple[int, int]] = []
    for start in range(offset - tile if offset else 0, size, tile):
        begin, end = max(start, 0), min(start + tile, size)
        if keeps_size:
            begin = min(max(start, 0), size - tile)
            end = begin + tile
        if parts and not keeps_size and end - begin < SMALLEST_PART:
            begin, _ = parts.pop()
            parts.append((begin, end))
        elif (begin, end) not in parts:
            parts.append((begin, end))
    if not keeps_size and len(parts) > 1 and parts[0][1] - parts[0][0] < SMALLEST_PART:
        parts[:2] = [(0, parts[1][1])]
    return [(begin, end - begin) for begin, end in dict.fromkeys(parts)]


def _product(rows: list[tuple[int, int]], columns: list[tuple[int, int]]) -> list[Area]:
    return list(dict.fromkeys((height, width, y, x) for y, height in rows for x, width in columns))
