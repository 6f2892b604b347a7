"""Where things are in a scene: boxes of its parts in shares of the picture, and what of them is seen."""

from __future__ import annotations

import math
from dataclasses import replace

from hires.pocket.brush import Box
from hires.pocket.scene import BODY, SOLE, Scene, below

NECK = (0.0, 1.0)
"""What the head tilts round, from the face's centre; in half widths of the face, as all figures here."""
UMBRELLA = (0.5, -1.36, 2.0)
"""x, y of the middle of the canopy's edge and its half width, in the face's units."""
BALLOON = (2.55, -1.05, 0.93)
"""What is held lies in the body's units, as x, y and half width."""
BOUQUET = (0.0, 2.02, 0.5)
BOOK = (0.0, 2.14, 0.52)
EYE_X, EYE_Y, EYE_WIDTH, EYE_HEIGHT = 0.45, 0.22, 0.27, 0.33
MOUTH_Y = 0.72
HEADWEAR_BOXES: dict[str, Box] = {
    "straw hat": (-0.9, -1.95, 0.9, -0.9),
    "witch hat": (-0.6, -1.9, 0.6, -0.9),
    "beret": (-0.9, -1.65, 0.8, -1.1),
    "knit hat": (-0.8, -1.6, 0.8, -0.9),
    "crown": (-0.5, -1.5, 0.5, -1.2),
    "cat ears": (0.72, -1.7, 1.04, -1.25),
    "headphones": (0.96, -0.05, 1.36, 0.45),
}


def turned(turn: float, x: float) -> float:
    """Where a feature at x goes when the head turns: along, and narrower on the side that turns away."""
    away = x * turn > 0
    return 0.17 * turn + x * (1 - (0.17 if away else 0.02) * abs(turn))


def side_width(turn: float, side: int) -> float:
    """How wide a feature of one side (-1, 1) looks."""
    return 1 - 0.15 * abs(turn) if side * turn > 0 else 1.0


def flower_place(scene: Scene) -> tuple[float, float, float]:
    """x, y and radius of the flower in the hair: on the side that the head shows."""
    return 0.72 * flower_side(scene) + 0.1 * scene.turn, -0.74, 0.36


def flower_side(scene: Scene) -> int:
    return 1 if scene.turn <= 0 else -1


def fitted(scene: Scene, aspect: float) -> Scene:
    """The scene's subject made smaller and moved inwards where the picture is narrow, feet and chin kept in place."""
    if aspect >= 1:
        return scene
    size = scene.size * max(0.6, aspect**0.6)
    keep = {"full body": SOLE, "cowboy shot": below(3.0), "upper body": below(2.0)}.get(scene.framing, 0.6)
    return replace(scene, x=scene.x * aspect, y=scene.y + keep * (scene.size - size), size=size)


def regions(scene: Scene, aspect: float = 1.0) -> dict[str, Box]:
    """Boxes (left, top, right, bottom), in shares of a picture of this aspect, of the parts that the scene has.

    A part's box lies within it where it has one colour (hair, clothes, flower, eyes ...); `head`, `subject` and
    `umbrella` are the boxes round them. A box may reach out of 0..1 where the part is cut off.
    """
    scene = fitted(scene, aspect)
    head: dict[str, Box] = {"face": (-0.95, -0.2, 0.95, 1.1), "head": (-1.25, -1.45, 1.25, 1.12)}
    move = 0.06 * scene.turn
    if scene.headwear in ("straw hat", "witch hat", "beret", "knit hat"):
        head["hair"] = (-0.5, -0.62, 0.5, -0.46)
    else:
        head["hair"] = (-0.55, -1.2, 0.55, -0.55)
    if scene.headwear is not None:
        left, top, right, bottom = HEADWEAR_BOXES[scene.headwear]
        head["headwear"] = (left + move, top, right + move, bottom)
    for name, side in (("left eye", -1), ("right eye", 1)):
        x, width = turned(scene.turn, side * EYE_X), EYE_WIDTH * side_width(scene.turn, side)
        head[name] = (x - width, EYE_Y - EYE_HEIGHT, x + width, EYE_Y + EYE_HEIGHT)
    x = turned(scene.turn, 0.0)
    head["mouth"] = (x - 0.3, MOUTH_Y - 0.2, x + 0.3, MOUTH_Y + 0.27)
    if scene.hair_flower is not None:
        x, y, radius = flower_place(scene)
        head["flower"] = (x - radius, y - radius, x + radius, y + radius)
    body: dict[str, Box] = {"clothes": (-0.46, 1.95, 0.46, 3.0), "trunk": (-0.8, 1.5, 0.8, 3.1)}
    if scene.bottom is not None:
        body["bottom"] = (-0.6, 3.15, 0.6, 3.5)
    if scene.scarf is not None:
        body["scarf"] = (-0.5, 1.25, 0.5, 1.7)
    hands = {
        "arms up": (-2.35, 0.2, 2.35, 1.0),
        "waving": (1.65, 0.45, 2.3, 1.15),
        "hand on hip": (-1.4, 2.2, -0.5, 2.9),
        "arms behind back": (-1.2, 1.9, 1.2, 2.7),
    }
    if scene.pose in hands:
        body["hands"] = hands[scene.pose]
    body["feet"] = (-0.8, 4.95, 0.8, 5.3)
    if scene.held is not None and scene.held != "umbrella":
        x, y, half = {"balloon": BALLOON, "bouquet": BOUQUET, "book": BOOK}[scene.held]
        body[scene.held] = (x - half, y - half, x + half, y + half)
    boxes = {name: _in_picture(scene, box, aspect, scene.tilt) for name, box in head.items()}
    upright = {name: (x0 * BODY, below(y0), x1 * BODY, below(y1)) for name, (x0, y0, x1, y1) in body.items()}
    if scene.held == "umbrella":
        x, y, half = UMBRELLA
        upright["umbrella"] = (x - half * 0.6, y - half * 0.5, x + half * 0.6, y - 0.25)
    upright["subject"] = (-1.4, -1.5, 1.4, SOLE + 0.05)
    boxes |= {name: _in_picture(scene, box, aspect, 0.0) for name, box in upright.items()}
    return boxes


def _in_picture(scene: Scene, box: Box, aspect: float, tilt: float) -> Box:
    """A box of the subject, moved with the head's tilt by its middle, in shares of the picture."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    dx, dy = x - NECK[0], y - NECK[1]
    cos, sin = math.cos(tilt), math.sin(tilt)
    x, y = NECK[0] + dx * cos - dy * sin, NECK[1] + dx * sin + dy * cos
    rx, ry = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    left, right = scene.x + (x - rx) * scene.size, scene.x + (x + rx) * scene.size
    return left / aspect + 0.5, scene.y + (y - ry) * scene.size, right / aspect + 0.5, scene.y + (y + ry) * scene.size


def seen_share(box: Box) -> float:
    """How much of a box lies within the picture, 0..1."""
    wide = max(0.0, min(box[2], 1.0) - max(box[0], 0.0))
    high = max(0.0, min(box[3], 1.0) - max(box[1], 0.0))
    return wide * high / ((box[2] - box[0]) * (box[3] - box[1]))
