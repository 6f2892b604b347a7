"""Room for outpainting, its masks, and noise with the texture of a picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hires.errors import SettingError
from hires.imaging.fills import filled
from hires.imaging.outpainting import (
    DIRECTIONS,
    Direction,
    Room,
    extended,
    extended_with_noise,
    matched_noise,
    room,
)


def test_room_is_rounded_up_to_the_multiple() -> None:
    assert room((512, 512), 128, DIRECTIONS) == Room(128, 128, 128, 128)
    assert room((500, 300), 128, DIRECTIONS) == Room(134, 134, 138, 138)
    assert room((500, 300), 128, ["right", "up"]) == Room(right=140, up=148)
    assert room((500, 300), 100, ["left"], multiple=8) == Room(left=100)


@settings(max_examples=60)
@given(
    st.integers(8, 300),
    st.integers(8, 300),
    st.integers(1, 256),
    st.sets(st.sampled_from(DIRECTIONS), min_size=1),
    st.sampled_from([8, 64]),
)
def test_only_the_chosen_sides_grow(
    width: int, height: int, pixels: int, directions: set[Direction], multiple: int
) -> None:
    made = room((width, height), pixels, directions, multiple)
    sides = {"left": made.left, "right": made.right, "up": made.up, "down": made.down}
    assert all((side >= pixels) == (name in directions) for name, side in sides.items())
    assert all(sides[name] == 0 for name in sides if name not in directions)
    whole = made.size((width, height))
    for axis, length in enumerate((width, height)):
        chosen = directions & set(DIRECTIONS[axis * 2 : axis * 2 + 2])
        if chosen:
            assert whole[axis] % multiple == 0 and whole[axis] - length - len(chosen) * pixels < multiple
        else:
            assert whole[axis] == length


def test_faults_are_said() -> None:
    with pytest.raises(SettingError, match=r"needs a direction\. Use one or more of left, right, up, down"):
        room((64, 64), 8, [])
    with pytest.raises(SettingError, match="no direction 'top'"):
        room((64, 64), 8, ["top"])  # type: ignore[list-item]
    with pytest.raises(SettingError, match="1 pixel or more, not 0"):
        room((64, 64), 0, DIRECTIONS)


def test_the_picture_lies_on_black_with_the_masks_inside() -> None:
    picture = Image.new("RGB", (40, 32), (9, 99, 199))
    made = extended(picture, Room(left=16, down=8), blur=3)
    assert made.canvas.size == made.mask.size == made.latent_mask.size == (56, 40) and made.blur == 6
    assert np.array_equal(np.asarray(made.canvas.crop((16, 0, 56, 32))), np.asarray(picture))
    assert not np.asarray(made.canvas)[:, :16].any() and not np.asarray(made.canvas)[32:].any()
    for mask, reach in ((made.mask, 6), (made.latent_mask, 1)):
        expected = np.full((40, 56), 255, np.uint8)
        expected[: 32 - reach, 16 + reach :] = 0
        assert np.array_equal(np.asarray(mask), expected)


def test_the_latents_mask_lets_no_black_into_the_fill() -> None:
    made = extended(Image.new("RGB", (40, 40), (180, 120, 60)), Room(24, 24, 24, 24), blur=4)
    assert np.abs(np.asarray(filled(made.canvas, made.latent_mask)).astype(int) - (180, 120, 60)).max() <= 1


def test_the_webui_keeps_one_line_more() -> None:
    picture, around = Image.new("RGB", (40, 32)), Room(8, 8, 8, 8)
    exact, webui = (np.asarray(extended(picture, around, 0, rule).mask) == 0 for rule in ("exact", "webui"))
    assert exact.sum() == 40 * 32 and webui.sum() == 41 * 33 and not webui[:8].any() and webui[40, 48]


def test_a_reach_beyond_the_picture_masks_all_of_it() -> None:
    made = extended(Image.new("RGB", (20, 20)), Room(8, 8, 8, 8), blur=32)
    assert np.asarray(made.mask).min() == 255


def stripes(height: int, width: int) -> np.ndarray:
    """Upright stripes of period 8, dark red and bright yellow."""
    wave = (np.sin(np.arange(width) * 2 * np.pi / 8) + 1) / 2
    return (np.array([0.3, 0.1, 0.1]) + wave[None, :, None] * [0.6, 0.7, 0.1]) * np.ones((height, 1, 1))


def test_noise_has_the_colours_and_the_direction_of_the_picture() -> None:
    pixels, mask = np.zeros((64, 96, 3)), np.ones((64, 96))
    pixels[:, :64], mask[:, :64] = stripes(64, 64), 0
    made = matched_noise(pixels, mask)
    assert np.array_equal(made[:, :64], pixels[:, :64])
    new = made[:, 64:]
    assert np.abs(new.mean(axis=(0, 1)) - pixels[:, :64].mean(axis=(0, 1))).max() < 0.02
    assert (
        np.abs(np.quantile(new, (0.1, 0.9), axis=(0, 1)) - np.quantile(stripes(64, 64), (0.1, 0.9), axis=(0, 1))).max()
        < 0.1
    )
    across, down = np.abs(np.diff(new, axis=1)).mean(), np.abs(np.diff(new, axis=0)).mean()
    assert across > 2 * down


def test_noise_follows_the_seed() -> None:
    pixels, mask = np.zeros((16, 24, 3)), np.ones((16, 24))
    pixels[:, :16], mask[:, :16] = stripes(16, 16), 0
    first, same, other = (matched_noise(pixels, mask, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, same) and not np.array_equal(first, other)
    assert np.array_equal(matched_noise(pixels, np.zeros((16, 24))), pixels)


def test_outpainting_with_noise_keeps_the_picture() -> None:
    picture = Image.fromarray((stripes(32, 40) * 255).astype(np.uint8))
    made = extended_with_noise(picture, Room(right=24), blur=4)
    assert made.canvas.size == (64, 32) and made.blur == 16
    assert np.array_equal(np.asarray(made.canvas.crop((0, 0, 36, 32))), np.asarray(picture.crop((0, 0, 36, 32))))
    assert np.asarray(made.canvas)[:, 40:].std() > 10
    black = [int((np.asarray(mask)[0] == 0).sum()) for mask in (made.mask, made.latent_mask)]
    assert black == [36, 32]
