"""How near a picture is to another: PSNR, and SSIM as its paper defines it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Picture = NDArray[np.uint8]
"""(height, width, 3), 0..255."""


def psnr(first: Picture, second: Picture) -> float:
    """10 log10(255² / mean squared error) over all channels, in dB; infinite for equal pictures."""
    error = float(np.mean(np.square(first.astype(np.float64) - second.astype(np.float64))))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def ssim(first: Picture, second: Picture) -> float:
    """Mean structural similarity (Wang et al. 2004) of the luma (Rec. 601): Gaussian window of 11 pixels with
    standard deviation 1.5, K1 = 0.01, K2 = 0.03, without the border where the window does not fit."""
    x, y = luma(first), luma(second)
    mean_x, mean_y = window(x), window(y)
    var_x = window(x * x) - mean_x**2
    var_y = window(y * y) - mean_y**2
    cov = window(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return float(similarity[5:-5, 5:-5].mean())


def window(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Local means under the Gaussian window of 11 x 11."""
    means: NDArray[np.float64] = gaussian_filter(values, sigma=1.5, radius=5)
    return means


def luma(picture: Picture) -> NDArray[np.float64]:
    """Rec. 601 weights, 0..255."""
    weighed: NDArray[np.float64] = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return weighed
