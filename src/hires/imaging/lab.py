"""CIELAB in 8 bits with OpenCV's integer arithmetic: the same bytes as its RGB2LAB and LAB2RGB.

Pixels are uint8 (..., 3); L is 0..255 for 0..100, a and b are shifted by 128. OpenCV itself would be a large dependency
for these two tables; scikit-image converts in floats and differs by a level or more.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

WHITE = np.array([0.950456, 1.0, 1.088754])
"""D65."""
TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
FROM_XYZ = np.array([[3.240479, -1.53715, -0.498535], [-0.969256, 1.875991, 0.041556], [0.055648, -0.204043, 1.057311]])
COEFFICIENT = 12
"""Fraction bits of the matrices."""
LINEAR = 255 * 8
"""1.0 of linear light."""
ROOT = 15
"""Fraction bits of cube roots."""
UNIT = 1 << 14
"""1.0 on the way back."""
LOWEST = -8145
"""The smallest f(x) or f(z), in units, on the way back."""
STEPS = 1 << 12
"""Levels of linear light that have a gamma on the way back."""


def _descaled(values: Integers, bits: int) -> Integers:
    return (values + (1 << bits - 1)) >> bits


@lru_cache(maxsize=1)
def _forward_tables() -> tuple[Integers, Integers, Integers]:
    """sRGB byte -> linear light; linear light -> f, the cube root; RGB -> XYZ by the white."""
    level = np.arange(256) / 255
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    x = np.arange(256 * 3 // 2 * 8) / LINEAR
    root = np.where(x < 216 / 24389, x * 841 / 108 + 16 / 116, np.cbrt(x))
    roots = np.rint(root * (1 << ROOT)).astype(np.int64)
    roots[49] -= 1  # OpenCV's cube root in software falls on the other side of a half at these two
    roots[628] += 1
    matrix = np.rint(TO_XYZ / WHITE[:, None] * (1 << COEFFICIENT)).astype(np.int64)
    return np.rint(LINEAR * light).astype(np.int64), roots, matrix


def from_rgb(pixels: Bytes) -> Bytes:
    """RGB -> Lab."""
    light, root, matrix = _forward_tables()
    fx, fy, fz = np.moveaxis(root[_descaled(light[pixels] @ matrix.T, COEFFICIENT)], -1, 0)
    grey = 128 << ROOT
    lightness = _descaled((116 * 255 + 50) // 100 * fy - ((16 * 255 << ROOT) + 50) // 100, ROOT)
    a, b = _descaled(500 * (fx - fy) + grey, ROOT), _descaled(200 * (fy - fz) + grey, ROOT)
    return np.clip(np.stack([lightness, a, b], axis=-1), 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _backward_tables() -> tuple[Integers, Integers, Integers, Integers, Integers]:
    """L -> y and f(y); f(x) or f(z) -> x or z; linear light -> sRGB byte; XYZ by the white -> RGB."""
    lightness = np.arange(256)
    fy = np.where(
        lightness <= 20, 16 / 116 + lightness * 5 / (3 * 17 * 29), (lightness * 100 / 255 + 16) / 116
    )  # below 20 of 255, L = 8 of 100, f is a straight line
    y = np.where(lightness <= 20, lightness * 180 / (17 * 29**3), fy**3)
    f = np.arange(LOWEST, UNIT * 9 // 4 + LOWEST)
    straight = np.sign(f) * (np.abs(f) * 108 // 841) - UNIT * 16 // 116 * 108 // 841
    xz = np.where(f <= 3390, straight, f * f // UNIT * f // UNIT)  # 6/29 of a unit
    light = np.arange(STEPS) / STEPS
    gamma = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    matrix = np.rint(FROM_XYZ * WHITE * (1 << COEFFICIENT)).astype(np.int64)
    bytes_ = np.rint(255 * gamma).astype(np.int64)
    return np.rint(UNIT * y).astype(np.int64), np.rint(UNIT * fy).astype(np.int64), xz, bytes_, matrix


def to_rgb(pixels: Bytes) -> Bytes:
    """Lab -> RGB; what sRGB cannot show is cut off."""
    ys, fys, xz, gamma, matrix = _backward_tables()
    lightness, a, b = np.moveaxis(pixels.astype(np.int64), -1, 0)
    fy = fys[lightness]
    # a / 500 and b / 200, in units, by multiplication and shift
    along_a = ((5 * a * 53687 + (1 << 7)) >> 13) - 128 * UNIT // 500
    along_b = ((b * 41943 + (1 << 4)) >> 9) - 128 * UNIT // 200 + 1
    xyz = np.stack([xz[fy + along_a - LOWEST], ys[lightness], xz[fy - along_b - LOWEST]], axis=-1)
    light = _descaled(xyz @ matrix.T, 14)  # 12 of the matrix, 14 of the unit, less the 12 of STEPS
    return gamma[np.clip(light, 0, STEPS - 1)].astype(np.uint8)
