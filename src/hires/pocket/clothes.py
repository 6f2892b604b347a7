"""Garments: their cut, sleeves, collars and trimmings. Units and origin are the face's (see face.py)."""

from __future__ import annotations

from hires.pocket.brush import Brush, Path, Point, arcs, ellipse, limb, rectangle, segments, smooth
from hires.pocket.fabric import folds, frill, knit, print_cloth, ribs, trim_color
from hires.pocket.face import LINE
from hires.pocket.figure import Arm
from hires.pocket.hair import bow
from hires.pocket.palette import CLOTHES, Color, light, luminance, shade
from hires.pocket.scene import Scene

BOTTOM_COLORS: dict[str, Color] = {**CLOTHES, "blue": (66, 84, 150), "green": (82, 128, 92)}
LONG_SLEEVED = ("sweater", "hoodie", "sailor uniform")
WAIST, HIPS, HEM = 2.55, 3.1, 3.95
"""Heights of the trunk; a dress ends at the hem."""


def mirrored(half: list[Point]) -> list[Point]:
    """A closed outline from its right half, given from the top to the bottom."""
    return [*half, *[(-p[0], *p[1:]) for p in reversed(half)]]


def trunk_path(scene: Scene) -> Path:
    """The garment round the trunk: a whole dress, or down to the hips."""
    girl = scene.subject == "girl"
    chest, waist, hips = (0.66, 0.53, 0.68) if girl else (0.76, 0.68, 0.7)
    if scene.garment in ("sweater", "hoodie"):
        waist, hips = waist + 0.14, hips + 0.08
    top: list[Point] = [(0.3, 1.42, 0), (0.62, 1.5), (chest + 0.07, 1.72), (chest, 2.1), (waist, WAIST)]
    if scene.garment == "dress":
        return smooth(mirrored([*top, (0.86, 3.15), (1.24, HEM - 0.05, 0), (0.6, HEM + 0.08)]))
    if scene.garment == "kimono":
        return smooth(mirrored([*top[:4], (0.6, WAIST), (0.7, 3.4), (0.78, 4.75, 0), (0.4, 4.8)]))
    return smooth(mirrored([*top, (hips, HIPS, 0), (hips * 0.5, HIPS + 0.06)]))


def draw_bottom(brush: Brush, scene: Scene) -> None:
    color = BOTTOM_COLORS[scene.bottom_color]
    if scene.bottom == "skirt":
        path = smooth(mirrored([(0.5, 2.8, 0), (0.72, 3.1), (1.1, 3.86, 0), (0.55, 3.98)]))
        brush.body(path, color, (2.8, 4.0), LINE, 0.3)
        pleats: list[tuple[float, ...]] = [
            (x * 0.6, 2.9, x * 0.85, 3.3, x, 3.95) for x in (-0.86, -0.56, -0.28, 0, 0.28, 0.56, 0.86)
        ]
        folds(brush, path, pleats, color)
        with brush.clip(path):
            brush.stroke(arcs([(-1.2, 3.74, 0, 3.94, 1.2, 3.74)]), trim_color(color), 0.05)
        return
    short = scene.bottom == "shorts"
    end = 3.62 if short else 4.98
    for side in (-1, 1):
        leg = limb(
            [(side * 0.34, 2.85), (side * 0.38, (2.85 + end) / 2), (side * 0.38, end)],
            [0.76, 0.68 if short else 0.58, 0.66 if short else 0.48],
        )
        brush.body(leg, color, (2.8, end + 0.2), LINE, 0.26)
        brush.fine(segments([(side * 0.64, 3.0, side * 0.62, end - 0.1)]), light(color, 0.4), 0.022)
        brush.stroke(
            arcs([(side * 0.38 - 0.24, end - 0.09, side * 0.38, end - 0.03, side * 0.38 + 0.24, end - 0.09)]),
            shade(color, 0.5),
            0.03,
        )
    hips = smooth(mirrored([(0.5, 2.75, 0), (0.71, 2.95), (0.73, 3.25), (0.3, 3.36), (0.02, 3.3)]))
    brush.fill(hips, shade(color, 0.05))
    brush.stroke(arcs([(0, 3.0, 0.03, 3.15, 0, 3.34)]), shade(color, 0.55), 0.035)


def sleeve_color(scene: Scene) -> Color:
    color = CLOTHES[scene.garment_color]
    return color if scene.garment != "sailor uniform" else (250, 249, 252)


def draw_sleeve(brush: Brush, scene: Scene, arm: Arm) -> None:
    color = sleeve_color(scene)
    (sx, sy), (ex, ey), (hx, hy) = arm.shoulder, arm.elbow, arm.hand
    if scene.garment in LONG_SLEEVED:
        cuff = (ex + (hx - ex) * 0.8, ey + (hy - ey) * 0.8)
        path = limb([(sx, sy), (ex, ey), cuff], [0.52, 0.5, 0.4])
        brush.body(path, color, (1.4, 3.1), LINE, 0.24)
        box = (min(sx, ex, hx) - 0.4, min(sy, hy) - 0.4, max(sx, ex, hx) + 0.4, max(ey, hy) + 0.4)
        if scene.garment == "sweater":
            knit(brush, path, box, color)
        else:
            print_cloth(brush, path, box, color, "plain")
        band = limb([cuff, (ex + (hx - ex) * 0.92, ey + (hy - ey) * 0.92)], [0.4, 0.38])
        brush.body(
            band,
            CLOTHES[scene.garment_color] if scene.garment == "sailor uniform" else shade(color, 0.12),
            (1.4, 3.2),
            LINE * 0.9,
            0.2,
        )
        brush.fine(arcs([(ex - 0.16, ey - 0.05, ex, ey + 0.05, ex + 0.14, ey - 0.08)]), shade(color, 0.5), 0.03, 0.7)
    elif scene.garment == "kimono":
        wrist = (ex + (hx - ex) * 0.72, ey + (hy - ey) * 0.72)
        drop = (wrist[0] + arm.side * 0.12, max(wrist[1], ey) + 0.62)
        path = smooth(
            [
                (sx - arm.side * 0.1, sy - 0.16, 0),
                (ex + arm.side * 0.22, ey - 0.32),
                (wrist[0] + arm.side * 0.2, wrist[1] - 0.16, 0),
                (drop[0] + arm.side * 0.1, drop[1], 0),
                (drop[0] - arm.side * 0.34, drop[1] + 0.02, 0),
                (ex - arm.side * 0.14, ey + 0.3),
                (sx - arm.side * 0.06, sy + 0.4, 0),
            ]
        )
        brush.body(path, color, (1.4, 3.4), LINE, 0.24)
        print_cloth(
            brush, path, (min(sx, drop[0]) - 0.7, sy - 1.6, max(sx, drop[0]) + 0.7, drop[1] + 0.1), color, scene.pattern
        )
        brush.outline(path, shade(color, 0.8), LINE * 0.8)
    else:
        share = 0.62
        end = (sx + (ex - sx) * share, sy + (ey - sy) * share)
        puff = 0.62 if scene.garment == "dress" else 0.52
        path = limb([(sx - arm.side * 0.06, sy - 0.06), ((sx + end[0]) / 2, (sy + end[1]) / 2), end], [0.44, puff, 0.5])
        brush.body(path, color, (1.35, 2.3), LINE, 0.22)
        print_cloth(brush, path, (sx - 0.7, sy - 0.7, sx + 0.7, sy + 0.9), color, scene.pattern)
        brush.outline(path, shade(color, 0.8), LINE * 0.8)
        if scene.pattern == "lace":
            dx, dy = end[0] - sx, end[1] - sy
            length = (dx * dx + dy * dy) ** 0.5
            nx, ny = -dy / length * 0.26, dx / length * 0.26
            frill(brush, [(end[0] + nx * t, end[1] + ny * t) for t in (-1, -0.5, 0, 0.5, 1)], _lace(color), 0.13, True)


def _lace(color: Color) -> Color:
    return (252, 251, 253) if luminance(color) < 205 else light(trim_color(color), 0.5)


def draw_garment(brush: Brush, scene: Scene) -> None:
    color = sleeve_color(scene)
    path = trunk_path(scene)
    bottom = {"dress": HEM + 0.15, "kimono": 4.85}.get(scene.garment, HIPS + 0.1)
    box = (-1.35, 1.4, 1.35, bottom)
    brush.body(path, color, (1.4, bottom), LINE, 0.26)
    if scene.garment == "sweater":
        knit(brush, path, box, color)
    else:
        print_cloth(brush, path, box, color, scene.pattern)
    if scene.garment == "dress":
        _dress(brush, scene, path, color)
    elif scene.garment == "shirt":
        _shirt(brush, path, color)
    elif scene.garment == "sweater":
        band = smooth(mirrored([(0.9, HIPS - 0.2, 0), (0.9, HIPS + 0.06, 0), (0.35, HIPS + 0.08)]))
        with brush.clip(path):
            ribs(brush, band, (-0.9, HIPS - 0.2, 0.9, HIPS + 0.1), color)
        collar = limb([(-0.4, 1.4), (-0.2, 1.62), (0, 1.68), (0.2, 1.62), (0.4, 1.4)], [0.2, 0.22, 0.22, 0.22, 0.2])
        ribs(brush, collar, (-0.6, 1.3, 0.6, 1.8), color)
    elif scene.garment == "hoodie":
        _hoodie(brush, path, color)
    elif scene.garment == "sailor uniform":
        _sailor(brush, scene)
    else:
        _kimono(brush, path, color)
    brush.outline(path, shade(color, 0.85), LINE)


def _collar(brush: Brush, color: Color) -> None:
    for side in (-1, 1):
        wing = smooth(
            [
                (side * 0.06, 1.72, 0),
                (side * 0.3, 1.36, 0),
                (side * 0.52, 1.48),
                (side * 0.44, 1.86, 0),
                (side * 0.24, 1.88),
            ]
        )
        brush.body(wing, color, (1.3, 1.9), LINE * 0.85, 0.12)


def _dress(brush: Brush, scene: Scene, path: Path, color: Color) -> None:
    lines: list[tuple[float, ...]] = [
        (x * 0.5, WAIST + 0.1, x * 0.75, 3.2, x, 3.85) for x in (-0.82, -0.42, 0.05, 0.46, 0.84)
    ]
    folds(brush, path, lines, color)
    accent = trim_color(color)
    lace = scene.pattern == "lace"
    hem: list[tuple[float, float]] = [
        (-1.26 + 0.315 * i, HEM - 0.02 + 0.1 * (1 - ((i - 4) / 4) ** 2)) for i in range(9)
    ]
    frill(brush, hem, _lace(color) if lace else light(color, 0.35), 0.2, lace)
    if lace:
        chest = [(-0.56 + 0.14 * i, 1.98 + 0.12 * (1 - ((i - 4) / 4) ** 2)) for i in range(9)]
        frill(brush, chest, _lace(color), 0.17, True)
    sash = smooth(mirrored([(0.54, WAIST - 0.1, 0), (0.56, WAIST + 0.1, 0), (0.25, WAIST + 0.16)]))
    brush.body(sash, accent, (WAIST - 0.1, WAIST + 0.2), LINE * 0.8, 0.2)
    _collar(brush, _lace(color) if lace else light(color, 0.6))
    bow(brush, 0, 1.78, 0.24, accent if luminance(accent) < 230 else (222, 70, 92))


def _shirt(brush: Brush, path: Path, color: Color) -> None:
    folds(brush, path, [(-0.5, 2.2, -0.4, 2.4, -0.2, 2.45), (0.52, 2.5, 0.4, 2.7, 0.2, 2.72)], color)
    _collar(brush, light(color, 0.4))
    brush.stroke(segments([(0, 1.8, 0, HIPS)]), shade(color, 0.5), 0.035)
    for y in (2.05, 2.4, 2.75):
        brush.fill(ellipse(0, y, 0.055), (252, 250, 246))
        brush.stroke(ellipse(0, y, 0.055), shade(color, 0.7), 0.026)
        brush.fine(segments([(-0.02, y, 0.02, y)]), shade(color, 0.7), 0.014)


def _hoodie(brush: Brush, path: Path, color: Color) -> None:
    hood = limb([(-0.62, 1.42), (-0.4, 1.66), (0, 1.8), (0.4, 1.66), (0.62, 1.42)], [0.3, 0.3, 0.26, 0.3, 0.3])
    brush.body(hood, shade(color, 0.1), (1.3, 1.9), LINE, 0.25)
    pocket = smooth([(-0.34, 2.5, 0), (0.34, 2.5, 0), (0.5, 2.95, 0), (-0.5, 2.95, 0)])
    brush.body(pocket, shade(color, 0.06), (2.5, 3.0), LINE * 0.8, 0.15)
    brush.fine(arcs([(-0.3, 2.55, 0, 2.55, 0.3, 2.55)]), light(color, 0.4), 0.018)
    for side in (-1, 1):
        brush.stroke(arcs([(side * 0.14, 1.86, side * 0.2, 2.05, side * 0.16, 2.3)]), shade(color, 0.75), 0.06)
        brush.stroke(arcs([(side * 0.14, 1.86, side * 0.2, 2.05, side * 0.16, 2.3)]), (250, 248, 244), 0.034)
    folds(brush, path, [(-0.66, 2.5, -0.5, 2.66, -0.42, 2.62), (0.66, 2.4, 0.56, 2.6, 0.46, 2.58)], color)


def _sailor(brush: Brush, scene: Scene) -> None:
    color = CLOTHES[scene.garment_color]
    if scene.garment_color == "white":
        color = (92, 108, 170)
    collar = smooth([(-0.34, 1.36, 0), (-0.74, 1.56), (-0.7, 1.98, 0), (-0.36, 2.02), (0, 2.26, 0),
                     (0.36, 2.02), (0.7, 1.98, 0), (0.74, 1.56), (0.34, 1.36, 0), (0, 1.98, 0)])  # fmt: skip
    brush.body(collar, color, (1.3, 2.3), LINE, 0.2)
    stripe = [(-0.64, 1.88, -0.34, 1.92, -0.02, 2.12), (0.64, 1.88, 0.34, 1.92, 0.02, 2.12)]
    brush.stroke(arcs(stripe), (252, 252, 255), 0.036)
    bow(brush, 0, 2.16, 0.32, CLOTHES["red"] if scene.garment_color not in ("red", "pink") else CLOTHES["blue"])


def _kimono(brush: Brush, path: Path, color: Color) -> None:
    with brush.clip(path):
        brush.stroke(arcs([(0.16, 2.4, 0.2, 3.6, 0.5, 4.9)]), shade(color, 0.5), 0.05)
        edge = light(trim_color(color), 0.1)
        for points in ([(0.42, 1.36), (0.2, 1.8), (-0.34, 2.4)], [(-0.42, 1.36), (-0.2, 1.8), (0.34, 2.4)]):
            band = limb(points, [0.2, 0.2, 0.2])
            brush.body(band, edge, (1.3, 2.4), LINE * 0.8, 0.15)
    sash = rectangle(-0.64, 2.3, 0.64, 2.76, 0.06)
    obi = CLOTHES["red"] if luminance(color) > 160 and color != CLOTHES["pink"] else CLOTHES["yellow"]
    brush.body(sash, obi, (2.3, 2.8), LINE, 0.25)
    brush.stroke(segments([(-0.62, 2.53, 0.62, 2.53)]), light(obi, 0.6), 0.06)
    weave = [(x, 2.34, x + 0.08, 2.72) for x in (-0.56, -0.44, -0.32, -0.2, -0.08, 0.04, 0.16, 0.28, 0.4, 0.52)]
    brush.fine(segments(weave), shade(obi, 0.4), 0.02, 0.6)


def draw_scarf(brush: Brush, scene: Scene) -> None:
    """Knitted, wound once, with an end hanging."""
    if scene.scarf is None:
        return
    color = CLOTHES[scene.scarf]
    end = limb([(0.34, 1.5), (0.42, 2.1), (0.36, 2.7)], [0.34, 0.36, 0.36])
    brush.body(end, color, (1.4, 2.8), LINE, 0.2)
    knit(brush, end, (0.1, 1.4, 0.7, 2.8), color)
    brush.stroke(segments([(0.22 + 0.09 * i, 2.7, 0.21 + 0.09 * i, 2.88) for i in range(4)]), shade(color, 0.3), 0.05)
    ring = smooth(mirrored([(0.36, 1.16), (0.62, 1.34), (0.5, 1.7), (0.2, 1.78)]))
    brush.body(ring, color, (1.1, 1.8), LINE, 0.24)
    with brush.clip(ring):
        brush.stroke(
            arcs([(-0.6, 1.36, 0, 1.68, 0.6, 1.36), (-0.5, 1.58, 0.1, 1.8, 0.56, 1.52)]), shade(color, 0.4), 0.035, 0.7
        )
    knit(brush, ring, (-0.7, 1.1, 0.7, 1.8), color)
