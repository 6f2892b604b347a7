"""Redrawing a large picture tile by tile: which crops, at which size, how much of each counts, in which order.

hires' own geometry crops what it processes: cells are spread evenly, every crop has the same size and is never
resized. The geometries of the tools people come from are in `redraw_presets`. Lengths are pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from hires.tiling.grid import Box, Span, cells, even_starts
from hires.tiling.plan import TilePlan

Preset = Literal["even", "a1111", "comfyui"]
Mode = Literal["Linear", "Chess", "None"]
Seams = Literal["None", "Band Pass", "Half Tile", "Half Tile + Intersections"]
PRESETS: tuple[str, ...] = ("even", "a1111", "comfyui")
MODES: tuple[str, ...] = ("Linear", "Chess", "None")
SEAMS: tuple[str, ...] = ("None", "Band Pass", "Half Tile", "Half Tile + Intersections")

CELL = 8
"""Pixels of a latent cell: crops lie on these."""
FEATHER_OF_BLUR = 2.5
"""How far a mask that is blurred by sigma reaches, in sigmas: the kernel's radius in the web UI."""
Line = Tensor


@dataclass(frozen=True)
class Ultimate:
    """What Ultimate SD upscale is asked for. tile is (height, width); blurs are sigmas, the rest lengths."""

    tile: tuple[int, int] = (512, 512)
    padding: int = 32
    blur: int = 8
    mode: Mode = "Linear"
    seams: Seams = "None"
    seam_width: int = 64
    seam_blur: int = 8
    seam_padding: int = 16
    uniform: bool = True


@dataclass(frozen=True, eq=False)
class Job:
    """One crop that is redrawn: cut from the canvas, denoised at `size` (height, width), and laid over it by `mask`.

    mask() is (crop height, crop width) in 0..1. `core` is the part of the canvas that the job is there for.
    """

    crop: Box
    size: tuple[int, int]
    core: Box
    mask: Callable[[], Tensor]

    @property
    def resized(self) -> bool:
        return self.size != (self.crop.height, self.crop.width)


@dataclass(frozen=True, eq=False)
class Round:
    """Jobs that belong together. `blend`: their masks sum to one at most and what they leave is the canvas as it was.
    `over`: each is pasted over what the former left, in whole steps of 1/255, as the originals do. `from_source`: jobs
    are cut from what the redraw began with, whatever lies on the canvas since."""

    jobs: tuple[Job, ...]
    joined: Literal["blend", "over"] = "blend"
    seam: bool = False
    sees_former: bool = True
    from_source: bool = False


@dataclass(frozen=True, eq=False)
class RedrawPlan:
    """All of a redraw of a canvas (height, width). `keeps_outside` holds what a mask leaves out fixed in the latent."""

    canvas: tuple[int, int]
    rounds: tuple[Round, ...]
    method: str
    preset: Preset = "even"
    keeps_outside: bool = False
    joins: tuple[tuple[int, ...], tuple[int, ...]] = field(default=((), ()))

    @property
    def jobs(self) -> int:
        return sum(len(each.jobs) for each in self.rounds)

    @property
    def seam_jobs(self) -> int:
        return sum(len(each.jobs) for each in self.rounds if each.seam)

    @property
    def tiles(self) -> TilePlan:
        """The tiles that are redrawn, without the passes over the seams."""
        jobs = [job for each in self.rounds if not each.seam for job in each.jobs]
        if not jobs:
            jobs = [job for each in self.rounds for job in each.jobs]
        boxes, cores = tuple(job.crop for job in jobs), tuple(job.core for job in jobs)
        whole = (Box(0, 0, *self.canvas),)
        return TilePlan(self.canvas, boxes or whole, cores or whole, self.method)

    def describe(self, calls: int | None = None) -> str:
        """The one line that is said; `calls` are the denoiser calls it will take."""
        line = self.tiles.describe()
        if self.seam_jobs:
            line += f", {self.seam_jobs} crops over the seams"
        scales = sorted({job.size[1] / job.crop.width for each in self.rounds for job in each.jobs if job.resized})
        if scales:
            line += f", drawn at {scales[0]:.3f} to {scales[-1]:.3f} of their size"
        return line if calls is None else f"{line}, {calls} denoiser calls"


def partition(length: int, borders: Sequence[float], reach: Sequence[float] | float) -> list[Line]:
    """Weights (length,) of the spans between borders: ramps of half-length `reach` about each border, summing to one.

    A reach is brought down to half the span beside it, so that no more than two weights meet.
    """
    reaches = [float(reach)] * len(borders) if isinstance(reach, int | float) else list(reach)
    ends = [0.0, *borders, float(length)]
    place = torch.arange(length, dtype=torch.float64) + 0.5
    rises = []
    for index, border in enumerate(borders):
        before = border - ends[index] if index == 0 else (border - ends[index]) / 2
        after = ends[index + 2] - border if index == len(borders) - 1 else (ends[index + 2] - border) / 2
        half = min(reaches[index], before, after)
        rises.append(((place - border + half) / (2 * half)).clamp(0, 1) if half > 0 else (place >= border).double())
    lines = []
    for index in range(len(borders) + 1):
        line = torch.ones(length, dtype=torch.float64)
        line = line if index == 0 else line * rises[index - 1]
        lines.append(line if index == len(borders) else line * (1 - rises[index]))
    return [line.float() for line in lines]


def triangle(length: int, middle: float, half: float) -> Line:
    """(length,): 1 at `middle`, falling to 0 at a distance of `half`."""
    place = torch.arange(length, dtype=torch.float64) + 0.5
    return (1 - (place - middle).abs() / max(half, 1e-9)).clamp(min=0).float()


def product_mask(rows: Line, columns: Line, crop: Box) -> Callable[[], Tensor]:
    """The part of rows x columns (whole axes) that a crop covers."""
    down, across = rows[crop.top : crop.bottom], columns[crop.left : crop.right]
    return lambda: down[:, None] * across[None, :]


# ---- SD upscale -----------------------------------------------------------------------------------------------------


def sd_upscale_plan(height: int, width: int, tile: tuple[int, int], overlap: int) -> RedrawPlan:
    """Tiles (height, width) of the very size given, evenly spread, all cut from the source and blended over the whole
    of each true overlap. The tile is brought down to the canvas. All sides are multiples of 8."""
    axes = [_Axis.of(length, spans) for length, spans in _sd_spans((height, width), tile, overlap)]
    jobs = [job for row in range(len(axes[0].spans)) for job in _row_of_tiles(axes, row, range(len(axes[1].spans)))]
    joins = (axes[0].joins, axes[1].joins)
    return RedrawPlan((height, width), (Round(tuple(jobs), sees_former=False),), "SD upscale", joins=joins)


def widened_plan(
    height: int, width: int, tile: tuple[int, int], overlap: int, rows: Sequence[int], columns: Sequence[int]
) -> RedrawPlan:
    """The tiles beside some joins of the plan that `sd_upscale_plan` makes of the same options, each longer towards
    these joins, so that they overlap there about twice as far; what the other tiles drew stays."""
    axes, beside = [], []
    for (length, spans), at in zip(_sd_spans((height, width), tile, overlap), (rows, columns), strict=True):
        joins = _Axis.of(length, spans).joins
        axes.append(_Axis.of(length, _lengthened(length, spans, [joins.index(join) for join in at])))
        beside.append({index + side for index, join in enumerate(joins) if join in at for side in (0, 1)})
    jobs = []
    for row in range(len(axes[0].spans)):
        every = range(len(axes[1].spans))
        jobs += _row_of_tiles(axes, row, every if row in beside[0] else [at for at in every if at in beside[1]])
    rounds = (Round(tuple(jobs), seam=True, from_source=True),)
    return RedrawPlan((height, width), rounds, "wider overlaps", joins=(tuple(rows), tuple(columns)))


def _sd_spans(canvas: tuple[int, int], tile: tuple[int, int], overlap: int) -> list[tuple[int, list[Span]]]:
    """Of each axis its length and its tiles."""
    found = []
    for length, side in zip(canvas, tile, strict=True):
        side = min(side, length)
        starts = even_starts(length // CELL, side // CELL, -(-overlap // CELL))
        found.append((length, [(CELL * start, CELL * start + side) for start in starts]))
    return found


def _lengthened(length: int, spans: Sequence[Span], at: Sequence[int]) -> list[Span]:
    """The spans before and behind the joins of these numbers, longer by half their overlap each, at least a cell where
    there is room for it; both by the same, so that the joins stay where they are."""
    longer = list(spans)
    for join in at:
        before, after = longer[join], longer[join + 1]
        more = max(-(-(spans[join][1] - spans[join + 1][0]) // 2 // CELL) * CELL, CELL)
        more = min(more, length - before[1], after[0])
        longer[join] = (before[0], before[1] + more)
        longer[join + 1] = (after[0] - more, after[1])
    return longer


@dataclass(frozen=True)
class _Axis:
    """One axis of overlapping tiles: their spans, weights and cores, and where they join."""

    spans: list[Span]
    lines: list[Line]
    cores: list[Span]
    joins: tuple[int, ...]

    @staticmethod
    def of(length: int, spans: Sequence[Span]) -> _Axis:
        pairs = list(pairwise(spans))
        borders = [(end + start) / 2 for (_, end), (start, _) in pairs]
        lines = partition(length, borders, [(end - start) / 2 for (_, end), (start, _) in pairs])
        whole = [round(border) for border in borders]
        return _Axis(list(spans), lines, list(pairwise([0, *whole, length])), tuple(whole))


def _row_of_tiles(axes: Sequence[_Axis], row: int, columns: Sequence[int]) -> list[Job]:
    rows, across = axes
    (top, bottom), (first, last) = rows.spans[row], rows.cores[row]
    jobs = []
    for column in columns:
        (left, right), (start, end) = across.spans[column], across.cores[column]
        crop = Box(top, left, bottom, right)
        mask = product_mask(rows.lines[row], across.lines[column], crop)
        jobs.append(Job(crop, (crop.height, crop.width), Box(first, start, last, end), mask))
    return jobs


# ---- Ultimate SD upscale --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cells:
    """One axis of the canvas: spans of the cells, and the length that is processed around each."""

    length: int
    spans: list[Span]

    @property
    def joins(self) -> list[int]:
        return [end for _, end in self.spans[:-1]]

    def crop(self, start: int, end: int, padding: int) -> Span:
        """A part of the axis around start..end, of one length for all spans that are not longer than a cell."""
        longest = max(max(high - low for low, high in self.spans), end - start)
        size = min(-(-(longest + 2 * padding) // CELL) * CELL, self.length)
        begin = (start - (size - (end - start)) // 2) // CELL * CELL
        begin = min(max(begin, 0), self.length - size)
        return begin, begin + size

    def lines(self, reach: float) -> list[Line]:
        return partition(self.length, self.joins, reach)

    def half(self, join: int) -> float:
        """How far it is from a join to the nearer middle of the cells beside it."""
        before, after = next(pair for pair in pairwise(self.spans) if pair[0][1] == join)
        return min(before[1] - before[0], after[1] - after[0]) / 2


def ultimate_plan(height: int, width: int, options: Ultimate) -> RedrawPlan:
    """Cells of at most the tile's size, evenly spread, each redrawn with `padding` around it at its own size.

    The feather about a border reaches 2.5 sigma, at most the padding. Sides are multiples of 8.
    """
    rows, columns = (
        _Cells(length, cells(length, max(side // CELL * CELL, CELL), CELL))
        for length, side in zip((height, width), options.tile, strict=True)
    )
    rounds = [] if options.mode == "None" else [_redrawn(rows, columns, options)]
    rounds += _seam_rounds(rows, columns, options)
    joins = (tuple(rows.joins), tuple(columns.joins))
    return RedrawPlan((height, width), tuple(rounds), "Ultimate SD upscale", joins=joins)


def mending_plan(height: int, width: int, options: Ultimate, rows: Sequence[int], columns: Sequence[int]) -> RedrawPlan:
    """Bands over some joins of the plan that `ultimate_plan` makes of the same options."""
    whole = _Cells(height, cells(height, max(options.tile[0] // CELL * CELL, CELL), CELL))
    across = _Cells(width, cells(width, max(options.tile[1] // CELL * CELL, CELL), CELL))
    rounds = _bands(whole, across, rows, columns, options, options.seam_width / 2)
    return RedrawPlan((height, width), tuple(rounds), "mending of seams", joins=(tuple(rows), tuple(columns)))


def _reach(blur: int, padding: int) -> float:
    return float(max(min(FEATHER_OF_BLUR * blur, padding - CELL // 2), 0))  # crops start up to half a cell early


def _redrawn(rows: _Cells, columns: _Cells, options: Ultimate) -> Round:
    reach = _reach(options.blur, options.padding)
    down, across = rows.lines(reach), columns.lines(reach)
    jobs: list[tuple[int, Job]] = []
    for row, (top, bottom) in enumerate(rows.spans):
        for column, (left, right) in enumerate(columns.spans):
            core = Box(top, left, bottom, right)
            jobs.append(((row + column) % 2, _job(rows, columns, core, options.padding, down[row], across[column])))
    if options.mode == "Chess":
        jobs.sort(key=lambda entry: entry[0])
    return Round(tuple(job for _, job in jobs))


def _job(rows: _Cells, columns: _Cells, core: Box, padding: int, down: Line, across: Line) -> Job:
    top, bottom = rows.crop(core.top, core.bottom, padding)
    left, right = columns.crop(core.left, core.right, padding)
    crop = Box(top, left, bottom, right)
    return Job(crop, (crop.height, crop.width), core, product_mask(down, across, crop))


def _seam_rounds(rows: _Cells, columns: _Cells, options: Ultimate) -> list[Round]:
    if options.seams == "None":
        return []
    if options.seams == "Band Pass":
        return _bands(rows, columns, rows.joins, columns.joins, options, options.seam_width / 2)
    rounds = _bands(rows, columns, rows.joins, columns.joins, options, None)
    if options.seams == "Half Tile + Intersections":
        rounds += _crossings(rows, columns, options)
    return rounds


def _bands(
    rows: _Cells,
    columns: _Cells,
    at_rows: Sequence[int],
    at_columns: Sequence[int],
    options: Ultimate,
    half: float | None,
) -> list[Round]:
    """Crops along the joins, row joins first: full weight on the join, none `half` away (None: at the cells' middles).

    Along a join the crops meet as cells do.
    """
    reach = _reach(options.seam_blur, options.seam_padding)
    jobs: list[Job] = []
    for join in at_rows:
        far = rows.half(join) if half is None else min(half, rows.half(join))
        down = triangle(rows.length, join, far)
        for (left, right), across in zip(columns.spans, columns.lines(reach), strict=True):
            core = Box(int(join - far), left, int(join + far), right)
            jobs.append(_job(rows, columns, core, options.seam_padding, down, across))
    found = [Round(tuple(jobs), seam=True)] if jobs else []
    jobs = []
    for join in at_columns:
        far = columns.half(join) if half is None else min(half, columns.half(join))
        across = triangle(columns.length, join, far)
        for (top, bottom), down in zip(rows.spans, rows.lines(reach), strict=True):
            core = Box(top, int(join - far), bottom, int(join + far))
            jobs.append(_job(rows, columns, core, options.seam_padding, down, across))
    return [*found, Round(tuple(jobs), seam=True)] if jobs else found


def _crossings(rows: _Cells, columns: _Cells, options: Ultimate) -> list[Round]:
    jobs = []
    for y in rows.joins:
        for x in columns.joins:
            far = min(rows.half(y), columns.half(x))
            core = Box(int(y - far), int(x - far), int(y + far), int(x + far))
            placed = _job(rows, columns, core, options.seam_padding, rows.lines(0)[0], columns.lines(0)[0])
            jobs.append(Job(placed.crop, placed.size, core, _radial(placed.crop, y, x, far)))
    return [Round(tuple(jobs), seam=True)] if jobs else []


def _radial(crop: Box, y: int, x: int, far: float) -> Callable[[], Tensor]:
    def mask() -> Tensor:
        down = torch.arange(crop.top, crop.bottom) + 0.5 - y
        across = torch.arange(crop.left, crop.right) + 0.5 - x
        return (1 - torch.hypot(down[:, None], across[None, :]) / far).clamp(min=0)

    return mask
