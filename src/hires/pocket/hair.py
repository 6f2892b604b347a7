"""Hair: what hangs behind the head, the cap with its fringe, locks beside the face, ribbons and flowers.

Units and origin are the face's (see face.py). The fringe moves with the face, what is behind moves against it.
"""

from __future__ import annotations

import math

import numpy as np

from hires.pocket.brush import Brush, Path, arcs, ellipse, limb, locks, skia, smooth
from hires.pocket.face import LINE
from hires.pocket.geometry import flower_place, flower_side
from hires.pocket.palette import CLOTHES, FLOWERS, HAIR, Color, jitter, light, line, shade
from hires.pocket.plants import flower
from hires.pocket.scene import HATS, Scene

Curve = tuple[float, float, float, float, float, float]

# A fringe is its locks from left to right: (tip x, tip y, x and y of the notch to its right).
FRINGE_LOCKS: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "blunt": ((-0.74, 0.0, -0.66, -0.3), (-0.44, -0.04, -0.34, -0.36), (-0.12, -0.06, -0.02, -0.4),
              (0.16, -0.06, 0.3, -0.36), (0.46, -0.04, 0.62, -0.3), (0.78, 0.0, 0.9, -0.2)),
    "swept": ((-0.86, 0.12, -0.76, -0.2), (-0.66, 0.06, -0.42, -0.32), (-0.32, 0.0, -0.04, -0.42),
              (0.02, -0.1, 0.42, -0.68), (0.74, -0.2, 0.76, -0.4), (0.88, 0.06, 0.92, -0.2)),
    "parted": ((-0.88, 0.16, -0.76, -0.16), (-0.68, -0.02, -0.46, -0.46), (-0.34, -0.28, 0.0, -0.9),
               (0.34, -0.28, 0.46, -0.46), (0.68, -0.02, 0.76, -0.16), (0.88, 0.16, 0.94, -0.1)),
    "tufts": ((-0.84, 0.06, -0.72, -0.3), (-0.48, 0.02, -0.28, -0.46), (-0.02, 0.12, 0.14, -0.46),
              (0.36, -0.04, 0.46, -0.42), (0.68, 0.04, 0.76, -0.3), (0.88, 0.02, 0.94, -0.24)),
    "spiky": ((-0.92, 0.1, -0.72, -0.42), (-0.56, -0.08, -0.4, -0.56), (-0.14, -0.1, 0.0, -0.58),
              (0.3, -0.04, 0.4, -0.54), (0.66, -0.12, 0.72, -0.44), (0.92, 0.08, 0.96, -0.2)),
}  # fmt: skip
SPIKES = ((-1.3, -0.5), (-1.28, -0.95), (-0.86, -1.42), (-0.36, -1.66), (0.2, -1.62), (0.74, -1.5), (1.2, -1.02),
          (1.34, -0.52))  # fmt: skip


def hair_color(scene: Scene) -> Color:
    """The named colour, moved a little from scene to scene."""
    rng = np.random.default_rng([scene.seed, 11])
    r, g, b = rng.uniform(-1, 1, 3).tolist()
    return jitter(HAIR[scene.hair_color], (r, g, b), 7)


def fringe_path(scene: Scene) -> Path:
    """The cap: over the crown from ear to ear, and back along the tips of the fringe."""
    move = 0.13 * scene.turn
    ear = 0.3 if scene.subject == "girl" else 0.2
    builder = skia().PathBuilder()
    builder.moveTo(-1.1, ear)
    if scene.fringe == "spiky":
        builder.lineTo(-1.16, -0.2)
        for (x, y), (nx, ny) in zip(SPIKES, [*SPIKES[1:], (1.16, -0.2)], strict=True):
            builder.lineTo(x, y)
            builder.quadTo((x + nx) * 0.46, (y + ny) * 0.46, (x + nx) * 0.44, (y + ny) * 0.455)
        builder.lineTo(1.16, -0.2)
        builder.lineTo(1.1, ear)
    else:
        builder.cubicTo(-1.34, -0.55, -0.98, -1.47, 0, -1.46)
        builder.cubicTo(0.98, -1.47, 1.34, -0.55, 1.1, ear)
    before = (0.95, -0.12)
    builder.quadTo(1.04, 0.05, before[0] + move * 0.4, before[1])
    rows = FRINGE_LOCKS[scene.fringe]
    for index in range(len(rows) - 1, -1, -1):
        tip_x, tip_y, _, _ = rows[index]
        notch = rows[index - 1][2:] if index else (-0.95, -0.12)
        tip_x, notch_x = tip_x + move, notch[0] + move * (1 if index else 0.4)
        builder.quadTo(before[0] + (tip_x - before[0]) * 0.1, before[1] + (tip_y - before[1]) * 0.75, tip_x, tip_y)
        builder.quadTo(notch_x + (tip_x - notch_x) * 0.2, notch[1] + (tip_y - notch[1]) * 0.62, notch_x, notch[1])
        before = (notch_x, notch[1])
    builder.quadTo(-1.04, 0.05, -1.1, ear)
    builder.close()
    return builder.detach()


def draw_front_hair(brush: Brush, scene: Scene) -> None:
    color = hair_color(scene)
    move = 0.13 * scene.turn
    if scene.subject == "girl":
        _side_locks(brush, scene, color)
    cap = fringe_path(scene)
    brush.falling(cap, -1.4, 0.3, light(color, 0.07), shade(color, 0.16))
    with brush.clip(cap):
        _strands(brush, scene, color, move)
        if scene.headwear not in HATS:
            _gloss(brush, color, move)
    brush.outline(cap, line(color), LINE)
    if scene.fringe == "tufts" and scene.headwear is None and scene.seed % 2:
        brush.stroke(arcs([(0.02, -1.44, 0.06, -1.76, 0.3, -1.72)]), line(color), 0.1)
        brush.stroke(arcs([(0.02, -1.42, 0.06, -1.74, 0.3, -1.72)]), color, 0.045)


def _strands(brush: Brush, scene: Scene, color: Color, move: float) -> None:
    """Locks that fall from the crown to the tips; single hairs when large."""
    rows = FRINGE_LOCKS[scene.fringe]
    top = -1.4
    partings = []
    for _, _, x, y in rows[:-1]:
        partings.append((x + move, y - 0.02, (x + move) * 0.95, -0.9, x * 0.3 + move, top + 0.15))
    partings += [(side * 1.07, 0.0, side * 1.1, -0.8, side * 0.42 + move, -1.2) for side in (-1, 1)]
    brush.fill(locks(partings, 0.036, 0.05), shade(color, 0.5), 0.85)
    if brush.detail(0.02) == 0:
        return
    rng = np.random.default_rng([scene.seed, 12])
    for fine, number, width in ((shade(color, 0.42), 46, 0.016), (light(color, 0.4), 34, 0.014)):
        hairs = rng.uniform((-1.12, -0.75, -1.25), (1.12, 0.1, -0.85), (number, 3))
        curves = [
            (a * 0.5 + move, s, a * 0.98 + move * 0.5, (s + b) / 2 - 0.1, a + move, b) for a, b, s in hairs.tolist()
        ]
        brush.fine(arcs(curves), fine, width, 0.6)


def _gloss(brush: Brush, color: Color, move: float) -> None:
    """The ring of light: a band across the crown with a ragged lower edge."""
    upper, lower = [], []
    for i in range(17):
        angle = math.pi * (0.14 + 0.72 * i / 16)
        x, y = -math.cos(angle), -math.sin(angle)
        upper.append((x * 0.93 + move, y * 0.62 - 0.33))
        ragged = (0.0, 0.1, 0.03, 0.13)[i % 4] * math.sin(angle)
        lower.append((x * 0.93 + move, y * 0.62 - 0.24 + ragged))
    band = smooth([*upper, *[(x, y, 0) for x, y in reversed(lower)]])
    brush.fill(band, light(color, 0.62), 0.62)


def _side_locks(brush: Brush, scene: Scene, color: Color) -> None:
    """Before the ears; short when the hair is short."""
    long = scene.hair_style in ("long hair", "twintails", "twin braids")
    end = 1.42 if long else 1.02
    for side in (-1, 1):
        x = side * (1.03 - (0.1 * abs(scene.turn) if side * scene.turn > 0 else 0))
        path = smooth([(x, -0.5), (x + side * 0.13, 0.1), (x + side * 0.08, 0.7), (x - side * 0.1, end, 0),
                       (x - side * 0.13, 0.75), (x - side * 0.16, 0.2), (x - side * 0.14, -0.3)])  # fmt: skip
        brush.body(path, color, (-0.5, end), LINE, 0.2)
        brush.fine(arcs([(x - side * 0.03, -0.2, x + side * 0.06, 0.4, x - side * 0.06, end - 0.16)]),
                   shade(color, 0.45), 0.03)  # fmt: skip


def _combed(brush: Brush, color: Color, curves: list[Curve], rng: np.random.Generator, spread: float) -> None:
    """Dark locks along the curves, and single hairs beside them when large."""
    brush.fill(locks(curves, 0.03, 0.01), shade(color, 0.52), 0.8)
    if brush.detail(0.02) == 0:
        return
    for fine, width in ((shade(color, 0.45), 0.016), (light(color, 0.34), 0.014)):
        moved = []
        for curve in curves:
            for dx0, dx1 in rng.uniform(-spread, spread, (6, 2)).tolist():
                x0, y0, cx, cy, x1, y1 = curve
                moved.append((x0 + dx0, y0, cx + (dx0 + dx1) / 2, cy, x1 + dx1, y1 - 0.1))
        brush.fine(arcs(moved), fine, width, 0.55)


def draw_back_hair(brush: Brush, scene: Scene) -> None:
    """Everything behind the head and the shoulders."""
    color = hair_color(scene)
    back = shade(color, 0.26)
    rng = np.random.default_rng([scene.seed, 13])
    against = -0.1 * scene.turn
    style = scene.hair_style
    with brush.frame(against, 0.0):
        if style == "long hair":
            _long(brush, back, rng)
        elif style == "twintails":
            for side in (-1, 1):
                _tail(brush, color, side, rng)
        elif style == "ponytail":
            _ponytail(brush, color, rng, 1 if scene.turn <= 0 else -1)
        elif style == "double bun":
            for side in (-1, 1):
                _bun(brush, color, side, rng)
    if style in ("short hair", "twintails", "double bun", "ponytail", "twin braids"):
        _nape(brush, scene, back)


def _long(brush: Brush, color: Color, rng: np.random.Generator) -> None:
    waves = rng.uniform(-0.12, 0.12, 4).tolist()
    left = [(-1.0, -0.8), (-1.24, 0.3), (-1.3 + waves[0], 1.3), (-1.42 + waves[1], 2.2), (-1.34 + waves[1], 2.95, 0)]
    right = [(1.34 + waves[2], 2.95, 0), (1.42 + waves[2], 2.2), (1.3 + waves[3], 1.3), (1.24, 0.3), (1.0, -0.8)]
    tips = [(-1.05, 2.72, 0), (-0.82, 3.08, 0), (-0.5, 2.78, 0), (-0.2, 3.1, 0), (0.15, 2.78, 0), (0.5, 3.1, 0),
            (0.78, 2.76, 0), (1.02, 3.02, 0), (1.14, 2.74, 0)]  # fmt: skip
    path = smooth([(0, -1.3), *left, *tips, *right])
    brush.body(path, color, (-0.5, 3.1), LINE, 0.16)
    curves: list[Curve] = [(x * 0.88, 0.3, x * 1.06, 1.5, x * 1.02, 2.7) for x in (-1.2, -0.95, -0.7, 0.7, 0.95, 1.2)]
    with brush.clip(path):
        _combed(brush, color, curves, rng, 0.14)
        for side in (-1, 1):
            brush.fill(locks([(side * 1.02, 0.1, side * 1.22, 1.2, side * 1.2, 2.3)], 0.06), light(color, 0.25), 0.6)


def _tail(brush: Brush, color: Color, side: int, rng: np.random.Generator) -> None:
    sway = float(rng.uniform(-0.1, 0.25))
    path = smooth([(side * 0.9, -0.72, 0), (side * 1.36, -0.9), (side * (1.92 + sway), -0.1),
                   (side * (1.98 + sway), 1.1), (side * (1.66 + sway), 2.3, 0), (side * (1.52 + sway), 1.5),
                   (side * 1.4, 0.7), (side * 1.12, 0.0)])  # fmt: skip
    brush.body(path, color, (-0.9, 2.3), LINE, 0.26)
    curves: list[Curve] = [
        (side * (1.12 + d * 0.4), -0.6, side * (1.6 + d + sway), -0.1, side * (1.62 + d * 0.6 + sway), 1.7 - 0.5 * d)
        for d in (-0.22, 0.0, 0.22)
    ]
    with brush.clip(path):
        _combed(brush, color, curves, rng, 0.13)
        shine = locks([(side * 1.4, -0.66, side * (1.8 + sway), -0.1, side * (1.78 + sway), 0.9)], 0.07)
        brush.fill(shine, light(color, 0.5), 0.55)


def _ponytail(brush: Brush, color: Color, rng: np.random.Generator, side: int) -> None:
    path = smooth([(side * 0.35, -1.25, 0), (side * 1.05, -1.62), (side * 1.75, -0.95), (side * 1.82, 0.3),
                   (side * 1.5, 1.9, 0), (side * 1.32, 1.0), (side * 1.18, 0.1), (side * 0.8, -0.5)])  # fmt: skip
    brush.body(path, color, (-1.6, 1.9), LINE, 0.26)
    curves: list[Curve] = [
        (side * (0.75 + d * 0.3), -1.24 + d * 0.3, side * (1.55 + d), -0.95, side * (1.5 + d * 0.5), 1.2 - d)
        for d in (-0.2, 0.0, 0.2)
    ]
    with brush.clip(path):
        _combed(brush, color, curves, rng, 0.12)
        brush.fill(locks([(side * 1.0, -1.42, side * 1.6, -1.1, side * 1.66, 0.1)], 0.07), light(color, 0.5), 0.55)


def _bun(brush: Brush, color: Color, side: int, rng: np.random.Generator) -> None:
    x, y = side * 0.86, -1.2
    brush.body(ellipse(x, y, 0.46), color, (y - 0.5, y + 0.5), LINE, 0.3)
    turns: list[Curve] = []
    for i in range(5):
        a = 0.6 * i + float(rng.uniform(0, 0.3))
        r = 0.4 - 0.05 * i
        (x0, y0), (cx, cy), (x1, y1) = (
            (x + far * r * math.cos(a + b), y + far * r * math.sin(a + b)) for far, b in ((1, 0), (1.25, 0.8), (1, 1.6))
        )
        turns.append((x0, y0, cx, cy, x1, y1))
    brush.stroke(arcs(turns), shade(color, 0.5), 0.034)
    brush.fill(ellipse(x - 0.13, y - 0.2, 0.13, 0.08), light(color, 0.6), 0.7)


def _nape(brush: Brush, scene: Scene, color: Color) -> None:
    """The back of a head of short or tied hair; short hair of a girl ends as a bob at the chin."""
    if scene.subject == "boy":
        path = smooth([(0, -1.3), (-1.0, -0.7), (-1.08, 0.3), (-0.8, 0.86, 0), (0, 0.95), (0.8, 0.86, 0), (1.08, 0.3),
                       (1.0, -0.7)])  # fmt: skip
    elif scene.hair_style == "short hair":
        path = smooth([(0, -1.3), (-1.08, -0.7), (-1.3, 0.3), (-1.2, 1.0), (-0.98, 1.3, 0), (-0.6, 1.2), (0, 1.24),
                       (0.6, 1.2), (0.98, 1.3, 0), (1.2, 1.0), (1.3, 0.3), (1.08, -0.7)])  # fmt: skip
    else:
        path = smooth(
            [(0, -1.3), (-1.0, -0.7), (-1.1, 0.2), (-0.7, 0.8), (0, 0.9), (0.7, 0.8), (1.1, 0.2), (1.0, -0.7)]
        )
    brush.body(path, color, (-0.5, 1.3), LINE, 0.16)
    if scene.hair_style == "short hair" and scene.subject == "girl":
        strands: list[Curve] = [
            (side * x * 0.96, 0.1, side * x * 1.08, 0.7, side * x * 0.92, 1.2) for side in (-1, 1) for x in (1.0, 1.14)
        ]
        with brush.clip(path):
            _combed(brush, color, strands, np.random.default_rng([scene.seed, 14]), 0.08)


def draw_braids(brush: Brush, scene: Scene) -> None:
    """Twin braids lie before the shoulders: links of a chain, alternating."""
    color = hair_color(scene)
    for side in (-1, 1):
        x, y = side * 0.98 - 0.06 * scene.turn, 0.72
        for i in range(8):
            width = 0.27 - 0.012 * i
            px, py = x + side * (0.13 * math.sin(0.38 * i)), y + 0.25 * i
            tilt = 0.55 if i % 2 else -0.55
            with brush.frame(px, py, angle=tilt):
                link = ellipse(0, 0, width, 0.17)
                brush.body(link, color, (-0.2, 0.2), LINE * 0.8, 0.3)
                brush.fine(arcs([(-width * 0.7, d, 0, d - 0.1, width * 0.7, d) for d in (-0.03, 0.05)]),
                           shade(color, 0.45), 0.022)  # fmt: skip
                brush.fill(ellipse(-width * 0.3, -0.07, width * 0.3, 0.035), light(color, 0.55), 0.6)
        end_x, end_y = x + side * 0.02, y + 2.02
        tuft = limb([(end_x, end_y), (end_x + side * 0.02, end_y + 0.2), (end_x, end_y + 0.46)], [0.2, 0.3, 0.03])
        brush.body(tuft, color, (end_y, end_y + 0.46), LINE * 0.8, 0.3)
        bow(brush, end_x, end_y, 0.2, CLOTHES["red"] if scene.hair_color != "red" else CLOTHES["white"])


def bow(brush: Brush, x: float, y: float, size: float, color: Color, angle: float = 0.0) -> None:
    """A ribbon tied to a bow, `size` half its width."""
    with brush.frame(x, y, size, angle):
        width = LINE * 0.24 / size
        for side in (-1, 1):
            end = smooth(
                [(0, 0, 0), (side * 0.5, 0.55), (side * 0.62, 1.15, 0), (side * 0.36, 1.0, 0), (side * 0.16, 1.2, 0)]
            )
            brush.body(end, shade(color, 0.12), (0, 1.2), width, 0.2)
            loop = smooth([(0, 0), (side * 0.55, -0.52), (side * 1.05, -0.42), (side * 1.0, 0.3), (side * 0.5, 0.36)])
            brush.body(loop, color, (-0.5, 0.4), width, 0.2)
            folds = [
                (side * 0.16, -0.02, side * 0.45, -0.2, side * 0.74, -0.14),
                (side * 0.16, 0.05, side * 0.4, 0.16, side * 0.66, 0.14),
            ]
            brush.fine(arcs(folds), shade(color, 0.5), 0.06)
        brush.body(ellipse(0, 0, 0.2, 0.25), color, (-0.25, 0.25), width, 0.25)


def draw_hair_ties(brush: Brush, scene: Scene) -> None:
    """What holds tails and buns, ribbons, and the flower; on top of the cap."""
    tie = CLOTHES["red"] if scene.hair_color not in ("red", "pink", "orange") else CLOTHES["blue"]
    against = -0.05 * scene.turn
    if scene.hair_style in ("twintails", "double bun"):
        for side in (-1, 1):
            place = (side * 1.06, -0.68) if scene.hair_style == "twintails" else (side * 0.78, -0.86)
            bow(brush, place[0] + against, place[1], 0.25, tie, 0.4 * side)
    elif scene.hair_style == "ponytail":
        side = 1 if scene.turn <= 0 else -1
        bow(brush, side * 0.66 + against, -1.22, 0.26, tie, 0.6 * side)
    if scene.hair_ribbon is not None:
        bow(brush, flower_place(scene)[0], -0.92, 0.42, CLOTHES[scene.hair_ribbon], 0.55 * flower_side(scene))
    if scene.hair_flower is not None:
        x, y, radius = flower_place(scene)
        with brush.frame(x, y, radius):
            for angle, size in ((2.3, 0.5), (-0.5, 0.5)):
                leaf = smooth([(0, 0, 0), (0.7, -0.35), (1.55, 0, 0), (0.7, 0.35)])
                with brush.frame(0, 0, size * 1.7, angle + 0.3 * flower_side(scene)):
                    brush.body(leaf, (104, 178, 98), (-0.4, 0.4), 0.1)
                    brush.fine(arcs([(0.2, 0, 0.7, 0.03, 1.3, 0)]), (60, 120, 70), 0.06)
            flower(brush, FLOWERS[scene.hair_flower], 1.0, 0.11, turn=scene.seed % 7 * 0.2)
