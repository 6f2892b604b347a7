"""Preprocessors for ControlNets: what each makes of pictures whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import SettingError
from hires.imaging.preprocessors import (
    PREPROCESSORS,
    RESOLUTION,
    Pixels,
    check_preprocessor,
    preprocessed,
    resolution_for,
)


def flat(color: tuple[int, int, int], height: int = 40, width: int = 64) -> Pixels:
    return np.full((height, width, 3), color, dtype=np.uint8)


def step(low: int, high: int, height: int = 64, width: int = 64) -> Pixels:
    """Dark on the left half, bright on the right."""
    picture = flat((low, low, low), height, width)
    picture[:, width // 2 :] = high
    return picture


@pytest.mark.parametrize("name", list(PREPROCESSORS))
def test_every_one_gives_a_picture_of_its_size(name: str) -> None:
    made = preprocessed(step(30, 220, 60, 90), name, 120)
    assert made.dtype == np.uint8
    assert made.shape == ((120, 180, 3) if PREPROCESSORS[name].sized else (60, 90, 3))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(64, 200))
def test_the_resolution_is_the_shorter_side(height: int, width: int, resolution: int) -> None:
    if max(height, width) > 20 * min(height, width):
        return
    made = preprocessed(flat((9, 99, 200), height, width), "threshold", resolution)
    assert min(made.shape[:2]) == resolution
    assert max(made.shape[:2]) == round(max(height, width) * resolution / min(height, width))
    assert not made.any(), "the darkest channel is 9, below 127"


def test_invert_and_threshold() -> None:
    assert (preprocessed(flat((0, 100, 255)), "invert") == (255, 155, 0)).all()
    picture = step(100, 130)
    assert preprocessed(picture, "threshold", 64)[0, :, 0].tolist() == [0] * 32 + [255] * 32
    assert preprocessed(picture, "threshold", 64, 130).max() == 0, "brighter than the level, not as bright"
    assert preprocessed(picture, "threshold", 64, 99).min() == 255


def test_canny_draws_one_line_along_a_step_that_is_steep_enough() -> None:
    # Sobel's gradient of a step is 4 times its height at the two columns beside it, one of which is kept
    for height, low, high, lines in ((60, 100, 200, 1), (40, 100, 200, 0), (40, 100, 150, 1)):
        edges = preprocessed(step(50, 50 + height), "canny", 64, low, high)
        columns = np.flatnonzero(edges[20, :, 0])
        assert len(columns) == lines and all(column in (31, 32) for column in columns)
        assert set(np.unique(edges)) <= {0, 255}
    weak = preprocessed(step(50, 90), "canny", 64)
    assert not weak.any(), "160 of a threshold of 200"


def test_lines_are_drawn_where_the_picture_has_them() -> None:
    picture = flat((255, 255, 255), 128, 128)
    picture[:, 62:66] = 0
    for name in ("scribble_xdog", "lineart_standard"):
        made = preprocessed(picture, name, 128)
        assert made[64, 63, 0] > 100 and made[64, 20, 0] == 0
    assert preprocessed(picture, "scribble_xdog", 128, 64).sum() < preprocessed(picture, "scribble_xdog", 128, 1).sum()
    assert preprocessed(flat((80, 80, 80)), "lineart_standard", 64).max() == 0


def test_blurs_and_smaller_pictures() -> None:
    assert (preprocessed(flat((10, 90, 200)), "blur_gaussian", 64, 20.0) == (10, 90, 200)).all()
    line = np.zeros((65, 65, 3), np.uint8)
    line[:, 32] = 255
    made = preprocessed(line, "blur_gaussian", 65, 4.0)[32, :, 0].astype(float)
    ideal = 255 / (4 * np.sqrt(2 * np.pi)) * np.exp(-((np.arange(65) - 32) ** 2) / 32)
    assert np.abs(made - ideal).max() < 1.5
    assert preprocessed(line, "tile_resample", first=1.0).shape == (65, 65, 3)
    fine = np.tile(np.array([0, 200], np.uint8)[None, :, None], (64, 32, 3))
    half = preprocessed(fine, "tile_resample", first=2.0)
    assert half.shape == (32, 32, 3) and (half == 100).all()


def test_recolouring_takes_the_colour_out() -> None:
    for grey in (0, 77, 255):
        assert np.abs(preprocessed(flat((grey,) * 3), "recolor_intensity").astype(int) - grey).max() <= 1
    made = preprocessed(flat((40, 120, 60)), "recolor_intensity", first=2.0)
    assert (made == int((120 / 255) ** 2 * 255)).all()
    # L* of sRGB red taken for blue: 32.3 of 100
    assert preprocessed(flat((255, 0, 0)), "recolor_luminance")[0, 0].tolist() == pytest.approx([82] * 3, abs=1)
    assert preprocessed(flat((0, 0, 255)), "recolor_luminance")[0, 0].tolist() == pytest.approx([136] * 3, abs=1)


def test_what_is_not_there_is_said_in_a_line() -> None:
    for name in ("openpose", "depth_midas", "inpaint_only+lama"):
        with pytest.raises(SettingError, match=f"no preprocessor '{name.split('+')[0]}") as caught:
            check_preprocessor(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(SettingError, match=r"XDoG Threshold .* from 1 to 64, not 99"):
        preprocessed(flat((1, 2, 3)), "scribble_xdog", first=99)
    with pytest.raises(SettingError, match="resolution must be from 64 to 2048"):
        preprocessed(flat((1, 2, 3)), "canny", 5000)
    assert check_preprocessor("Invert (from white bg & black line)").name == "invert"
    assert check_preprocessor("inpaint").name == "inpaint_global_harmonious"


def test_a_pixel_for_each_of_the_frame() -> None:
    assert RESOLUTION == 512
    # 1000x500 into 512x768: it covers at 1.536, is laid in at 0.512
    assert resolution_for((1000, 500), (512, 768), fill=False) == 768
    assert resolution_for((1000, 500), (512, 768), fill=True) == 256
