"""Curves of a training: a CSV file that a spreadsheet opens, and a plot of it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

PANEL = (420, 220)
MARGIN = (52, 24)
"""Room left of and above a curve, for its numbers and its name."""
INK, GRID, CURVE, SMOOTH = (60, 60, 66), (224, 224, 230), (178, 200, 232), (36, 92, 190)


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Add a row; the first one writes the names."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(row)
        writer.writerow([f"{value:.6g}" for value in row.values()])


def rows_until(path: Path, step: int) -> None:
    """Keep only rows up to `step`: what was logged after the checkpoint is done again. With step 0, start anew."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines[1:] if float(line.split(",")[0]) <= step]
    if kept:
        path.write_text("\n".join([lines[0], *kept]) + "\n", encoding="utf-8")
    else:
        path.unlink()


def read_curves(path: Path) -> dict[str, NDArray[np.float64]]:
    """The columns by name."""
    with path.open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    columns = np.array([[float(value) for value in row] for row in rows]).reshape(len(rows), len(names))
    return {name: columns[:, index] for index, name in enumerate(names)}


def plot_curves(source: Path, out_path: Path) -> None:
    """A panel a column over the steps: values, and their running mean over a twentieth of the run."""
    if not source.exists():
        return
    columns = read_curves(source)
    steps = columns.pop("step")
    width, height = PANEL
    rows = math.ceil(len(columns) / 2)
    picture = Image.new("RGB", (2 * width, rows * height), "white")
    pen = ImageDraw.Draw(picture)
    for index, (name, values) in enumerate(columns.items()):
        panel(pen, (index % 2 * width, index // 2 * height), name, steps, values)
    picture.save(out_path)


def panel(
    pen: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    name: str,
    steps: NDArray[np.float64],
    values: NDArray[np.float64],
) -> None:
    """One curve with its name, range and last value."""
    left, top = corner[0] + MARGIN[0], corner[1] + MARGIN[1]
    right, bottom = corner[0] + PANEL[0] - 16, corner[1] + PANEL[1] - 24
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    span, run = (high - low) or 1.0, float(steps[-1] - steps[0]) or 1.0

    def place(line: NDArray[np.float64]) -> list[tuple[float, float]]:
        return [
            (
                left + (right - left) * float(step - steps[0]) / run,
                bottom - (bottom - top) * (float(value) - low) / span,
            )
            for step, value in zip(steps, line, strict=True)
            if math.isfinite(value)
        ]

    pen.rectangle((left, top, right, bottom), outline=GRID)
    for line, color in ((values, CURVE), (running_mean(values, max(1, len(values) // 20)), SMOOTH)):
        points = place(line)
        if len(points) > 1:
            pen.line(points, fill=color, width=2)
    pen.text((left, corner[1] + 6), f"{name}  {values[-1]:.4g}", fill=INK)
    pen.text((corner[0] + 4, top), f"{high:.3g}", fill=INK)
    pen.text((corner[0] + 4, bottom - 10), f"{low:.3g}", fill=INK)
    pen.text((right - 52, bottom + 4), f"{steps[-1]:.0f}", fill=INK)


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Mean of the last `window` values, of fewer at the start."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    mean: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return mean


def contact_sheet(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Rows of pictures (count, height, width, 3), all of one size a row, as one picture on white."""
    strips = [np.concatenate(list(row), axis=1) for row in rows]
    widest = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, 0), (0, widest - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    sheet: NDArray[np.uint8] = np.concatenate(padded, axis=0)
    return sheet
