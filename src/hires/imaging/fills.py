"""Masked content "fill": a hole in a picture filled with the colours around it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from hires.imaging.targets import SizeRule

LAYERS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
"""(radius of the blur, how often it is laid on) from the widest to the picture itself."""
BOXES = 3
"""Box filters that make up a Gaussian, as in Pillow."""
FAINTEST = 1e-4
"""Less weight than this has no colour of its own."""
Floats = NDArray[np.float32]


def filled(picture: Image.Image, mask: Image.Image, rule: SizeRule = "exact") -> Image.Image:
    """An RGB picture whose masked pixels ("L" of its size, 255 = hole) hold a blur of what surrounds them.

    What is outside the mask is unchanged. Blurred copies of the rest, weighted by their share of it, are laid over
    each other, so that each pixel of the hole gets the narrowest blur that reaches it, and the mean colour where none
    does. "webui" does it in bytes: steps and a pale rim where the weights are small, black where there are none.
    """
    mask = mask.convert("L")
    if rule == "webui":
        return _in_bytes(picture.convert("RGB"), mask)
    kept = 1 - np.asarray(mask, dtype=np.float32) / 255
    colours = np.moveaxis(np.asarray(picture.convert("RGB"), dtype=np.float32), -1, 0)
    rest = np.stack([*(colours * kept), kept])  # (4, h, w), premultiplied
    made = np.zeros_like(rest)
    for radius, times in LAYERS:
        layer = blurred(rest, radius)
        for _ in range(times):
            made = layer + (1 - layer[3]) * made
    mean = rest[:3].sum(axis=(1, 2), keepdims=True) / max(float(kept.sum()), FAINTEST)
    colours = np.where(made[3] > FAINTEST, made[:3] / np.maximum(made[3], FAINTEST), mean)
    return Image.fromarray(np.moveaxis(np.rint(colours).clip(0, 255).astype(np.uint8), 0, -1).copy())


def blurred(pixels: Floats, radius: float) -> Floats:
    """(channels, h, w) through three box filters of a fractional width, the border's pixels repeated beyond it.

    The standard deviation is `radius`. Source: Gwosdek and others, Theoretical Foundations of Gaussian Convolution by
    Extended Box Filtering (2011).
    """
    from scipy.ndimage import uniform_filter1d  # 0.6 s to import, wanted by this fill alone

    if radius <= 0:
        return pixels
    variance = radius**2 / BOXES
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    inside = 2 * whole + 1
    length = np.float32(inside + 2 * part)
    for axis in (1, 2):
        size = pixels.shape[axis]
        near, far = (np.arange(size) + step for step in (-whole - 1, whole + 1))
        ends = [places.clip(0, size - 1) for places in (near, far)]
        for _ in range(BOXES):
            box = uniform_filter1d(pixels, inside, axis=axis, mode="nearest") * (inside / length)
            pixels = box + (pixels.take(ends[0], axis) + pixels.take(ends[1], axis)) * (np.float32(part) / length)
    return pixels


def _in_bytes(picture: Image.Image, mask: Image.Image) -> Image.Image:
    rest = Image.new("RGBa", picture.size)
    rest.paste(picture.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask))
    made = Image.new("RGBA", picture.size)
    for radius, times in LAYERS:
        layer = rest.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            made.alpha_composite(layer)
    return made.convert("RGB")
