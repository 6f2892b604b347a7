"""One plan of tiles for every user of them: what is processed, what of it is kept, how it is joined, what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from hires.tiling.grid import Box, cell_boxes, even_boxes, jittered_boxes

Unit = Literal["px", "latent cells"]
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class TilePlan:
    """Tiles of a canvas (height, width), in one unit.

    `boxes` are processed; of each the `cores` box is kept when tiles are cut (equal to the box when they are blended
    by `window`). `halo` is the context around a core: top, left, bottom, right. `predicted_peak` is in bytes.
    """

    canvas: tuple[int, int]
    boxes: tuple[Box, ...]
    cores: tuple[Box, ...]
    method: str
    halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    window: str | None = None
    tile_batch: int = 1
    predicted_peak: int | None = None
    unit: Unit = "px"

    @property
    def tile(self) -> tuple[int, int]:
        """(height, width) of the largest box."""
        return max(box.height for box in self.boxes), max(box.width for box in self.boxes)

    @property
    def rows(self) -> list[int]:
        return sorted({box.top for box in self.cores})

    @property
    def columns(self) -> list[int]:
        return sorted({box.left for box in self.cores})

    @property
    def area_ratio(self) -> float:
        """The area that is processed over the canvas's: about what tiles cost against the whole at once."""
        return sum(box.area for box in self.boxes) / (self.canvas[0] * self.canvas[1])

    @property
    def effective_overlap(self) -> int:
        """The smallest overlap of neighbouring boxes; 0 for one tile."""
        rows = sorted({(box.top, box.bottom) for box in self.boxes})
        columns = sorted({(box.left, box.right) for box in self.boxes})
        pairs = [*pairwise(rows), *pairwise(columns)]
        return max(0, min((before[1] - after[0] for before, after in pairs), default=0))

    @property
    def batches(self) -> int:
        """How many calls the tiles take, `tile_batch` at a time."""
        return -(-len(self.boxes) // self.tile_batch)

    @property
    def borders(self) -> tuple[list[int], list[int]]:
        """Rows and columns where one tile's part of the picture ends and the next begins.

        Of overlapping boxes that is the middle of the overlap.
        """
        return _joins([(b.top, b.bottom) for b in self.cores]), _joins([(b.left, b.right) for b in self.cores])

    def describe(self) -> str:
        """The one line that is said before the work starts."""
        height, width = self.canvas
        unit = "" if self.unit == "px" else f" {self.unit}"
        if len(self.boxes) == 1:
            line = f"{self.method}: {width}x{height}{unit} in one piece"
        else:
            tall, wide = self.tile
            line = (
                f"{self.method}: {width}x{height}{unit} in {len(self.boxes)} tiles "
                f"({len(self.columns)}x{len(self.rows)}) of up to {wide}x{tall}, "
                f"overlap {self.effective_overlap}, {self.area_ratio:.2f} times the area"
            )
            if self.window is not None:
                line += f", {self.window} window"
            if self.tile_batch > 1:
                line += f", {self.tile_batch} tiles at a time"
        if self.predicted_peak is not None:
            line += f", {self.predicted_peak / MEGABYTE:.0f} MB at most"
        return line


def _joins(spans: list[tuple[int, int]]) -> list[int]:
    ordered = sorted(set(spans))
    return [(before[1] + after[0]) // 2 for before, after in pairwise(ordered)]


def plan_tiles(
    height: int,
    width: int,
    tile: tuple[int, int],
    overlap: int,
    *,
    method: str,
    grid: Literal["even", "jitter"] = "even",
    window: str | None = "cosine",
    tile_batch: int = 1,
    step: int = 0,
    granularity: int = 8,
    seed_offset: float = 0.0,
    predicted_peak: int | None = None,
    unit: Unit = "px",
) -> TilePlan:
    """Overlapping tiles (height, width) that are blended by a window.

    The jittered grid takes no overlap; its plan is that of one sampling step.
    """
    if grid == "even":
        boxes = tuple(even_boxes(height, width, tile, overlap))
    else:
        boxes = tuple(jittered_boxes(height, width, tile, step, granularity, seed_offset))
    return TilePlan(
        (height, width),
        boxes,
        boxes,
        method,
        window=window,
        tile_batch=max(1, min(tile_batch, len(boxes))),
        predicted_peak=predicted_peak,
        unit=unit,
    )


def plan_cells(
    height: int,
    width: int,
    cell: tuple[int, int],
    halo: int | tuple[int, int, int, int],
    *,
    method: str,
    granularity: int = 1,
    predicted_peak: int | None = None,
    unit: Unit = "px",
) -> TilePlan:
    """Disjoint cells of at most (height, width), each processed with a halo (clipped to the canvas) that is cut off.

    halo is one length, or those at the top, left, bottom and right.
    """
    sides = (halo,) * 4 if isinstance(halo, int) else halo
    cores = tuple(cell_boxes(height, width, cell, granularity))
    boxes = tuple(core.grown(*sides).within(height, width) for core in cores)
    return TilePlan((height, width), boxes, cores, method, halo=sides, predicted_peak=predicted_peak, unit=unit)


def cheapest_tile(height: int, width: int, native: int, overlap: int, granularity: int = 8) -> tuple[int, int]:
    """The tile (height, width), each side within a quarter of `native`, that covers the canvas with the least work.

    Both sides are multiples of `granularity`; of equally cheap tiles the one nearest the native size is taken.
    """
    low, high = native - native // 4, native + native // 4
    sides = range(-(-low // granularity) * granularity, high + 1, granularity)

    def cost(length: int, side: int) -> tuple[float, int]:
        boxes = even_boxes(length, 1, (side, 1), min(overlap, side - 1))
        return sum(box.height for box in boxes) / length, abs(side - native)

    return min(sides, key=lambda side: cost(height, side)), min(sides, key=lambda side: cost(width, side))
