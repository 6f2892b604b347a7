"""The brush: paths, fills, outlines of varying width, gradients and level of detail over skia's canvas.

Coordinates are those of the current frame (see `Brush.frame`); widths too. Detail thinner than a third of a pixel is
not drawn, and fades in up to a full pixel, so that the same scene is drawn fast when small and richly when large.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hires.errors import SettingError
from hires.pocket.palette import Color, light, line, shade

Path = Any
"""skia.Path: the package has no type stubs."""
Point = tuple[float, ...]
"""(x, y) on a smooth curve; (x, y, 0) is a corner."""
Box = tuple[float, float, float, float]
"""left, top, right, bottom."""

SPAN = 1.5
"""Backgrounds reach this far to both sides: enough for pictures three times as wide as high."""
STIFFNESS = 0.36
"""Length of a curve's handles as a share of the segment: 1/3 to 0.4 looks round, more makes loops."""


@cache
def skia() -> ModuleType:
    """skia-python, imported when the first picture is drawn; the error is for those who have not installed it."""
    try:
        import skia as module
    except ImportError as error:
        raise SettingError("Drawing needs skia-python.", "Install it: pip install 'hires[train]'") from error
    return module


def smooth(points: Sequence[Point], closed: bool = True) -> Path:
    """A curve through the points, round at (x, y) and sharp at (x, y, 0)."""
    count = len(points)
    tangents = []
    for i, point in enumerate(points):
        before = points[i - 1] if closed or i > 0 else point
        after = points[(i + 1) % count] if closed or i < count - 1 else point
        dx, dy = after[0] - before[0], after[1] - before[1]
        length = math.hypot(dx, dy)
        tangents.append((0.0, 0.0) if len(point) == 3 or length == 0 else (dx / length, dy / length))
    builder = skia().PathBuilder()
    builder.moveTo(points[0][0], points[0][1])
    for i in range(count if closed else count - 1):
        a, b = points[i], points[(i + 1) % count]
        (ax, ay), (bx, by) = tangents[i], tangents[(i + 1) % count]
        handle = STIFFNESS * math.hypot(b[0] - a[0], b[1] - a[1])
        builder.cubicTo(a[0] + ax * handle, a[1] + ay * handle, b[0] - bx * handle, b[1] - by * handle, b[0], b[1])
    if closed:
        builder.close()
    return builder.detach()


def polygon(points: Iterable[tuple[float, float]], closed: bool = True) -> Path:
    sk = skia()
    return sk.PathBuilder().addPolygon([sk.Point(float(x), float(y)) for x, y in points], closed).detach()


def ellipse(x: float, y: float, rx: float, ry: float | None = None) -> Path:
    sk = skia()
    ry = rx if ry is None else ry
    return sk.PathBuilder().addOval(sk.Rect.MakeLTRB(x - rx, y - ry, x + rx, y + ry)).detach()


def star(x: float, y: float, radius: float, rays: int = 5, inner: float = 0.45) -> Path:
    """A star with one point upwards; `inner` is the radius of its notches as a share."""
    points = []
    for i in range(2 * rays):
        a, r = math.pi * (i / rays - 0.5), radius * (1.0 if i % 2 == 0 else inner)
        points.append((x + r * math.cos(a), y + r * math.sin(a)))
    return polygon(points)


def rectangle(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> Path:
    sk = skia()
    box = sk.Rect.MakeLTRB(left, top, right, bottom)
    if radius:
        return sk.PathBuilder().addRRect(sk.RRect.MakeRectXY(box, radius, radius)).detach()
    return sk.PathBuilder().addRect(box).detach()


def rectangles(boxes: Iterable[Sequence[float]]) -> Path:
    """Many boxes as one path: one call instead of hundreds."""
    sk = skia()
    builder = sk.PathBuilder()
    for left, top, right, bottom in boxes:
        builder.addRect(sk.Rect.MakeLTRB(left, top, right, bottom))
    return builder.detach()


def segments(lines: Iterable[Sequence[float]]) -> Path:
    """Many straight lines (x0, y0, x1, y1) as one path."""
    builder = skia().PathBuilder()
    for x0, y0, x1, y1 in lines:
        builder.moveTo(x0, y0)
        builder.lineTo(x1, y1)
    return builder.detach()


def arcs(curves: Iterable[Sequence[float]]) -> Path:
    """Many quadratic curves (x0, y0, control x, control y, x1, y1) as one path."""
    builder = skia().PathBuilder()
    for x0, y0, cx, cy, x1, y1 in curves:
        builder.moveTo(x0, y0)
        builder.quadTo(cx, cy, x1, y1)
    return builder.detach()


def locks(curves: Iterable[Sequence[float]], width: float, start: float = 0.0) -> Path:
    """Quadratic curves as blades: `width` wide in the middle, `start` at the root, pointed at the end."""
    builder = skia().PathBuilder()
    for x0, y0, cx, cy, x1, y1 in curves:
        dx, dy = x1 - x0, y1 - y0
        length = math.hypot(dx, dy) or 1.0
        nx, ny = -dy / length, dx / length
        s, w = start / 2, width
        builder.moveTo(x0 + nx * s, y0 + ny * s)
        builder.quadTo(cx + nx * w, cy + ny * w, x1, y1)
        builder.quadTo(cx - nx * w, cy - ny * w, x0 - nx * s, y0 - ny * s)
        builder.close()
    return builder.detach()


def limb(points: Sequence[tuple[float, float]], widths: Sequence[float]) -> Path:
    """A closed band round a bent line, `widths` wide at its points: arms, legs, tails of hair, stems."""
    left, right = [], []
    for i, (x, y) in enumerate(points):
        before, after = points[max(i - 1, 0)], points[min(i + 1, len(points) - 1)]
        dx, dy = after[0] - before[0], after[1] - before[1]
        length = math.hypot(dx, dy) or 1.0
        nx, ny = -dy / length * widths[i] / 2, dx / length * widths[i] / 2
        left.append((x + nx, y + ny))
        right.append((x - nx, y - ny))
    return smooth([*left, *reversed(right)])


class Brush:
    """Draws on one canvas; `scale` is pixels per unit of the current frame, `visible` what of it can be seen."""

    def __init__(self, canvas: Any, scale: float, visible: Box) -> None:
        self.canvas = canvas
        self.scale = scale
        self.visible = visible
        self.pen = 1.0
        """Outlines are this much wider; a close-up is drawn with a relatively finer pen."""

    # -- frames and clips

    @contextmanager
    def frame(self, x: float, y: float, size: float = 1.0, angle: float = 0.0, flip: bool = False) -> Iterator[None]:
        """A frame with its origin at (x, y), `size` times as large, turned by `angle` radians, maybe mirrored."""
        scale, visible = self.scale, self.visible
        self.canvas.save()
        self.canvas.translate(x, y)
        self.canvas.rotate(math.degrees(angle))
        self.canvas.scale(-size if flip else size, size)
        self.scale = scale * size
        left, top, right, bottom = visible
        corners = [((px - x) / size, (py - y) / size) for px in (left, right) for py in (top, bottom)]
        turned = [
            (cx * math.cos(angle) + cy * math.sin(angle), cy * math.cos(angle) - cx * math.sin(angle))
            for cx, cy in corners
        ]
        xs, ys = [-cx if flip else cx for cx, _ in turned], [cy for _, cy in turned]
        self.visible = (min(xs), min(ys), max(xs), max(ys))
        yield
        self.scale, self.visible = scale, visible
        self.canvas.restore()

    @contextmanager
    def clip(self, path: Path) -> Iterator[None]:
        self.canvas.save()
        self.canvas.clipPath(path, True)
        yield
        self.canvas.restore()

    def sees(self, left: float, top: float, right: float, bottom: float) -> bool:
        seen = self.visible
        return left < seen[2] and right > seen[0] and top < seen[3] and bottom > seen[1]

    def detail(self, width: float) -> float:
        """How much of a detail of this width to show: 0 below a third of a pixel, 1 from one pixel."""
        return min(1.0, max(0.0, (width * self.scale - 0.33) / 0.67))

    # -- paint

    def paint(self, color: Color, alpha: float = 1.0, width: float = 0.0) -> Any:
        sk = skia()
        r, g, b = (int(min(255.0, max(0.0, c)) + 0.5) for c in color)
        paint = sk.Paint(AntiAlias=True, Color=sk.Color(r, g, b, int(alpha * 255 + 0.5)))
        if width:
            paint.setStyle(sk.Paint.kStroke_Style)
            paint.setStrokeWidth(width)
            paint.setStrokeCap(sk.Paint.kRound_Cap)
            paint.setStrokeJoin(sk.Paint.kRound_Join)
        return paint

    def _colors(self, stops: Sequence[tuple[float, Color, float]]) -> tuple[list[int], list[float]]:
        sk = skia()
        colors = [
            sk.Color(*(int(min(255.0, max(0.0, c)) + 0.5) for c in color), int(alpha * 255 + 0.5))
            for _, color, alpha in stops
        ]
        return colors, [place for place, _, _ in stops]

    def linear(self, start: Point, end: Point, *stops: tuple[float, Color, float]) -> Any:
        """A paint that runs through stops (place 0..1, colour, alpha) from `start` to `end`."""
        sk = skia()
        colors, places = self._colors(stops)
        paint = sk.Paint(AntiAlias=True)
        ends = [sk.Point(start[0], start[1]), sk.Point(end[0], end[1])]
        paint.setShader(sk.GradientShader.MakeLinear(ends, colors, places))
        return paint

    def radial(self, x: float, y: float, radius: float, *stops: tuple[float, Color, float]) -> Any:
        """A paint that runs through stops from the centre outwards."""
        sk = skia()
        colors, places = self._colors(stops)
        paint = sk.Paint(AntiAlias=True)
        paint.setShader(sk.GradientShader.MakeRadial(sk.Point(x, y), radius, colors, places))
        return paint

    # -- strokes of the brush

    def draw(self, path: Path, paint: Any) -> None:
        self.canvas.drawPath(path, paint)

    def fill(self, path: Path, color: Color, alpha: float = 1.0) -> None:
        self.canvas.drawPath(path, self.paint(color, alpha))

    def stroke(self, path: Path, color: Color, width: float, alpha: float = 1.0) -> None:
        self.canvas.drawPath(path, self.paint(color, alpha, width))

    def fine(self, path: Path, color: Color, width: float, alpha: float = 1.0) -> None:
        """A stroke that only shows when it is wide enough to be seen."""
        shown = self.detail(width)
        if shown:
            self.stroke(path, color, width, alpha * shown)

    def falling(self, path: Path, top: float, bottom: float, above: Color, below: Color, alpha: float = 1.0) -> None:
        """A fill that runs from `above` at the height `top` to `below` at `bottom`."""
        self.canvas.drawPath(path, self.linear((0, top), (0, bottom), (0, above, alpha), (1, below, alpha)))

    def outline(self, path: Path, color: Color, width: float) -> None:
        """An outline as of a pen: heavier on the lower right, away from the light."""
        width *= self.pen
        paint = self.paint(color, 1.0, width * 0.78)
        self.canvas.drawPath(path, paint)
        self.canvas.save()
        self.canvas.translate(width * 0.22, width * 0.3)
        self.canvas.drawPath(path, paint)
        self.canvas.restore()

    def body(self, path: Path, color: Color, box: tuple[float, float], width: float, deep: float = 0.22) -> None:
        """A surface: shaded from `box[0]` down to `box[1]`, outlined in its own dark."""
        self.falling(path, box[0], box[1], light(color, 0.1), shade(color, deep))
        self.outline(path, line(color), width)

    def dots(self, xy: NDArray[np.float64], radius: float, color: Color, alpha: float = 1.0) -> None:
        """Discs of one radius at the rows of `xy` (n, 2)."""
        shown = self.detail(radius * 2)
        if not shown or not len(xy):
            return
        sk = skia()
        points = [sk.Point(x, y) for x, y in xy.tolist()]
        self.canvas.drawPoints(sk.Canvas.kPoints_PointMode, points, self.paint(color, alpha * shown, radius * 2))

    def soft(self, x: float, y: float, rx: float, ry: float, color: Color, alpha: float) -> None:
        """A disc that fades to its edge: blush, glow, cast shadow."""
        with self.frame(x, y):
            self.canvas.scale(1.0, ry / rx)
            stops = ((0.0, color, alpha), (0.55, color, alpha * 0.6), (1.0, color, 0.0))
            self.canvas.drawPath(ellipse(0, 0, rx), self.radial(0, 0, rx, *stops))
