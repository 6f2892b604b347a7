"""What inpainting makes of a mask, with the A1111 web UI's numbers: blur, crop, overlay, latent.

Masks are Pillow's "L", 255 = repaint. Boxes are (left, top, right, bottom), sizes (width, height), as Pillow has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from hires.imaging.flatten import has_transparency
from hires.imaging.resize_modes import ResizeMode, Size, resized, resizes_latent
from hires.imaging.sizes import LATENT
from hires.imaging.targets import SizeRule

Bytes = NDArray[np.uint8]
Box = tuple[int, int, int, int]

OPAQUE = 255
HALF = 128
FIXED_POINT = 8
"""Fraction bits of a blur kernel's weights."""


@dataclass(frozen=True)
class InpaintMask:
    """mask: at the size that is drawn. overlay: where the result covers the source, at the size of the picture it is
    laid on. box: the part of the source that is drawn, None for all of it."""

    mask: Image.Image
    overlay: Image.Image
    box: Box | None = None


def grey_mask(picture: Image.Image, rounding: bool = True) -> Image.Image:
    """A mask of what was drawn or uploaded: a layer's alpha if any of it is transparent, else its luminance.

    Alpha is cut at 128 unless `rounding` is off.
    """
    if picture.mode == "RGBA":
        alpha = picture.getchannel("A")
        if alpha.getextrema() != (OPAQUE, OPAQUE):
            return alpha.point(lambda level: OPAQUE if level > HALF else 0) if rounding else alpha
    return picture.convert("L")


def mask_from_alpha(picture: Image.Image) -> Image.Image:
    """The transparent parts of a picture as a mask: 255 - alpha; black for one without transparency."""
    if not has_transparency(picture):
        return Image.new("L", picture.size)
    return ImageOps.invert(picture.convert("RGBA").getchannel("A"))


def blur_kernel(sigma: float) -> NDArray[np.int64]:
    """(2 int(2.5 sigma + 0.5) + 1,): a Gaussian in 256ths, its sum 256.

    What rounding takes from one weight is given to the next, from both ends to the middle: OpenCV's kernel for bytes.
    """
    radius = int(2.5 * sigma + 0.5)
    line = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    exact = line / line.sum() * (1 << FIXED_POINT)
    kernel = np.zeros(2 * radius + 1, np.int64)
    rest = 0.0
    for place in range(radius):
        wanted = exact[place] + rest
        kernel[place] = kernel[-1 - place] = round(wanted)
        rest = wanted - round(wanted)
    kernel[radius] = (1 << FIXED_POINT) - kernel.sum()
    return kernel


def blurred_line(pixels: Bytes, sigma: float, axis: int) -> Bytes:
    """(height, width) blurred along one axis, mirrored at the border without repeating it, rounded to bytes."""
    if sigma <= 0:
        return pixels
    kernel = blur_kernel(sigma)
    radius, length = len(kernel) // 2, pixels.shape[axis]
    widths = [(radius, radius) if side == axis else (0, 0) for side in (0, 1)]
    padded = np.pad(pixels.astype(np.int32), widths, mode="reflect")
    total = np.zeros(pixels.shape, np.int32)
    for offset, weight in enumerate(kernel):
        if weight:
            part = slice(offset, offset + length)
            total += int(weight) * (padded[part] if axis == 0 else padded[:, part])
    return np.minimum((total + (1 << FIXED_POINT - 1)) >> FIXED_POINT, OPAQUE).astype(np.uint8)


def blurred(mask: Image.Image, sigma_x: float, sigma_y: float | None = None) -> Image.Image:
    """Mask blur: across, then down; both by sigma_x if only one is given, 0 for none."""
    pixels = np.asarray(mask)
    pixels = blurred_line(pixels, sigma_x, axis=1)
    return Image.fromarray(blurred_line(pixels, sigma_x if sigma_y is None else sigma_y, axis=0))


def crop_region(mask: Image.Image, padding: int = 0) -> Box | None:
    """The smallest box around all that is not 0, grown on each side as far as the mask reaches; None if all is 0."""
    found = mask.getbbox()
    if found is None:
        return None
    left, top, right, bottom = found
    return (
        max(left - padding, 0),
        max(top - padding, 0),
        min(right + padding, mask.width),
        min(bottom + padding, mask.height),
    )


def to_aspect(box: Box, size: Size, frame: Size) -> Box:
    """A box in a picture of `size` lengthened on one axis to the frame's aspect, pushed back into the picture.

    Where the picture is too small for that the box takes all of the axis.
    """
    left, top, right, bottom = box
    aspect = frame[0] / frame[1]
    width, height = right - left, bottom - top
    if width / height > aspect:
        top, bottom = _lengthened(top, bottom, int(width / aspect - height), size[1])
    else:
        left, right = _lengthened(left, right, int(height * aspect - width), size[0])
    return left, top, right, bottom


def _lengthened(start: int, end: int, by: int, length: int) -> tuple[int, int]:
    start, end = start - by // 2, end + by - by // 2
    if end >= length:
        start, end = start - (end - length), length
    if start < 0:
        start, end = 0, min(end - start, length)
    return start, end


def whole_picture(mask: Image.Image, frame: Size, mode: ResizeMode, rule: SizeRule = "exact") -> InpaintMask:
    """A blurred mask for drawing the whole picture at `frame`. The overlay is the mask doubled, so that the blur's
    inner half is covered by the result alone."""
    drawn = resized(mask, frame, "Just resize" if resizes_latent(mode) else mode, rule=rule)
    return InpaintMask(drawn, drawn.point(lambda level: min(2 * level, OPAQUE)))


def only_masked(
    mask: Image.Image, size: Size, frame: Size, padding: int = 32, rule: SizeRule = "exact"
) -> InpaintMask | None:
    """A blurred mask for drawing, at `frame`, the part of a picture of `size` that it marks.

    None for an empty mask, with which the web UI draws the whole picture as if there were no mask.
    """
    mask = resized(mask, size)
    found = crop_region(mask, padding)
    if found is None:
        return None
    box = to_aspect(found, size, frame)
    return InpaintMask(resized(mask.crop(box), frame, "Resize and fill", rule=rule), mask, box)


def cropped(picture: Image.Image, box: Box, frame: Size, rule: SizeRule = "exact") -> Image.Image:
    """The part of a picture that is drawn, at the size at which it is drawn (RGB)."""
    return resized(picture.convert("RGB").crop(box), frame, "Resize and fill", rule=rule)


def latent_mask(mask: Image.Image, latent: Size | None = None, rounding: bool = True) -> Tensor:
    """(1, 1, height, width) float32 in 0..1, 1 = repaint; `latent` (width, height), else the mask's in cells of 8.

    Bicubic in 8 bits, then rounded to 0 and 1 (half to even) unless `rounding` is off.
    """
    size = latent or (mask.width // LATENT, mask.height // LATENT)
    levels = np.asarray(mask.convert("L").resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / OPAQUE
    return torch.from_numpy(np.around(levels) if rounding else levels)[None, None]
