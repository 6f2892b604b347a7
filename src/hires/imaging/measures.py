"""What a setting did to a picture, in numbers: detail added, content kept, sharpness, colour drift, seams.

Three of them need the picture that the result was made from, the reference: the first pass of hires fix, or whatever
else a grid is measured against. The reference may be smaller or larger, and of another aspect ratio: what is compared
is its middle with the result's aspect ratio. Luma is Rec. 601 in 0..255, and a level is 1 of these 255.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hires.imaging.cielab import cielab
from hires.imaging.similarity import luma, ssim

Floats = NDArray[np.float64]

WINDOW = 11
"""Pixels: smaller pictures have no structural similarity."""
SMALLEST = 3
"""Pixels: smaller pictures have no Laplacian."""


@dataclass(frozen=True)
class Measure:
    """What a reader is told of a measure: its title, its unit ("" for none), what a higher number means, and the
    number of decimals worth showing."""

    title: str
    unit: str
    more: str
    digits: int


MEASURES = {
    "detail": Measure("detail added", "levels", "more fine detail than the reference enlarged by Lanczos; 0: none", 2),
    "content": Measure("content kept", "", "nearer to the reference; 1: the same at its size", 3),
    "sharpness": Measure("sharpness", "levels", "steeper edges and more grain", 2),
    "drift": Measure("colour drift", "ΔE", "colours farther from the reference's; 0: the same", 2),
    "seams": Measure("seam index", "", "joins of tiles show more; 1: nothing shows, 1.03: visible", 3),
}
"""Every measure by its name, in the order in which they are shown."""


def measured(
    picture: Image.Image, reference: Image.Image | None = None, seams: float | None = None
) -> dict[str, float]:
    """All that can be measured of a picture, by the names of MEASURES. Without a reference only its sharpness.

    `seams` is the index of a job that was tiled (`tiling.seams`). What cannot be measured, such as the structural
    similarity of a picture of less than 11 pixels, is left out.
    """
    picture = picture.convert("RGB")
    values = {"sharpness": sharpness(picture)}
    if reference is not None:
        values |= {"detail": detail_added(picture, reference), "drift": colour_drift(picture, reference)}
        values["content"] = content_kept(picture, reference)
    if seams is not None:
        values["seams"] = seams
    return {name: values[name] for name in MEASURES if name in values and math.isfinite(values[name])}


def detail_added(picture: Image.Image, reference: Image.Image) -> float:
    """Detail of the picture less that of the reference enlarged to its size by Lanczos, in levels (root mean square).

    Detail is what a picture of the reference's size cannot hold (of half the picture's size, where the reference is
    larger than that): `fine_energy`. 0 for the enlarged reference itself, below 0 for what is blurrier, and about
    127.5 for a pattern of black and white pixels.
    """
    reference = _middle(reference, picture.size)
    width, height = (min(own, max(side // 2, 1)) for own, side in zip(reference.size, picture.size, strict=True))
    plain = reference.resize(picture.size, Image.Resampling.LANCZOS)
    energies = [fine_energy(_grey(each), width, height) for each in (picture, plain)]
    return math.sqrt(energies[0]) - math.sqrt(energies[1])


def fine_energy(grey: Floats, width: int, height: int) -> float:
    """Mean square of what is lost of a plane (h, w) by Lanczos down to a size and back; in the plane's unit, squared.

    A sine of amplitude A that is too fine for the size gives A²/2, one that is coarse for it gives 0.
    """
    whole = Image.fromarray(grey.astype(np.float32))
    small = whole.resize((width, height), Image.Resampling.LANCZOS)
    back = np.asarray(small.resize(whole.size, Image.Resampling.LANCZOS))
    return float(np.square(np.asarray(whole, np.float64) - back).mean())


def content_kept(picture: Image.Image, reference: Image.Image) -> float:
    """Mean structural similarity (`similarity.ssim`) of the picture and the reference, both reduced by Lanczos to the
    smaller one's size: -1..1, and 1 where they are the same. NaN where a side is less than 11 pixels."""
    first, second = _common(picture, reference)
    return ssim(first, second) if min(first.shape[:2]) >= WINDOW else math.nan


def sharpness(picture: Image.Image) -> float:
    """Root of the variance of the luma's Laplacian (four neighbours, border left out): 0 for a flat picture and a
    ramp, 2A/√2 (1 - cos w) for a sine of amplitude A and w radians a pixel along one axis; at most 1020. In levels.

    It depends on the size: compare pictures of one size only. NaN where a side is less than 3 pixels.
    """
    grey = _grey(picture)
    if min(grey.shape) < SMALLEST:
        return math.nan
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.std(around - 4 * grey[1:-1, 1:-1]))


def colour_drift(picture: Image.Image, reference: Image.Image) -> float:
    """How far the colours as a whole have moved from the reference's, in ΔE (CIE 1976); 0 and more, 1 is hardly seen.

    √(|difference of the means|² + |difference of the deviations|²) over L, a and b, at the smaller one's size, so that
    added detail does not count. It is the 2-Wasserstein distance of two normal distributions with independent
    channels: a constant shift in Lab gives its own length, and fading counts as well as a cast.
    """
    first, second = (cielab(pixels).reshape(-1, 3) for pixels in _common(picture, reference))
    means, deviations = first.mean(0) - second.mean(0), first.std(0) - second.std(0)
    return float(np.sqrt(np.square(means).sum() + np.square(deviations).sum()))


def _common(picture: Image.Image, reference: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both (height, width, 3) at the smaller one's size."""
    reference = _middle(reference, picture.size)
    size = (min(picture.width, reference.width), min(picture.height, reference.height))
    both = [each.convert("RGB") for each in (picture, reference)]
    small = [each if each.size == size else each.resize(size, Image.Resampling.LANCZOS) for each in both]
    return np.asarray(small[0]), np.asarray(small[1])


def _middle(reference: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The reference (RGB) less what a result of other proportions has cut off; one pixel's difference is rounding."""
    width, height = size
    wide = min(reference.width, max(round(reference.height * width / height), 1))
    high = min(reference.height, max(round(reference.width * height / width), 1))
    wide = reference.width if reference.width - wide <= 1 else wide
    high = reference.height if reference.height - high <= 1 else high
    left, top = (reference.width - wide) // 2, (reference.height - high) // 2
    return reference.convert("RGB").crop((left, top, left + wide, top + high))


def _grey(picture: Image.Image) -> Floats:
    return luma(np.asarray(picture.convert("RGB")))
