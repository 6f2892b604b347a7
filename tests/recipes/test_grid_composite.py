from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.recipes.test_grid_axes import BASE, KNOWN

from hires.imaging.pictures import open_picture
from hires.metadata.files import picture_texts
from hires.recipes.grids.composite import blocks_of, composite, with_script_fields, write_composites
from hires.recipes.grids.record import DONE, FAILED, GridRecord, new_record
from hires.recipes.grids.request import AxisValues, Expanded, GridOptions, GridRequest, expand

SIDE = 64
AXES = (AxisValues("Seed", "1, 2"), AxisValues("CFG Scale", "1, 2"), AxisValues("Eta", "0, 1"))
INFOTEXT = "a fox\nSteps: 3, Sampler: Euler, CFG scale: 7, Version: hires 1"


def drawn(folder: Path, options: GridOptions, pictures: int = 1) -> tuple[GridRecord, Expanded]:
    """A finished grid of 2 x 2 x 2 cells, each of its own grey."""
    request = GridRequest(BASE, AXES, options)
    cells = expand(request, KNOWN)
    record = new_record(folder, request, cells, "now")
    (folder / "cells").mkdir()
    for number, cell in enumerate(record.cells):
        for one in range(pictures):
            name = f"cells/{cell.stem}-{one}.png"
            Image.new("RGB", (SIDE, SIDE), (20 * number + one,) * 3).save(folder / name)
            cell.pictures.append(name)
        cell.state, cell.infotext = DONE, INFOTEXT
    return record, cells


@pytest.mark.parametrize(("pixels", "count"), [(80_000, 1), (40_000, 2), (20_000, 4), (5_000, 8)])
def test_a_grid_that_is_too_large_comes_in_parts(pixels: int, count: int, tmp_path: Path) -> None:
    record, cells = drawn(tmp_path, GridOptions())
    blocks = blocks_of(record, cells, pixels)
    assert len(blocks) == count
    shown = [(x, y, z) for block in blocks for z in block.zs for y in block.ys for x in block.xs]
    assert sorted(shown) == sorted(tuple(cell.index) for cell in record.cells)
    sheets = [composite(record, cells, block) for block in blocks]
    assert count == 8 or all(sheet.width * sheet.height <= pixels for sheet in sheets)


def test_parts_are_named_and_say_what_they_are(tmp_path: Path) -> None:
    record, cells = drawn(tmp_path, GridOptions(megapixels=0.04, sub_grids=True))
    assert write_composites(record, cells) == (["grid-1.png", "grid-2.png"], ["grid-z1.png", "grid-z2.png"])
    texts = picture_texts(open_picture(tmp_path / "grid-1.png"))
    told = 'Script: X/Y/Z plot, X Type: Seed, X Values: "1, 2", Y Type: CFG Scale, Y Values: "1, 2"'
    assert texts == {"parameters": INFOTEXT.replace(", Ver", f', {told}, Z Type: Eta, Z Values: "0, 1", Ver')}
    assert picture_texts(open_picture(tmp_path / "grid-z2.png"))["parameters"] == INFOTEXT.replace(
        ", Ver", f", {told}, Ver"
    )


def test_a_version_may_be_missing() -> None:
    request = GridRequest(BASE, (AxisValues("Steps", "3"),))
    assert with_script_fields("a\nSteps: 3", request).endswith(
        "Steps: 3, Script: X/Y/Z plot, X Type: Steps, X Values: 3"
    )


def test_every_cell_is_in_its_place(tmp_path: Path) -> None:
    record, cells = drawn(tmp_path, GridOptions(legend=False, margin=6))
    write_composites(record, cells)
    sheet = np.asarray(open_picture(tmp_path / "grid.png"))
    assert sheet.shape == (2 * SIDE + 6, 4 * SIDE + 3 * 6, 3)
    for number, cell in enumerate(record.cells):
        x, y, z = cell.index
        assert (sheet[y * (SIDE + 6) + 32, (2 * z + x) * (SIDE + 6) + 32] == 20 * number).all()


def test_a_job_of_several_pictures_is_shown_whole(tmp_path: Path) -> None:
    record, cells = drawn(tmp_path, GridOptions(legend=False), pictures=3)
    write_composites(record, cells)
    sheet = np.asarray(open_picture(tmp_path / "grid.png"))
    assert sheet.shape[:2] == (2 * 2 * SIDE, 4 * 2 * SIDE)
    assert [int(sheet[y, x, 0]) for y, x in ((10, 10), (10, 70), (70, 10), (70, 70))] == [0, 1, 2, 255]


def test_cells_that_are_not_there_stay_bare(tmp_path: Path) -> None:
    record, cells = drawn(tmp_path, GridOptions(legend=False))
    for cell in record.cells:
        cell.state = FAILED if cell.index != [1, 1, 0] else DONE
    write_composites(record, cells)
    assert set(np.unique(np.asarray(open_picture(tmp_path / "grid.png")))) == {20 * 3, 255}
    for cell in record.cells:
        cell.state = FAILED
    record.request = replace(record.request, options=GridOptions())
    write_composites(record, cells)
    assert open_picture(tmp_path / "grid.png").width > 4 * SIDE
