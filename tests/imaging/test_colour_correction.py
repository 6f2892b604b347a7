"""Colour correction against the bytes of OpenCV, scikit-image and blendmodes, and by its invariants."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hires.imaging import lab
from hires.imaging.colour_correction import corrected, match_histograms, with_luminance_of

RGB = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [30, 35, 100], [33, 60, 5]]
RGB += [[128, 128, 128], [200, 30, 90], [1, 2, 3], [17, 230, 77]]
AS_LAB = [[0, 128, 128], [255, 128, 128], [136, 208, 195], [224, 42, 211], [82, 207, 20], [45, 149, 89], [57, 107, 156]]
AS_LAB += [[137, 128, 128], [113, 194, 139], [1, 128, 127], [205, 53, 187]]
TAKEN_AS_LAB = [[0, 64, 194], [255, 70, 0], [0, 255, 255], [0, 0, 195], [0, 45, 0], [0, 55, 69], [0, 70, 223]]
TAKEN_AS_LAB += [[119, 119, 119], [0, 236, 255], [0, 64, 190], [103, 0, 92]]


def pictures() -> tuple[np.ndarray, np.ndarray]:
    picture = (np.arange(36).reshape(3, 4, 3) * 37 % 256).astype(np.uint8)
    return picture, (np.arange(54).reshape(3, 6, 3) * 53 % 200 + 30).astype(np.uint8)


def test_lab_is_opencvs() -> None:
    pixels = np.array(RGB, np.uint8)
    assert lab.from_rgb(pixels).tolist() == AS_LAB
    assert lab.to_rgb(pixels).tolist() == TAKEN_AS_LAB


def test_lab_and_back_is_near() -> None:
    """Bytes of Lab are coarse; greys come back to the level, colours within a few."""
    grey = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    assert np.abs(lab.to_rgb(lab.from_rgb(grey)).astype(int) - grey).max() <= 1
    pixels = np.random.default_rng(0).integers(0, 256, (5000, 3)).astype(np.uint8)
    assert np.abs(lab.to_rgb(lab.from_rgb(pixels)).astype(int) - pixels).mean() < 2


def test_histograms_are_scikit_images() -> None:
    picture, reference = pictures()
    matched = match_histograms(lab.from_rgb(picture), lab.from_rgb(reference))
    assert matched.tolist() == [
        [[95, 188, 93], [159, 127, 132], [128, 188, 191], [128, 127, 104]],
        [[189, 90, 191], [112, 130, 94], [182, 90, 134], [106, 187, 93]],
        [[171, 127, 132], [137, 189, 149], [147, 127, 104], [215, 90, 192]],
    ]


def test_the_whole_is_the_webuis() -> None:
    picture, reference = pictures()
    made = np.asarray(corrected(Image.fromarray(picture), Image.fromarray(reference)))
    assert made.tolist() == [
        [[74, 0, 70], [143, 142, 135], [159, 43, 0], [80, 112, 150]],
        [[169, 221, 76], [35, 80, 134], [113, 219, 189], [96, 0, 92]],
        [[152, 150, 143], [187, 33, 57], [89, 121, 160], [178, 230, 83]],
    ]


@settings(max_examples=30)
@given(st.integers(0, 999))
def test_matching_to_itself_changes_nothing_and_keeps_the_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    values, reference = (random.integers(0, 256, (9, 8, 2)).astype(np.uint8) for _ in range(2))
    assert np.array_equal(match_histograms(values, values), values)
    matched = match_histograms(values, reference)
    for channel in range(2):
        order = np.argsort(values[..., channel].ravel(), kind="stable")
        assert (np.diff(matched[..., channel].ravel()[order].astype(int)) >= 0).all()
        assert reference[..., channel].min() <= matched[..., channel].min()
        assert matched[..., channel].max() == reference[..., channel].max()


@settings(max_examples=30)
@given(st.integers(0, 999))
def test_the_luminance_is_the_uncorrected_results(seed: int) -> None:
    random = np.random.default_rng(seed)
    colours, light = (random.integers(0, 256, (6, 7, 3)).astype(np.uint8) for _ in range(2))
    made = with_luminance_of(colours, light)
    luma = np.array([0.299, 0.587, 0.114])
    # a channel that leaves 0..1 on both sides cannot be drawn in by both without a loss
    assert np.abs(made @ luma - light @ luma).max() < 3


def test_greys_and_extremes_have_no_hole() -> None:
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert np.array_equal(with_luminance_of(white, black), black)
    assert np.array_equal(with_luminance_of(black, white), white)


def test_another_size_lends_its_colours() -> None:
    grey = Image.fromarray(np.arange(0, 256, 4, np.uint8).repeat(4).reshape(16, 16)).convert("RGB")
    made = np.asarray(corrected(grey, Image.new("RGB", (5, 9), (200, 100, 40)))).astype(int)
    assert (made[4:12, :, 0] > made[4:12, :, 2]).all()  # the reference's hue
    assert np.abs(made.mean(axis=(1, 2))[[0, 15]] - (6, 249)).max() < 6  # its own light and dark
