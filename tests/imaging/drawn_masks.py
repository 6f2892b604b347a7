"""Masks for the tests of inpainting."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from PIL import Image


@st.composite
def masks(draw: st.DrawFn, largest: int = 90) -> Image.Image:
    """A few rectangles of white on black."""
    width, height = draw(st.integers(12, largest)), draw(st.integers(12, largest))
    pixels = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 3))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        tall, wide = draw(st.integers(1, height)), draw(st.integers(1, width))
        pixels[top : top + tall, left : left + wide] = 255
    return Image.fromarray(pixels)
