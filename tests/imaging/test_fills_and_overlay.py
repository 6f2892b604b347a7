"""What stands under a mask before, and what is laid over the picture after: outside the mask nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.imaging.drawn_masks import masks

from hires.imaging.fills import blurred as blur_of_fill
from hires.imaging.fills import filled
from hires.imaging.inpaint_masks import blurred, cropped, only_masked, whole_picture
from hires.imaging.overlay import mask_picture, masked_composite, paste_back, paste_box
from hires.imaging.targets import SizeRule

RULES: tuple[SizeRule, SizeRule] = ("exact", "webui")


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3))
    return Image.fromarray(pixels.astype(np.uint8))


# ---- fill -----------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(masks(48), st.integers(0, 3), st.integers(0, 99), st.sampled_from(RULES))
def test_the_fill_keeps_what_is_outside_the_mask(mask: Image.Image, sigma: int, seed: int, rule: SizeRule) -> None:
    mask = blurred(mask, sigma)
    picture = noise(mask.size, seed)
    made = np.asarray(filled(picture, mask, rule))
    outside = np.asarray(mask) == 0
    assert np.array_equal(made[outside], np.asarray(picture)[outside])


@pytest.mark.parametrize(("rule", "within"), [("exact", 0), ("webui", 8)])
def test_a_hole_in_one_colour_is_filled_with_it(rule: SizeRule, within: int) -> None:
    picture, mask = Image.new("RGB", (64, 64), (200, 40, 90)), Image.new("L", (64, 64))
    picture.paste((0, 255, 0), (20, 20, 40, 40))
    mask.paste(255, (20, 20, 40, 40))
    made = np.asarray(filled(picture, mask, rule)).astype(int)
    assert np.abs(made - (200, 40, 90)).max() <= within  # nothing of the green


@pytest.mark.parametrize("rule", RULES)
def test_the_nearest_side_decides_and_the_change_is_gradual(rule: SizeRule) -> None:
    picture, mask = Image.new("RGB", (64, 64), (255, 0, 0)), Image.new("L", (64, 64))
    picture.paste((0, 0, 255), (32, 0, 64, 64))
    mask.paste(255, (16, 0, 48, 64))
    made = np.asarray(filled(picture, mask, rule)).astype(int)
    blue = made[32, :, 2]
    assert blue[17] < 40 and blue[46] > 215 and np.abs(np.diff(blue)).max() < 60


def test_both_ways_agree_where_weights_are_large() -> None:
    ramp = np.linspace(20, 230, 48)[:, None, None] * np.ones((48, 48, 3))
    picture, mask = Image.fromarray(ramp.astype(np.uint8)), Image.new("L", (48, 48))
    mask.paste(255, (20, 20, 28, 28))
    exact, webui = (np.asarray(filled(picture, mask, rule)).astype(int) for rule in RULES)
    assert np.abs(exact - webui).max() <= 5


def test_all_masked_is_black_and_what_is_far_gets_the_mean() -> None:
    assert not np.asarray(filled(noise((16, 16)), Image.new("L", (16, 16), 255))).any()
    picture, mask = Image.new("RGB", (1600, 2), (60, 70, 80)), Image.new("L", (1600, 2), 255)
    mask.paste(0, (0, 0, 8, 2))
    made = np.asarray(filled(picture, mask))
    assert (made == (60, 70, 80)).all()
    assert not np.asarray(filled(picture, mask, "webui"))[:, 1500:].any()


@pytest.mark.parametrize("radius", [2, 4, 16, 64])
def test_the_blur_is_a_gaussian_of_that_deviation(radius: int) -> None:
    point = np.zeros((1, 1, 8 * radius + 1), np.float32)
    point[0, 0, 4 * radius] = 1
    made = blur_of_fill(point, radius)[0, 0]
    places = np.arange(-4 * radius, 4 * radius + 1)
    assert made.sum() == pytest.approx(1, abs=1e-4)
    assert np.sqrt((made * places**2).sum()) == pytest.approx(radius, rel=2e-3)
    gaussian = np.exp(-(places**2) / (2 * radius**2)) / (radius * np.sqrt(2 * np.pi))
    assert np.abs(made - gaussian).max() < 0.07 * gaussian.max()  # of three boxes


# ---- paste-back -----------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(masks(), st.integers(0, 6), st.integers(0, 20), st.integers(8, 64), st.integers(8, 64), st.integers(0, 99))
def test_only_masked_leaves_every_pixel_outside(
    mask: Image.Image, sigma: int, padding: int, wide: int, tall: int, seed: int
) -> None:
    soft, source = blurred(mask, sigma), noise(mask.size, seed)
    made = only_masked(soft, mask.size, (wide, tall), padding)
    if made is None:
        return
    back = paste_back(noise((wide, tall), seed + 1), source, made.overlay, made.box)
    outside = np.asarray(soft) == 0
    assert back.size == source.size and np.array_equal(np.asarray(back)[outside], np.asarray(source)[outside])


@settings(max_examples=40)
@given(masks(), st.integers(0, 6), st.integers(0, 99))
def test_the_whole_picture_leaves_every_pixel_outside(mask: Image.Image, sigma: int, seed: int) -> None:
    source, result = noise(mask.size, seed), noise(mask.size, seed + 1)
    made = whole_picture(blurred(mask, sigma), mask.size, "Just resize")
    back, overlay = np.asarray(paste_back(result, source, made.overlay)), np.asarray(made.overlay)
    assert np.array_equal(back[overlay == 0], np.asarray(source)[overlay == 0])
    assert np.array_equal(back[overlay == 255], np.asarray(result)[overlay == 255])
    share = overlay[..., None] / 255
    mixed = np.asarray(result) * share + np.asarray(source) * (1 - share)
    assert np.abs(back - mixed).max() <= 1


def test_drawing_the_crop_itself_gives_the_picture_back() -> None:
    source, mask = noise((80, 60)), Image.new("L", (80, 60))
    mask.paste(255, (30, 20, 50, 40))
    made = only_masked(blurred(mask, 2), source.size, (40, 40), padding=10)
    assert made is not None and made.box is not None
    size = (made.box[2] - made.box[0], made.box[3] - made.box[1])
    back = paste_back(cropped(source, made.box, size), source, made.overlay, made.box)
    assert np.abs(np.asarray(back).astype(int) - np.asarray(source)).max() <= 1


def test_without_the_overlay_the_box_replaces_the_picture() -> None:
    source, result = noise((40, 30)), Image.new("RGB", (16, 16), (1, 2, 3))
    box = (4, 6, 12, 14)
    back = np.asarray(paste_box(result, source, box))
    assert (back[6:14, 4:12] == (1, 2, 3)).all()
    outside = np.ones((30, 40), bool)
    outside[6:14, 4:12] = False
    assert np.array_equal(back[outside], np.asarray(source)[outside])
    assert paste_box(result, source, box, "webui").size == (16, 16)


def test_the_composite_is_as_transparent_as_the_mask() -> None:
    overlay = Image.new("L", (40, 30))
    overlay.paste(255, (4, 6, 12, 14))
    overlay.putpixel((4, 6), 100)
    made = np.asarray(masked_composite(Image.new("RGB", (16, 16), (10, 200, 30)), overlay, (4, 6, 12, 14)))
    assert np.array_equal(made[..., 3], np.asarray(overlay))
    assert made[10, 8].tolist() == [10, 200, 30, 255] and made[0, 0].tolist() == [0, 0, 0, 0]
    assert np.abs(made[6, 4, :3].astype(int) - (10, 200, 30)).max() <= 2
    grey = mask_picture(overlay)
    assert grey.mode == "RGB" and grey.getpixel((4, 6)) == (100, 100, 100)
