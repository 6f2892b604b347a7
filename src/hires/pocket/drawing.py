"""Parametric pictures of one subject in a scene, at any size: what the built-in model is trained on.

    scene = random_scene(7)
    picture = draw(scene, 768, 768)                                # uint8 (height, width, 3)
    words = caption(scene, np.random.default_rng(7))
    corner = draw(scene, 256, 256, view=(0.0, 0.0, 0.5, 0.5))      # the upper left quarter, twice as large

A scene's composition is laid out in units of the picture's height, so it is the same at every size; fine detail
shows only where it is large enough. Needs skia-python (the extra `train`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hires.errors import SettingError
from hires.pocket import interiors, landscapes, seasons
from hires.pocket.brush import SPAN, Box, Brush, rectangle, skia
from hires.pocket.captions import caption, known_tags, tags
from hires.pocket.degrade import bicubic_down, degrade
from hires.pocket.geometry import fitted, regions
from hires.pocket.person import draw_person
from hires.pocket.scene import Scene, random_group, random_scene

__all__ = [
    "Scene",
    "bicubic_down",
    "caption",
    "degrade",
    "draw",
    "draw_group",
    "known_tags",
    "random_group",
    "random_scene",
    "regions",
    "tags",
]

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
NARROWEST, WIDEST = 0.4, 3.0
"""Aspects (width / height) for which backgrounds are laid out."""
TINTS = {"night sky": ((60, 70, 170), 0.1), "sunset": ((255, 150, 90), 0.08)}
"""Light of the scene over everything, colour and share: weak, or named colours would change."""
BACKDROPS: dict[str, Callable[[Brush, np.random.Generator], None]] = {
    "blue sky": landscapes.blue_sky,
    "beach": landscapes.beach,
    "flower field": landscapes.flower_field,
    "forest": landscapes.forest,
    "mountains": landscapes.mountains,
    "night sky": landscapes.night_sky,
    "sunset": landscapes.sunset,
    "snow": seasons.snow,
    "autumn": seasons.autumn,
    "cherry blossoms": seasons.cherry_blossoms,
    "room": interiors.room,
    "brick wall": interiors.brick_wall,
}
DRIFTING = ("snow", "autumn", "cherry blossoms")


def draw(scene: Scene, width: int, height: int, view: Box | None = None) -> NDArray[np.uint8]:
    """The scene as uint8 (height, width, 3).

    `view` is the part of the picture to draw, (left, top, right, bottom) in shares of its width and height. The
    result is that crop of the whole picture, at the cost of what is seen; the edges of curves may differ by a few
    levels, for skia divides curves where the canvas ends.
    """
    return draw_group([scene], width, height, view)


def draw_group(scenes: Sequence[Scene], width: int, height: int, view: Box | None = None) -> NDArray[np.uint8]:
    """Several subjects, each at its scene's place, before the first scene's background; see `draw`.

    Who stands lower is nearer, so no body covers a head above it.
    """
    left, top, right, bottom = view or WHOLE
    if width < 1 or height < 1 or not (left < right and top < bottom):
        raise SettingError(f"A drawing of {width}x{height} with the view {view} is empty.", "Give sizes above 0.")
    scale = height / (bottom - top)
    aspect = width / (right - left) / scale
    if not NARROWEST <= aspect <= WIDEST:
        raise SettingError(f"Drawings are from {NARROWEST} to {WIDEST} times as wide as high, not {aspect:.2f}.")
    sk = skia()
    surface = sk.Surface(width, height)
    canvas = surface.getCanvas()
    canvas.scale(scale, scale)
    canvas.translate(aspect * (0.5 - left), -top)
    brush = Brush(canvas, scale, (aspect * (left - 0.5), top, aspect * (right - 0.5), bottom))
    backdrop = scenes[0]
    _background(brush, backdrop)
    for scene in sorted(scenes, key=lambda each: each.y):
        draw_person(brush, fitted(scene, aspect))
    if backdrop.background in DRIFTING:
        faces = [_face(fitted(scene, aspect)) for scene in scenes]
        seasons.drift(brush, np.random.default_rng([backdrop.seed, 31]), backdrop.background, faces)
    tint = "night sky" if backdrop.night else backdrop.background
    if tint in TINTS:
        color, share = TINTS[tint]
        brush.fill(rectangle(-SPAN, -0.1, SPAN, 1.1), color, share)
    pixels = surface.toarray(colorType=sk.kRGBA_8888_ColorType)
    return np.ascontiguousarray(pixels[:, :, :3])


def _background(brush: Brush, scene: Scene) -> None:
    rng = np.random.default_rng([scene.seed, 30])
    if scene.background == "simple background":
        interiors.simple(brush, rng, scene.background_color)
    elif scene.background == "city":
        interiors.city(brush, rng, scene.night)
    else:
        BACKDROPS[scene.background](brush, rng)


def _face(scene: Scene) -> Box:
    """The face in the picture's units, where nothing may fall before it."""
    reach = 1.1 * scene.size
    return scene.x - reach, scene.y - reach, scene.x + reach, scene.y + reach
