"""Measures of pictures against closed forms: sines of known frequency, shifts of colour, a known blur, equality."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from hires.imaging.cielab import cielab, linear_light
from hires.imaging.lab import from_rgb
from hires.imaging.measures import (
    MEASURES,
    colour_drift,
    content_kept,
    detail_added,
    fine_energy,
    measured,
    sharpness,
)

SIDE = 128
LANCZOS = Image.Resampling.LANCZOS


def picture(grey: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(grey).clip(0, 255).astype(np.uint8)).convert("RGB")


def sine(period: float, amplitude: float = 40.0, side: int = SIDE, middle: float = 128.0) -> np.ndarray:
    """Waves along x, (side, side)."""
    wave = middle + amplitude * np.sin(2 * math.pi * (np.arange(side) + 0.25) / period)
    return np.broadcast_to(wave, (side, side)).copy()


def painted(seed: int, side: int = 64) -> Image.Image:
    """Coloured blots with edges."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def test_an_equal_picture_has_zero_detail_and_drift_and_keeps_everything() -> None:
    same = painted(0)
    values = measured(same, same)
    assert values["detail"] == 0 and values["drift"] == 0
    assert values["content"] == pytest.approx(1, abs=1e-12)
    assert list(values) == ["detail", "content", "sharpness", "drift"]


def test_the_reference_enlarged_has_no_detail_and_keeps_everything() -> None:
    first = painted(1)
    enlarged = first.resize((128, 128), LANCZOS)
    assert detail_added(enlarged, first) == 0
    assert content_kept(enlarged, first) > 0.999
    assert colour_drift(enlarged, first) < 0.3


def test_blur_takes_detail_away() -> None:
    noise = picture(np.random.default_rng(2).uniform(0, 255, (64, 64)))
    enlarged = noise.resize((128, 128), LANCZOS)
    assert detail_added(enlarged.filter(ImageFilter.GaussianBlur(2)), noise) < -1


@pytest.mark.parametrize(("period", "share"), [(2.5, 1.0), (3.0, 1.0), (16.0, 0.0), (32.0, 0.0)])
def test_detail_is_the_energy_above_what_the_reference_holds(period: float, share: float) -> None:
    """At half the size a period of 4 pixels is the finest there is."""
    assert fine_energy(sine(period), SIDE // 2, SIDE // 2) == pytest.approx(share * 40**2 / 2, rel=0.12, abs=4)


@pytest.mark.parametrize("amplitude", [10.0, 40.0, 80.0])
def test_detail_added_is_the_root_mean_square_of_fine_waves_in_levels(amplitude: float) -> None:
    flat = picture(np.full((SIDE // 2, SIDE // 2), 128.0))
    assert detail_added(picture(sine(2.5, amplitude)), flat) == pytest.approx(amplitude / math.sqrt(2), rel=0.08)


def test_detail_of_small_enlargements_and_of_the_same_size_is_that_finer_than_half_the_size() -> None:
    flat = np.full((SIDE, SIDE), 128.0)
    fine = picture(sine(2.5))
    for side in (SIDE, SIDE * 2 // 3):
        assert detail_added(fine, picture(flat[:side, :side])) == pytest.approx(40 / math.sqrt(2), rel=0.08)


@pytest.mark.parametrize("period", [2.5, 4.0, 8.0, 16.0])
def test_sharpness_of_a_sine(period: float) -> None:
    w = 2 * math.pi / period
    expected = 2 * 40 / math.sqrt(2) * (1 - math.cos(w))
    # rounding to bytes is noise of variance 1/12 a pixel, alike along y: 3 pixels with the weights 1, 2, 1
    assert sharpness(picture(sine(period))) == pytest.approx(expected, rel=0.03, abs=0.8)


def test_sharpness_of_flat_and_steep_pictures() -> None:
    assert sharpness(picture(np.full((32, 32), 77.0))) == pytest.approx(0, abs=1e-9)
    ramp = np.broadcast_to(np.arange(32.0) * 4, (32, 32))
    assert sharpness(picture(ramp)) == pytest.approx(0, abs=1e-9)
    board = np.indices((32, 32)).sum(0) % 2 * 255.0
    assert sharpness(picture(board)) == pytest.approx(1020)
    assert math.isnan(sharpness(picture(np.zeros((2, 9)))))


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_a_known_blur_lowers_sharpness_by_its_factor(sigma: float) -> None:
    """A Gaussian of sigma s multiplies a sine of w radians a pixel by exp(-s² w² / 2)."""
    period = 10.0
    factor = math.exp(-(sigma**2) * (2 * math.pi / period) ** 2 / 2)
    sharp, soft = sharpness(picture(sine(period, 100))), sharpness(picture(sine(period, 100 * factor)))
    assert soft / sharp == pytest.approx(factor, rel=0.04)


def test_a_shift_of_grey_is_a_drift_of_its_lightness() -> None:
    """L = 116 f(Y) - 16, with the cube root for all but the darkest."""

    def lightness(level: int) -> float:
        return float(116 * np.cbrt(linear_light(np.array(level / 255))) - 16)

    dark, light = (picture(np.full((16, 16), float(level))) for level in (100, 150))
    assert colour_drift(light, dark) == pytest.approx(lightness(150) - lightness(100), abs=0.01)


def test_fading_is_a_drift_though_the_mean_stays() -> None:
    strong = np.where(np.arange(32) % 16 < 8, 40.0, 200.0)
    first = picture(np.broadcast_to(strong, (32, 32)))
    lab = cielab(np.asarray(first)).reshape(-1, 3)
    flat = Image.new("RGB", (32, 32), tuple(np.asarray(first).reshape(-1, 3).mean(0).astype(int)))
    means = lab.mean(0) - cielab(np.asarray(flat)).reshape(-1, 3).mean(0)
    assert colour_drift(flat, first) == pytest.approx(float(np.hypot(np.linalg.norm(means), lab.std(0)[0])), abs=0.05)


def test_cielab_of_the_corners_of_srgb() -> None:
    """The numbers that every table of CIELAB for sRGB and D65 gives."""
    corners = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86]]
    assert np.abs(cielab(corners) - expected).max() < 0.05
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), axis=-1).reshape(-1, 3).astype(np.uint8)
    in_bytes = from_rgb(grid) * np.array([100 / 255, 1, 1]) - np.array([0, 128, 128])
    away = np.abs(cielab(grid) - in_bytes)
    assert away.mean() < 0.4 and away.max() < 2.5  # the bytes' own rounding


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_measures_are_symmetric_where_they_should_be(a: int, b: int) -> None:
    first, second = painted(a, 24), painted(b, 24)
    assert colour_drift(first, second) == pytest.approx(colour_drift(second, first))
    assert content_kept(first, second) == pytest.approx(content_kept(second, first))
    assert -1 <= content_kept(first, second) <= 1


def test_another_aspect_ratio_is_compared_with_the_middle() -> None:
    first = painted(3, 64)
    cut = first.crop((0, 16, 64, 48)).resize((256, 128), LANCZOS)
    assert content_kept(cut, first) > 0.999
    assert abs(detail_added(cut, first)) < 1e-9
    assert content_kept(first.crop((0, 0, 64, 32)).resize((256, 128), LANCZOS), first) < 0.9


def test_a_larger_reference_is_reduced() -> None:
    small = painted(4, 40)
    assert content_kept(small, small.resize((160, 160), LANCZOS)) > 0.999


def test_what_cannot_be_measured_is_left_out() -> None:
    tiny = painted(5, 8)
    assert set(measured(tiny, tiny)) == {"detail", "sharpness", "drift"}
    assert set(measured(painted(5))) == {"sharpness"}
    assert "seams" not in measured(tiny, seams=math.inf)
    assert measured(tiny, tiny, seams=1.02)["seams"] == 1.02
    assert set(measured(painted(5), painted(6), 1.0)) == set(MEASURES)
