"""What is worn on the head and what is held. Units and origin are the face's (see face.py)."""

from __future__ import annotations

import math

import numpy as np

from hires.pocket.brush import Brush, arcs, ellipse, limb, locks, segments, smooth, star
from hires.pocket.fabric import knit, ribs
from hires.pocket.face import LINE
from hires.pocket.geometry import BALLOON, BOOK, BOUQUET, UMBRELLA
from hires.pocket.hair import bow, hair_color
from hires.pocket.palette import CLOTHES, FLOWERS, WHITE, Color, light, mix, shade
from hires.pocket.plants import flower
from hires.pocket.scene import BODY, Scene, below

STRAW: Color = (242, 210, 130)
GOLD: Color = (250, 206, 84)


def draw_headwear_behind(brush: Brush, scene: Scene) -> None:
    """The far brim of a hat."""
    if scene.headwear == "straw hat":
        brush.body(ellipse(0.05 * scene.turn, -0.82, 1.85, 0.5), shade(STRAW, 0.35), (-1.2, -0.2), LINE, 0.2)


def draw_headwear(brush: Brush, scene: Scene) -> None:
    color = CLOTHES[scene.headwear_color]
    move = 0.06 * scene.turn
    with brush.frame(move, -0.1 if scene.headwear in ("straw hat", "witch hat") else 0.0):
        if scene.headwear == "straw hat":
            _straw_hat(brush, color)
        elif scene.headwear == "witch hat":
            _witch_hat(brush)
        elif scene.headwear == "beret":
            _beret(brush, color)
        elif scene.headwear == "knit hat":
            _knit_hat(brush, color)
        elif scene.headwear == "crown":
            _crown(brush)
        elif scene.headwear == "headphones":
            _headphones(brush, color)


def _straw_hat(brush: Brush, ribbon: Color) -> None:
    crown = smooth(
        [
            (-1.06, -0.78, 0),
            (-1.02, -1.5),
            (-0.6, -2.0),
            (0, -2.06),
            (0.6, -2.0),
            (1.02, -1.5),
            (1.06, -0.78, 0),
            (0, -0.6),
        ]
    )
    brush.body(crown, STRAW, (-2.0, -0.6), LINE, 0.25)
    with brush.clip(crown):
        _straw(brush, [(-1.1, y, 0, y + 0.22, 1.1, y) for y in np.arange(-2.1, -0.7, 0.1).tolist()])
        brush.stroke(arcs([(-1.1, -0.93, 0, -0.68, 1.1, -0.93)]), shade(ribbon, 0.1), 0.27)
        brush.fine(arcs([(-1.1, -1.02, 0, -0.77, 1.1, -1.02)]), light(ribbon, 0.4), 0.03)
    brim = smooth(
        [
            (-1.98, -0.62, 0),
            (-1.2, -0.86),
            (0, -0.74),
            (1.2, -0.86),
            (1.98, -0.62, 0),
            (1.2, -0.46),
            (0, -0.4),
            (-1.2, -0.46),
        ]
    )
    brush.body(brim, STRAW, (-0.9, -0.4), LINE, 0.2)
    with brush.clip(brim):
        _straw(brush, [(-2, y, 0, y + 0.2, 2, y) for y in np.arange(-0.95, -0.35, 0.09).tolist()])
    bow(brush, 0.86, -0.86, 0.26, ribbon, 0.2)


def _straw(brush: Brush, rows: list[tuple[float, float, float, float, float, float]]) -> None:
    """Braided rows, and the braid itself when large."""
    brush.stroke(arcs(rows), shade(STRAW, 0.4), 0.024, 0.7)
    if brush.detail(0.016) > 0:
        plait = []
        for i, (x0, y, _, cy, x1, _) in enumerate(rows):
            for t in np.arange(0.02 + 0.01 * (i % 2), 1, 0.04).tolist():
                x = x0 + (x1 - x0) * t
                bow_y = y + (cy - y) * 2 * t * (1 - t)
                plait.append((x, bow_y + 0.02, x + 0.05, bow_y + 0.08))
        brush.fine(segments(plait), shade(STRAW, 0.5), 0.016, 0.7)


def _witch_hat(brush: Brush) -> None:
    color: Color = (92, 66, 132)
    cone = smooth(
        [
            (-1.04, -0.78, 0),
            (-0.66, -1.5),
            (-0.1, -2.2),
            (0.62, -2.7, 0),
            (0.5, -2.2),
            (0.72, -1.6),
            (1.04, -0.78, 0),
            (0, -0.56),
        ]
    )
    brush.body(cone, color, (-2.7, -0.5), LINE, 0.4)
    with brush.clip(cone):
        brush.stroke(arcs([(-1.1, -0.92, 0, -0.66, 1.1, -0.92)]), (244, 164, 66), 0.25)
        brush.fill(locks([(-0.7, -1.0, -0.3, -1.9, 0.2, -2.3)], 0.07), light(color, 0.35), 0.7)
        brush.fine(
            arcs([(0.2, -2.2, 0.5, -2.1, 0.7, -2.2), (-0.1, -1.9, 0.3, -1.75, 0.7, -1.84)]), shade(color, 0.7), 0.035
        )
    brim = smooth(
        [
            (-1.95, -0.56, 0),
            (-1.2, -0.88),
            (0, -0.72),
            (1.2, -0.88),
            (1.95, -0.56, 0),
            (1.2, -0.44),
            (0, -0.34),
            (-1.2, -0.44),
        ]
    )
    brush.body(brim, color, (-0.9, -0.3), LINE, 0.35)
    for x, y, size in ((-0.42, -1.3, 0.13), (0.4, -1.62, 0.1), (0.1, -2.0, 0.07)):
        brush.fill(star(x, y, size), GOLD)
    buckle = smooth([(-0.17, -0.95, 0), (0.17, -0.95, 0), (0.17, -0.63, 0), (-0.17, -0.63, 0)])
    brush.stroke(buckle, GOLD, 0.06)


def _beret(brush: Brush, color: Color) -> None:
    path = smooth(
        [
            (-1.08, -0.82),
            (-1.46, -1.2),
            (-0.98, -1.74),
            (0, -1.86),
            (0.98, -1.66),
            (1.16, -1.1),
            (1.0, -0.84),
            (0, -1.0),
        ]
    )
    brush.body(path, color, (-1.8, -0.8), LINE, 0.28)
    with brush.clip(path):
        brush.soft(-0.5, -1.5, 0.7, 0.3, light(color, 0.5), 0.6)
        felt = [(-1.4 + 0.1 * i, -0.9, -1.2 + 0.1 * i, -1.4, -1.0 + 0.08 * i, -1.85) for i in range(26)]
        brush.fine(arcs(felt), shade(color, 0.4), 0.014, 0.35)
    brush.stroke(arcs([(0.02, -1.84, 0.04, -1.98, 0.16, -2.0)]), shade(color, 0.5), 0.1)
    band = limb([(-1.06, -0.82), (0, -1.02), (1.0, -0.82)], [0.15, 0.16, 0.15])
    brush.body(band, shade(color, 0.25), (-1.1, -0.7), LINE * 0.8, 0.15)


def _knit_hat(brush: Brush, color: Color) -> None:
    path = smooth(
        [
            (-1.12, -0.74, 0),
            (-1.14, -1.2),
            (-0.7, -1.68),
            (0, -1.8),
            (0.7, -1.68),
            (1.14, -1.2),
            (1.12, -0.74, 0),
            (0, -0.9),
        ]
    )
    brush.body(ellipse(0, -1.84, 0.3), light(color, 0.5), (-2.1, -1.5), LINE, 0.25)
    wool = [
        (0.22 * math.cos(a), -1.84 + 0.22 * math.sin(a), 0.33 * math.cos(a + 0.2), -1.84 + 0.33 * math.sin(a + 0.2))
        for a in np.arange(0, 6.28, 0.3).tolist()
    ]
    brush.fine(segments(wool), shade(color, 0.2), 0.025)
    brush.body(path, color, (-1.8, -0.6), LINE, 0.28)
    knit(brush, path, (-1.2, -1.85, 1.2, -0.6), color)
    band = limb(
        [(-1.14, -0.66), (-0.6, -0.82), (0, -0.86), (0.6, -0.82), (1.14, -0.66)], [0.34, 0.36, 0.36, 0.36, 0.34]
    )
    ribs(brush, band, (-1.3, -1.1, 1.3, -0.4), light(color, 0.5))


def _crown(brush: Brush) -> None:
    path = smooth(
        [
            (-0.62, -1.18, 0),
            (-0.74, -1.8, 0),
            (-0.36, -1.5, 0),
            (0, -1.98, 0),
            (0.36, -1.5, 0),
            (0.74, -1.8, 0),
            (0.62, -1.18, 0),
            (0, -1.06),
        ]
    )
    brush.body(path, GOLD, (-1.9, -1.0), LINE, 0.35)
    brush.fine(arcs([(-0.63, -1.3, 0, -1.18, 0.63, -1.3)]), shade(GOLD, 0.6), 0.03)
    jewels: tuple[tuple[float, float, Color], ...] = (
        (0, -1.34, (226, 60, 90)),
        (-0.36, -1.36, (90, 150, 240)),
        (0.36, -1.36, (90, 150, 240)),
    )
    for x, y, color in jewels:
        brush.fill(ellipse(x, y, 0.1), color)
        brush.fine(ellipse(x, y, 0.1), shade(color, 0.6), 0.026)
        brush.fill(ellipse(x - 0.03, y - 0.04, 0.03), WHITE)
    for x, y in ((-0.74, -1.82), (0, -2.0), (0.74, -1.82)):
        brush.fill(ellipse(x, y, 0.075), (254, 240, 200))
        brush.stroke(ellipse(x, y, 0.075), shade(GOLD, 0.6), 0.03)


def draw_cat_ears(brush: Brush, scene: Scene) -> None:
    """They grow from the hair, so the fringe comes after them."""
    color = hair_color(scene)
    for side in (-1, 1):
        ear = smooth(
            [
                (side * 1.02, -0.72, 0),
                (side * 1.2, -1.4),
                (side * 1.06, -1.98, 0),
                (side * 0.6, -1.66),
                (side * 0.26, -1.24, 0),
            ]
        )
        brush.body(ear, color, (-2.0, -0.8), LINE, 0.2)
        inner = smooth(
            [
                (side * 0.92, -1.06, 0),
                (side * 1.04, -1.46),
                (side * 0.99, -1.76, 0),
                (side * 0.7, -1.54),
                (side * 0.5, -1.3, 0),
            ]
        )
        brush.fill(inner, (252, 190, 196))
        fluff = [(side * x, -1.1, side * (x + 0.02), -1.3, side * (x + 0.05), -1.5) for x in (0.62, 0.72, 0.82, 0.9)]
        brush.fine(arcs(fluff), (255, 240, 238), 0.03)


def _headphones(brush: Brush, color: Color) -> None:
    brush.stroke(
        arcs([(-1.12, 0.1, -1.36, -1.66, 0, -1.62), (1.12, 0.1, 1.36, -1.66, 0, -1.62)]), shade(color, 0.9), 0.22
    )
    brush.stroke(arcs([(-1.12, 0.1, -1.36, -1.66, 0, -1.62), (1.12, 0.1, 1.36, -1.66, 0, -1.62)]), color, 0.14)
    for side in (-1, 1):
        brush.body(ellipse(side * 1.14, 0.2, 0.27, 0.4), color, (-0.2, 0.6), LINE, 0.3)
        brush.body(ellipse(side * 1.2, 0.2, 0.16, 0.27), light(color, 0.5), (-0.1, 0.5), LINE * 0.7, 0.2)


def draw_held_behind(brush: Brush, scene: Scene) -> None:
    """An umbrella's canopy is behind the head, its ribs and inside in shade."""
    if scene.held != "umbrella":
        return
    color = CLOTHES[scene.held_color]
    x, y, r = UMBRELLA
    scallops: list[tuple[float, ...]] = []
    for i in range(5):
        left = x - r + 2 * r * i / 5
        scallops += [(left, y, 0), (left + r / 5, y - 0.2)]
    dome = smooth(
        [
            (x - r, y, 0),
            (x - r * 0.82, y - r * 0.42),
            (x, y - r * 0.72),
            (x + r * 0.82, y - r * 0.42),
            *reversed([*scallops[1:], (x + r, y, 0.0)]),
        ]
    )
    brush.stroke(segments([(1.02 * BODY, below(3.1), x + 0.02, y - 0.2)]), (82, 62, 58), 0.1)
    brush.body(dome, color, (y - r * 0.75, y + 0.2), LINE, 0.34)
    with brush.clip(dome):
        brush.soft(x - r * 0.45, y - r * 0.5, r * 0.5, r * 0.24, WHITE, 0.4)
        spokes = [
            (x + (left - x) * 1.0, y + 0.02, x + (left - x) * 0.86, y - r * 0.45, x, y - r * 0.72)
            for left in (x - r * 0.6, x - r * 0.2, x + r * 0.2, x + r * 0.6)
        ]
        brush.stroke(arcs(spokes), shade(color, 0.5), 0.045)
        weave = [(x - r, y - 0.06 * i, x, y - 0.06 * i - 0.3, x + r, y - 0.06 * i) for i in range(32)]
        brush.fine(arcs(weave), shade(color, 0.5), 0.009, 0.35)
    brush.stroke(segments([(x, y - r * 0.72, x, y - r * 0.72 - 0.16)]), (82, 62, 58), 0.1)
    for left in (x - r, x - r * 0.6, x - r * 0.2, x + r * 0.2, x + r * 0.6, x + r):
        brush.fill(ellipse(left, y + 0.03, 0.055), (250, 246, 240))


def draw_held(brush: Brush, scene: Scene) -> None:
    """What is before the trunk; the hands come after it."""
    color = CLOTHES[scene.held_color]
    if scene.held == "umbrella":
        brush.stroke(segments([(1.0, 3.0, 0.98, 1.6)]), (82, 62, 58), 0.12)
        brush.stroke(arcs([(1.0, 3.0, 1.0, 3.22, 1.18, 3.16)]), (82, 62, 58), 0.14)
    elif scene.held == "balloon":
        x, y, r = BALLOON
        brush.stroke(arcs([(1.0, 1.9, 1.5, 1.4, x, y + r * 1.2)]), (120, 104, 112), 0.035)
        brush.body(
            smooth([(x, y + r * 1.12, 0), (x + 0.13, y + r * 1.3, 0), (x - 0.13, y + r * 1.3, 0)]),
            color,
            (y + r, y + r * 1.3),
            LINE,
            0.3,
        )
        path = smooth(
            [
                (x, y - r),
                (x + r * 0.88, y - r * 0.35),
                (x + r * 0.66, y + r * 0.55),
                (x, y + r * 1.14),
                (x - r * 0.66, y + r * 0.55),
                (x - r * 0.88, y - r * 0.35),
            ]
        )
        brush.body(path, color, (y - r, y + r * 1.2), LINE, 0.3)
        brush.soft(x - r * 0.3, y - r * 0.4, r * 0.36, r * 0.3, WHITE, 0.8)
        brush.fine(
            arcs([(x + r * 0.5, y + r * 0.55, x + r * 0.78, y + 0.1, x + r * 0.7, y - r * 0.3)]),
            light(color, 0.6),
            0.04,
        )
    elif scene.held == "bouquet":
        _bouquet(brush, scene, color)
    elif scene.held == "book":
        _book(brush, color)


def _bouquet(brush: Brush, scene: Scene, color: Color) -> None:
    x, y, r = BOUQUET
    paper = smooth([(x, y + 0.95, 0), (x - 0.62, y + 0.02, 0), (x, y + 0.18), (x + 0.62, y + 0.02, 0)])
    for px, py in ((-0.55, -0.2), (0.56, -0.18), (-0.22, -0.5), (0.26, -0.5)):
        with brush.frame(x, y + 0.1, 1.0):
            leaf = limb([(0, 0), (px * 0.7, py * 0.7), (px * 1.25, py * 1.25)], [0.04, 0.26, 0.03])
            brush.body(leaf, (106, 178, 100), (-0.5, 0.2), LINE * 0.8, 0.25)
    brush.body(paper, (252, 246, 236), (y, y + 1), LINE, 0.2)
    brush.fine(
        arcs([(x - 0.3, y + 0.2, x - 0.1, y + 0.5, x, y + 0.86), (x + 0.3, y + 0.2, x + 0.1, y + 0.5, x, y + 0.86)]),
        (170, 150, 140),
        0.02,
    )
    rng = np.random.default_rng([scene.seed, 21])
    tones = [FLOWERS.get(scene.held_color, color), WHITE, FLOWERS["pink"], FLOWERS.get(scene.held_color, color)]
    for i, (fx, fy) in enumerate(((-0.4, -0.08), (0.4, -0.06), (-0.2, -0.36), (0.22, -0.36), (0.0, -0.04))):
        with brush.frame(x + fx * r * 2, y + fy):
            flower(brush, tones[i % 4], 0.25, 0.036, turn=float(rng.uniform(0, 6)))


def _book(brush: Brush, color: Color) -> None:
    x, y, r = BOOK
    for side in (-1, 1):
        cover = smooth(
            [
                (x, y - 0.2, 0),
                (x + side * (r + 0.12), y - 0.34, 0),
                (x + side * (r + 0.12), y + 0.4, 0),
                (x, y + 0.52, 0),
            ]
        )
        brush.body(cover, color, (y - 0.3, y + 0.5), LINE, 0.25)
        brush.stroke(arcs([(x + side * 0.16, y + 0.34, x + side * 0.3, y + 0.3, x + side * 0.5, y + 0.27)]), GOLD, 0.04)
        page = smooth(
            [
                (x, y - 0.22, 0),
                (x + side * r * 0.6, y - 0.44),
                (x + side * (r + 0.04), y - 0.36, 0),
                (x + side * (r + 0.06), y - 0.28, 0),
                (x, y - 0.14, 0),
            ]
        )
        brush.body(page, (254, 250, 240), (y - 0.4, y), LINE * 0.7, 0.1)
    brush.stroke(segments([(x, y - 0.2, x, y + 0.52)]), mix(color, (40, 30, 40), 0.5), 0.05)
    brush.fill(star(x - r * 0.55, y + 0.06, 0.13), GOLD)
