"""One subject, put together from back to front, in its frame."""

from __future__ import annotations

from hires.pocket.brush import Brush
from hires.pocket.clothes import draw_bottom, draw_garment, draw_scarf, draw_sleeve
from hires.pocket.face import draw_face, draw_features, draw_glasses, draw_mask, face_path, skin_color
from hires.pocket.figure import arms, draw_arm, draw_hand, draw_legs, draw_neck
from hires.pocket.geometry import NECK
from hires.pocket.hair import draw_back_hair, draw_braids, draw_front_hair, draw_hair_ties, fringe_path
from hires.pocket.palette import shade
from hires.pocket.scene import BODY, COLLAR, SOLE, Scene
from hires.pocket.worn import draw_cat_ears, draw_headwear, draw_headwear_behind, draw_held, draw_held_behind

REFERENCE_SIZE = 0.16
"""The size at which the pen has its full relative width: a full body's."""


def draw_person(brush: Brush, scene: Scene) -> None:
    brush.pen = (REFERENCE_SIZE / max(scene.size, REFERENCE_SIZE)) ** 0.6
    with brush.frame(scene.x, scene.y, scene.size):
        if scene.framing == "full body":
            brush.soft(0.1, SOLE - 0.02, 1.5, 0.24, (36, 30, 60), 0.42)
        draw_held_behind(brush, scene)
        with brush.frame(*NECK, angle=scene.tilt), brush.frame(-NECK[0], -NECK[1]):
            draw_headwear_behind(brush, scene)
            draw_back_hair(brush, scene)
        with brush.frame(0, COLLAR * (1 - BODY), BODY):
            _body(brush, scene)
        with brush.frame(*NECK, angle=scene.tilt), brush.frame(-NECK[0], -NECK[1]):
            _head(brush, scene)


def _body(brush: Brush, scene: Scene) -> None:
    skin = skin_color(scene)
    both = arms(scene)
    for arm in both:
        if not arm.front:
            draw_arm(brush, arm, skin)
            draw_hand(brush, arm, skin)
            draw_sleeve(brush, scene, arm)
    if brush.sees(-1.5, 2.6, 1.5, 6.0):
        draw_legs(brush, scene)
        if scene.bottom is not None:
            draw_bottom(brush, scene)
    draw_neck(brush, scene)
    draw_garment(brush, scene)
    for arm in both:
        if arm.front:
            draw_arm(brush, arm, skin)
            draw_sleeve(brush, scene, arm)
    draw_scarf(brush, scene)
    draw_held(brush, scene)
    for arm in both:
        if arm.front:
            draw_hand(brush, arm, skin)


def _head(brush: Brush, scene: Scene) -> None:
    draw_face(brush, scene)
    with brush.clip(face_path(scene.turn)), brush.frame(0.03, 0.12):
        brush.fill(fringe_path(scene), shade(skin_color(scene), 0.4), 0.6)
    draw_features(brush, scene)
    if scene.mask:
        draw_mask(brush, scene)
    if scene.headwear == "cat ears":
        draw_cat_ears(brush, scene)
    draw_front_hair(brush, scene)
    if scene.glasses:
        draw_glasses(brush, scene)
    if scene.hair_style == "twin braids":
        draw_braids(brush, scene)
    draw_hair_ties(brush, scene)
    if scene.headwear is not None:
        draw_headwear(brush, scene)
