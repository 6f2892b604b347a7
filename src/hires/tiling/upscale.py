"""Enlarging networks over tiles whose surroundings are as wide as the network looks: equal to the whole picture.

Source and result are arrays of the host, or files mapped into memory; only one tile is on the device at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hires.errors import MemoryLimitError, is_out_of_memory
from hires.imaging.strips import as_stored, new_pixels
from hires.tiling.grid import Box, cell_boxes
from hires.tiling.plan import TilePlan, plan_cells

Pixels = NDArray[Any]
"""(height, width, channels): uint8 and uint16 over their whole range, float32 in 0..1."""
Edge = Literal["clip", "wrap"]
OnTile = Callable[[int, int], None]
"""Called with the number of finished tiles and of all tiles; may raise to stop the work."""

TILES = (1024, 512, 256, 128, 64, 32)
CPU_TILE = 256
"""A CPU gains nothing from larger tiles, and an interruption waits for one."""
SMALLEST_TILE = 16


_Tile = tuple[int | None, Box]
"""A core and its number in the plan; None for one that was cut out of a larger one."""


class Kept(Protocol):
    """Finished tiles of a plan by their number in its `cores`: (channels, height, width) float32 of the enlarged core,
    on the host. `get` gives None for one that is not there and must be computed."""

    def get(self, index: int) -> Tensor | None: ...
    def put(self, index: int, tensor: Tensor) -> None: ...


@dataclass(frozen=True)
class Enlarger:
    """A network as the tiles see it.

    run: (1, channels, h, w) in 0..1 -> (1, channels, h * scale, w * scale), float32 on the CPU. halo: pixels of
    surroundings a side; cell: what tiles' origins must be divisible by; minimum: the smallest side it takes.
    bytes_per_pixel: the device's memory that a pixel of a tile takes while it is computed, 0 where it is not known.
    largest: the largest tile that is worth taking.
    """

    run: Callable[[Tensor], Tensor]
    scale: int
    halo: int
    cell: int = 1
    minimum: int = 1
    bytes_per_pixel: int = 0
    largest: int = TILES[0]


def enlarging_plan(
    height: int, width: int, enlarger: Enlarger, tile: int | None, *, edge: Edge = "clip", available: int | None = None
) -> TilePlan:
    """Disjoint cores of at most `tile` pixels (None: what fits in `available` bytes), each with the network's halo.

    Wrapped, the boxes reach over the border into the opposite side. MemoryLimitError when no tile fits.
    """
    cell = max(1, enlarger.cell)
    core = fitting_tile(height, width, enlarger, available) if tile is None else tile
    core = max(core // cell * cell, cell)
    halo = -(-max(enlarger.halo, enlarger.minimum - core) // cell) * cell
    plan = plan_cells(height, width, (core, core), halo, method="enlarging", granularity=cell)
    if edge == "wrap":
        plan = replace(plan, boxes=tuple(box.grown(halo) for box in plan.cores))
    most = max(box.area for box in plan.boxes) * enlarger.bytes_per_pixel
    return replace(plan, predicted_peak=most or None)


def fitting_tile(height: int, width: int, enlarger: Enlarger, available: int | None) -> int:
    """The largest of TILES whose computation, halo included, stays in `available` bytes (None: no limit)."""
    needed = 0
    for tile in (side for side in TILES if side <= enlarger.largest):
        side = tile + 2 * enlarger.halo
        needed = enlarger.bytes_per_pixel * min(side, height) * min(side, width)
        if available is None or needed <= available:
            return tile
    assert available is not None
    raise MemoryLimitError(
        f"enlarging needs {needed / 1e6:.0f} MB even in tiles of {tile} pixels, and {available / 1e6:.0f} MB are free",
        "Close other programs, or use a smaller model or the CPU.",
    )


def enlarge_tiles(
    source: Pixels,
    enlarger: Enlarger,
    plan: TilePlan,
    out: Pixels | None = None,
    *,
    edge: Edge = "clip",
    on_tile: OnTile | None = None,
    kept: Kept | None = None,
) -> Pixels:
    """source (h, w, channels) -> (h * scale, w * scale, channels), written into `out` (else float32) tile by tile.

    Where memory runs out, what is left is cut into tiles of half the size; finished tiles are kept. Tiles that `kept`
    has are taken from it, those that are computed are put into it, but for tiles that were cut smaller.
    """
    height, width, channels = source.shape
    scale = enlarger.scale
    result = new_pixels(height * scale, width * scale, channels) if out is None else out
    left: deque[_Tile] = deque(enumerate(plan.cores))
    done = 0
    while left:
        index, core = left[0]
        part = None if kept is None or index is None else kept.get(index)
        if part is None:
            try:
                part = _enlarged(source, core, enlarger, plan.halo[0], edge)
            except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                left = deque(_halved(left, max(core.height, core.width), enlarger.cell, error))
                continue
            if kept is not None and index is not None:
                kept.put(index, part)
        result[core.scaled(scale).slices] = as_stored(part.movedim(0, -1).numpy(), result.dtype)
        left.popleft()
        done += 1
        if on_tile is not None:
            on_tile(done, done + len(left))
    return result


def _enlarged(source: Pixels, core: Box, enlarger: Enlarger, halo: int, edge: Edge) -> Tensor:
    """A core of the source enlarged with its surroundings: (channels, height * scale, width * scale)."""
    pixels, keep = tile_of(source, core, halo, edge)
    part = enlarger.run(as_planes(pixels))
    rows, columns = keep.scaled(enlarger.scale).slices
    return part[0, :, rows, columns]


def tile_of(source: Pixels, core: Box, halo: int, edge: Edge) -> tuple[Pixels, Box]:
    """A core with its surroundings (h, w, channels), and where in them the core lies."""
    box = core.grown(halo) if edge == "wrap" else core.grown(halo).within(*source.shape[:2])
    return cut_out(source, box), core.relative_to(box)


def _halved(left: deque[_Tile], side: int, cell: int, error: BaseException) -> list[_Tile]:
    """Every tile that is left in parts of half the side of the one that did not fit."""
    half = -(-side // (2 * cell)) * cell
    if half < SMALLEST_TILE or half >= side:
        raise MemoryLimitError(
            f"enlarging does not fit the memory, even in tiles of {side} pixels",
            "Close other programs, or use a smaller model or the CPU.",
        ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return [
        (None, part.moved(box.top, box.left))
        for _, box in left
        for part in cell_boxes(box.height, box.width, (half, half), cell)
    ]


def cut_out(source: Pixels, box: Box) -> Pixels:
    """A box of a picture; lines beyond its borders are taken from the opposite side."""
    height, width = source.shape[:2]
    if box.within(height, width) == box:
        return source[box.slices]
    rows, columns = np.arange(box.top, box.bottom) % height, np.arange(box.left, box.right) % width
    return source[np.ix_(rows, columns)]


def as_planes(pixels: Pixels) -> Tensor:
    """(h, w, channels) of any kind of number -> (1, channels, h, w) float32 in 0..1."""
    most = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else 1.0
    planes = np.moveaxis(np.asarray(pixels), -1, 0).astype(np.float32) / np.float32(most)
    return torch.from_numpy(np.ascontiguousarray(planes))[None]
