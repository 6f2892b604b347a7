"""Degradations: sizes, reproducibility, closed forms of the kernels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.errors import SettingError
from hires.pocket.degrade import KERNELS, bicubic_down, degrade, downscale


def noise(seed: int, height: int = 32, width: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_box_is_the_mean_of_its_pixels() -> None:
    picture = noise(0)
    means = picture.reshape(8, 4, 12, 4, 3).astype(np.float64).mean((1, 3))
    assert np.abs(downscale(picture, "box") - means).max() <= 1, "rounded once a direction"


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_keep_a_flat_color_and_a_ramp(kernel: str) -> None:
    flat = np.full((16, 16, 3), (10, 120, 250), np.uint8)
    assert (downscale(flat, kernel) == (10, 120, 250)).all()
    ramp = np.broadcast_to(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], (16, 64, 3))
    small = downscale(np.ascontiguousarray(ramp), kernel)[2, 3:-3, 0].astype(np.float64)
    assert np.abs(np.diff(small) - 16).max() <= 1, "a ramp stays a ramp away from the borders"


def test_bicubic_is_its_kernel_widened_by_the_scale() -> None:
    """Closed form: Keys' cubic with a = -0.5 over 16 pixels, normalised (here at one inner pixel)."""
    picture = noise(1, 64, 64)
    distance = np.abs((np.arange(64) + 0.5) - (8 + 0.5) * 4) / 4
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    weights /= weights.sum()
    expected = np.einsum("i,j,ijc->c", weights, weights, picture.astype(np.float64))
    assert np.abs(bicubic_down(picture)[8, 8] - np.clip(expected, 0, 255)).max() <= 1.01


@given(st.integers(0, 2**32), st.sampled_from([2, 4]))
@settings(max_examples=60, deadline=None)
def test_a_degraded_picture_is_small_reproducible_and_still_the_picture(seed: int, scale: int) -> None:
    columns = np.linspace(20, 230, 48)[None, :, None] + np.zeros((32, 1, 3))
    picture = columns.astype(np.uint8)
    small = degrade(picture, np.random.default_rng(seed), scale)
    assert small.shape == (32 // scale, 48 // scale, 3) and small.dtype == np.uint8
    assert (small == degrade(picture, np.random.default_rng(seed), scale)).all()
    assert np.abs(small.astype(np.float64) - bicubic_down(picture, scale)).mean() < 16


def test_seeds_give_different_degradations() -> None:
    picture = noise(2)
    assert len({degrade(picture, np.random.default_rng(seed)).tobytes() for seed in range(20)}) > 15


def test_a_size_that_does_not_divide_is_refused() -> None:
    with pytest.raises(SettingError, match="reduced by 4"):
        bicubic_down(noise(3, 30, 30))
