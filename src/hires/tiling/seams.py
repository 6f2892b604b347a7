"""Whether the joins of tiles can be seen: gradients across them, and the drift of colour from tile to tile."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

STRIP = 8
"""Pixels: the width of the strips whose colours are compared."""
SHIFTS = (-7, -5, -3, 3, 5, 7)
"""Pixels: how far from a join the lines lie that it is compared with; odd, so that no regular pattern is met."""


@dataclass(frozen=True)
class SeamReport:
    """`index`: the mean gradient across the joins over that at shifted lines; 1 where nothing shows, 1.03 is visible.

    `drift`: the root mean square difference of the mean colours (0..1) of adjoining strips. The same of a reference
    (an untiled picture, or the source) stands beside where one was given. `lines` is the number of joins.
    """

    index: float
    drift: float
    lines: int
    reference_index: float | None = None
    reference_drift: float | None = None

    def describe(self) -> str:
        """The one line that is said."""
        if not self.lines:
            return "no seams: one piece"
        index, drift = f"{self.index:.3f}", f"{self.drift:.4f}"
        if self.reference_index is not None and self.reference_drift is not None:
            index, drift = f"{index} (reference {self.reference_index:.3f})", f"{drift} ({self.reference_drift:.4f})"
        return f"seam index {index}, colour drift {drift} over {self.lines} joins"


TOLD = re.compile(r"seam index (\d+\.\d+|inf)")


def index_told(note: str) -> float | None:
    """The index in a line of `SeamReport.describe`, to the three decimals that it says; None for any other line, and
    for one piece."""
    found = TOLD.match(note)
    return float(found[1]) if found else None


Picture = Tensor | NDArray[Any]


def seam_index(
    image: Picture, rows: Sequence[int], columns: Sequence[int], reference: Picture | None = None
) -> SeamReport:
    """How much the joins of an image (height, width, channels) in 0..1 show.

    A join at row r lies between the rows r - 1 and r; joins on or outside the border do not count.
    """
    index, drift, lines = _measure(_as_tensor(image), rows, columns)
    if reference is None:
        return SeamReport(index, drift, lines)
    other = _as_tensor(reference)
    if other.shape != _as_tensor(image).shape:
        raise ValueError("the reference must have the size of the image")
    beside = _measure(other, rows, columns)
    return SeamReport(index, drift, lines, beside[0], beside[1])


def _as_tensor(image: Picture) -> Tensor:
    picture = torch.as_tensor(image)
    return picture.float() if picture.is_floating_point() else picture.float() / 255


def _measure(image: Tensor, rows: Sequence[int], columns: Sequence[int]) -> tuple[float, float, int]:
    height, width = image.shape[:2]
    rows = sorted({row for row in rows if 0 < row < height})
    columns = sorted({column for column in columns if 0 < column < width})
    on, off, steps = [], [], []
    for picture, joins, crossing in ((image, rows, columns), (image.movedim(0, 1), columns, rows)):
        gradient = (picture[1:] - picture[:-1]).abs().mean(dim=(1, 2))  # [r - 1] lies between the rows r - 1 and r
        for join in joins:
            on.append(gradient[join - 1])
            off += [gradient[line - 1] for line in _shifted(join, joins, len(picture))]
            steps += list(_steps(picture, join, joins, crossing))
    if not on:
        return 1.0, 0.0, 0
    across = float(torch.stack(on).mean())
    elsewhere = float(torch.stack(off).mean()) if off else across
    drift = float(torch.stack(steps).square().mean().sqrt())
    if elsewhere == 0:
        return (1.0 if across == 0 else float("inf")), drift, len(on)
    return across / elsewhere, drift, len(on)


def _shifted(join: int, joins: Sequence[int], size: int) -> Iterator[int]:
    for shift in SHIFTS:
        line = join + shift
        if 0 < line < size and line not in joins:
            yield line


def _steps(picture: Tensor, join: int, joins: Sequence[int], crossing: Sequence[int]) -> Iterator[Tensor]:
    """The colour differences over a join, tile by tile along it: (channels,) each."""
    before = max([0, join - STRIP, *(other for other in joins if other < join)])
    after = min([len(picture), join + STRIP, *(other for other in joins if other > join)])
    for start, end in pairwise([0, *crossing, picture.shape[1]]):
        yield picture[join:after, start:end].mean(dim=(0, 1)) - picture[before:join, start:end].mean(dim=(0, 1))
