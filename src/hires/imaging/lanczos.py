"""Lanczos at full precision and strip by strip, for pictures too large to be held several times."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SUPPORT = 3
"""Lobes of Pillow's Lanczos filter."""
STRIP_BYTES = 16_000_000
"""Of the result that is made at once."""


def lanczos_pixels(
    source: NDArray[np.float32], width: int, height: int, out: NDArray[np.float32] | None = None, strip: int = 0
) -> NDArray[np.float32]:
    """(h, w, channels) float32 in 0..1 -> (height, width, channels), clamped to 0..1; `out` may be a mapped file.

    The numbers do not depend on `strip`, the rows made at once (0: what STRIP_BYTES hold); nothing is rounded to 8
    bits, unlike `resample`'s "lanczos".
    """
    old_height, old_width, channels = source.shape
    result = np.empty((height, width, channels), dtype=np.float32) if out is None else out
    step = old_height / height
    strip = strip or max(1, STRIP_BYTES // (width * channels * 4))
    around = math.ceil(SUPPORT * max(step, 1.0)) + 1
    for top in range(0, height, strip):
        bottom = min(top + strip, height)
        first = max(0, math.floor(top * step) - around)
        last = min(old_height, math.ceil(bottom * step) + around)
        box = (0.0, top * step - first, float(old_width), min(bottom * step, old_height) - first)
        rows = np.asarray(source[first:last], dtype=np.float32)
        for channel in range(channels):
            plane = Image.fromarray(np.ascontiguousarray(rows[..., channel]))
            resized = plane.resize((width, bottom - top), Image.Resampling.LANCZOS, box=box)
            result[top:bottom, :, channel] = np.clip(np.asarray(resized), 0.0, 1.0)
    return result
