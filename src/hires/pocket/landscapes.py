"""Backgrounds outdoors without houses. Units are the picture's height, x counted from its middle."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hires.pocket import sky
from hires.pocket.brush import SPAN, Brush, Path, arcs, ellipse, limb, rectangle, segments, smooth, star
from hires.pocket.palette import FLOWERS, WHITE, Color, light, line, mix, shade
from hires.pocket.plants import STAMENS, flower, foliage, grass, lawn, petals, pine, trunk

Generator = np.random.Generator


def blue_sky(brush: Brush, rng: Generator) -> None:
    sky.wash(brush, 0, 1, (88, 160, 238), (142, 200, 250), (206, 234, 253))
    sky.clouds(brush, rng, 0.1, 0.62, 3, size=0.15)
    sky.clouds(brush, rng, 0.72, 1.02, 3, size=0.26)
    sky.birds(brush, rng)
    sky.hill(brush, sky.ridge(rng, 0.93, 0.05), 1.05, (158, 212, 120), (112, 182, 98))
    lawn(brush, rng, 0.93, (118, 188, 100))


def beach(brush: Brush, rng: Generator) -> None:
    horizon = float(rng.uniform(0.42, 0.52))
    shore = horizon + float(rng.uniform(0.18, 0.25))
    sky.wash(brush, 0, horizon, (96, 176, 246), (196, 232, 252))
    sky.clouds(brush, rng, 0.08, horizon - 0.04, 3, size=0.13)
    _island(brush, rng, horizon)
    sky.wash(brush, horizon, shore + 0.06, (36, 116, 200), (58, 160, 220), (128, 216, 226))
    sky.glitter(brush, rng, horizon + 0.006, shore, (214, 242, 252), 0.9)
    _boat(brush, float(rng.uniform(-0.45, 0.45)), horizon + 0.012, 0.075)
    bend, phase = float(rng.uniform(-0.03, 0.03)), float(rng.uniform(0, 6))
    edge = [(x, shore + bend * x + 0.016 * math.sin(5 * x + phase)) for x in np.linspace(-SPAN, SPAN, 19).tolist()]
    for drop, color, alpha in ((-0.012, (190, 238, 240), 0.8), (0.0, WHITE, 1.0)):
        brush.fill(smooth([(-SPAN, 1.1, 0), *[(x, y + drop) for x, y in edge], (SPAN, 1.1, 0)]), color, alpha)
    sand = smooth([(-SPAN, 1.1, 0), *[(x, y + 0.02) for x, y in edge], (SPAN, 1.1, 0)])
    brush.falling(sand, shore, 1.0, (226, 198, 150), (250, 226, 176))
    foam = rng.uniform(0, 1, (220, 2))
    brush.dots(
        np.stack(
            [(foam[:, 0] * 2 - 1) * SPAN, shore + bend * (foam[:, 0] * 2 - 1) * SPAN + 0.03 * foam[:, 1] - 0.004], 1
        ),
        0.0035,
        WHITE,
        0.8,
    )
    grains = rng.uniform(0, 1, (1500, 2))
    grains = np.stack([(grains[:, 0] * 2 - 1) * SPAN, shore + 0.05 + (1 - shore) * grains[:, 1]], 1)
    for part, tone in ((0, (196, 162, 112)), (1, (255, 246, 218)), (2, (170, 136, 96))):
        brush.dots(grains[part::3], 0.0016, tone)
    for u, v in rng.uniform(0, 1, (7, 2)).tolist():
        _shell(brush, (u * 2 - 1) * SPAN * 0.8, shore + 0.1 + (0.9 - shore) * v, 0.017, int(u * 97) % 2 == 0)
    if rng.random() < 0.6:
        side = 1 if rng.random() < 0.5 else -1
        _palm(brush, side * 0.46, -side, shore + 0.1, rng)


def _island(brush: Brush, rng: Generator, horizon: float) -> None:
    x, w = float(rng.uniform(-0.6, 0.6)), float(rng.uniform(0.1, 0.2))
    path = smooth(
        [
            (x - w, horizon, 0),
            (x - w * 0.4, horizon - w * 0.3),
            (x, horizon - w * 0.22),
            (x + w * 0.4, horizon - w * 0.4),
            (x + w, horizon, 0),
        ]
    )
    brush.falling(path, horizon - w * 0.4, horizon, (112, 168, 158), (150, 196, 196))


def _boat(brush: Brush, x: float, y: float, size: float) -> None:
    with brush.frame(x, y, size):
        brush.fill(smooth([(0.05, -0.16, 0), (0.05, -1.2, 0), (0.42, -0.6), (0.5, -0.16, 0)]), (252, 250, 246))
        brush.fill(smooth([(-0.03, -0.16, 0), (-0.03, -0.95, 0), (-0.3, -0.5), (-0.36, -0.16, 0)]), (240, 110, 96))
        brush.fill(smooth([(-0.5, -0.1, 0), (0.55, -0.1, 0), (0.36, 0.12, 0), (-0.32, 0.12, 0)]), (146, 88, 66))
        brush.fine(segments([(0.05, -0.5, 0.36, -0.42), (0.05, -0.8, 0.26, -0.74)]), (190, 190, 200), 0.03)


def _shell(brush: Brush, x: float, y: float, size: float, starfish: bool) -> None:
    with brush.frame(x, y, size, angle=x * 3):
        if starfish:
            path = star(0, 0, 1)
            brush.fill(path, (240, 130, 96))
            brush.fine(
                segments(
                    [(0, 0, 0.8 * math.cos(a), 0.8 * math.sin(a)) for a in np.arange(0, 6.2, math.tau / 5).tolist()]
                ),
                (255, 200, 170),
                0.12,
            )
            brush.stroke(path, (170, 80, 60), 0.12)
            return
        path = smooth([(0, 0.8, 0), (-1, 0.1), (-0.7, -0.6), (0, -0.85), (0.7, -0.6), (1, 0.1)])
        brush.fill(path, (255, 232, 222))
        brush.fine(
            segments(
                [(0, 0.8, x1, y1) for x1, y1 in ((-0.8, -0.1), (-0.4, -0.65), (0, -0.8), (0.4, -0.65), (0.8, -0.1))]
            ),
            (226, 160, 150),
            0.1,
        )
        brush.stroke(path, (186, 130, 120), 0.12)


def _palm(brush: Brush, x: float, lean: int, base: float, rng: Generator) -> None:
    top_x, top_y = x + lean * 0.1, 0.2
    brush.soft(x, base, 0.12, 0.02, (120, 84, 60), 0.5)
    stem = limb([(x, base), (x + lean * 0.01, (base + top_y) / 2), (top_x, top_y)], [0.05, 0.036, 0.028])
    brush.falling(stem, top_y, base, (176, 130, 84), (142, 98, 66))
    with brush.clip(stem):
        rings = [(x - 0.1, y, x, y + 0.012, x + 0.16, y) for y in np.arange(top_y, base, 0.022).tolist()]
        brush.fine(arcs([(a, b, c, d, e + 0.1 * lean, f) for a, b, c, d, e, f in rings]), (104, 70, 48), 0.004)
    brush.stroke(stem, (92, 62, 46), 0.004)
    for i, a in enumerate((-2.9, -2.4, -1.8, -1.2, -0.6, -0.15, 0.3, 2.9)):
        length = 0.2 + 0.03 * float(rng.uniform(-1, 1))
        end_x, end_y = top_x + length * math.cos(a), top_y + length * 0.7 * math.sin(a) + 0.1
        mid_x, mid_y = top_x + length * 0.5 * math.cos(a), top_y + length * 0.7 * math.sin(a) * 0.9
        leaf = limb([(top_x, top_y), (mid_x, mid_y), (end_x, end_y)], [0.012, 0.05, 0.004])
        tone = (74, 160, 92) if i % 2 else (56, 138, 84)
        brush.fill(leaf, tone)
        brush.fine(arcs([(top_x, top_y, mid_x, mid_y, end_x, end_y)]), (164, 214, 130), 0.004)
        brush.stroke(leaf, (36, 92, 62), 0.0035)
    for dx, dy in ((-0.014, 0.012), (0.014, 0.014), (0, 0.024)):
        brush.fill(ellipse(top_x + dx, top_y + dy, 0.014), (132, 90, 60))


def flower_field(brush: Brush, rng: Generator) -> None:
    horizon = float(rng.uniform(0.4, 0.5))
    sky.wash(brush, 0, horizon, (112, 186, 248), (212, 238, 252))
    sky.clouds(brush, rng, 0.08, horizon - 0.06, 3, size=0.14)
    sky.hill(brush, sky.ridge(rng, horizon + 0.01, 0.09), horizon + 0.1, (146, 204, 170), (122, 190, 140))
    meadow = smooth(
        [
            (-SPAN, 1.1, 0),
            (-SPAN, horizon, 0),
            (-0.5, horizon - 0.012),
            (0.3, horizon + 0.012),
            (SPAN, horizon, 0),
            (SPAN, 1.1, 0),
        ]
    )
    brush.falling(meadow, horizon, 1, (150, 208, 112), (84, 158, 84))
    kinds = [*FLOWERS.values()]
    first = int(rng.integers(5))
    tones = [kinds[first], kinds[(first + 1) % 5], kinds[(first + 2) % 5]]
    blossom = petals(5)
    y = horizon + 0.012
    while y < 1.06:
        near = (y - horizon) / (1 - horizon)
        size = 0.007 + 0.032 * near
        count = int(3 * 0.55 / size / (1.6 + near))
        rows = rng.uniform(0, 1, (count, 4))
        _blades(brush, rows, y, size)
        for i, (u, v, t, k) in enumerate(rows.tolist()):
            x, fy = ((i + u) / count * 2 - 1) * SPAN, y + (v - 0.5) * size * 1.4
            if not brush.sees(x - size, fy - size, x + size, fy + size):
                continue
            _bloom(brush, x, fy, size * (0.8 + 0.35 * t), tones[int(k * 3)], blossom, t * 6)
        y += size * 1.5


def _blades(brush: Brush, rows: NDArray[np.float64], y: float, size: float) -> None:
    blades = [((a * 2 - 1) * SPAN, y + size * 2 * b, size * (1 + c), (d - 0.5) * 0.8) for a, b, c, d in rows.tolist()]
    grass(brush, blades, (96, 172, 88), size * 0.16)


def _bloom(brush: Brush, x: float, y: float, size: float, color: Color, blossom: Path, turn: float) -> None:
    """A flower of a field: the same as in plants.py, in fewer strokes when small."""
    with brush.frame(x, y):
        brush.canvas.scale(1, 0.86)
        if brush.detail(size * 0.05) > 0.3:
            flower(brush, color, size, size * 0.1, turn=turn)
            return
        with brush.frame(0, 0, size, turn):
            brush.stroke(blossom, line(color), 0.11)
            brush.fill(blossom, light(color, 0.06))
            brush.fill(ellipse(0, 0, 0.25), STAMENS)


def forest(brush: Brush, rng: Generator) -> None:
    sky.wash(brush, 0, 1, (214, 240, 206), (170, 222, 166), (120, 184, 116))
    for depth, (tone, base, count) in enumerate(
        (((150, 204, 152), 0.62, 9), ((104, 172, 116), 0.7, 8), ((70, 140, 88), 0.78, 6))
    ):
        jumps = rng.uniform(-0.5, 0.5, (count, 3)).tolist()
        for i, (a, b, c) in enumerate(jumps):
            x = ((i + 0.5 + a * 0.7) / count * 2 - 1) * SPAN
            width = 0.034 + 0.014 * depth
            radius = 0.15 + 0.04 * depth + 0.03 * c
            grain = np.random.default_rng(rng.integers(1 << 32))
            if brush.sees(x - radius * 1.4, 0, x + radius * 1.4, 1):
                trunk(brush, x, 0.18, base + 0.02 * b, width, mix((126, 92, 66), tone, 0.5 - 0.2 * depth), grain)
                foliage(brush, x - radius * 0.5, 0.2 + 0.05 * b, radius, radius * 0.8, shade(tone, 0.08), grain)
                foliage(brush, x + radius * 0.5, 0.13 + 0.05 * c, radius, radius * 0.8, tone, grain)
        sky.haze(brush, base, 0.3, (226, 246, 206), 0.34 - 0.1 * depth)
    sky.rays(brush, -0.3, -0.12, 1.1, (255, 252, 200), 0.36)
    ground = smooth(
        [(-SPAN, 1.1, 0), (-SPAN, 0.74, 0), (-0.6, 0.72), (0.1, 0.75), (0.8, 0.72), (SPAN, 0.74, 0), (SPAN, 1.1, 0)]
    )
    brush.falling(ground, 0.72, 1, (126, 190, 98), (70, 136, 70))
    lawn(brush, rng, 0.74, (98, 168, 84))
    for u, v, w in rng.uniform(0, 1, (12, 3)).tolist():
        x, y = (u * 2 - 1) * SPAN, 0.8 + 0.18 * v
        if brush.sees(x - 0.05, y - 0.05, x + 0.05, y + 0.05):
            _mushroom(brush, x, y, 0.02 + 0.012 * w) if w > 0.5 else _fern(brush, x, y, 0.07)


def _mushroom(brush: Brush, x: float, y: float, size: float) -> None:
    with brush.frame(x, y, size):
        brush.fill(limb([(0, -0.2), (0, 0.4), (0, 0.9)], [0.5, 0.5, 0.62]), (250, 240, 224))
        cap = smooth([(-1, 0, 0), (-0.75, -0.7), (0, -1.0), (0.75, -0.7), (1, 0, 0), (0, 0.16)])
        brush.falling(cap, -1, 0.2, (240, 96, 84), (190, 50, 56))
        brush.dots(np.array([(-0.4, -0.4), (0.25, -0.6), (0.55, -0.2), (-0.05, -0.15)]), 0.13, WHITE)
        brush.stroke(cap, (120, 36, 46), 0.12)


def _fern(brush: Brush, x: float, y: float, size: float) -> None:
    for a in (-2.5, -2.0, -1.57, -1.1, -0.65):
        ex, ey = x + size * math.cos(a), y + size * math.sin(a)
        brush.fill(
            limb(
                [(x, y), ((x + ex) / 2, (y + ey) / 2 - size * 0.1), (ex, ey + size * 0.1)],
                [size * 0.05, size * 0.2, size * 0.02],
            ),
            (76, 150, 84),
        )
        brush.fine(segments([(x, y, (x + ex) / 2, (y + ey) / 2 - size * 0.1)]), (150, 206, 120), size * 0.03)


def mountains(brush: Brush, rng: Generator) -> None:
    sky.wash(brush, 0, 0.6, (116, 180, 244), (222, 240, 252))
    sky.clouds(brush, rng, 0.06, 0.3, 2, size=0.13)
    _range(brush, rng, 0.62, 0.4, (150, 172, 212), 5)
    _range(brush, rng, 0.66, 0.3, (108, 138, 182), 7)
    sky.haze(brush, 0.66, 0.2, (224, 238, 250), 0.6)
    sky.wash(brush, 0.63, 0.86, (128, 186, 220), (84, 156, 208))
    sky.glitter(brush, rng, 0.64, 0.77, (220, 242, 252), 0.8)
    for u, v in rng.uniform(0, 1, (26, 2)).tolist():
        x, height = (u * 2 - 1) * SPAN, 0.07 + 0.06 * v
        if brush.sees(x - height, 0.5, x + height, 0.7):
            pine(brush, x, 0.665 + 0.01 * v, height, (70, 128, 104))
    sky.hill(brush, sky.ridge(rng, 0.8, 0.06), 1.05, (148, 204, 112), (92, 164, 90))
    lawn(brush, rng, 0.8, (104, 176, 92))
    spots = rng.uniform(0, 1, (90, 2))
    spots = np.stack([(spots[:, 0] * 2 - 1) * SPAN, 0.82 + 0.2 * spots[:, 1]], 1)
    blooms: tuple[Color, ...] = (WHITE, (252, 214, 90), (240, 130, 170))
    for part, tone in enumerate(blooms):
        brush.dots(spots[part::3], 0.006, tone)


def _range(brush: Brush, rng: Generator, base: float, height: float, color: Color, peaks: int) -> None:
    """Peaks with lit and shaded faces and snow."""
    for i, (a, b) in enumerate(rng.uniform(-0.5, 0.5, (peaks, 2)).tolist()):
        x = ((i + 0.5 + 0.5 * a) / peaks * 2 - 1) * SPAN
        h, w = height * (0.8 + 0.5 * b), SPAN / peaks * 1.7
        top = base - h
        zig = [(x + w * t * s, top + h * t) for t, s in ((0.16, 0.2), (0.34, -0.1), (0.6, 0.3), (1.0, 0.1))]
        outline = [
            (x - w, base),
            (x - w * 0.55, base - h * 0.42),
            (x - w * 0.3, base - h * 0.66),
            (x, top),
            (x + w * 0.26, base - h * 0.7),
            (x + w * 0.6, base - h * 0.4),
            (x + w, base),
        ]
        whole = smooth([(px, py, 0) for px, py in outline])
        brush.falling(whole, top, base, light(color, 0.1), light(color, 0.4))
        with brush.clip(whole):
            dark = smooth([(px, py, 0) for px, py in [(x, top), *zig, (x + w * 1.2, base), (x + w * 1.2, top)]])
            brush.falling(dark, top, base, shade(color, 0.3), light(color, 0.2), 0.8)
            snow = [
                (x - w, top - 0.1),
                (x + w, top - 0.1),
                (x + w * 0.3, top + h * 0.26),
                (x + w * 0.17, top + h * 0.2),
                (x + w * 0.08, top + h * 0.34),
                (x, top + h * 0.22),
                (x - w * 0.1, top + h * 0.36),
                (x - w * 0.2, top + h * 0.24),
                (x - w * 0.34, top + h * 0.32),
            ]
            brush.fill(smooth([(px, py, 0) for px, py in snow]), (250, 252, 255), 0.95)
            cracks = [
                (
                    x + w * t,
                    top + h * (abs(t) + 0.3),
                    x + w * (t + 0.05),
                    top + h * (abs(t) + 0.42),
                    x + w * t,
                    top + h * (abs(t) + 0.6),
                )
                for t in (-0.42, -0.26, -0.12, 0.14, 0.3, 0.46)
            ]
            brush.fine(arcs(cracks), shade(color, 0.4), 0.003, 0.7)
        brush.stroke(whole, shade(color, 0.45), 0.003)


def night_sky(brush: Brush, rng: Generator) -> None:
    sky.wash(brush, 0, 1, (20, 24, 72), (46, 52, 128), (112, 92, 172))
    sky.stars(brush, rng, 0.86)
    side = 1 if rng.random() < 0.5 else -1
    sky.moon(brush, side * float(rng.uniform(0.3, 0.38)), float(rng.uniform(0.12, 0.2)), 0.062)
    sky.hill(brush, sky.ridge(rng, 0.86, 0.12), 1.05, (52, 50, 112), (40, 40, 92))
    front = sky.ridge(rng, 0.96, 0.1)
    sky.hill(brush, front, 1.05, (36, 38, 86), (24, 26, 62))
    for x, y in front[::2]:
        pine(brush, x + 0.03, y + 0.03, 0.09, (38, 48, 92))
    fireflies = rng.uniform(0, 1, (30, 2))
    glow = np.stack([(fireflies[:, 0] * 2 - 1) * SPAN, 0.74 + 0.25 * fireflies[:, 1]], 1)
    brush.dots(glow, 0.008, (255, 240, 140), 0.25)
    brush.dots(glow, 0.0035, (255, 246, 170))


def sunset(brush: Brush, rng: Generator) -> None:
    horizon = float(rng.uniform(0.56, 0.64))
    sky.wash(brush, 0, horizon, (126, 88, 168), (242, 120, 110), (255, 190, 110), (255, 232, 156))
    x = float(rng.uniform(0.22, 0.36)) * (1 if rng.random() < 0.5 else -1)
    sky.sun(brush, x, horizon - 0.05, 0.1, (255, 196, 96))
    sky.clouds(brush, rng, 0.08, horizon - 0.16, 3, (255, 196, 170), (214, 116, 134), 0.14)
    brush.canvas.save()
    brush.canvas.clipRect(rectangle(-SPAN, horizon, SPAN, 1.1).getBounds())
    sky.wash(brush, horizon, 1, (246, 156, 106), (186, 92, 128), (92, 62, 128))
    for i in range(26):
        y = horizon + 0.006 + 0.4 * (i / 26) ** 1.3
        width = 0.1 * (1 - 0.6 * i / 26) * (0.6 + 0.5 * math.sin(i * 2.4) ** 2)
        brush.fill(ellipse(x, y, width, 0.003 + 0.003 * i / 26), (255, 228, 150), 0.85)
    sky.glitter(brush, rng, horizon, 1.0, (255, 206, 150), 0.7)
    brush.canvas.restore()
    sky.hill(brush, sky.ridge(rng, horizon + 0.004, 0.08), horizon + 0.002, (122, 70, 116), (150, 84, 116))
    sky.birds(brush, rng, (96, 48, 84))
    shore = sky.hill(brush, sky.ridge(rng, 0.92, 0.035), 1.05, (150, 96, 106), (96, 60, 92))
    grains = rng.uniform(0, 1, (500, 2))
    with brush.clip(shore):
        brush.dots(np.stack([(grains[:, 0] * 2 - 1) * SPAN, 0.9 + 0.12 * grains[:, 1]], 1), 0.0016, (224, 150, 130))
