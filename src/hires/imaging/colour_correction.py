"""Colour correction: a result given the colours of the picture it was made from, its own light and dark kept."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hires.imaging import lab
from hires.imaging.edges import LUMA

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Values = TypeVar("Values", NDArray[np.uint8], NDArray[np.float64])


def corrected(result: Image.Image, like: Image.Image) -> Image.Image:
    """The result (RGB) with the histograms of `like` in CIELAB and its own luminance; they may differ in size.

    The A1111 web UI's `img2img_color_correction`.
    """
    pixels = np.asarray(result.convert("RGB"))
    reference = np.asarray(like.convert("RGB"))
    matched = lab.to_rgb(match_histograms(lab.from_rgb(pixels), lab.from_rgb(reference)))
    return Image.fromarray(with_luminance_of(matched, pixels))


def match_histograms(values: Values, reference: Values) -> Values:
    """Each channel (the last axis) mapped so that its cumulative histogram follows the reference's.

    Bytes are truncated, as by scikit-image, whose numbers these are.
    """
    made = np.empty_like(values)
    for channel in range(values.shape[-1]):
        part = values[..., channel]
        _, place, counts = np.unique(part, return_inverse=True, return_counts=True)
        levels, wanted = np.unique(reference[..., channel], return_counts=True)
        share = np.cumsum(counts) / part.size
        mapped = np.interp(share, np.cumsum(wanted) / wanted.sum(), levels)
        made[..., channel] = mapped[place].reshape(part.shape)
    return made


def with_luminance_of(colours: Bytes, light: Bytes) -> Bytes:
    """RGB (h, w, 3): hue and saturation of one picture, luminance (0.299, 0.587, 0.114) of another of its size.

    The blend mode "luminosity" of W3C's compositing: where a channel leaves 0..1 the colour is drawn towards its grey.
    """
    below = colours / 255
    mixed = below + (_luminance(light / 255) - _luminance(below))
    grey = _luminance(mixed)
    lowest, highest = mixed.min(axis=-1, keepdims=True), mixed.max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        mixed = np.where(lowest < 0, grey + (mixed - grey) * grey / (grey - lowest), mixed)
        mixed = np.where(highest > 1, grey + (mixed - grey) * (1 - grey) / (highest - grey), mixed)
    return np.rint(np.nan_to_num(mixed) * 255).clip(0, 255).astype(np.uint8)


def _luminance(pixels: Floats) -> Floats:
    """(h, w, 3) -> (h, w, 1)."""
    red, green, blue = (pixels[..., channel] * LUMA[channel] for channel in range(3))
    return (red + green + blue)[..., None]
