"""The measures of a grid over one of its axes: denoising, the refiner's switch, or another with numbers for values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hires.errors import OutputError, SettingError
from hires.imaging.charts import Chart, Series, as_picture
from hires.imaging.measures import MEASURES

PLOTTED = ("denoising", "hires denoise", "hires denoising", "refiner switch at")
"""Axes that are plotted without being asked for, in lower case."""
FILE = "plot.png"
MOST_SERIES = 8
"""Lines that can be told apart; with more combinations of the other axes' values, the first so many are drawn."""
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?$", re.IGNORECASE)


def plotted_axis(grid: Mapping[str, Any]) -> int | None:
    """The axis to plot over: the first of PLOTTED that has two values or more, all of them different numbers."""
    for index, axis in enumerate(grid["axes"]):
        if str(axis["label"]).lower() in PLOTTED and _numbers(axis["values"]) is not None:
            return index
    return None


def axis_named(grid: Mapping[str, Any], label: str) -> int:
    """The axis of that label, in any letter case. SettingError where there is none, or it cannot be plotted over."""
    labels = [str(axis["label"]) for axis in grid["axes"]]
    for index, known in enumerate(labels):
        if known.lower() == label.strip().lower():
            if _numbers(grid["axes"][index]["values"]) is None:
                raise SettingError(f"{known} cannot be plotted over", "It takes two values or more, different numbers.")
            return index
    raise SettingError(f"the grid has no axis {label!r}", f"It has {', '.join(filter(None, labels)) or 'none'}.")


def _numbers(values: Sequence[str]) -> tuple[float, ...] | None:
    """Numbers of labels such as "0.4" or "Denoising: 0.4"."""
    found = [NUMBER.search(str(value).strip()) for value in values]
    numbers = tuple(float(match[0]) for match in found if match)
    return numbers if len(set(numbers)) == len(values) > 1 else None


def charts_over(grid: Mapping[str, Any], axis: int) -> list[Chart]:
    """A chart a measure over an axis, a line for each combination of the other axes' values. `grid` is grid.json's.

    Cells that are waiting, failed or not measured leave gaps; measures that no cell has are left out.
    """
    labels = grid["axes"][axis]["values"]
    places = _numbers(labels)
    if places is None:
        return []
    others = sorted({_elsewhere(cell["index"], axis) for cell in grid["cells"]}, key=lambda index: index[::-1])
    names = [_name(grid, index, axis) for index in others[:MOST_SERIES]]
    values = {tuple(cell["index"]): cell.get("measures") or {} for cell in grid["cells"]}
    floor = grid.get("noise_floor") or {}
    charts = []
    for key, measure in MEASURES.items():
        series = []
        for name, other in zip(names, others, strict=False):
            line = (values.get((*other[:axis], place, *other[axis + 1 :]), {}) for place in range(len(places)))
            series.append(Series(name, tuple(measures.get(key) for measures in line)))
        if any(value is not None for each in series for value in each.values):
            title = f"{measure.title} ({measure.unit})" if measure.unit else measure.title
            noise = floor.get(key, {}).get("deviation")
            texts = tuple(f"{place:g}" for place in places)
            charts.append(Chart(title, grid["axes"][axis]["label"], places, texts, tuple(series), noise))
    return charts


def _elsewhere(index: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(-1 if place == axis else value for place, value in enumerate(index))


def _name(grid: Mapping[str, Any], index: Sequence[int], axis: int) -> str:
    """What the other axes have, where there is a choice."""
    parts = [
        str(other["values"][value])
        for place, (other, value) in enumerate(zip(grid["axes"], index, strict=False))
        if place != axis and len(other["values"]) > 1
    ]
    return ", ".join(parts)


def write_plot(folder: Path, grid: Mapping[str, Any], axis: int | None = None) -> Path | None:
    """Write plot.png beside grid.json, over an axis, else over the one that is plotted unasked.

    None where there is no such axis or nothing was measured. Raises OutputError.
    """
    axis = plotted_axis(grid) if axis is None else axis
    charts = charts_over(grid, axis) if axis is not None else []
    if not charts:
        return None
    target = folder / FILE
    scratch = folder / f".{FILE}.{os.getpid()}"
    try:
        as_picture(charts, f"{grid.get('title') or 'Grid'} over {charts[0].x_title}").save(scratch, format="PNG")
        scratch.replace(target)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise OutputError(f"{target} could not be written ({error.strerror or error})", "Check the folder.") from error
    return target
