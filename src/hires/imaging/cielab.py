"""CIELAB in floats, to measure with; `lab` holds the same colours in OpenCV's bytes, to paint with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hires.imaging.lab import TO_XYZ, WHITE

Floats = NDArray[np.float64]

EDGE = (6 / 29) ** 3
"""Below it the cube root is a straight line (CIE 15)."""


def linear_light(srgb: Floats) -> Floats:
    """sRGB 0..1 -> linear light 0..1 (IEC 61966-2-1)."""
    light: Floats = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return light


def cielab(pixels: NDArray[np.uint8]) -> Floats:
    """sRGB bytes (..., 3) -> L 0..100, a and b about -128..127, for the white of D65 (CIE 15)."""
    light = linear_light(np.arange(256) / 255)[pixels]
    share = light @ (TO_XYZ / WHITE[:, None]).T
    x, y, z = np.moveaxis(np.where(share > EDGE, np.cbrt(share), share * 841 / 108 + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
