"""The four resize modes: sizes, places and what fills the room that is left, by closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hires.errors import SettingError
from hires.imaging.resize_modes import (
    RESIZE_MODES,
    ResizeMode,
    centred,
    covering_size,
    fitting_size,
    resize_mode,
    resized,
    resizes_latent,
)
from hires.imaging.targets import SizeRule

SIDE = st.integers(1, 70)
SIZE = st.tuples(SIDE, SIDE)


def rows_of(levels: list[int], width: int = 4, mode: str = "RGB") -> Image.Image:
    """A picture whose rows have one grey each."""
    column = np.array(levels, np.uint8)[:, None].repeat(width, axis=1)
    return Image.fromarray(column).convert(mode)


@settings(max_examples=60)
@given(SIZE, SIZE, st.sampled_from(RESIZE_MODES[:3]), st.sampled_from(["L", "RGB", "RGBA"]), st.booleans())
def test_every_mode_gives_the_size_and_kind(
    size: tuple[int, int], frame: tuple[int, int], mode: ResizeMode, kind: str, webui: bool
) -> None:
    made = resized(Image.new(kind, size, 80), frame, mode, rule="webui" if webui else "exact")
    assert made.size == frame and made.mode == ("L" if kind == "L" else "RGB")


@settings(max_examples=60)
@given(SIZE, SIZE, st.sampled_from(RESIZE_MODES[:3]))
def test_one_colour_stays_everywhere(size: tuple[int, int], frame: tuple[int, int], mode: ResizeMode) -> None:
    made = np.asarray(resized(Image.new("RGB", size, (9, 120, 250)), frame, mode))
    assert (made == (9, 120, 250)).all()


@given(SIZE, SIZE)
def test_scaled_sizes_cover_or_fit(size: tuple[int, int], frame: tuple[int, int]) -> None:
    covering, fitting = covering_size(size, frame), fitting_size(size, frame)
    assert (
        covering[0] >= frame[0]
        and covering[1] >= frame[1]
        and any(a == b for a, b in zip(covering, frame, strict=True))
    )
    assert (
        fitting[0] <= frame[0] and fitting[1] <= frame[1] and any(a == b for a, b in zip(fitting, frame, strict=True))
    )


@pytest.mark.parametrize(
    ("size", "frame", "covering", "fitting"),
    [
        ((1024, 768), (512, 512), (682, 512), (512, 384)),
        ((768, 1024), (512, 512), (512, 682), (384, 512)),
        ((500, 300), (512, 768), (1280, 768), (512, 307)),
        ((512, 512), (512, 512), (512, 512), (512, 512)),
    ],
)
def test_scaled_sizes_are_truncated(
    size: tuple[int, int], frame: tuple[int, int], covering: tuple[int, int], fitting: tuple[int, int]
) -> None:
    assert covering_size(size, frame) == covering and fitting_size(size, frame) == fitting


def test_cropping_keeps_the_middle() -> None:
    assert centred(63, 100) == -19 and centred(64, 47) == 9
    made = resized(rows_of(list(range(0, 200, 20)), width=4), (4, 4), "Crop and resize")
    assert np.asarray(made)[:, 0, 0].tolist() == [60, 80, 100, 120]


def test_just_resize_is_lanczos() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3)).astype(np.uint8))
    expected = picture.resize((20, 7), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(resized(picture, (20, 7))), np.asarray(expected))


def test_filling_draws_the_outermost_lines_out() -> None:
    picture = rows_of([100, 50, 30, 200])
    made = np.asarray(resized(picture, (4, 9), "Resize and fill"))[:, 0, 0]
    assert made.tolist() == [100, 100, 100, 50, 30, 200, 200, 200, 200]
    upright = np.asarray(resized(picture.transpose(Image.Transpose.ROTATE_90), (9, 4), "Resize and fill"))[0, :, 0]
    assert upright.tolist() == [100, 100, 100, 50, 30, 200, 200, 200, 200]


def test_the_webuis_bands_overshoot_and_leave_an_odd_line_black() -> None:
    picture = rows_of([100, 50, 30, 200])
    made = np.asarray(resized(picture, (4, 9), "Resize and fill", rule="webui"))[:, 0, 0]
    outer = [round(100 * 9 / 8 - 50 / 8), round(200 * 9 / 8 - 30 / 8)]  # 106, 221
    assert made.tolist() == [outer[0]] * 2 + [100, 50, 30, 200] + [outer[1]] * 2 + [0]
    even = np.asarray(resized(picture, (4, 8), "Resize and fill", rule="webui"))[:, 0, 0]
    assert even.tolist() == [outer[0]] * 2 + [100, 50, 30, 200] + [outer[1]] * 2


@pytest.mark.parametrize("rule", ["exact", "webui"])
def test_a_mask_is_filled_as_the_picture_is(rule: SizeRule) -> None:
    levels = [0, 255, 255, 0, 128]
    grey, colour = (resized(rows_of(levels, 5, mode), (5, 12), "Resize and fill", rule=rule) for mode in ("L", "RGB"))
    assert np.array_equal(np.asarray(grey), np.asarray(colour)[..., 0])


def test_an_upscaler_is_asked_for_the_larger_factor_of_pictures_that_grow() -> None:
    asked: list[float] = []

    def enlarge(picture: Image.Image, factor: float) -> Image.Image:
        asked.append(factor)
        return Image.new("RGB", (picture.width * 4, picture.height * 4), (7, 7, 7))

    made = resized(Image.new("RGB", (10, 20)), (30, 40), "Just resize", enlarge)
    assert asked == [3.0] and made.size == (30, 40) and np.asarray(made).min() == 7
    resized(Image.new("RGB", (10, 20)), (30, 40), "Crop and resize", enlarge)
    resized(Image.new("RGB", (10, 20)), (30, 40), "Resize and fill", enlarge)
    assert asked == [3.0, 3.0, 2.0]
    resized(Image.new("RGB", (10, 20)), (10, 20), "Just resize", enlarge)
    resized(Image.new("RGB", (10, 20)), (5, 5), "Just resize", enlarge)
    resized(Image.new("L", (10, 20)), (30, 40), "Just resize", enlarge)
    assert len(asked) == 3  # not where nothing grows, and never for masks


def test_the_latent_mode_leaves_the_pixels() -> None:
    picture = Image.new("RGB", (10, 20))
    assert resizes_latent(resize_mode(3)) and not any(resizes_latent(resize_mode(number)) for number in range(3))
    assert resized(picture, (30, 40), resize_mode(3)).size == (10, 20)


def test_modes_and_sizes_that_do_not_exist_are_refused() -> None:
    with pytest.raises(SettingError, match=r"there is no resize mode 4\. Use 0 Just resize, 1 Crop and resize"):
        resize_mode(4)
    with pytest.raises(SettingError, match="cannot be resized to 0x8"):
        resized(Image.new("RGB", (4, 4)), (0, 8))
