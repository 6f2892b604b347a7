"""`hires grid-page`: the page and the plot of a grid's folder, made anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from hires.cli import app
from hires.recipes.grids.record import CellRecord, GridRecord
from hires.recipes.grids.request import GridRequest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Steps 10 and 20, drawn."""
    cells = []
    (tmp_path / "cells").mkdir()
    for x in range(2):
        name = f"cells/{x:02}-00-00.png"
        Image.new("RGB", (24, 24), (80 + x, 90, 100)).save(tmp_path / name)
        cell = CellRecord([x, 0, 0], [f"Steps: {10 * x + 10}"], str(x), state="done", pictures=[name])
        cell.measures = {"sharpness": 1.0 + x}
        cells.append(cell)
    axes = [{"label": "Steps", "values": ["10", "20"]}, {"label": "Sampler", "values": ["Euler"]}]
    GridRecord(tmp_path, "Steps", "2026-11-21T10:00:00", GridRequest(), axes, cells).save()
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["grid-page", *arguments])
    return result.exit_code, result.output


def test_the_page_is_written_with_links_or_with_its_pictures(folder: Path) -> None:
    code, said = run(str(folder))
    assert code == 0 and said.split() == [str(folder / "index.html")]
    assert "data:image/png" not in (folder / "index.html").read_text(encoding="utf-8")
    assert run(str(folder), "--embed")[0] == 0
    assert (folder / "index.html").read_text(encoding="utf-8").count("data:image/png") == 2
    run(str(folder), "--embed", "--megabytes", "0")
    assert "data:image/png" not in (folder / "index.html").read_text(encoding="utf-8")


def test_another_axis_is_plotted(folder: Path) -> None:
    code, said = run(str(folder), "--plot", "steps")
    assert code == 0 and (folder / "plot.png").is_file() and str(folder / "plot.png") in said
    assert "Measures over Steps" in (folder / "index.html").read_text(encoding="utf-8")


def test_mistakes_are_told_in_a_line(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert run(str(folder), "--plot", "Sampler") == (
        2,
        "hires: Sampler cannot be plotted over. It takes two values or more, different numbers.\n",
    )
    code, said = run(str(tmp_path_factory.mktemp("empty")))
    assert code == 2 and said.startswith("hires: there is no grid in")
    data = json.loads((folder / "grid.json").read_text(encoding="utf-8"))
    data["noise_floor"] = {"detail": {}}
    (folder / "grid.json").write_text(json.dumps(data), encoding="utf-8")
    assert run(str(folder))[0] == 2
