"""The plot of a grid's measures: which axis, which lines, and the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hires.errors import OutputError, SettingError
from hires.recipes.grids.plot import MOST_SERIES, axis_named, charts_over, plotted_axis, write_plot


def grid(*axes: tuple[str, list[str]], measured: bool = True) -> dict[str, Any]:
    """Detail is x + 10 y + 100 z."""
    lengths = [len(axes[place][1]) if place < len(axes) else 1 for place in range(3)]
    cells = [
        {"index": [x, y, z], "measures": {"detail": float(x + 10 * y + 100 * z)} if measured else {}}
        for z in range(lengths[2])
        for y in range(lengths[1])
        for x in range(lengths[0])
    ]
    return {"title": "T", "axes": [{"label": label, "values": values} for label, values in axes], "cells": cells}


def test_the_axis_is_found_wherever_it_is() -> None:
    assert plotted_axis(grid(("Sampler", ["a", "b"]), ("Denoising", ["0.2", "0.4"]))) == 1
    assert plotted_axis(grid(("Refiner switch at", ["Refiner switch at: 0.5", "Refiner switch at: 0.8"]))) == 0
    assert plotted_axis(grid(("Hires denoise", [".2", "1e-1"]))) == 0
    for axis in (
        ("Steps", ["10", "20"]),
        ("Denoising", ["0.2"]),
        ("Denoising", ["0.2", "0.2"]),
        ("Denoising", ["x", "1"]),
    ):
        assert plotted_axis(grid(axis)) is None


def test_a_line_for_each_combination_of_the_others() -> None:
    chart, *rest = charts_over(grid(("Sampler", ["a", "b"]), ("Denoising", ["0.2", "0.6"]), ("Seed", ["1", "2"])), 1)
    assert not rest and chart.places == (0.2, 0.6) and chart.title == "detail added (levels)"
    assert [series.name for series in chart.series] == ["a, 1", "b, 1", "a, 2", "b, 2"]
    assert [series.values for series in chart.series] == [(0, 10), (1, 11), (100, 110), (101, 111)]


def test_a_single_line_has_no_name_and_gaps_stay() -> None:
    data = grid(("Denoising", ["0.1", "0.2", "0.3"]))
    data["cells"][1]["measures"] = {}
    data["noise_floor"] = {"detail": {"mean": 1.0, "deviation": 0.25, "count": 4}}
    (chart,) = charts_over(data, 0)
    assert chart.series[0].name == "" and chart.series[0].values == (0.0, None, 2.0) and chart.noise == 0.25


def test_many_combinations_are_cut_to_what_can_be_told_apart() -> None:
    (chart,) = charts_over(grid(("Denoising", ["0", "1"]), ("Seed", [str(seed) for seed in range(20)])), 0)
    assert len(chart.series) == MOST_SERIES


def test_an_axis_can_be_named() -> None:
    data = grid(("Sampler", ["a", "b"]), ("Steps", ["10", "20"]))
    assert axis_named(data, " steps") == 1
    with pytest.raises(SettingError, match="Sampler cannot be plotted over"):
        axis_named(data, "Sampler")
    with pytest.raises(SettingError, match=r"no axis 'Seed'.*It has Sampler, Steps"):
        axis_named(data, "Seed")


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    assert write_plot(tmp_path, grid(("Steps", ["1", "2"]))) is None
    assert write_plot(tmp_path, grid(("Denoising", ["0", "1"]), measured=False)) is None
    assert not list(tmp_path.iterdir())
    path = write_plot(tmp_path, grid(("Steps", ["1", "2"])), axis=0)
    assert path == tmp_path / "plot.png" and Image.open(path).format == "PNG"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="could not be written"):
        write_plot(tmp_path / "none", grid(("Denoising", ["0", "1"])))
