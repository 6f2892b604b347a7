"""What a user asks for in a grid, and the cells that it comes to."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from hires.errors import HiresError, SettingError
from hires.recipes.grids.axes import Axis, Known, Request, base_of, tab_of, with_base
from hires.recipes.grids.axis_table import NOTHING, SEEDS, find_axis
from hires.recipes.grids.matrix import Matrix, matrix_axes, matrix_prompts
from hires.recipes.grids.stored import stored
from hires.recipes.grids.values import join_values, split_values
from hires.recipes.request import RANDOM_SEEDS, Txt2Img

DIRECTIONS = ("X", "Y", "Z")
MOST_CELLS = 20_000
Choose = Callable[[int], int]
"""choose(n) gives a whole number from 0 to n - 1."""


@dataclass(frozen=True)
class AxisValues:
    """An axis by its label (or its number in the web UI's list) and its values as one line of CSV.

    `fixed` is the line with random seeds filled in, "" where nothing was random.
    """

    label: str | int
    text: str = ""
    fixed: str = ""


@dataclass(frozen=True)
class GridOptions:
    """How a grid is drawn and shown, under the web UI's defaults.

    keep_random leaves seeds of -1 random in every cell, instead of one for all. vary_x/y/z count the seed on along an
    axis. sub_grids writes one picture for every Z value too, sub_images counts the cells among the results. margin
    0..500 pixels between cells. A composite of more than `megapixels` is written in parts. first_pass keeps the picture
    before the hires pass of each cell.
    """

    legend: bool = True
    keep_random: bool = False
    vary_x: bool = False
    vary_y: bool = False
    vary_z: bool = False
    sub_images: bool = False
    sub_grids: bool = False
    margin: int = 0
    megapixels: float = 200.0
    first_pass: bool = True


@dataclass(frozen=True)
class GridRequest:
    """One request drawn over the values of up to three axes, or over the combinations of a prompt matrix.

    `pictures` and `mask` are the files that an img2img request works on.
    """

    base: Request = field(default_factory=Txt2Img)
    axes: tuple[AxisValues, ...] = ()
    options: GridOptions = field(default_factory=GridOptions)
    matrix: Matrix | None = None
    pictures: tuple[str, ...] = ()
    mask: str | None = None

    @property
    def script(self) -> str:
        """The web UI's name of what this is."""
        return "Prompt matrix" if self.matrix is not None else "X/Y/Z plot"


Mark = tuple[str, bool]
"""A line of a legend, and whether it stands for something that the cell has (else it is struck through)."""


@dataclass(frozen=True)
class Line:
    """One direction of a grid: its values as shown, and for each the marks of the legend."""

    label: str
    values: tuple[str, ...]
    marks: tuple[tuple[Mark, ...], ...]
    cost: float = 0.0
    stage: int = 0

    @property
    def varies(self) -> bool:
        return self.label != NOTHING


@dataclass(frozen=True)
class Cell:
    """One cell: its place (x, y, z), its labels, and the request that draws it."""

    index: tuple[int, int, int]
    labels: tuple[str, ...]
    request: Request

    @property
    def key(self) -> str:
        """A name for what the cell asks for; of a random seed, which no two cells share, also its place."""
        place = self.index if base_of(self.request).seed < 0 else None
        kept = json.dumps([tab_of(self.request), stored(self.request), place], sort_keys=True)
        return hashlib.sha256(kept.encode()).hexdigest()


@dataclass(frozen=True)
class Expanded:
    """A grid's three lines and its cells, x fastest, then y, then z."""

    lines: tuple[Line, Line, Line]
    cells: tuple[Cell, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = (len(line.values) for line in self.lines)
        return x, y, z

    def in_order(self) -> list[Cell]:
        """The cells as they are drawn: what is dear to change changes least often, then what shares least.

        Ties as the web UI breaks them: z is the outermost loop, then y.
        """
        ranks = sorted((2, 1, 0), key=lambda one: (-self.lines[one].cost, self.lines[one].stage))
        return sorted(self.cells, key=lambda cell: tuple(cell.index[one] for one in ranks))


def swapped(request: GridRequest, one: str, other: str) -> GridRequest:
    """With the types and values of two of its axes exchanged, as the web UI's swap buttons do; "X" and "Y", say."""
    axes = list(_three(request.axes))
    i, j = DIRECTIONS.index(one.upper()), DIRECTIONS.index(other.upper())
    axes[i], axes[j] = axes[j], axes[i]
    return replace(request, axes=tuple(axes))


def with_labels(request: GridRequest) -> GridRequest:
    """With axes that were given as numbers of the web UI's list, or spelt otherwise, under their labels."""
    tab = tab_of(request.base)
    axes = tuple(replace(axis, label=find_axis(axis.label, tab).label) for axis in request.axes)
    return replace(request, axes=axes)


def with_fixed_seeds(
    request: GridRequest, before: GridRequest | None = None, choose: Choose | None = None
) -> GridRequest:
    """The request with one random number for each seed of -1, unless they are to stay random.

    `before` is the grid that this one extends: its numbers are taken where it has them.
    """
    if request.options.keep_random:
        return request
    choose = choose or random.SystemRandom().randrange
    base = base_of(request.base)
    old = None if before is None else base_of(before.base)
    seeds: dict[str, int] = {}
    for name in ("seed", "variation_seed"):
        value = getattr(base, name)
        earlier = -1 if old is None else getattr(old, name)
        seeds[name] = value if value >= 0 else earlier if earlier >= 0 else choose(RANDOM_SEEDS)
    axes = []
    for place, axis in enumerate(request.axes):
        known = before.axes[place] if before is not None and place < len(before.axes) else None
        axes.append(_fixed_axis(axis, known, tab_of(request.base), choose))
    return replace(request, base=with_base(request.base, **seeds), axes=tuple(axes))


def _fixed_axis(axis: AxisValues, before: AxisValues | None, tab: str, choose: Choose) -> AxisValues:
    kind = find_axis(axis.label, tab)
    if kind.label not in SEEDS or axis.fixed or "-" not in axis.text:
        return axis
    known = split_values(before.fixed or before.text) if before is not None and before.label == axis.label else []
    values = [str(value) for value in kind.read(axis.text, NOTHING_KNOWN)]
    if all(int(value) >= 0 for value in values):
        return axis
    for place, value in enumerate(values):
        if int(value) < 0:
            values[place] = known[place] if place < len(known) else str(choose(RANDOM_SEEDS))
    return replace(axis, fixed=join_values(values))


def _nobody(*_: str) -> Any:
    raise SettingError("nothing is known here")


NOTHING_KNOWN = Known(lambda kind: (), _nobody, _nobody)


def expand(request: GridRequest, known: Known) -> Expanded:
    """All cells of a grid. SettingError, naming the axis, for the first value that cannot be."""
    check_options(request.options)
    if request.matrix is not None:
        return _expanded_matrix(request, request.matrix)
    tab = tab_of(request.base)
    axes = _three(request.axes)
    kinds = [find_axis(axis.label, tab) for axis in axes]
    values = [_values(*one, known) for one in zip(DIRECTIONS, kinds, axes, strict=True)]
    count = len(values[0]) * len(values[1]) * len(values[2])
    if count > MOST_CELLS:
        raise SettingError(f"the grid has {count} cells, more than {MOST_CELLS}", "Give its axes fewer values.")
    _check_twice(kinds)
    for place, kind in enumerate(kinds):
        _check_need(DIRECTIONS[place], kind, request.base, [*zip(kinds, values, strict=True)])
    cells = [
        Cell(index, _labels(kinds, values, index), _applied(request, kinds, values, index))
        for index in places([len(one) for one in values])
    ]
    lines = [_line(kind, own) for kind, own in zip(kinds, values, strict=True)]
    return Expanded((lines[0], lines[1], lines[2]), tuple(cells))


def check_options(options: GridOptions) -> None:
    """Raise SettingError for the first option that is out of range."""
    if not 0 <= options.margin <= 500:
        raise SettingError(f"the margin of a grid must be from 0 to 500 pixels, not {options.margin}")
    if not 0.01 <= options.megapixels <= 1000:
        raise SettingError(f"a grid's picture may have 0.01 to 1000 megapixels, not {options.megapixels}")


def places(shape: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """All places of a grid, x fastest."""
    return ((x, y, z) for z, y, x in product(*(range(length) for length in reversed(shape))))


def _three(axes: Sequence[AxisValues]) -> tuple[AxisValues, ...]:
    if len(axes) > len(DIRECTIONS):
        raise SettingError(f"a grid has up to three axes, not {len(axes)}")
    return (*axes, *[AxisValues(NOTHING)] * (len(DIRECTIONS) - len(axes)))


def _values(direction: str, kind: Axis, axis: AxisValues, known: Known) -> list[Any]:
    with _told(direction, kind):
        values = list(kind.read(axis.fixed or axis.text, known))
        if not values:
            raise SettingError("it has no values", 'Write them as in "Steps: 10, 20".')
    return values


@contextmanager
def _told(direction: str, kind: Axis) -> Iterator[None]:
    """Errors with the axis in front."""
    try:
        yield
    except HiresError as error:
        raise SettingError(f"{direction} axis, {kind.label}: {error.message}", error.hint) from error


def _check_twice(kinds: Sequence[Axis]) -> None:
    labels = [kind.label for kind in kinds if kind.label != NOTHING and not kind.label.startswith("Prompt")]
    for label in labels:
        if labels.count(label) > 1:
            raise SettingError(f"two axes are both {label}; one would undo the other", "Take another for one of them.")


def _check_need(direction: str, kind: Axis, base: Request, axes: Sequence[tuple[Axis, list[Any]]]) -> None:
    """What an axis changes must be there, in the request or by a value of an axis that is applied before."""
    probes = [base]
    for other, values in axes:
        if other.early and other is not kind:
            probes += [other.apply(base, value, values) for value in values]
    if all(kind.needs(probe) for probe in probes):
        with _told(direction, kind):
            raise SettingError(kind.needs(base))


def _labels(kinds: Sequence[Axis], values: Sequence[list[Any]], index: tuple[int, int, int]) -> tuple[str, ...]:
    return tuple(
        kind.title(own[place]) for kind, own, place in zip(kinds, values, index, strict=True) if kind.label != NOTHING
    )


def _applied(
    request: GridRequest, kinds: Sequence[Axis], values: Sequence[list[Any]], index: tuple[int, int, int]
) -> Request:
    """The base with the cell's values: first those that others build upon, then X, Y, Z; and its seed."""
    made = request.base
    axes = list(zip(DIRECTIONS, kinds, values, index, strict=True))
    for direction, kind, own, place in sorted(axes, key=lambda one: not one[1].early):
        with _told(direction, kind):
            made = kind.apply(made, own[place], own)
    more, factor = 0, 1
    vary = (request.options.vary_x, request.options.vary_y, request.options.vary_z)
    for varied, own, place in zip(vary, values, index, strict=True):
        if varied:
            more += place * factor
            factor *= len(own)
    seed = base_of(made).seed
    return with_base(made, seed=seed + more) if more and seed >= 0 else made


def _line(kind: Axis, values: Sequence[Any]) -> Line:
    marks = tuple(((kind.title(value), True),) if kind.label != NOTHING else () for value in values)
    return Line(kind.label, tuple(kind.shown(value) for value in values), marks, kind.cost, int(kind.stage))


def _expanded_matrix(request: GridRequest, matrix: Matrix) -> Expanded:
    """Cells in the order of the combinations' numbers."""
    if request.axes:
        raise SettingError("a prompt matrix has no other axes")
    base = base_of(request.base)
    prompts = matrix_prompts(base.negative if matrix.negative else base.prompt, matrix)
    columns, rows = matrix_axes(base.negative if matrix.negative else base.prompt)
    cells = []
    for number, (x, y) in enumerate((x, y) for y in range(len(rows)) for x in range(len(columns))):
        changes: dict[str, Any] = {"negative" if matrix.negative else "prompt": prompts[number]}
        if matrix.different_seeds and base.seed >= 0:
            changes["seed"] = base.seed + number
        present = [text for text, there in (*columns[x], *rows[y]) if there]
        cells.append(Cell((x, y, 0), (", ".join(present),), with_base(request.base, **changes)))
    lines = [
        Line("Prompt matrix" if len(marks) > 1 else NOTHING, tuple(_present(one) for one in marks), marks)
        for marks in (columns, rows)
    ]
    return Expanded((lines[0], lines[1], Line(NOTHING, ("",), ((),))), tuple(cells))


def _present(marks: Sequence[Mark]) -> str:
    return ", ".join(text for text, there in marks if there)
