"""The sheet of all pictures of a job that the web UI saves and puts before them."""

from __future__ import annotations

import math
from pathlib import Path

from hires.imaging.grids import labelled_grid
from hires.imaging.pictures import open_picture
from hires.metadata.files import Ledger, save_png, write_numbered
from hires.server.running import Made, read_picture


def rows_of(count: int, n_rows: int, batch_size: int) -> int:
    """How many rows a sheet of so many pictures has: as said, as a batch (0), or about a square (-1)."""
    rows = n_rows if n_rows > 0 else batch_size if n_rows == 0 else round(math.sqrt(count))
    return max(1, min(rows, count))


def with_sheet(made: Made, folder: Path, n_rows: int, ledger: Ledger | None = None) -> None:
    """Write a sheet and put it first; nothing for a single picture."""
    count = len(made.pictures)
    if count < 2:
        return
    rows = rows_of(count, n_rows, made.base.batch_size)
    across = math.ceil(count / rows)
    pictures = [open_picture(picture.data) for picture in made.pictures]
    sheet = labelled_grid([pictures[column::across] for column in range(across)], None, None)
    texts = {"parameters": made.pictures[0].infotext}
    path = write_numbered(folder, "grid", ".png", lambda to: save_png(sheet, to, texts), ledger)
    made.pictures.insert(0, read_picture(path.read_bytes()))
    made.grids = 1
