"""The record of a grid: grid.json in its folder, whole at any time, from which the grid goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from hires import __version__
from hires.errors import SettingError
from hires.metadata.files import output_error
from hires.metadata.infotext import read_infotext
from hires.recipes.grids.axes import IMG2IMG, Request, tab_of
from hires.recipes.grids.matrix import Matrix
from hires.recipes.grids.request import AxisValues, Cell, Expanded, GridOptions, GridRequest
from hires.recipes.grids.stored import read_stored, stored
from hires.recipes.img2img_request import Img2Img
from hires.recipes.request import Txt2Img

FILE = "grid.json"
FORMAT = 1
CELLS = "cells"
WAITING, DONE, FAILED = "waiting", "done", "failed"
MOST_BYTES = 500_000_000
Data = dict[str, Any]


@dataclass
class CellRecord:
    """What there is of a cell. Files are named from the grid's folder; `key` names what the cell asks for.

    settings are the fields of its infotext, with the prompts; calls and reused are denoiser calls made and sampling
    steps taken from what other cells had computed.
    """

    index: list[int]
    labels: list[str]
    key: str
    state: str = WAITING
    settings: dict[str, str] = field(default_factory=dict)
    infotext: str = ""
    pictures: list[str] = field(default_factory=list)
    first_pass: str | None = None
    seconds: float = 0.0
    calls: int = 0
    reused: int = 0
    measures: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    def take(self, other: CellRecord) -> None:
        """All that another record says of how the same cell was drawn."""
        for entry in fields(CellRecord):
            if entry.name not in ("index", "labels", "key"):
                setattr(self, entry.name, getattr(other, entry.name))

    @property
    def stem(self) -> str:
        """The name of its files: column, row and plane, from 0."""
        return "-".join(f"{place:02}" for place in self.index)


@dataclass
class GridRecord:
    """A grid that is being drawn, or was: what was asked for, and each cell; `repeats` are one cell's other seeds."""

    folder: Path
    title: str
    created: str
    request: GridRequest
    axes: list[Data]
    cells: list[CellRecord]
    repeats: list[CellRecord] = field(default_factory=list)
    noise_floor: dict[str, dict[str, float]] | None = None
    parts: list[str] = field(default_factory=list)
    sub_grids: list[str] = field(default_factory=list)
    version: str = __version__

    @property
    def shape(self) -> tuple[int, int, int]:
        lengths = [len(axis["values"]) for axis in self.axes]
        x, y, z = [*lengths, 1, 1, 1][:3]
        return x, y, z

    def at(self, index: Sequence[int]) -> CellRecord:
        """The record of the cell at (x, y, z)."""
        x, y, z = index
        across, down, _ = self.shape
        return self.cells[x + across * (y + down * z)]

    def with_state(self, state: str) -> list[CellRecord]:
        return [cell for cell in self.cells if cell.state == state]

    def data(self) -> Data:
        """The record as grid.json holds it."""
        request = self.request
        base: Data = {"kind": tab_of(request.base), "request": stored(request.base)}
        if request.pictures:
            base |= {"pictures": list(request.pictures), "mask": request.mask}
        return {
            "format": FORMAT,
            "title": self.title,
            "created": self.created,
            "version": self.version,
            "script": request.script,
            "base": base,
            "axes": self.axes,
            "options": stored(request.options),
            "matrix": None if request.matrix is None else stored(request.matrix),
            "cells": [asdict(cell) for cell in self.cells],
            "repeats": [asdict(cell) for cell in self.repeats],
            "noise_floor": self.noise_floor,
            "parts": self.parts,
            "sub_grids": self.sub_grids,
        }

    def save(self) -> None:
        """Write grid.json: under another name first, so that it is whole whatever happens."""
        path = self.folder / FILE
        scratch = path.with_name(f".{FILE}.{os.getpid()}.tmp")
        try:
            scratch.write_text(json.dumps(self.data(), ensure_ascii=False, indent=1), encoding="utf-8")
            scratch.replace(path)
        except OSError as error:
            scratch.unlink(missing_ok=True)
            raise output_error(path, error) from error


def new_record(folder: Path, request: GridRequest, cells: Expanded, created: str) -> GridRecord:
    """A record with every cell waiting."""
    axes = axes_data(request, cells)
    return GridRecord(folder, title_of(cells), created, request, axes, [cell_record(cell) for cell in cells.cells])


def title_of(cells: Expanded) -> str:
    """What a grid compares."""
    return " x ".join(line.label for line in cells.lines if line.varies) or "One cell"


def cell_record(cell: Cell) -> CellRecord:
    return CellRecord(list(cell.index), list(cell.labels), cell.key)


def axes_data(request: GridRequest, cells: Expanded) -> list[Data]:
    """The axes as grid.json holds them; those that do not vary are left out at the end."""
    last = max((place for place, line in enumerate(cells.lines) if line.varies), default=-1)
    found = []
    for place, line in enumerate(cells.lines[: last + 1]):
        entry: Data = {"label": line.label, "values": list(line.values)}
        if place < len(request.axes):
            entry |= {"text": request.axes[place].text, "fixed": request.axes[place].fixed}
        found.append(entry)
    return found


def settings_of(infotext: str) -> dict[str, str]:
    """What an infotext says, the prompts among the fields."""
    info = read_infotext(infotext)
    return {"Prompt": info.prompt, "Negative prompt": info.negative, **info.fields}


def read_record(folder: Path) -> GridRecord:
    """The record of a grid's folder. SettingError where there is none, or none that can be read."""
    data = read_data(folder)
    try:
        return _record(folder, data)
    except (KeyError, TypeError, AttributeError) as error:
        raise SettingError(f"{folder / FILE} is incomplete: {type(error).__name__} {error}") from error


def read_data(folder: Path) -> Data:
    """What the grid.json of a folder holds. SettingError where there is none of this version's."""
    path = folder / FILE
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SettingError(f"{path} is too large for the record of a grid")
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingError(f"there is no grid in {folder}", f"Name a folder with a {FILE}.") from error
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise SettingError(f"{path} is no record of a grid that this version knows")
    return data


def _record(folder: Path, data: Mapping[str, Any]) -> GridRecord:
    where = folder.name
    base = data["base"]
    matrix = data.get("matrix")
    kind: type[Request] = Img2Img if base["kind"] == IMG2IMG else Txt2Img
    axes = [dict(axis) for axis in data["axes"]]
    request = GridRequest(
        read_stored(kind, base["request"], f"{where}, base"),
        ()
        if matrix
        else tuple(AxisValues(str(a["label"]), str(a.get("text", "")), str(a.get("fixed", ""))) for a in axes),
        read_stored(GridOptions, data["options"], f"{where}, options"),
        None if matrix is None else read_stored(Matrix, matrix, f"{where}, matrix"),
        tuple(map(str, base.get("pictures", ()))),
        base.get("mask"),
    )
    cells, repeats = (
        [_cell(folder, values, f"{where}, cell {place}") for place, values in enumerate(data.get(name) or ())]
        for name in ("cells", "repeats")
    )
    record = GridRecord(folder, str(data["title"]), str(data["created"]), request, axes, cells, repeats)
    record.noise_floor = data.get("noise_floor")
    record.parts, record.sub_grids = (
        [str(name) for name in data.get(kept) or () if _inside(str(name))] for kept in ("parts", "sub_grids")
    )
    return record


def _cell(folder: Path, values: Any, where: str) -> CellRecord:
    """A cell's record; one whose pictures are gone is waiting again."""
    cell = read_stored(CellRecord, values, where)
    files = [*cell.pictures, *([cell.first_pass] if cell.first_pass else [])]
    for name in files:
        if not _inside(name):
            raise SettingError(f"{where} names a file outside the grid's folder: {name!r}")
    if cell.state == DONE and not all((folder / name).is_file() for name in files):
        cell.take(CellRecord([], [], ""))
    return cell


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and ":" not in name
