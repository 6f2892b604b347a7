"""The picture of a grid: its cells with legends, the planes of Z beside each other, in parts where it is too large."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from hires.imaging.legends import Legend, Marks, in_a_row, with_legend
from hires.imaging.pictures import open_picture
from hires.metadata.files import output_error, save_png
from hires.metadata.infotext import quote
from hires.recipes.grids.axis_table import NOTHING, SEEDS
from hires.recipes.grids.record import DONE, CellRecord, GridRecord
from hires.recipes.grids.request import DIRECTIONS, Expanded, GridRequest

NAME = "grid"


@dataclass(frozen=True)
class Block:
    """A part of a grid: its columns, rows and planes."""

    xs: range
    ys: range
    zs: range


def write_composites(record: GridRecord, cells: Expanded) -> tuple[list[str], list[str]]:
    """Write the picture of a grid, or its parts; and, where asked for, one for each plane. Their names in the folder.

    Pictures that an earlier run left there under these names are replaced.
    """
    blocks = blocks_of(record, cells, int(record.request.options.megapixels * 1e6))
    parts = [
        _written(record, cells, block, f"{NAME}.png" if len(blocks) == 1 else f"{NAME}-{number}.png")
        for number, block in enumerate(blocks, start=1)
    ]
    across, down, deep = record.shape
    wanted = range(deep) if record.request.options.sub_grids and deep > 1 else range(0)
    planes = [
        _written(record, cells, Block(range(across), range(down), range(z, z + 1)), f"{NAME}-z{z + 1}.png", plane=True)
        for z in wanted
    ]
    return parts, planes


def blocks_of(record: GridRecord, cells: Expanded, most_pixels: int) -> list[Block]:
    """All of a grid, if its picture has no more than so many pixels; else plane by plane, cut where one has more.

    A single cell is never cut.
    """
    across, down, deep = record.shape
    planes = [Block(range(across), range(down), range(z, z + 1)) for z in range(deep)]
    sizes = [_plane_size(record, cells, block) for block in planes]
    width = sum(size[0] for size in sizes) + (deep - 1) * record.request.options.margin
    height = max(size[1] for size in sizes)
    if deep > 1:  # room for the titles
        height += height // 10
    if width * height <= most_pixels:
        return [Block(range(across), range(down), range(deep))]
    return [part for block in planes for part in _cut(record, cells, block, most_pixels)]


def _cut(record: GridRecord, cells: Expanded, block: Block, most_pixels: int) -> Iterator[Block]:
    width, height = _plane_size(record, cells, block)
    if width * height <= most_pixels or (len(block.xs) == 1 and len(block.ys) == 1):
        yield block
        return
    if len(block.ys) > 1 and (height >= width or len(block.xs) == 1):
        half = block.ys.start + (len(block.ys) + 1) // 2
        halves = [range(block.ys.start, half), range(half, block.ys.stop)]
        parts = [Block(block.xs, rows, block.zs) for rows in halves]
    else:
        half = block.xs.start + (len(block.xs) + 1) // 2
        halves = [range(block.xs.start, half), range(half, block.xs.stop)]
        parts = [Block(columns, block.ys, block.zs) for columns in halves]
    for part in parts:
        yield from _cut(record, cells, part, most_pixels)


def _plane_size(record: GridRecord, cells: Expanded, block: Block) -> tuple[int, int]:
    sizes = [_size(record, record.at((x, y, z))) for z in block.zs for y in block.ys for x in block.xs]
    width, height = (max((size[side] for size in sizes), default=0) or 64 for side in (0, 1))
    return Legend(width, height, *_marks(record, cells, block), record.request.options.margin).size


def _size(record: GridRecord, cell: CellRecord) -> tuple[int, int]:
    """(width, height) of a cell's pictures, from the first one's header."""
    if cell.state != DONE or not cell.pictures:
        return (0, 0)
    with Image.open(record.folder / cell.pictures[0]) as picture:
        width, height = picture.size
    rows = _rows(len(cell.pictures))
    return width * math.ceil(len(cell.pictures) / rows), height * rows


def _rows(count: int) -> int:
    """Rows of a job's own grid, as the web UI lays it out."""
    return max(round(math.sqrt(count)), 1)


def _marks(record: GridRecord, cells: Expanded, block: Block) -> tuple[list[Marks], list[Marks]]:
    if not record.request.options.legend:
        return [()] * len(block.xs), [()] * len(block.ys)
    columns, rows, _ = cells.lines
    return [columns.marks[x] for x in block.xs], [rows.marks[y] for y in block.ys]


def _picture(record: GridRecord, cell: CellRecord) -> Image.Image | None:
    """What stands for a cell: its picture, or all of its job's; nothing for a cell that was not drawn."""
    if cell.state != DONE or not cell.pictures:
        return None
    pictures = [open_picture(record.folder / name) for name in cell.pictures]
    if len(pictures) == 1:
        return pictures[0]
    across = math.ceil(len(pictures) / _rows(len(pictures)))
    rows: list[list[Image.Image | None]] = [
        [*pictures[start : start + across]] for start in range(0, len(pictures), across)
    ]
    return with_legend(rows, [()] * across, [()] * len(rows))


def composite(record: GridRecord, cells: Expanded, block: Block) -> Image.Image:
    """The picture of a part of a grid."""
    columns, rows = _marks(record, cells, block)
    margin = record.request.options.margin
    planes = []
    for z in block.zs:
        plane = [[_picture(record, record.at((x, y, z))) for x in block.xs] for y in block.ys]
        planes.append(with_legend(plane, columns, rows, margin))
    titles = cells.lines[2].marks if record.request.options.legend else [()] * len(cells.lines[2].marks)
    return in_a_row(planes, [titles[z] for z in block.zs], margin)


def _written(record: GridRecord, cells: Expanded, block: Block, name: str, plane: bool = False) -> str:
    """Write a part with the infotext of its first cell and what the grid is."""
    first = record.at((block.xs.start, block.ys.start, block.zs.start))
    text = with_script_fields(first.infotext, record.request, plane=plane) if first.infotext else ""
    path = record.folder / name
    scratch = path.with_name(f".{name}.{os.getpid()}.tmp")
    try:
        save_png(composite(record, cells, block), scratch, {"parameters": text} if text else {})
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise output_error(path, error) from error
    return name


def with_script_fields(infotext: str, request: GridRequest, plane: bool = False) -> str:
    """The infotext of a cell with what the web UI adds for the grid's picture; of a `plane`, without Z."""
    fields = script_fields(request, plane)
    told = ", ".join(f"{key}: {quote(value)}" for key, value in fields.items())
    head, version, tail = infotext.rpartition(", Version: ")
    return f"{head}, {told}{version}{tail}" if version else f"{infotext}, {told}"


def script_fields(request: GridRequest, plane: bool = False) -> dict[str, str]:
    """What the infotext of a grid says of it: the script, the types of the axes, and their values as written."""
    fields = {"Script": request.script}
    for direction, axis in list(zip(DIRECTIONS, request.axes, strict=False))[: 2 if plane else 3]:
        label, text, fixed = str(axis.label), axis.text, axis.fixed
        if label == NOTHING:
            continue
        fields |= {f"{direction} Type": label, f"{direction} Values": text}
        if label in SEEDS and fixed:
            fields[f"Fixed {direction} Values"] = fixed
    return fields
