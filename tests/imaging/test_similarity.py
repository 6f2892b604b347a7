"""PSNR and SSIM against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from hires.imaging.similarity import luma, psnr, ssim


def random_picture(seed: int, side: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((8, 8, 3), np.uint8)
    assert psnr(black, black) == float("inf")
    assert psnr(black, black + np.uint8(255)) == pytest.approx(0)
    assert psnr(black, black + np.uint8(1)) == pytest.approx(20 * np.log10(255))


def test_ssim_of_equal_and_of_flat_pictures() -> None:
    picture = random_picture(0)
    assert ssim(picture, picture) == pytest.approx(1)
    # flat pictures have no variance, so only the term of the means is left
    first, second = np.full((32, 32, 3), 100, np.uint8), np.full((32, 32, 3), 150, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(first, second) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1))


def test_ssim_is_its_definition_at_one_place() -> None:
    x, y = luma(random_picture(1, 11)), luma(random_picture(2, 11))
    offsets = np.arange(-5, 6)
    kernel = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(kernel, kernel) / kernel.sum() ** 2
    mx, my = (weights * x).sum(), (weights * y).sum()
    vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
    cov = (weights * (x - mx) * (y - my)).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(random_picture(1, 11), random_picture(2, 11)) == pytest.approx(expected)
