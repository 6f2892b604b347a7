"""The face: skin, ears, blush, eyes, brows, nose, mouth, and what sits on it (glasses, mask).

Units: half the face's width; the origin is the face's centre, y points down, the chin is near 1.1.
"""

from __future__ import annotations

import math

from hires.pocket.brush import Brush, Path, arcs, ellipse, locks, segments, smooth
from hires.pocket.geometry import EYE_HEIGHT, EYE_WIDTH, EYE_X, EYE_Y, MOUTH_Y, side_width, turned
from hires.pocket.palette import EYES, HAIR, INK, SKINS, WHITE, Color, light, line, mix, shade
from hires.pocket.scene import Scene

LINE = 0.05
"""Width of the pen for the head."""
LASH: Color = (52, 30, 42)
LIPS: Color = (176, 66, 74)


def face_path(turn: float) -> Path:
    chin = 0.13 * turn
    points = []
    for side in (-1, 1):
        inwards = 0.07 * abs(turn) if side * turn > 0 else 0.0
        edge = [(0.72, -0.92), (1.0 - inwards, -0.3), (1.0 - inwards, 0.25), (0.83 - inwards, 0.68), (0.4, 1.0)]
        side_points = [(side * x + (chin if y > 0.6 else 0.0), y) for x, y in edge]
        points += side_points if side > 0 else side_points[::-1]
    # from the left jaw up, over the skull, down to the right jaw, and the chin
    return smooth([*points[:5], (0, -1.18), *points[5:], (chin, 1.11)])


def skin_color(scene: Scene) -> Color:
    return SKINS[scene.skin]


def draw_face(brush: Brush, scene: Scene) -> None:
    """Ears, skin, blush; the features come after the fringe's shadow."""
    skin = skin_color(scene)
    for side in (-1, 1):
        ear = 1.0 - 0.1 * turned_away(scene, side)
        path = ellipse(side * ear, 0.24, 0.15, 0.22)
        brush.body(path, skin, (0.0, 0.5), LINE)
        brush.fine(arcs([(side * (ear + 0.07), 0.12, side * (ear - 0.05), 0.2, side * (ear + 0.03), 0.34)]),
                   shade(skin, 0.5), 0.03)  # fmt: skip
    face = face_path(scene.turn)
    brush.body(face, skin, (-0.6, 1.15), LINE, 0.13)
    red = mix(skin, (246, 92, 100), 0.75)
    for side in (-1, 1):
        x = turned(scene.turn, side * 0.64)
        brush.soft(x, 0.56, 0.27 * side_width(scene.turn, side), 0.17, red, 0.95 if scene.blush else 0.5)
        if scene.blush:
            marks = [(x + d + 0.03, 0.5, x + d - 0.03, 0.61) for d in (-0.1, 0, 0.1)]
            brush.stroke(segments(marks), mix(red, LIPS, 0.45), 0.028, 0.9)


def turned_away(scene: Scene, side: int) -> float:
    return abs(scene.turn) if side * scene.turn > 0 else 0.0


def draw_features(brush: Brush, scene: Scene) -> None:
    skin = skin_color(scene)
    nose = turned(scene.turn, 0.0) + 0.05 * scene.turn
    brush.stroke(arcs([(nose - 0.02, 0.46, nose + 0.05, 0.5, nose - 0.02, 0.53)]), shade(skin, 0.62), 0.034)
    brush.soft(nose - 0.02, 0.42, 0.06, 0.05, WHITE, 0.5)
    for side in (-1, 1):
        closed = scene.eyes == "closed" or (scene.eyes == "wink" and side == 1)
        with brush.frame(turned(scene.turn, side * EYE_X), EYE_Y):
            brush.canvas.scale(side_width(scene.turn, side) * side, 1)
            _brow(brush, scene)
            if closed:
                _closed_eye(brush, scene)
            else:
                _open_eye(brush, scene, side)
    if not scene.mask:
        with brush.frame(turned(scene.turn, 0.0) + 0.02 * scene.turn, MOUTH_Y):
            _mouth(brush, scene)


def _brow(brush: Brush, scene: Scene) -> None:
    """Mirrored like the eye: x grows outwards."""
    lift = {"frown": 0.07, "smile": -0.02, "open mouth": -0.05}.get(scene.mouth, 0.0)
    color = mix(HAIR[scene.hair_color], INK, 0.45)
    width = 0.05 if scene.subject == "girl" else 0.07
    inner, outer = -0.5 + lift * 1.6, -0.44 - lift
    brush.fill(locks([(-0.24, inner + 0.02, 0.02, -0.6 - abs(lift) * 0.3, 0.31, outer)], width, 0.04), color)


def _closed_eye(brush: Brush, scene: Scene) -> None:
    w = EYE_WIDTH
    happy = scene.mouth in ("smile", "open mouth")
    if happy:  # an arch
        brush.fill(smooth([(-w, 0.16, 0), (0, -0.09), (w * 1.12, 0.14, 0), (0, 0.02)]), LASH)
        lashes = [(w * 0.95, 0.08, w * 1.12, 0.05, w * 1.3, -0.02), (w * 1.05, 0.14, w * 1.25, 0.13, w * 1.42, 0.08)]
    else:  # a resting lid
        brush.fill(smooth([(-w, 0.06, 0), (0, 0.17), (w * 1.1, 0.04, 0), (0, 0.27)]), LASH)
        lashes = [
            (w * x, 0.22 - 0.16 * x * x, w * x * 1.15, 0.3 - 0.16 * x * x, w * x * 1.35, 0.33 - 0.17 * x * x)
            for x in (-0.55, 0.1, 0.6, 0.95)
        ]
    if scene.subject == "girl":
        brush.fill(locks(lashes, 0.025, 0.04), LASH)
    crease = (-w * 0.8, 0.0, 0, -0.2, w * 0.9, -0.02) if happy else (-w * 0.8, -0.03, 0, 0.06, w * 0.9, -0.04)
    brush.fine(arcs([crease]), shade(skin_color(scene), 0.5), 0.022, 0.8)


def _open_eye(brush: Brush, scene: Scene, side: int) -> None:
    w, h = EYE_WIDTH, EYE_HEIGHT
    color = EYES[scene.eye_color]
    white = smooth([(-w, 0.0), (-w * 0.7, -h * 0.72), (w * 0.1, -h), (w * 0.85, -h * 0.62), (w, 0.02),
                    (w * 0.62, h * 0.8), (0, h * 0.95), (-w * 0.66, h * 0.76)])  # fmt: skip
    brush.fill(white, (253, 252, 254))
    with brush.clip(white):
        brush.canvas.save()
        brush.canvas.scale(side, 1)  # looks and lights are not mirrored
        x, y, rx, ry = 0.05 * scene.turn, 0.02, 0.205, 0.3
        iris = ellipse(x, y, rx, ry)
        brush.falling(iris, y - ry, y + ry, shade(color, 0.72), light(color, 0.28))
        _iris_structure(brush, color, x, y, rx, ry)
        brush.fill(ellipse(x, y + 0.01, 0.085, 0.135), shade(color, 0.95))
        brush.fill(ellipse(x, y + 0.17, 0.13, 0.07), light(color, 0.5), 0.55)
        brush.stroke(iris, shade(color, 0.9), 0.032)
        brush.canvas.restore()
        brush.fill(smooth([(-w, -h), (w, -h), (w, -0.1), (0, -0.19), (-w, -0.08)]), (120, 100, 150), 0.32)
        brush.canvas.save()
        brush.canvas.scale(side, 1)
        brush.fill(ellipse(x - 0.075, y - 0.11, 0.075, 0.09), WHITE)
        brush.fill(ellipse(x + 0.085, y + 0.13, 0.036, 0.042), WHITE, 0.95)
        brush.canvas.restore()
    girl = scene.subject == "girl"
    thick = 0.1 if girl else 0.075
    lid = smooth([(-w * 1.04, -0.02, 0), (-w * 0.72, -h * 0.78), (w * 0.1, -h * 1.06), (w * 0.9, -h * 0.66),
                  (w * 1.22, -h * 0.1, 0), (w * 0.86, -h * 0.66 + thick * 0.7), (w * 0.1, -h * 1.06 + thick),
                  (-w * 0.72, -h * 0.78 + thick * 0.75)])  # fmt: skip
    brush.fill(lid, LASH)
    if girl:
        lashes = [
            (w * 0.8, -h * 0.7, w * 1.1, -h * 0.85, w * 1.3, -h * 1.12),
            (w * 0.98, -h * 0.5, w * 1.3, -h * 0.6, w * 1.52, -h * 0.76),
            (w * 1.05, -h * 0.28, w * 1.35, -h * 0.28, w * 1.55, -h * 0.38),
        ]
        brush.fill(locks(lashes, 0.028, 0.07), LASH)
        if brush.detail(0.014) > 0:
            hairs = [
                (w * x, -h * (1 - low), w * x * 1.05, -h * 1.15, w * (x * 1.16 + 0.03), -h * (1.2 - low))
                for x, low in ((-0.5, 0.15), (-0.25, 0.08), (0.0, 0.0), (0.25, 0.08), (0.5, 0.15))
            ]
            brush.fine(arcs(hairs), LASH, 0.014)
    brush.stroke(arcs([(-w * 0.55, h * 0.88, 0, h * 1.12, w * 0.72, h * 0.76)]), shade(skin_color(scene), 0.66), 0.026)
    crease = arcs([(-w * 0.7, -h * 1.02, w * 0.1, -h * 1.42, w * 0.98, -h * 0.94)])
    brush.fine(crease, shade(skin_color(scene), 0.5), 0.022, 0.8)


def _iris_structure(brush: Brush, color: Color, x: float, y: float, rx: float, ry: float) -> None:
    """The spokes of an iris, dark above and bright below."""
    if brush.detail(0.012) == 0:
        return
    spokes: list[list[tuple[float, float, float, float]]] = [[], []]
    for i in range(28):
        angle = math.tau * i / 28
        inner, outer = 0.5 + 0.06 * (i % 3), 0.9 + 0.05 * (i % 2)
        cos, sin = math.cos(angle), math.sin(angle)
        spokes[i % 2].append((x + cos * rx * inner, y + sin * ry * inner, x + cos * rx * outer, y + sin * ry * outer))
    brush.fine(segments(spokes[0]), shade(color, 0.8), 0.012, 0.55)
    brush.fine(segments(spokes[1]), light(color, 0.6), 0.012, 0.6)


def _mouth(brush: Brush, scene: Scene) -> None:
    if scene.mouth == "smile":
        brush.fill(smooth([(-0.27, -0.07, 0), (0, 0.1), (0.27, -0.07, 0), (0, 0.045)]), LIPS)
        brush.stroke(arcs([(-0.27, -0.07, 0, 0.19, 0.27, -0.07)]), LIPS, 0.04)
        brush.stroke(segments([(-0.29, -0.1, -0.26, -0.06), (0.29, -0.1, 0.26, -0.06)]), LIPS, 0.035)
        brush.fine(arcs([(-0.08, 0.16, 0, 0.19, 0.08, 0.16)]), shade(skin_color(scene), 0.45), 0.024)
    elif scene.mouth == "open mouth":
        lips = smooth([(-0.26, -0.1, 0), (0, -0.06), (0.26, -0.1, 0), (0.2, 0.1), (0, 0.23), (-0.2, 0.1)])
        brush.fill(lips, (150, 42, 58))
        with brush.clip(lips):
            brush.fill(ellipse(0, 0.2, 0.16, 0.11), (240, 122, 128))
            brush.fill(smooth([(-0.22, -0.14), (0.22, -0.14), (0.18, -0.02), (0, 0.01), (-0.18, -0.02)]), WHITE)
        brush.stroke(lips, shade(LIPS, 0.45), 0.038)
    elif scene.mouth == "frown":
        brush.stroke(arcs([(-0.21, 0.1, 0, -0.13, 0.21, 0.1)]), LIPS, 0.055)
        brush.fine(arcs([(-0.08, 0.17, 0, 0.13, 0.08, 0.17)]), shade(skin_color(scene), 0.45), 0.024)
    else:
        brush.stroke(segments([(-0.13, 0.01, 0.13, 0.01)]), LIPS, 0.05)


def draw_glasses(brush: Brush, scene: Scene) -> None:
    frame: Color = (58, 44, 62)
    for side in (-1, 1):
        x, width = turned(scene.turn, side * EYE_X), side_width(scene.turn, side)
        glass = ellipse(x, EYE_Y + 0.03, 0.39 * width, 0.385)
        brush.fill(glass, (214, 234, 250), 0.2)
        with brush.clip(glass):
            brush.stroke(segments([(x - 0.3, EYE_Y + 0.3, x + 0.05, EYE_Y - 0.4)]), WHITE, 0.075, 0.38)
            brush.stroke(segments([(x - 0.14, EYE_Y + 0.36, x + 0.19, EYE_Y - 0.34)]), WHITE, 0.03, 0.38)
        brush.stroke(glass, frame, 0.062)
        brush.stroke(segments([(x + side * 0.38 * width, EYE_Y, side * 1.0, EYE_Y - 0.06)]), frame, 0.055)
    left, right = turned(scene.turn, -0.08), turned(scene.turn, 0.08)
    brush.stroke(arcs([(left, EYE_Y, (left + right) / 2, EYE_Y - 0.08, right, EYE_Y)]), frame, 0.055)


def draw_mask(brush: Brush, scene: Scene) -> None:
    """A folded surgical mask, its loops round the ears."""
    move = 0.13 * scene.turn
    color: Color = (214, 234, 246)
    loops = [(side * 0.74 + move, y, side * 0.95, y - 0.1, side * 0.99, 0.2) for side in (-1, 1) for y in (0.5, 0.86)]
    brush.stroke(arcs(loops), shade(color, 0.3), 0.035)
    path = smooth([(-0.79 + move, 0.48, 0), (move, 0.4), (0.79 + move, 0.48, 0), (0.74 + move, 0.84, 0),
                   (0.4 + move, 1.06), (move, 1.16), (-0.4 + move, 1.06), (-0.74 + move, 0.84, 0)])  # fmt: skip
    brush.body(path, color, (0.4, 1.2), LINE * 0.9, 0.16)
    folds = [(-0.72 + move, y, move, y + 0.07, 0.72 + move, y) for y in (0.6, 0.73, 0.86)]
    brush.stroke(arcs(folds), shade(color, 0.26), 0.03)
    if brush.detail(0.008) > 0:
        weave = [(-0.7 + move, 0.5 + 0.025 * i, move, 0.53 + 0.027 * i, 0.7 + move, 0.5 + 0.025 * i) for i in range(20)]
        with brush.clip(path):
            brush.fine(arcs(weave), line(color), 0.008, 0.12)
