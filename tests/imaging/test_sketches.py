"""Inpaint sketch, and pictures made upright and opaque."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hires.errors import SettingError
from hires.imaging.flatten import flattened, has_transparency
from hires.imaging.inpaint_masks import latent_mask
from hires.imaging.sketches import sketch, sketch_mask


def painted() -> tuple[Image.Image, Image.Image]:
    """A grey picture, and the same with a red square."""
    original = Image.new("RGB", (96, 64), (100, 100, 100))
    sketched = original.copy()
    sketched.paste((200, 0, 0), (32, 16, 64, 48))
    return sketched, original


def test_the_mask_is_where_any_channel_differs() -> None:
    sketched, original = painted()
    sketched.putpixel((0, 0), (100, 101, 100))
    mask = np.asarray(sketch_mask(sketched, original))
    expected = np.zeros((64, 96), np.uint8)
    expected[16:48, 32:64] = expected[0, 0] = 255
    assert np.array_equal(mask, expected)


def test_transparency_acts_on_the_colours_alone() -> None:
    sketched, original = painted()
    plain, mask = sketch(sketched, original)
    assert np.array_equal(np.asarray(plain), np.asarray(sketched))
    for transparency, expected in ((50, (150, 50, 50)), (100, (100, 100, 100))):
        faint, same = sketch(sketched, original, transparency)
        assert np.abs(np.asarray(faint)[32, 48].astype(int) - expected).max() <= 1
        assert np.array_equal(np.asarray(same), np.asarray(mask)) and tuple(np.asarray(faint)[0, 0]) == (100, 100, 100)


def test_in_the_webui_more_than_half_transparency_repaints_nothing() -> None:
    sketched, original = painted()
    made, mask = sketch(sketched, original, 60, blur=2, rule="webui")
    assert np.asarray(mask).max() == 102 and latent_mask(mask).max() == 0
    assert latent_mask(sketch(sketched, original, 40, rule="webui")[1]).max() == 1
    assert 100 < int(np.asarray(made)[32, 31, 0]) < 150  # the stroke bleeds over its edge


def test_faults_are_said() -> None:
    sketched, original = painted()
    with pytest.raises(SettingError, match="the sketch has 96x64 pixels, the picture 90x64"):
        sketch_mask(sketched, original.resize((90, 64)))
    with pytest.raises(SettingError, match="from 0 to 100, not 101"):
        sketch(sketched, original, 101)


def test_transparency_is_laid_on_a_colour() -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8)
    picture = Image.fromarray(pixels, "RGBA")
    assert np.asarray(flattened(picture)).tolist() == [[[10, 20, 30], [255] * 3, [127] * 3]]
    assert np.asarray(flattened(picture, "#ff0080"))[0, 1].tolist() == [255, 0, 128]
    assert flattened(Image.new("L", (2, 2), 9)).getpixel((0, 0)) == (9, 9, 9)
    with pytest.raises(SettingError, match="there is no colour 'blurple'"):
        flattened(picture, "blurple")


def test_a_palettes_transparent_colour_counts() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([1, 2, 3, 4, 5, 6])
    picture.putpixel((1, 0), 1)
    picture.info["transparency"] = 0
    assert has_transparency(picture)
    assert np.asarray(flattened(picture)).tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_pictures_are_turned_upright() -> None:
    picture = Image.new("RGB", (4, 2))
    picture.putpixel((0, 0), (255, 0, 0))
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was turned: the first row is the right side
    turned = flattened(picture)
    assert turned.size == (2, 4) and turned.getpixel((1, 0)) == (255, 0, 0)
