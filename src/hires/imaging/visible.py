"""Whether two pictures look the same: on how much of them their colours differ so far that one sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hires.imaging.cielab import cielab

SIDE = 256
"""Pixels of the longer side at which pictures are compared: grain averages out, whatever has a shape stays."""
JUST_VISIBLE = 2.3
"""ΔE (CIE 1976) that half of all observers see between fields side by side (Mahy, Van Eycken and Oosterlinck 1994)."""

View = NDArray[np.float32]
"""(3, height, width): L, a and b."""


def view(picture: Image.Image) -> View:
    """The picture's colours at the size at which pictures are compared; a smaller one's at its own."""
    share = min(SIDE / max(picture.size), 1.0)
    width, height = (max(round(side * share), 1) for side in picture.size)
    small = picture.convert("RGB").resize((width, height), Image.Resampling.BOX)
    return np.ascontiguousarray(np.moveaxis(cielab(np.asarray(small)), -1, 0), dtype=np.float32)


def visible_area(first: View, second: View) -> float:
    """The share of two views of one size, 0..1, whose colours differ by more than JUST_VISIBLE. 0 for equal pictures.

    1 for views of different sizes: such pictures differ in their proportions, or one is smaller than SIDE.
    """
    if first.shape != second.shape:
        return 1.0
    return float(np.mean(np.square(first - second).sum(axis=0) > JUST_VISIBLE**2))
