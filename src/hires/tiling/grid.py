"""Where tiles lie: boxes, even and jittered grids of overlapping tiles, and disjoint cells.

Every grid here keeps inside the canvas; a compatibility grid that does not is in `grid_presets`. Lengths are integers
in any one unit (pixels or latent cells). A two-dimensional grid is the product of two axes, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil, floor
from typing import Literal

Axis = Literal["y", "x"]
Span = tuple[int, int]

JITTER: dict[str, float] = {"y": 0.7548777, "x": 0.5698403}
"""1/p and 1/p² of the plastic number p: multiples of both, taken modulo 1, fill the square evenly."""


@dataclass(frozen=True, order=True)
class Box:
    """A rectangle of rows top..bottom-1 and columns left..right-1."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def area(self) -> int:
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns), to index a tensor's last two axes with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def scaled(self, factor: int) -> Box:
        """The same rectangle in a unit that is `factor` times finer."""
        return Box(self.top * factor, self.left * factor, self.bottom * factor, self.right * factor)

    def grown(self, top: int, left: int | None = None, bottom: int | None = None, right: int | None = None) -> Box:
        """With so many lines more on each side; one number alone is meant for all four."""
        left, bottom, right = (top if side is None else side for side in (left, bottom, right))
        return Box(self.top - top, self.left - left, self.bottom + bottom, self.right + right)

    def within(self, height: int, width: int) -> Box:
        """The part that lies on a canvas."""
        return Box(
            min(max(self.top, 0), height),
            min(max(self.left, 0), width),
            min(max(self.bottom, 0), height),
            min(max(self.right, 0), width),
        )

    def moved(self, down: int, right: int) -> Box:
        return Box(self.top + down, self.left + right, self.bottom + down, self.right + right)

    def relative_to(self, outer: Box) -> Box:
        """The same rectangle counted from another's top left corner."""
        return self.moved(-outer.top, -outer.left)

    def contains(self, other: Box) -> bool:
        return (
            self.top <= other.top
            and self.left <= other.left
            and self.bottom >= other.bottom
            and self.right >= other.right
        )


def even_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where the fewest tiles that overlap by at least `overlap` start, spread so that overlaps differ by one at most.

    The tile is brought down to the length and the overlap to less than the tile; then all tiles have the same size.
    """
    _check(length, tile)
    tile = min(tile, length)
    overlap = min(max(overlap, 0), tile - 1)
    count = max(1, ceil((length - overlap) / (tile - overlap)))
    return [index * (length - tile) // (count - 1) for index in range(count)] if count > 1 else [0]


def cells(length: int, tile: int, granularity: int = 1) -> list[Span]:
    """Disjoint spans of nearly equal length, none above `tile`, that cover the length: never a sliver at the end.

    Borders lie on multiples of `granularity` (which must not exceed the tile).
    """
    _check(length, tile)
    units, most = ceil(length / granularity), tile // granularity
    if most < 1:
        raise ValueError(f"a tile of {tile} is smaller than the granularity {granularity}")
    count = ceil(units / most)
    borders = [min(index * units // count * granularity, length) for index in range(count + 1)]
    return list(pairwise(borders))


def jitter_offset(tile: int, step: int, axis: Axis, granularity: int, seed_offset: float = 0.0) -> int:
    """How far the grid lies before the canvas's start at a sampling step: below `tile`, a multiple of `granularity`."""
    share = step * JITTER[axis] + seed_offset
    return floor(tile * (share - floor(share))) // granularity * granularity


def jittered_starts(
    length: int, tile: int, step: int, axis: Axis, granularity: int, seed_offset: float = 0.0
) -> list[int]:
    """Where tiles of a grid without overlap start when it has moved by `jitter_offset`; clamped to the canvas.

    Tiles overlap only where clamping pushes them inwards. `seed_offset` in 0..1 starts the sequence elsewhere.
    """
    _check(length, tile)
    tile = min(tile, length)
    offset = jitter_offset(tile, step, axis, granularity, seed_offset)
    count = ceil((length + offset) / tile)
    starts = (min(max(index * tile - offset, 0), length - tile) for index in range(count))
    return list(dict.fromkeys(starts))


def boxes_at(rows: Sequence[int], columns: Sequence[int], tile: tuple[int, int]) -> list[Box]:
    """Tiles (height, width) at every crossing of the starts, row by row."""
    return [Box(top, left, top + tile[0], left + tile[1]) for top, left in product(rows, columns)]


def even_boxes(height: int, width: int, tile: tuple[int, int], overlap: int) -> list[Box]:
    """The product of `even_starts` for tiles (height, width)."""
    rows, columns = even_starts(height, tile[0], overlap), even_starts(width, tile[1], overlap)
    return boxes_at(rows, columns, (min(tile[0], height), min(tile[1], width)))


def jittered_boxes(
    height: int, width: int, tile: tuple[int, int], step: int, granularity: int, seed_offset: float = 0.0
) -> list[Box]:
    """The product of `jittered_starts` for tiles (height, width)."""
    rows = jittered_starts(height, tile[0], step, "y", granularity, seed_offset)
    columns = jittered_starts(width, tile[1], step, "x", granularity, seed_offset)
    return boxes_at(rows, columns, (min(tile[0], height), min(tile[1], width)))


def cell_boxes(height: int, width: int, tile: tuple[int, int], granularity: int = 1) -> list[Box]:
    """The product of `cells`: disjoint boxes that cover the canvas."""
    spans = product(cells(height, tile[0], granularity), cells(width, tile[1], granularity))
    return [Box(top, left, bottom, right) for (top, bottom), (left, right) in spans]


def _check(length: int, tile: int) -> None:
    if length < 1 or tile < 1:
        raise ValueError(f"no tile of {tile} covers a length of {length}")
