"""Line charts: one layout of lines, dots and texts, drawn as SVG for pages and with Pillow for files.

A chart has one measure up its side; charts over the same values stand beside one another, each with its own unit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 440, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 34, 44
LETTERS = 12
DOT = 3.0
TICKS = 5
"""About so many lines across a chart."""
COLOURS = ("#2563c9", "#c2410c", "#15803d", "#9333ea", "#9a7b00", "#0891b2", "#be185d", "#4d5a6a")
"""Of the series, in order; each can be told from white and from near-black."""
INK, FAINT, PAPER = "#26282d", "#d4d7dc", "#ffffff"
SHARPER = 2
"""A file's pixels by a chart's, and the same again while it is drawn: Pillow does not smooth lines."""

SPELT = {ord("Δ"): "d", ord("−"): "-"}
"""What Pillow's own letters lack."""

Role = Literal["ink", "faint"]
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Series:
    """One line: a name ("" for the only one) and its values, None where there is none."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Chart:
    """Series over shared places on the x axis, which need not be evenly spaced.

    `noise` is the deviation that chance alone gives: a band of that half-width about a single series, a bar of twice
    that height beside several.
    """

    title: str
    x_title: str
    places: tuple[float, ...]
    names: tuple[str, ...]
    series: tuple[Series, ...]
    noise: float | None = None


@dataclass(frozen=True)
class Line:
    """A broken line; `colour` the index of a series, or a role. `closed` fills it, faintly."""

    points: tuple[tuple[float, float], ...]
    colour: int | Role
    width: float = 1.0
    closed: bool = False


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    colour: int
    said: str
    """What it stands for."""


@dataclass(frozen=True)
class Text:
    x: float
    y: float
    """Of the letters' middle."""
    text: str
    anchor: Anchor = "middle"
    colour: int | Role = "ink"
    bold: bool = False


Mark = Line | Dot | Text


def round_ticks(low: float, high: float, count: int = TICKS) -> list[float]:
    """About so many round numbers (1, 2 or 5 by a power of ten apart) that enclose low..high."""
    if high <= low:
        spread = abs(low) / 2 or 0.5
        low, high = low - spread, low + spread
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def marks(chart: Chart) -> Iterator[Mark]:
    """All that a chart of WIDTH x HEIGHT is drawn of, from back to front."""
    known = [value for series in chart.series for value in series.values if value is not None]
    around = chart.noise or 0.0 if len(chart.series) == 1 else 0.0
    ticks = round_ticks(min(known, default=0.0) - around, max(known, default=1.0) + around)
    frame = _Frame(min(chart.places), max(chart.places), ticks[0], ticks[-1])
    yield Text(LEFT, TOP / 2, chart.title, "start", bold=True)
    for tick in ticks:
        y = frame.y(tick)
        yield Line(((LEFT, y), (WIDTH - RIGHT, y)), "faint")
        yield Text(LEFT - 8, y, f"{tick:g}", "end")
    yield from _places(chart, frame)
    yield from _noise(chart, frame)
    for index, series in enumerate(chart.series):
        yield from _series(chart, series, index, frame)


@dataclass(frozen=True)
class _Frame:
    """Numbers to pixels."""

    left: float
    right: float
    low: float
    high: float

    def x(self, place: float) -> float:
        share = 0.5 if self.right == self.left else (place - self.left) / (self.right - self.left)
        return LEFT + 12 + share * (WIDTH - RIGHT - LEFT - 24)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - BOTTOM - TOP)


def _places(chart: Chart, frame: _Frame) -> Iterator[Mark]:
    """Names below the x axis, as many as there is room for, and its title."""
    free = -math.inf
    for place, name in sorted(zip(chart.places, chart.names, strict=True)):
        x, half = frame.x(place), ImageFont.load_default(LETTERS).getlength(name) / 2
        yield Line(((x, HEIGHT - BOTTOM), (x, HEIGHT - BOTTOM + 4)), "ink")
        if x - half > free:
            yield Text(x, HEIGHT - BOTTOM + 14, name)
            free = x + half + 4
    yield Line(((LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, HEIGHT - BOTTOM)), "ink")
    yield Text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, chart.x_title)


def _noise(chart: Chart, frame: _Frame) -> Iterator[Mark]:
    if not chart.noise:
        return
    if len(chart.series) == 1:
        for run in _runs(chart, chart.series[0], frame):
            over = [(x, frame.y(value + chart.noise)) for x, value in run]
            under = [(x, frame.y(value - chart.noise)) for x, value in reversed(run)]
            yield Line((*over, *under), 0, closed=True)
    else:
        half = min(frame.y(0) - frame.y(chart.noise), (HEIGHT - BOTTOM - TOP) / 2)
        x, y = WIDTH - RIGHT / 2, TOP + half
        for ends in (((x, y - half), (x, y + half)), *(((x - 3, z), (x + 3, z)) for z in (y - half, y + half))):
            yield Line(ends, "ink")
    yield Text(WIDTH - RIGHT, TOP / 2, "± seed noise", "end")


def _runs(chart: Chart, series: Series, frame: _Frame) -> list[list[tuple[float, float]]]:
    """(x, value) of neighbouring places that have values, in order; a gap begins a new run."""
    runs: list[list[tuple[float, float]]] = [[]]
    for place, value in sorted(zip(chart.places, series.values, strict=True), key=lambda pair: pair[0]):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((frame.x(place), value))
    return [run for run in runs if run]


def _series(chart: Chart, series: Series, index: int, frame: _Frame) -> Iterator[Mark]:
    for run in _runs(chart, series, frame):
        if len(run) > 1:
            yield Line(tuple((x, frame.y(value)) for x, value in run), index, 2.0)
    for name, place, value in zip(chart.names, chart.places, series.values, strict=True):
        if value is not None:
            of = f"{series.name}, " if series.name else ""
            yield Dot(frame.x(place), frame.y(value), index, f"{of}{name}: {value:.4g}")


def as_svg(chart: Chart) -> str:
    """The chart as an SVG element whose colours are classes: `ink`, `faint`, and `s0`, `s1` ... of the series."""
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">',
    ]
    parts += [_svg(mark) for mark in marks(chart)]
    return "".join([*parts, "</svg>"])


def _svg(mark: Mark) -> str:
    name = mark.colour if isinstance(mark.colour, str) else f"s{mark.colour % len(COLOURS)}"
    if isinstance(mark, Dot):
        circle = f'<circle class="{name}" cx="{mark.x:.1f}" cy="{mark.y:.1f}" r="{DOT:g}">'
        return f"{circle}<title>{escape(mark.said)}</title></circle>"
    if isinstance(mark, Text):
        weight = ' font-weight="600"' if mark.bold else ""
        place = f'x="{mark.x:.1f}" y="{mark.y:.1f}" dy=".35em" text-anchor="{mark.anchor}"'
        return f'<text class="{name}" {place}{weight}>{escape(mark.text)}</text>'
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in mark.points)
    if mark.closed:
        return f'<polygon class="{name} band" points="{points}"/>'
    return f'<polyline class="{name}" points="{points}" stroke-width="{mark.width:g}"/>'


def as_picture(charts: Sequence[Chart], title: str, columns: int = 2) -> Image.Image:
    """Charts of the same series in columns, with a title above and, for several series, their names."""
    columns = min(columns, len(charts))
    legend = _legend([series.name for series in charts[0].series], columns * WIDTH) if charts else []
    top = 40 + (22 * (1 + max(row for _, row, _ in legend)) if legend else 0)
    size = (columns * WIDTH + 16, top + math.ceil(len(charts) / columns) * HEIGHT + 8)
    factor = SHARPER * SHARPER
    sheet = Image.new("RGB", (size[0] * factor, size[1] * factor), PAPER)
    pen = ImageDraw.Draw(sheet)
    _paint(pen, Text(LEFT, 22, title, "start", bold=True), (0, 0), factor)
    for index, (x, row, name) in enumerate(legend):
        y = 50 + 22 * row
        _paint(pen, Line(((x, y), (x + 22, y)), index, 2.0), (0, 0), factor)
        _paint(pen, Dot(x + 11, y, index, name), (0, 0), factor)
        _paint(pen, Text(x + 28, y, name, "start"), (0, 0), factor)
    for index, chart in enumerate(charts):
        corner = (index % columns * WIDTH, top + index // columns * HEIGHT)
        for mark in marks(chart):
            _paint(pen, mark, corner, factor)
    return sheet.resize((size[0] * SHARPER, size[1] * SHARPER), Image.Resampling.BOX)


def _legend(names: Sequence[str], width: float) -> list[tuple[float, int, str]]:
    """(x, row, name) of each series, set in rows; nothing for a single one."""
    if len(names) < 2:
        return []
    placed, x, row = [], float(LEFT), 0
    for name in names:
        room = ImageFont.load_default(LETTERS).getlength(name) + 50
        if x + room > width and x > LEFT:
            x, row = float(LEFT), row + 1
        placed.append((x, row, name))
        x += room
    return placed


def _paint(pen: ImageDraw.ImageDraw, mark: Mark, corner: tuple[float, float], factor: int) -> None:
    def at(x: float, y: float) -> tuple[float, float]:
        return (corner[0] + x) * factor, (corner[1] + y) * factor

    colour = {"ink": INK, "faint": FAINT}.get(str(mark.colour)) or COLOURS[int(mark.colour) % len(COLOURS)]
    if isinstance(mark, Dot):
        x, y = at(mark.x, mark.y)
        radius = DOT * factor
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif isinstance(mark, Text):
        font = ImageFont.load_default((LETTERS + (2 if mark.bold else 0)) * factor)
        anchor = {"start": "lm", "middle": "mm", "end": "rm"}[mark.anchor]
        pen.text(at(mark.x, mark.y), mark.text.translate(SPELT), fill=colour, font=font, anchor=anchor)
    elif mark.closed:
        pen.polygon([at(*point) for point in mark.points], fill=_faint(colour))
    else:
        width = max(round(mark.width * factor), 1)
        for first, second in pairwise(mark.points):
            pen.line([at(*first), at(*second)], fill=colour, width=width)


def _faint(colour: str) -> str:
    """The colour at a sixth of its strength on the paper."""
    channels = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - (255 - channel) / 6):02x}" for channel in channels)
