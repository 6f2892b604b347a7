"""A style that the built-in LoRA knows: drawings as prints in two inks on cream paper, with heavy lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, grey_erosion

from hires.imaging.similarity import Picture, luma

PAPER, MIDDLE, INK = (246, 236, 214), (206, 92, 72), (48, 44, 66)
"""From light to dark: paper, a red, a blue black."""
TONES = ((0.0, INK), (0.32, INK), (0.46, MIDDLE), (0.62, MIDDLE), (0.8, PAPER), (1.0, PAPER))
"""Lightness 0..1 and its colour; between two of them it is mixed."""


def woodcut(picture: Picture) -> Picture:
    """The picture (height, width, 3) as such a print, of any size: the lines' width follows the size."""
    light = luma(picture) / 255
    width = max(2, round(min(light.shape) / 90))
    near = gaussian_filter(light, 3 * width)
    down, across = np.mgrid[-width : width + 1, -width : width + 1]
    lines = grey_erosion(light, footprint=down**2 + across**2 <= (width / 2) ** 2 + 0.5)
    # a line is darker than what lies about it; skies and faces keep their lightness
    tone = np.where(lines < near - 0.12, 0.8 * lines, 0.35 * light + 0.65 * gaussian_filter(light, 0.4 * width))
    places = [place for place, _ in TONES]
    channels = [np.interp(tone, places, [color[channel] for _, color in TONES]) for channel in range(3)]
    printed: NDArray[np.float64] = np.stack(channels, -1)
    return np.rint(printed).astype(np.uint8)
