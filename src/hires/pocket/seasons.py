"""Backgrounds of a season: snow, autumn, cherry blossoms, and what falls there. Units are the picture's height."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hires.pocket import sky
from hires.pocket.brush import SPAN, Box, Brush, arcs, ellipse, segments, smooth
from hires.pocket.palette import WHITE, Color, mix, shade
from hires.pocket.plants import foliage, lawn, pine, trunk

Generator = np.random.Generator


def snow(brush: Brush, rng: Generator) -> None:
    sky.wash(brush, 0, 0.7, (150, 184, 226), (224, 236, 248))
    sky.hill(brush, sky.ridge(rng, 0.62, 0.2), 0.9, (200, 216, 238), (226, 236, 248))
    rows = rng.uniform(0, 1, (22, 2)).tolist()
    for i, (u, v) in enumerate(rows):
        near = i / len(rows)
        x, height = (u * 2 - 1) * SPAN, 0.16 + 0.24 * near * (0.7 + 0.3 * v)
        if brush.sees(x - height * 0.4, 0, x + height * 0.4, 1):
            pine(brush, x, 0.6 + 0.16 * near, height, mix((120, 160, 176), (66, 122, 112), near), 0.42)
    land = sky.hill(brush, sky.ridge(rng, 0.8, 0.08), 1.05, (252, 253, 255), (206, 222, 244))
    with brush.clip(land):
        shadows = [
            (
                -SPAN + 0.5 * i,
                0.84 + 0.03 * (i % 3),
                -SPAN + 0.5 * i + 0.3,
                0.8 + 0.03 * (i % 3),
                -SPAN + 0.5 * i + 0.7,
                0.85,
            )
            for i in range(7)
        ]
        brush.stroke(arcs(shadows), (190, 208, 236), 0.012, 0.7)
        sparkle = rng.uniform(0, 1, (800, 2))
        sparkle = np.stack([(sparkle[:, 0] * 2 - 1) * SPAN, 0.74 + 0.28 * sparkle[:, 1]], 1)
        brush.dots(sparkle[::2], 0.0014, WHITE)
        brush.dots(sparkle[1::2], 0.0014, (170, 192, 226))


def _grove(brush: Brush, rng: Generator, tones: list[Color], bark: Color, base: float) -> None:
    """A loose row of round trees."""
    for i, (a, b, c) in enumerate(rng.uniform(-0.5, 0.5, (8, 3)).tolist()):
        x, radius = ((i + 0.5 + a * 0.6) / 8 * 2 - 1) * SPAN, 0.18 + 0.06 * c
        grain = np.random.default_rng(rng.integers(1 << 32))
        if not brush.sees(x - radius * 1.6, 0, x + radius * 1.6, 1):
            continue
        top = 0.28 + 0.08 * b
        trunk(brush, x, top, base, 0.045, bark, grain)
        for dx, dy, r, k in ((-0.7, 0.12, 0.8, 0), (0.7, 0.08, 0.8, 1), (0.0, -0.4, 1.0, 2)):
            foliage(
                brush,
                x + dx * radius,
                top + dy * radius,
                radius * r,
                radius * r * 0.8,
                tones[(i + k) % len(tones)],
                grain,
                0.014,
            )


def _litter(brush: Brush, rng: Generator, top: float, tones: list[Color], size: float) -> None:
    """Leaves or petals on the ground."""
    spots = rng.uniform(0, 1, (260, 4)).tolist()
    leaf = smooth([(-1, 0, 0), (0, -0.55), (1, 0, 0), (0, 0.55)])
    for i, (u, v, w, a) in enumerate(spots):
        x, y = (u * 2 - 1) * SPAN, top + (1.02 - top) * v
        s = size * (0.5 + 0.8 * v) * (0.7 + 0.6 * w)
        if not brush.sees(x - s, y - s, x + s, y + s):
            continue
        with brush.frame(x, y, s, a * 6.3):
            brush.canvas.scale(1, 0.7)
            brush.fill(leaf, tones[i % len(tones)])
            brush.fine(segments([(-0.9, 0, 0.9, 0)]), shade(tones[i % len(tones)], 0.4), 0.1)


AUTUMN: list[Color] = [(238, 120, 56), (246, 178, 66), (214, 76, 58), (226, 146, 54)]
BLOSSOM: list[Color] = [(252, 190, 212), (250, 168, 198), (254, 212, 226)]


def autumn(brush: Brush, rng: Generator) -> None:
    sky.wash(brush, 0, 0.75, (168, 206, 236), (250, 236, 206))
    sky.hill(brush, sky.ridge(rng, 0.68, 0.16), 0.9, (232, 176, 112), (240, 200, 130))
    _grove(brush, rng, AUTUMN, (120, 84, 66), 0.76)
    sky.hill(brush, sky.ridge(rng, 0.78, 0.05), 1.05, (226, 168, 88), (178, 116, 66))
    lawn(brush, rng, 0.78, (190, 142, 70))
    _litter(brush, rng, 0.76, AUTUMN, 0.02)


def cherry_blossoms(brush: Brush, rng: Generator) -> None:
    sky.wash(brush, 0, 0.75, (142, 202, 250), (230, 242, 254))
    sky.clouds(brush, rng, 0.1, 0.5, 2, size=0.13)
    sky.hill(brush, sky.ridge(rng, 0.66, 0.14), 0.9, (246, 200, 216), (206, 224, 190))
    _grove(brush, rng, BLOSSOM, (116, 82, 84), 0.76)
    sky.hill(brush, sky.ridge(rng, 0.78, 0.05), 1.05, (168, 214, 132), (112, 176, 104))
    lawn(brush, rng, 0.78, (126, 190, 108))
    _litter(brush, rng, 0.76, BLOSSOM, 0.012)


def drift(brush: Brush, rng: Generator, kind: str, faces: Sequence[Box]) -> None:
    """What falls before the subject: snowflakes, leaves, petals; few, and none before a face."""
    spots = rng.uniform(0, 1, (66, 4)).tolist()
    tones = {"autumn": AUTUMN, "cherry blossoms": BLOSSOM}.get(kind, [WHITE])
    leaf = smooth([(-1, 0, 0), (-0.2, -0.5), (1, 0, 0), (-0.2, 0.5)])
    for i, (u, v, w, a) in enumerate(spots):
        x, y = (u * 2 - 1) * SPAN, v
        if any(left < x < right and top < y < bottom for left, top, right, bottom in faces):
            continue
        if kind == "snow":
            size = 0.004 + 0.008 * w
            brush.fill(ellipse(x, y, size), WHITE, 0.9)
            continue
        size = 0.011 + 0.009 * w
        if i % 2 == 0 and brush.sees(x - size, y - size, x + size, y + size):
            with brush.frame(x, y, size, a * 6.3):
                brush.fill(leaf, tones[i % len(tones)])
                brush.fine(segments([(-0.9, 0, 0.9, 0)]), shade(tones[i % len(tones)], 0.45), 0.09)
                brush.stroke(leaf, shade(tones[i % len(tones)], 0.45), 0.1)
