"""Joint denoising of tiles: at every denoiser call the latent is cut into tiles, which are fused to one answer again.

The sampler sees one latent and one denoiser, so any sampler works, and its noise is the same with and without tiles.
Methods differ in windows and grids only: MultiDiffusion averages (Bar-Tal et al. 2023), Mixture of Diffusers weighs
by a Gaussian (Jimenez 2023), the cosine is our default; SpotDiffusion rolls a grid without overlap (Frolov et al.
2024), and the jittered grid moves within the canvas.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from hires.errors import SettingError
from hires.tiling.grid import Axis, Box, boxes_at, even_boxes, even_starts, jitter_offset, jittered_starts
from hires.tiling.plan import TilePlan
from hires.tiling.windows import WINDOWS, WindowKind, normalised, windows

METHODS: dict[str, WindowKind | None] = {
    "Cosine": "cosine",
    "MultiDiffusion": "uniform",
    "Mixture of Diffusers": "gaussian",
    "SpotDiffusion": None,
}
"""The window of each method; None: where tiles overlap, the later covers the earlier."""
MICRO_CONDS = ("crop", "canvas", "native")
SMALLEST_TILE, LARGEST_TILE = 2, 2048
"""Latent cells a side."""

Place = tuple[int, int, int, int]
"""(height, width, y, x) in latent cells; one that reaches beyond the latent goes on at its other side."""
SizeVector = Callable[[Tensor, Place, tuple[int, int]], Tensor]
"""(an entry's vector (1, v), place, size of the latent) -> the vector of the crop at that place."""


@dataclass(frozen=True, eq=False)
class Crop:
    """A tile of a latent: its place, its window as it is (h, w), and its share where all shares sum to one (h, w)."""

    place: Place
    window: Tensor
    share: Tensor


@dataclass(frozen=True)
class JointTiling:
    """How the calls of a run are tiled; lengths in latent cells, tile = (height, width). A `Tiles` for guidance.

    grid "even" stands still; "jitter" moves inside the canvas from step to step, by multiples of `granularity`; "roll"
    moves by `shifts` (rows, columns) of each step and goes round the canvas's edges. seed_offset in 0..1 starts the
    jitter elsewhere. `published` keeps the Gaussian as its authors have it. size_vector and its name, micro_cond, say
    what SDXL is told of a crop. first_step is where in the schedule the run begins.
    """

    method: str = "Cosine"
    tile: tuple[int, int] = (96, 96)
    overlap: int = 24
    tile_batch: int = 4
    grid: Literal["even", "jitter", "roll"] = "even"
    window: WindowKind | None = None
    granularity: int = 8
    seed_offset: float = 0.0
    shifts: tuple[tuple[int, int], ...] = ()
    published: bool = False
    micro_cond: str = "canvas"
    size_vector: SizeVector | None = None
    first_step: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SettingError(f"unknown tiling method {self.method!r}", f"Use one of {', '.join(METHODS)}.")
        if self.window is not None and self.window not in WINDOWS:
            raise SettingError(f"unknown window {self.window!r}", f"Use one of {', '.join(WINDOWS)}.")
        if not all(SMALLEST_TILE <= side <= LARGEST_TILE for side in self.tile):
            height, width = self.tile
            raise SettingError(
                f"a tile of {width}x{height} latent cells is not possible",
                f"Each side may be {SMALLEST_TILE} to {LARGEST_TILE}.",
            )
        if self.overlap < 0 or self.tile_batch < 1 or self.granularity < 1:
            raise SettingError("tile overlap, tile batch and granularity cannot be negative or zero")

    def key(self, step: int) -> bytes:
        """All settings, and where the grid of this step lies."""
        step += self.first_step
        facts = (
            *(self.method, self.tile, self.overlap, self.tile_batch, self.grid, self.window, self.granularity),
            *(self.published, self.micro_cond, self.seed_offset if self.grid == "jitter" else 0.0),
            *(self._jitter(step) if self.grid == "jitter" else (*self._shift(step), self.grid == "roll" and step % 2)),
        )
        return hashlib.sha256(repr(facts).encode()).digest()

    def crops(self, height: int, width: int, step: int, wraps: bool = True) -> Sequence[Crop]:
        """The tiles of a latent or of an area of one; parts of a latent (wraps False) are not gone round."""
        return _crops(self, height, width, step + self.first_step, wraps)

    def vector(self, vector: Tensor, place: Place, size: tuple[int, int]) -> Tensor:
        """What a network with size conditioning is told of a tile."""
        return vector if self.size_vector is None else self.size_vector(vector, place, size)

    def boxes(self, height: int, width: int, step: int) -> list[Box]:
        """The grid of a step of the schedule; a rolling one as it lies before it is rolled."""
        if self.grid != "jitter":
            return even_boxes(height, width, self.tile, self._overlap(height, width))
        rows, columns = self._jittered(height, "y", step), self._jittered(width, "x", step)
        return boxes_at(rows, columns, (min(self.tile[0], height), min(self.tile[1], width)))

    def plan(self, height: int, width: int, predicted_peak: int | None = None) -> TilePlan:
        """What the first step of a latent of this size is made of."""
        boxes = tuple(self.boxes(height, width, self.first_step))
        moving = {"even": "", "jitter": ", jittered grid", "roll": ", rolling grid"}[self.grid]
        return TilePlan(
            (height, width),
            boxes,
            boxes,
            f"Tiled Diffusion ({self.method}{moving})",
            window=self._window(),
            tile_batch=max(1, min(self.tile_batch, len(boxes))),
            predicted_peak=predicted_peak,
            unit="latent cells",
        )

    def joins(self, height: int, width: int, unit: int = 8) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Rows and columns, in pixels of `unit` a cell, where the first step's tiles join: both ends of each overlap
        where tiles are averaged, for an average jumps there, else its middle."""
        boxes = self.boxes(height, width, self.first_step)
        both = self._window() == "uniform"
        return (
            _joins({(box.top, box.bottom) for box in boxes}, unit, both),
            _joins({(box.left, box.right) for box in boxes}, unit, both),
        )

    def _window(self) -> WindowKind | None:
        return self.window or METHODS[self.method]

    def _overlap(self, height: int, width: int) -> int:
        # at least four cells of every tile are its own (Tiled Diffusion)
        return max(0, min(self.overlap, min(self.tile[0], height) - 4, min(self.tile[1], width) - 4))

    def _jittered(self, length: int, axis: Axis, step: int) -> list[int]:
        """The jittered grid without overlap of what the overlap leaves; each tile is longer by the overlap."""
        tile = min(self.tile[0] if axis == "y" else self.tile[1], length)
        overlap = max(0, min(self.overlap, tile - 4))
        if tile >= length:
            return even_starts(length, tile, 0)
        return jittered_starts(length - overlap, tile - overlap, step, axis, self._fine(tile), self.seed_offset)

    def _fine(self, tile: int) -> int:
        """Tiles smaller than two grains move by single cells, else they would not move at all."""
        return self.granularity if tile >= 2 * self.granularity else 1

    def _jitter(self, step: int) -> tuple[int, int]:
        tall, wide = self.tile
        return self._offset(tall, "y", step), self._offset(wide, "x", step)

    def _offset(self, side: int, axis: Axis, step: int) -> int:
        return jitter_offset(max(side - self.overlap, 1), step, axis, self._fine(side), self.seed_offset)

    def _shift(self, step: int) -> tuple[int, int]:
        if self.grid != "roll" or not self.shifts:
            return (0, 0)
        return self.shifts[min(step, len(self.shifts) - 1)]


@functools.lru_cache(maxsize=8)
def _crops(tiling: JointTiling, height: int, width: int, step: int, wraps: bool) -> tuple[Crop, ...]:
    boxes = tiling.boxes(height, width, step)
    kind = tiling._window()
    if kind is None:
        weights = shares = _topmost(boxes, height, width)
    else:
        weights = windows(kind, boxes, as_published=tiling.published)
        shares = normalised(boxes, weights, height, width)
    down, right = _roll(tiling, height, width, step) if wraps else (0, 0)
    places = [
        (box.height, box.width, (box.top - down) % height, (box.left - right) % width)
        if (down or right)
        else (box.height, box.width, box.top, box.left)
        for box in boxes
    ]
    return tuple(Crop(place, *parts) for place, *parts in zip(places, weights, shares, strict=True))


def _joins(spans: set[tuple[int, int]], unit: int, both: bool) -> tuple[int, ...]:
    pairs = list(pairwise(sorted(spans)))
    if both:
        return tuple(sorted({edge * unit for (_, end), (start, _) in pairs for edge in (start, end)}))
    return tuple((start + end) * unit // 2 for (_, end), (start, _) in pairs)


def _roll(tiling: JointTiling, height: int, width: int, step: int) -> tuple[int, int]:
    """A step's shift; an axis that one tile covers is not moved, and of two only one at a time, in turn."""
    down, right = tiling._shift(step)
    tall, wide = tiling.tile
    down, right = 0 if tall >= height else down, 0 if wide >= width else right
    if down and right:
        downwards = (step % 2 == 0) == (tall > wide)
        return (down, 0) if downwards else (0, right)
    return down, right


def _topmost(boxes: Sequence[Box], height: int, width: int) -> list[Tensor]:
    """1 where a tile is the last that covers a cell, else 0."""
    owner = torch.zeros(height, width, dtype=torch.int64)
    for number, box in enumerate(boxes):
        owner[box.slices] = number
    return [(owner[box.slices] == number).float() for number, box in enumerate(boxes)]


def spot_shifts(method: str, seed: int, steps: int, tile: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """SpotDiffusion's shifts (rows, columns) of each step, as ComfyUI's node draws them: below the tile's sides, both
    axes from the same seed. sorted: ascending; fibonacci: the ascending ones dealt to the steps 0, 1, 1, 2, 3, 5 ... of
    the run, the next free one where a step is taken."""
    lines = []
    for side in tile:
        generator = torch.Generator("cpu").manual_seed(seed)
        drawn = torch.randint(0, side, (steps,), generator=generator).tolist()
        if method != "random":
            drawn = sorted(drawn)
        lines.append(_dealt(drawn) if method == "fibonacci" else drawn)
    return tuple(zip(*lines, strict=True))


def _dealt(values: Sequence[int]) -> list[int]:
    count = len(values)
    numbers = [0, 1]
    while numbers[-1] < count:
        numbers.append(numbers[-1] + numbers[-2])
    dealt: dict[int, int] = {}
    for index, value in enumerate(values):
        place = numbers[index % len(numbers)] % count
        while place in dealt:
            place = (place + 1) % count
        dealt[place] = value
    return [dealt[place] for place in range(count)]
