"""The measures of a grid's cell, from the files that it left."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hires.imaging.measures import measured
from hires.imaging.pictures import eight_bit, open_picture
from hires.tiling.seams import index_told


def measure_cell(
    picture: Path, first_pass: Path | None = None, *, reference: Path | None = None, notes: Iterable[str] = ()
) -> dict[str, float]:
    """The measures of a cell's first picture, by the names of `imaging.measures.MEASURES`.

    It is measured against its own first pass; without one against `reference`, any picture that the whole grid is
    measured against (the source of img2img, or the grid's first cell). `notes` are what the job's nodes said, as in
    `Redrawn.notes`; of several seam indices the largest counts. Raises ImageFileError for a file that cannot be read.
    """
    against = first_pass or reference
    seams = [index for index in map(index_told, notes) if index is not None]
    return measured(
        eight_bit(open_picture(picture)),
        None if against is None else eight_bit(open_picture(against)),
        max(seams, default=None),
    )
