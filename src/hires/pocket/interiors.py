"""Backgrounds that people built: city, room, brick wall, plain colours. Units are the picture's height."""

from __future__ import annotations

import math

import numpy as np

from hires.pocket import sky
from hires.pocket.brush import SPAN, Brush, arcs, ellipse, limb, rectangle, rectangles, segments, smooth
from hires.pocket.palette import FLOWERS, PLAIN, WHITE, Color, light, mix, shade
from hires.pocket.plants import leaf_path

Generator = np.random.Generator

FACADES: tuple[Color, ...] = ((150, 164, 192), (186, 172, 170), (128, 150, 184), (172, 180, 196), (200, 186, 170))
NIGHT_FACADES: tuple[Color, ...] = ((62, 62, 104), (52, 56, 92), (74, 62, 108))


def simple(brush: Brush, rng: Generator, name: str) -> None:
    """One colour, a little lighter behind the subject; sometimes with a faint print."""
    color = PLAIN[name]
    brush.fill(rectangle(-SPAN, -0.01, SPAN, 1.01), color)
    kind = int(rng.integers(4))
    pale = light(color, 0.4) if name != "white" else (232, 232, 240)
    if kind == 1:
        rows = [
            (x + (0.05 if i % 2 else 0), y)
            for i, y in enumerate(np.arange(0.03, 1.05, 0.08).tolist())
            for x in np.arange(-SPAN, SPAN, 0.1).tolist()
        ]
        brush.dots(np.array(rows), 0.016, pale)
    elif kind == 2:
        brush.stroke(
            segments([(x, -0.1, x - 0.5, 1.1) for x in np.arange(-SPAN, SPAN + 0.6, 0.11).tolist()]), pale, 0.03
        )
    brush.soft(0, 0.45, 0.9, 0.75, WHITE, 0.35)


def city(brush: Brush, rng: Generator, night: bool) -> None:
    if night:
        sky.wash(brush, 0, 1, (24, 26, 74), (74, 62, 136), (196, 112, 150))
        sky.stars(brush, rng, 0.5)
    else:
        sky.wash(brush, 0, 1, (118, 184, 244), (196, 226, 250), (240, 240, 236))
        sky.clouds(brush, rng, 0.06, 0.4, 2, size=0.12)
    far = mix((90, 84, 148), (150, 180, 220), 0.0 if night else 1.0)
    x = -SPAN
    towers = rng.uniform(0, 1, (60, 2)).tolist()
    boxes = []
    for u, v in towers:
        boxes.append((x, 0.34 + 0.26 * u, x + 0.05 + 0.05 * v, 1.05))
        x += 0.055 + 0.05 * v
    brush.fill(rectangles(boxes), far)
    lights = rng.uniform(0, 1, (700, 2))
    panes = np.stack([(lights[:, 0] * 2 - 1) * SPAN, 0.45 + 0.5 * lights[:, 1]], 1)
    brush.dots(panes, 0.0022, (255, 226, 150) if night else (214, 232, 250), 0.8)
    x = -SPAN - 0.1 * float(rng.random())
    while x < SPAN:
        width, height, gap = (
            float(rng.uniform(0.15, 0.25)),
            float(rng.uniform(0.36, 0.88)),
            float(rng.uniform(-0.01, 0.05)),
        )
        grain = np.random.default_rng(rng.integers(1 << 32))
        if brush.sees(x, 0, x + width + 0.03, 1):
            _tower(brush, grain, x, 1 - height, width, night)
        x += width + gap
    sky.haze(brush, 1.0, 0.3, (130, 90, 160) if night else (226, 234, 244), 0.5)
    _pavement(brush, rng, (92, 84, 128) if night else (196, 194, 200))


def _pavement(brush: Brush, rng: Generator, color: Color) -> None:
    """Slabs at the foot of the picture, to stand on; their grain when large."""
    top = 0.915
    sky.wash(brush, top, 1, color, light(color, 0.12))
    brush.fill(rectangle(-SPAN, top, SPAN, top + 0.008), light(color, 0.4))
    slant = [(x, top + 0.008, x * 1.25, 1.01) for x in np.arange(-SPAN, SPAN, 0.16).tolist()]
    rows = [(-SPAN, y, SPAN, y) for y in (top, top + 0.008, top + 0.04)]
    brush.stroke(segments(slant + rows), shade(color, 0.4), 0.003)
    grit = rng.uniform(0, 1, (700, 2))
    grit = np.stack([(grit[:, 0] * 2 - 1) * SPAN, top + 0.01 + 0.09 * grit[:, 1]], 1)
    brush.dots(grit[::2], 0.0013, shade(color, 0.35), 0.8)
    brush.dots(grit[1::2], 0.0013, light(color, 0.5), 0.8)


def _tower(brush: Brush, rng: Generator, x: float, top: float, width: float, night: bool) -> None:
    """A high-rise: lit face, shaded side, rows of framed windows, something on the roof."""
    palette = NIGHT_FACADES if night else FACADES
    color = palette[int(rng.integers(len(palette)))]
    face, side = rectangle(x, top, x + width * 0.82, 1.05), rectangle(x + width * 0.82, top, x + width, 1.05)
    brush.falling(face, top, 1, light(color, 0.12), shade(color, 0.12))
    brush.falling(side, top, 1, shade(color, 0.34), shade(color, 0.46))
    columns = max(3, round(width / 0.042))
    pitch, rise = width * 0.82 / columns, 0.05
    rows = int((1.02 - top) / rise)
    lit = rng.random((rows, columns)) < (0.55 if night else 0.3)
    glass: list[list[tuple[float, float, float, float]]] = [[], []]
    for r in range(rows):
        y = top + 0.024 + r * rise
        for c in range(columns):
            left = x + (c + 0.2) * pitch
            glass[int(lit[r, c])].append((left, y, left + pitch * 0.6, y + rise * 0.62))
    dark = (46, 46, 84) if night else (92, 124, 170)
    bright = (255, 220, 128) if night else (206, 232, 250)
    for boxes, tone in zip(glass, (dark, bright), strict=True):
        if not boxes:
            continue
        panes = rectangles(boxes)
        brush.fill(panes, tone)
        bars = [(left + (right - left) / 2, t, left + (right - left) / 2, b) for left, t, right, b in boxes]
        bars += [(left, t + (b - t) * 0.4, right, t + (b - t) * 0.4) for left, t, right, b in boxes]
        brush.fine(segments(bars), shade(color, 0.4), 0.0022)
        brush.fine(panes, shade(color, 0.55), 0.0026)
        sills = [(left - 0.002, b + 0.002, right + 0.002, b + 0.002) for left, _, right, b in boxes]
        brush.fine(segments(sills), light(color, 0.5), 0.0026)
        if not night:
            shines = [
                (left + 0.2 * (right - left), b - 0.15 * (b - t), right - 0.2 * (right - left), t + 0.2 * (b - t))
                for left, t, right, b in boxes[::3]
            ]
            brush.fine(segments(shines), WHITE, 0.002, 0.8)
    lines = [(x + width * 0.82, y, x + width, y) for y in np.arange(top + 0.03, 1, 0.05).tolist()]
    brush.fine(segments(lines), shade(color, 0.6), 0.0026)
    brush.fill(rectangle(x - 0.006, top - 0.012, x + width + 0.006, top + 0.006), shade(color, 0.2))
    kind = int(rng.integers(3))
    if kind == 0:
        brush.stroke(segments([(x + width * 0.4, top, x + width * 0.4, top - 0.1)]), shade(color, 0.5), 0.006)
        brush.fill(ellipse(x + width * 0.4, top - 0.1, 0.006), (240, 80, 80))
    elif kind == 1:
        tank = rectangle(x + width * 0.25, top - 0.05, x + width * 0.6, top - 0.01, 0.008)
        brush.fill(tank, shade(color, 0.3))
        brush.fine(
            segments([(x + width * t, top - 0.05, x + width * t, top - 0.01) for t in (0.3, 0.36, 0.42, 0.48, 0.54)]),
            shade(color, 0.55),
            0.0026,
        )
    brush.stroke(rectangle(x, top, x + width, 1.05), shade(color, 0.66), 0.004)


def brick_wall(brush: Brush, rng: Generator) -> None:
    tones: tuple[Color, ...] = ((192, 104, 84), (178, 92, 76), (206, 122, 96), (166, 86, 76))
    brush.fill(rectangle(-SPAN, -0.01, SPAN, 1.01), (224, 202, 186))
    high, wide = 0.052, 0.13
    rows = math.ceil(1 / high) + 1
    kinds = rng.integers(0, 4, (rows, 25))
    boxes: list[list[tuple[float, float, float, float]]] = [[] for _ in tones]
    for r in range(rows):
        shift = wide / 2 if r % 2 else 0.0
        for c in range(25):
            left = -SPAN + c * wide - shift
            boxes[int(kinds[r, c])].append(
                (left + 0.004, r * high + 0.004, left + wide - 0.004, (r + 1) * high - 0.004)
            )
    for tone, group in zip(tones, boxes, strict=True):
        path = rectangles(group)
        brush.fill(path, tone)
        brush.fine(segments([(a, b + 0.002, c, b + 0.002) for a, b, c, _ in group]), light(tone, 0.4), 0.003)
        brush.fine(segments([(a, d - 0.002, c, d - 0.002) for a, _, c, d in group]), shade(tone, 0.5), 0.003)
    pores = rng.uniform(0, 1, (1600, 2))
    pores = np.stack([(pores[:, 0] * 2 - 1) * SPAN, pores[:, 1]], 1)
    brush.dots(pores[::2], 0.0015, (120, 58, 52), 0.7)
    brush.dots(pores[1::2], 0.0014, (240, 180, 150), 0.7)
    brush.draw(rectangle(-SPAN, 0, SPAN, 1.01), brush.linear((0, 0), (0, 1), (0, WHITE, 0.16), (1, (60, 30, 60), 0.24)))
    _pavement(brush, rng, (188, 180, 180))
    side = 1 if rng.random() < 0.5 else -1
    _ivy(brush, rng, side * 0.46, -side)


def _ivy(brush: Brush, rng: Generator, x: float, direction: int) -> None:
    leaf = leaf_path()
    for strand in range(5):
        px, py = x - direction * 0.1 + direction * 0.055 * strand, -0.02
        length = float(rng.uniform(0.25, 0.75)) * (1 - 0.12 * strand)
        steps = int(length / 0.03)
        points = [(px + 0.02 * math.sin(i * 0.7 + strand), py + 0.03 * i) for i in range(steps)]
        brush.stroke(smooth(points, closed=False), (84, 112, 70), 0.005)
        for i, (lx, ly) in enumerate(points):
            for side in (-1, 1):
                tone = (92, 164, 92) if (i + side) % 3 else (64, 132, 80)
                with brush.frame(lx, ly, 0.03, math.pi / 2 - side * 0.9):
                    brush.fill(leaf, tone)
                    brush.fine(segments([(0.1, 0, 0.8, 0)]), (170, 216, 140), 0.05)
                    brush.stroke(leaf, (42, 92, 62), 0.07)


def room(brush: Brush, rng: Generator) -> None:
    """A wall with a window, curtains, a shelf of books, a plant, a wooden floor."""
    walls: tuple[Color, ...] = ((250, 232, 206), (222, 232, 240), (246, 220, 222), (226, 236, 214))
    wall = walls[int(rng.integers(len(walls)))]
    floor = 0.8
    brush.falling(rectangle(-SPAN, -0.01, SPAN, floor), 0, floor, light(wall, 0.2), shade(wall, 0.08))
    brush.stroke(
        segments([(x, 0, x, floor) for x in np.arange(-SPAN, SPAN, 0.075).tolist()]), shade(wall, 0.1), 0.016, 0.6
    )
    _wood(brush, rng, floor)
    brush.fill(rectangle(-SPAN, floor - 0.035, SPAN, floor), (252, 248, 242))
    brush.stroke(
        segments([(-SPAN, floor, SPAN, floor), (-SPAN, floor - 0.035, SPAN, floor - 0.035)]), shade(wall, 0.45), 0.004
    )
    side = 1 if rng.random() < 0.5 else -1
    _window(brush, rng, side * 0.27)
    for place in (side * -0.36, side * 0.95, side * -1.0):
        _shelf(brush, rng, place, 0.26)
        _shelf(brush, rng, place, 0.52)
    _potted(brush, side * -0.4, floor + 0.06)


def _wood(brush: Brush, rng: Generator, top: float) -> None:
    color: Color = (196, 146, 100)
    sky.wash(brush, top, 1, shade(color, 0.12), light(color, 0.15))
    seams = [(-SPAN, y, SPAN, y) for y in (top + 0.045, top + 0.1, top + 0.165)]
    joints = []
    for row, (low, high) in enumerate(
        ((top, top + 0.045), (top + 0.045, top + 0.1), (top + 0.1, top + 0.165), (top + 0.165, 1.02))
    ):
        joints += [(x, low, x, high) for x in (np.arange(-SPAN, SPAN, 0.42) + 0.17 * row).tolist()]
    grain = []
    for u, v, w in rng.uniform(0, 1, (170, 3)).tolist():
        x, y = (u * 2 - 1) * SPAN, top + 0.2 * v
        grain.append((x, y, x + 0.06, y + 0.006 * (w - 0.5), x + 0.1 + 0.1 * w, y))
    brush.fine(arcs(grain), shade(color, 0.36), 0.0022, 0.8)
    brush.stroke(segments(seams + joints), shade(color, 0.5), 0.004)


def _window(brush: Brush, rng: Generator, x: float) -> None:
    left, top, right, bottom = x - 0.19, 0.1, x + 0.19, 0.54
    glass = rectangle(left, top, right, bottom)
    brush.falling(glass, top, bottom, (120, 190, 248), (214, 238, 252))
    with brush.clip(glass):
        sky.cloud(brush, x - 0.08, 0.28, 0.1, WHITE, (216, 232, 248), rng)
        sky.cloud(brush, x + 0.12, 0.4, 0.08, WHITE, (216, 232, 248), rng)
        brush.fill(
            smooth(
                [
                    (left - 0.1, 0.6),
                    (left, 0.48),
                    (x - 0.05, 0.46),
                    (x + 0.08, 0.5),
                    (right + 0.1, 0.45),
                    (right + 0.1, 0.6),
                ]
            ),
            (126, 190, 120),
        )
        brush.stroke(
            segments([(left, bottom - 0.1, left + 0.2, top), (left + 0.06, bottom - 0.02, left + 0.3, top)]),
            WHITE,
            0.014,
            0.35,
        )
    frame = [
        (left, top, left, bottom),
        (right, top, right, bottom),
        (left, top, right, top),
        (left, bottom, right, bottom),
        (x, top, x, bottom),
        (left, 0.3, right, 0.3),
    ]
    brush.stroke(segments(frame), (150, 112, 86), 0.026)
    brush.stroke(segments(frame), (252, 248, 240), 0.018)
    brush.fine(segments([(a + 0.005, b + 0.005, c + 0.005, d + 0.005) for a, b, c, d in frame]), (206, 196, 186), 0.003)
    cloth: Color = FLOWERS[("red", "yellow", "pink", "blue")[int(rng.integers(4))]]
    cloth = light(cloth, 0.35)
    for side in (-1, 1):
        edge = x + side * 0.24
        curtain = smooth(
            [
                (edge, 0.06, 0),
                (x + side * 0.07, 0.06, 0),
                (x + side * 0.13, 0.3),
                (x + side * 0.19, 0.42),
                (x + side * 0.16, 0.62, 0),
                (edge + side * 0.02, 0.62, 0),
            ]
        )
        brush.falling(curtain, 0.06, 0.62, light(cloth, 0.3), shade(cloth, 0.15))
        pleats = [
            (
                x + side * (0.11 + 0.035 * i),
                0.07,
                x + side * (0.17 + 0.02 * i),
                0.34,
                x + side * (0.18 + 0.016 * i),
                0.6,
            )
            for i in range(4)
        ]
        brush.stroke(arcs(pleats), shade(cloth, 0.35), 0.006, 0.7)
        brush.stroke(curtain, shade(cloth, 0.6), 0.004)
    brush.stroke(segments([(x - 0.28, 0.06, x + 0.28, 0.06)]), (132, 96, 72), 0.016)


def _shelf(brush: Brush, rng: Generator, x: float, y: float) -> None:
    tones: tuple[Color, ...] = (
        (220, 90, 84),
        (84, 130, 204),
        (246, 200, 96),
        (110, 176, 120),
        (170, 120, 196),
        (250, 240, 226),
    )
    left = x - 0.16
    while left < x + 0.12:
        width, height, tone = (
            float(rng.uniform(0.02, 0.036)),
            float(rng.uniform(0.09, 0.14)),
            tones[int(rng.integers(6))],
        )
        book = rectangle(left, y - height, left + width, y, 0.003)
        brush.falling(book, y - height, y, light(tone, 0.15), shade(tone, 0.2))
        brush.fine(
            segments([(left + 0.004, y - height * t, left + width - 0.004, y - height * t) for t in (0.2, 0.26, 0.8)]),
            light(tone, 0.65),
            0.003,
        )
        brush.stroke(book, shade(tone, 0.65), 0.003)
        left += width + 0.002
    board = rectangle(x - 0.19, y, x + 0.19, y + 0.024, 0.004)
    brush.falling(board, y, y + 0.024, (206, 152, 104), (160, 110, 76))
    brush.fine(arcs([(x - 0.17, y + 0.01, x, y + 0.016, x + 0.17, y + 0.009)]), (120, 80, 56), 0.002)
    brush.stroke(board, (104, 68, 52), 0.003)


def _potted(brush: Brush, x: float, base: float) -> None:
    for i, a in enumerate((-2.7, -2.3, -1.9, -1.5, -1.1, -0.7, -0.4)):
        length = 0.2 + 0.05 * (i % 3)
        tip = (x + length * math.cos(a), base - 0.1 + length * math.sin(a))
        middle = (x + 0.5 * length * math.cos(a), base - 0.14 + 0.6 * length * math.sin(a))
        leaf = limb([(x, base - 0.08), middle, tip], [0.012, 0.062, 0.006])
        brush.fill(leaf, (86, 164, 98) if i % 2 else (62, 138, 84))
        brush.fine(arcs([(x, base - 0.08, *middle, *tip)]), (166, 214, 146), 0.004)
        brush.stroke(leaf, (40, 94, 64), 0.0035)
    pot = smooth(
        [
            (x - 0.075, base - 0.1, 0),
            (x + 0.075, base - 0.1, 0),
            (x + 0.055, base + 0.03, 0),
            (x - 0.055, base + 0.03, 0),
        ]
    )
    brush.falling(pot, base - 0.1, base + 0.03, (232, 146, 106), (178, 96, 76))
    brush.stroke(segments([(x - 0.08, base - 0.092, x + 0.08, base - 0.092)]), (214, 124, 90), 0.026)
    brush.stroke(pot, (116, 60, 52), 0.004)
