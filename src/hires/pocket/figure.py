"""The body: limbs by pose, legs and shoes, hands. Units and origin are the face's (see face.py), before the
body is made smaller under its head (`scene.below`); soles are at 5.3."""

from __future__ import annotations

from dataclasses import dataclass

from hires.pocket.brush import Brush, Point, arcs, ellipse, limb, smooth
from hires.pocket.face import LINE, skin_color
from hires.pocket.palette import CLOTHES, Color, light, shade
from hires.pocket.scene import Scene

Point2 = tuple[float, float]
SHOULDER = (0.62, 1.62)
SHOES: dict[str, Color] = {**CLOTHES, "brown": (132, 84, 60)}


@dataclass(frozen=True)
class Arm:
    """One arm: its joints, whether it lies before the trunk, whether the hand is open or closed round something."""

    side: int
    elbow: Point2
    hand: Point2
    front: bool = False
    open: bool = False

    @property
    def shoulder(self) -> Point2:
        return (self.side * SHOULDER[0], SHOULDER[1])


ARM_PLACES: dict[str, tuple[Point2, Point2, bool, bool]] = {
    # elbow, hand (of the right side), before the trunk, open hand
    "down": ((0.98, 2.28), (1.04, 2.98), False, False),
    "behind": ((1.06, 2.22), (0.5, 2.75), False, False),
    "up": ((1.6, 1.36), (2.12, 0.56), False, True),
    "waving": ((1.46, 1.74), (2.02, 0.92), True, True),
    "hip": ((1.34, 2.24), (0.66, 2.72), True, False),
    "holding": ((1.08, 2.36), (1.0, 1.86), True, False),
    "both hands": ((0.98, 2.36), (0.26, 2.32), True, False),
}


def arms(scene: Scene) -> tuple[Arm, Arm]:
    """Left and right in the picture."""
    left = right = "down"
    if scene.held in ("umbrella", "balloon"):
        right = "holding"
    elif scene.held in ("bouquet", "book"):
        left = right = "both hands"
    elif scene.pose == "arms behind back":
        left = right = "behind"
    elif scene.pose == "arms up":
        left = right = "up"
    elif scene.pose == "waving":
        right = "waving"
    elif scene.pose == "hand on hip":
        left = "hip"
    return _arm(-1, left), _arm(1, right)


def _arm(side: int, name: str) -> Arm:
    elbow, hand, front, is_open = ARM_PLACES[name]
    return Arm(side, (side * elbow[0], elbow[1]), (side * hand[0], hand[1]), front, is_open)


def draw_arm(brush: Brush, arm: Arm, skin: Color) -> None:
    path = limb([arm.shoulder, arm.elbow, arm.hand], [0.42, 0.36, 0.27])
    brush.body(path, skin, (1.4, 3.2), LINE, 0.14)


def draw_hand(brush: Brush, arm: Arm, skin: Color) -> None:
    x, y = arm.hand
    if arm.open:
        dx, dy = x - arm.elbow[0], y - arm.elbow[1]
        length = (dx * dx + dy * dy) ** 0.5
        ux, uy = dx / length, dy / length
        for spread, reach in ((-0.55, 0.3), (-0.18, 0.38), (0.18, 0.37), (0.5, 0.3), (1.25 * -arm.side, 0.24)):
            tip = (x + (ux - uy * spread) * reach, y + (uy + ux * spread) * reach)
            finger = limb(
                [(x - ux * 0.02, y - uy * 0.02), tip, (tip[0] + ux * 0.03, tip[1] + uy * 0.03)], [0.14, 0.11, 0.05]
            )
            brush.body(finger, skin, (y - 0.4, y + 0.2), LINE * 0.8, 0.1)
        brush.fill(ellipse(x + ux * 0.06, y + uy * 0.06, 0.15), light(skin, 0.06))
        return
    brush.body(ellipse(x, y + 0.06, 0.17, 0.19), skin, (y - 0.1, y + 0.25), LINE, 0.14)
    fingers = [
        (x - 0.07, y + 0.08, x - 0.06, y + 0.15, x - 0.05, y + 0.22),
        (x + 0.04, y + 0.08, x + 0.05, y + 0.15, x + 0.05, y + 0.22),
    ]
    brush.stroke(arcs(fingers), shade(skin, 0.55), 0.026)


def draw_neck(brush: Brush, scene: Scene) -> None:
    skin = skin_color(scene)
    move = 0.05 * scene.turn
    neck = smooth(
        [
            (-0.25 + move, 0.8, 0),
            (-0.25, 1.3),
            (-0.46, 1.5, 0),
            (0, 1.86),
            (0.46, 1.5, 0),
            (0.25, 1.3),
            (0.25 + move, 0.8, 0),
        ]
    )
    brush.body(neck, skin, (0.9, 1.8), LINE, 0.1)
    with brush.clip(neck):
        chin = smooth([(-0.6, 0.7), (0.6, 0.7), (0.42 + move, 1.18), (move, 1.36), (-0.42 + move, 1.18)])
        brush.fill(chin, shade(skin, 0.42), 0.8)


def draw_legs(brush: Brush, scene: Scene) -> None:
    skin = skin_color(scene)
    for side in (-1, 1):
        hip, knee, ankle = (side * 0.34, 2.95), (side * 0.36, 4.05), (side * 0.36, 5.02)
        leg = limb([hip, knee, ankle], [0.62, 0.46, 0.34])
        brush.body(leg, skin, (2.9, 5.1), LINE, 0.2)
        brush.fine(
            arcs([(side * 0.36 - 0.08, 4.12, side * 0.36, 4.17, side * 0.36 + 0.08, 4.12)]), shade(skin, 0.5), 0.026
        )
        if scene.socks != "bare" and scene.bottom != "pants":
            _sock(brush, scene, side)
        _shoe(brush, side, SHOES[scene.shoe_color])


def _sock(brush: Brush, scene: Scene, side: int) -> None:
    color: Color = (70, 66, 80) if scene.socks == "thighhighs" else (246, 246, 250)
    top = 3.72 if scene.socks == "thighhighs" else 4.6
    width = 0.56 if scene.socks == "thighhighs" else 0.42
    x = side * 0.36
    path = limb([(x, top), (x, (top + 5.0) / 2), (x, 5.04)], [width, width * 0.88, 0.37])
    brush.body(path, color, (top, 5.1), LINE, 0.2)
    cuff = limb([(x - width * 0.52, top + 0.05), (x, top + 0.09), (x + width * 0.52, top + 0.05)], [0.12, 0.12, 0.12])
    brush.body(cuff, light(color, 0.25), (top, top + 0.15), LINE * 0.8, 0.2)
    ribs = [(x + d, top + 0.2, x + d * 0.9, top + 0.6, x + d * 0.7, 4.95) for d in (-0.16, -0.08, 0.0, 0.08, 0.16)]
    brush.fine(arcs(ribs), shade(color, 0.35), 0.014, 0.5)


def _shoe(brush: Brush, side: int, color: Color) -> None:
    x = side * 0.4
    out, toe = 0.06 * side, 0.1 * side
    sole: list[Point] = [(x + 0.26 + toe, 5.3, 0), (x - 0.26 + toe, 5.3, 0)]
    path = smooth([(x - 0.2, 4.92, 0), (x + 0.2, 4.92, 0), (x + 0.27 + out, 5.12), *sole, (x - 0.27 + out, 5.12)])
    brush.body(path, color, (4.9, 5.3), LINE, 0.3)
    with brush.clip(path):
        brush.fill(
            smooth([(x - 0.5, 5.22, 0), (x + 0.5, 5.22, 0), (x + 0.5, 5.4, 0), (x - 0.5, 5.4, 0)]), (244, 240, 236)
        )
        laces = [(x - 0.1, y, x, y + 0.04, x + 0.12, y - 0.01) for y in (5.0, 5.07, 5.14)]
        brush.fine(arcs(laces), light(color, 0.7), 0.028)
    brush.soft(x - 0.08, 5.08, 0.1, 0.05, (255, 255, 255), 0.5)
