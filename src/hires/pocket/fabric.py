"""What cloth is made of and printed with: stripes, dots, checks, lace, knitting, weave, folds."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from hires.pocket.brush import Box, Brush, Path, arcs, ellipse, rectangles, segments, skia
from hires.pocket.palette import WHITE, Color, light, line, luminance, mix, shade

STRIPE = 0.36
"""Distance of two stripes; dots and checks are spaced alike, so that all are seen at the base size."""


def trim_color(color: Color) -> Color:
    """What a print or trim on this colour has: white, or a soft colour on white."""
    if luminance(color) < 190:
        return (250, 248, 250)
    return (122, 150, 224) if min(color) > 225 else mix(shade(color, 0.4), (230, 92, 120), 0.55)


def print_cloth(brush: Brush, cloth: Path, box: Box, color: Color, pattern: str) -> None:
    """Weave, folds and the pattern within a piece of clothing that lies in `box`."""
    left, top, right, bottom = box
    with brush.clip(cloth):
        if pattern == "striped":
            rows = np.arange(top + 0.16, bottom, STRIPE).tolist()
            curves = [(left, y, (left + right) / 2, y + 0.16, right, y) for y in rows]
            brush.stroke(arcs(curves), trim_color(color), 0.15)
        elif pattern == "polka dot":
            _polka(brush, box, trim_color(color))
        elif pattern == "checked":
            _checks(brush, box, trim_color(color))
        elif pattern == "lace":
            _net(brush, box, trim_color(color))
        if brush.detail(0.009) > 0:
            rows = np.arange(top, bottom, 0.028).tolist()
            brush.fine(segments([(left, y, right, y) for y in rows]), shade(color, 0.5), 0.009, 0.2)
            columns = np.arange(left, right, 0.028).tolist()
            brush.fine(segments([(x, top, x, bottom) for x in columns]), light(color, 0.5), 0.009, 0.25)


def _polka(brush: Brush, box: Box, color: Color) -> None:
    left, top, right, bottom = box
    places = []
    for row, y in enumerate(np.arange(top + 0.12, bottom, STRIPE * 0.74).tolist()):
        places += [(x, y) for x in np.arange(left + (row % 2) * STRIPE * 0.5, right, STRIPE).tolist()]
    brush.dots(np.array(places), 0.095, color)


def _checks(brush: Brush, box: Box, color: Color) -> None:
    left, top, right, bottom = box
    half = STRIPE / 2
    columns = [(x, top, x + half, bottom) for x in np.arange(left, right, STRIPE).tolist()]
    rows = [(left, y, right, y + half) for y in np.arange(top, bottom, STRIPE).tolist()]
    brush.fill(rectangles(columns), color, 0.48)
    brush.fill(rectangles(rows), color, 0.48)
    thin = [(x + half * 1.5, top, x + half * 1.5, bottom) for x, _, _, _ in columns]
    thin += [(left, y + half * 1.5, right, y + half * 1.5) for _, y, _, _ in rows]
    brush.fine(segments(thin), color, 0.022, 0.7)


def _net(brush: Brush, box: Box, color: Color) -> None:
    """A net of small flowers."""
    left, top, right, bottom = box
    step = 0.17
    slanted = []
    reach = bottom - top
    for x in np.arange(left - reach, right, step).tolist():
        slanted += [(x, top, x + reach, bottom), (x + reach, top, x, bottom)]
    brush.fine(segments(slanted), color, 0.02, 0.5)
    places = []
    for row, y in enumerate(np.arange(top + 0.2, bottom, step * 2).tolist()):
        places += [(x, y) for x in np.arange(left + (row % 2) * step, right, step * 2).tolist()]
    brush.dots(np.array(places), 0.034, color, 0.9)
    ring = [(x + 0.055 * math.cos(a), y + 0.055 * math.sin(a)) for x, y in places for a in (0.3, 1.55, 2.8, 4.06, 5.3)]
    if brush.detail(0.03) > 0:
        brush.dots(np.array(ring), 0.019, color)


def frill(brush: Brush, points: list[tuple[float, float]], color: Color, size: float, lace: bool) -> None:
    """A ruffle along a line of points; of lace it has scallops with holes, else pleats."""
    for (x0, y0), (x1, y1) in pairwise(points):
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        rx = math.hypot(x1 - x0, y1 - y0) * 0.56
        scallop = ellipse(x, y + size * 0.3, rx, size * 0.75)
        brush.fill(scallop, color)
        brush.stroke(scallop, shade(color, 0.45), 0.026)
        if lace:
            holes = np.array([(x + rx * d, y + size * e) for d, e in ((-0.45, 0.55), (0, 0.72), (0.45, 0.55))])
            brush.dots(holes, min(rx, size) * 0.13, shade(color, 0.45))
            brush.fine(ellipse(x, y + size * 0.25, rx * 0.68, size * 0.5), shade(color, 0.36), 0.012)
        else:
            brush.fine(segments([(x, y - size * 0.2, x, y + size * 0.7)]), shade(color, 0.4), 0.018)


def knit(brush: Brush, cloth: Path, box: Box, color: Color) -> None:
    """Columns of V stitches; from afar only their columns are seen."""
    left, top, right, bottom = box
    with brush.clip(cloth):
        columns = np.arange(left, right, 0.15).tolist()
        brush.stroke(segments([(x, top, x, bottom) for x in columns]), shade(color, 0.34), 0.03, 0.55)
        if brush.detail(0.022) > 0:
            builder = skia().PathBuilder()
            for x in columns:
                for y in np.arange(top, bottom, 0.085).tolist():
                    builder.moveTo(x + 0.015, y)
                    builder.lineTo(x + 0.075, y + 0.06)
                    builder.lineTo(x + 0.135, y)
            brush.fine(builder.detach(), shade(color, 0.45), 0.022, 0.6)
    brush.outline(cloth, line(color), 0.05)


def ribs(brush: Brush, band: Path, box: Box, color: Color) -> None:
    """The ribbed hem of something knitted."""
    left, top, right, bottom = box
    brush.body(band, color, (top, bottom), 0.045, 0.2)
    with brush.clip(band):
        lines = [(x, top, x, bottom) for x in np.arange(left, right, 0.09).tolist()]
        brush.stroke(segments(lines), shade(color, 0.42), 0.026, 0.7)


def folds(brush: Brush, cloth: Path, curves: list[tuple[float, ...]], color: Color) -> None:
    """Soft dark folds, and a light beside each."""
    with brush.clip(cloth):
        brush.stroke(arcs(curves), shade(color, 0.42), 0.05, 0.55)
        brush.fine(arcs([(a + 0.05, b, c + 0.05, d, e + 0.05, f) for a, b, c, d, e, f in curves]), WHITE, 0.026, 0.35)
