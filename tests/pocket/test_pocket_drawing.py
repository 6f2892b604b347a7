"""Drawings: the same composition at every size, crops equal to the whole, and pictures that agree with their tags."""

import dataclasses
import sys

import numpy as np
import pytest
from PIL import Image

from hires.errors import SettingError
from hires.pocket import brush as brush_module
from hires.pocket.drawing import draw, draw_group, random_group, random_scene, regions, tags
from hires.pocket.palette import CLOTHES, EYES, FLOWERS, HAIR, PLAIN
from hires.pocket.scene import BACKGROUNDS, HEADWEAR, Scene

pytest.importorskip("skia", reason="drawing needs skia-python: pip install 'hires[train]'")

PLAIN_GIRL = dataclasses.replace(
    random_scene(0), subject="girl", framing="upper body", x=0.0, y=0.4, size=0.19, tilt=0.0, turn=0.0, skin=0,
    hair_color="brown", hair_style="long hair", fringe="blunt", eyes="open", eye_color="blue", mouth="smile",
    blush=False, headwear=None, hair_flower=None, hair_ribbon=None, glasses=False, mask=False, scarf=None,
    garment="dress", garment_color="red", pattern="plain", bottom=None, pose="arms down", held=None,
    background="simple background", background_color="grey", night=False,
)  # fmt: skip


def girl(**changes: object) -> Scene:
    return dataclasses.replace(PLAIN_GIRL, **changes)  # type: ignore[arg-type]


def part(scene: Scene, name: str, size: int = 256) -> np.ndarray:
    """The pixels of one region, float (rows, columns, 3)."""
    picture = draw(scene, size, size)
    left, top, right, bottom = (round(share * size) for share in regions(scene)[name])
    return picture[max(top, 0) : bottom, max(left, 0) : right].astype(np.float64)


def middle_color(scene: Scene, name: str) -> np.ndarray:
    return np.median(part(scene, name).reshape(-1, 3), axis=0)


def nearest(color: np.ndarray, palette: dict) -> str:
    return min(palette, key=lambda name: float(np.abs(color - np.array(palette[name])).sum()))


# -- sizes and crops


def test_the_same_seed_gives_the_same_bytes() -> None:
    for seed in (1, 2):
        assert draw(random_scene(seed), 96, 96).tobytes() == draw(random_scene(seed), 96, 96).tobytes()


@pytest.mark.parametrize("size", [(128, 128), (192, 128), (128, 192), (300, 201)])
def test_a_picture_has_the_size_that_was_asked_for(size: tuple[int, int]) -> None:
    picture = draw(random_scene(4), *size)
    assert picture.shape == (size[1], size[0], 3) and picture.dtype == np.uint8


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_a_large_drawing_made_small_is_the_small_one(background: str) -> None:
    scene = dataclasses.replace(random_scene(21), background=background)
    small = draw(scene, 160, 160).astype(np.float64)
    large = draw(scene, 640, 640).astype(np.float64).reshape(160, 4, 160, 4, 3).mean((1, 3))
    assert np.abs(large - small).mean() < 5
    other = draw(dataclasses.replace(random_scene(22), background=background), 160, 160).astype(np.float64)
    assert np.abs(large - other).mean() > 12


@pytest.mark.parametrize("seed", range(100, 114))
def test_a_view_is_the_crop_of_the_whole(seed: int) -> None:
    scene = dataclasses.replace(random_scene(seed), background=BACKGROUNDS[seed - 100])
    whole = draw(scene, 384, 384)
    crop = draw(scene, 128, 160, view=(96 / 384, 64 / 384, 224 / 384, 224 / 384))
    difference = np.abs(whole[64:224, 96:224].astype(int) - crop.astype(int))
    assert difference.mean() < 1.0 and (difference.max(axis=2) > 32).mean() < 0.01


def test_fine_detail_shows_only_when_large() -> None:
    """Between a drawing at 640 and one at 160 enlarged there is detail, most of it at the eyes and the hair."""
    scene = girl(background="brick wall", pattern="lace")
    large = draw(scene, 640, 640)
    small = np.asarray(Image.fromarray(draw(scene, 160, 160)).resize((640, 640), Image.Resampling.LANCZOS))

    def energy(picture: np.ndarray) -> float:
        return float(np.abs(np.diff(picture.astype(np.float64), axis=0)).mean())

    assert energy(large) > 1.3 * energy(small)


# -- caption and picture agree


@pytest.mark.parametrize("color", HAIR)
def test_the_hair_has_the_color_of_its_tag(color: str) -> None:
    for headwear in (None, "beret"):
        scene = girl(hair_color=color, headwear=headwear, headwear_color="blue")
        assert f"{color} hair" in tags(scene)
        assert nearest(middle_color(scene, "hair"), HAIR) == color


@pytest.mark.parametrize("color", CLOTHES)
def test_the_dress_has_the_color_of_its_tag(color: str) -> None:
    scene = girl(garment_color=color)
    assert f"{color} dress" in tags(scene)
    assert nearest(middle_color(scene, "clothes"), CLOTHES) == color


@pytest.mark.parametrize("color", PLAIN)
def test_the_plain_background_has_the_color_of_its_tag(color: str) -> None:
    scene = girl(background_color=color)
    corner = draw(scene, 128, 128)[:40, :12].reshape(-1, 3).astype(np.float64)
    assert nearest(np.median(corner, axis=0), PLAIN) == color


@pytest.mark.parametrize("color", EYES)
def test_open_eyes_show_their_color_and_white_and_closed_eyes_show_skin(color: str) -> None:
    opened, closed = girl(eye_color=color), girl(eye_color=color, eyes="closed")
    assert f"{color} eyes" in tags(opened) and f"{color} eyes" not in tags(closed) and "closed eyes" in tags(closed)
    for name in ("left eye", "right eye"):
        seen, hidden = part(opened, name, 512), part(closed, name, 512)
        near = [np.abs(each - np.array(EYES[color])).sum(axis=2) < 90 for each in (seen, hidden)]
        assert near[0].mean() > 3 * near[1].mean() + 0.05
        white = [(each.min(axis=2) > 245).mean() for each in (seen, hidden)]
        assert white[0] > 0.06 and white[1] < 0.01
    wink = girl(eye_color=color, eyes="wink")
    assert (part(wink, "left eye", 512).min(axis=2) > 245).mean() > 0.06
    assert (part(wink, "right eye", 512).min(axis=2) > 245).mean() < 0.01


def changed(first: Scene, second: Scene, box: tuple[float, float, float, float]) -> tuple[float, float]:
    """Mean difference within a box and outside it."""
    a, b = (draw(scene, 256, 256).astype(np.float64) for scene in (first, second))
    left, top, right, bottom = (round(min(max(share, 0), 1) * 256) for share in box)
    inside = np.zeros((256, 256), bool)
    inside[top:bottom, left:right] = True
    difference = np.abs(a - b).mean(axis=2)
    return float(difference[inside].mean()), float(difference[~inside].mean())


def test_expressions_change_the_mouth() -> None:
    neutral = girl(mouth="expressionless")
    for mouth in ("smile", "open mouth", "frown"):
        inside, outside = changed(neutral, girl(mouth=mouth), regions(neutral)["mouth"])
        assert inside > 4 and inside > 10 * outside


@pytest.mark.parametrize("headwear", HEADWEAR)
def test_headwear_changes_its_region_most(headwear: str) -> None:
    scene = girl(headwear=headwear, headwear_color="green")
    inside, outside = changed(PLAIN_GIRL, scene, regions(scene)["headwear"])
    assert inside > 20 and inside > 3 * outside


@pytest.mark.parametrize("held", ["umbrella", "balloon", "bouquet", "book"])
def test_held_things_change_their_region_most(held: str) -> None:
    scene = girl(held=held, held_color="blue")
    inside, outside = changed(PLAIN_GIRL, scene, regions(scene)[held])
    assert inside > 20 and inside > 3 * outside


@pytest.mark.parametrize("color", FLOWERS)
def test_the_flower_in_the_hair_has_the_color_of_its_tag(color: str) -> None:
    scene = girl(hair_flower=color)
    pixels = part(scene, "flower", 512).reshape(-1, 3)
    assert f"{color} flower in hair" in tags(scene)
    near = {name: (np.abs(pixels - np.array(FLOWERS[name])).sum(axis=1) < 60).mean() for name in FLOWERS}
    assert max(near, key=lambda name: near[name]) == color and near[color] > 0.12


def test_patterns_change_the_dress_and_nothing_above_it() -> None:
    for pattern in ("striped", "polka dot", "checked", "lace"):
        scene = girl(pattern=pattern)
        inside, _ = changed(PLAIN_GIRL, scene, regions(scene)["clothes"])
        assert pattern in tags(scene) and inside > 8
        assert changed(PLAIN_GIRL, scene, regions(scene)["face"])[0] == 0


def test_masks_and_glasses_change_the_face() -> None:
    face = regions(PLAIN_GIRL)["face"]
    assert changed(PLAIN_GIRL, girl(mask=True), face)[0] > 8
    assert changed(PLAIN_GIRL, girl(glasses=True), face)[0] > 4


def test_backgrounds_have_the_colors_that_their_names_promise() -> None:
    def mean(background: str, night: bool = False) -> np.ndarray:
        return draw(girl(background=background, night=night), 128, 128).astype(np.float64)

    sky = mean("blue sky")[:30].mean((0, 1))
    assert sky[2] > sky[0] + 50
    sunset = mean("sunset")[48:60, :20].mean((0, 1))
    assert sunset[0] > sunset[2] + 50
    assert mean("night sky").mean() < mean("blue sky").mean() - 60
    assert mean("city", True).mean() < mean("city").mean() - 40
    forest = mean("forest")[100:, :20].mean((0, 1))
    assert forest[1] > forest[0] + 20 and forest[1] > forest[2] + 20
    assert mean("snow")[110:, :20].mean() > 200
    blossoms = mean("cherry blossoms")[10:40].mean((0, 1))
    assert blossoms[0] > blossoms[1] + 15
    brick = mean("brick wall")[:, :20].mean((0, 1))
    assert brick[0] > brick[1] + 40


# -- several subjects, errors


def test_a_group_shows_each_face_at_its_place() -> None:
    for seed in range(6):
        group = [dataclasses.replace(scene, mask=False, scarf=None) for scene in random_group(seed, 2)]
        picture = draw_group(group, 256, 256).astype(np.float64)
        alone = draw(group[0], 256, 256).astype(np.float64)
        left, top, right, bottom = (round(min(max(s, 0), 1) * 256) for s in regions(group[1])["face"])
        assert np.abs(picture - alone)[top:bottom, left:right].mean() > 10


def test_a_drawing_without_extent_or_far_too_wide_is_refused() -> None:
    scene = random_scene(1)
    with pytest.raises(SettingError, match="empty"):
        draw(scene, 0, 64)
    with pytest.raises(SettingError, match="empty"):
        draw(scene, 64, 64, view=(0.5, 0, 0.5, 1))
    with pytest.raises(SettingError, match="as wide as high"):
        draw(scene, 640, 64)


def test_without_skia_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    brush_module.skia.cache_clear()
    monkeypatch.setitem(sys.modules, "skia", None)
    with pytest.raises(SettingError, match=r"hires\[train\]"):
        draw(random_scene(1), 64, 64)
    brush_module.skia.cache_clear()
