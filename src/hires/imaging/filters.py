"""Filters on images (batch, height, width, channels) in 0..1: blur, sharpening, palettes. Source: ComfyUI's nodes."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, pad

from hires.errors import SettingError
from hires.imaging.pictures import to_pictures

SHARPENING = 10.0
"""ComfyUI's factor between the node's alpha and the weight of the blurred picture."""
DITHERS = ("none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16")


def gaussian_kernel(radius: int, sigma: float) -> Tensor:
    """(2r + 1, 2r + 1), sum 1. Sigma is relative: the kernel's edge is at distance 1."""
    line = torch.linspace(-1, 1, 2 * radius + 1)
    distance = line[:, None] ** 2 + line[None, :] ** 2
    kernel = torch.exp(-distance / (2.0 * sigma * sigma))
    return kernel / kernel.sum()


def blur(image: Tensor, radius: int, sigma: float) -> Tensor:
    """Gaussian blur, the picture mirrored at its border."""
    return _convolved(image, gaussian_kernel(radius, sigma)) if radius > 0 else image


def sharpen(image: Tensor, radius: int, sigma: float, alpha: float) -> Tensor:
    """Unsharp masking: the picture minus `10 * alpha` times its blurred self, weights summing up to 1."""
    if radius == 0:
        return image
    kernel = gaussian_kernel(radius, sigma) * -(alpha * SHARPENING)
    kernel[radius, radius] += 1.0 - kernel.sum()
    return _convolved(image, kernel).clamp(0.0, 1.0)


def _convolved(image: Tensor, kernel: Tensor) -> Tensor:
    radius, channels = kernel.shape[0] // 2, image.shape[-1]
    if radius >= min(image.shape[1:3]):
        height, width = image.shape[1:3]
        raise SettingError(f"a radius of {radius} is too large for a picture of {width}x{height} pixels")
    padded = pad(image.movedim(-1, 1), (radius, radius, radius, radius), mode="reflect")
    return conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels).movedim(1, -1)


def quantize(image: Tensor, colours: int, dither: str) -> Tensor:
    """At most so many colours, chosen per picture by Pillow's median cut."""
    reduced = []
    for picture in to_pictures(image[..., :3]):
        palette = picture.quantize(colors=colours)
        if dither.startswith("bayer-"):
            picture = _bayer(picture, palette, int(dither.removeprefix("bayer-")))
        floyd = dither == "floyd-steinberg"
        mode = Image.Dither.FLOYDSTEINBERG if floyd else Image.Dither.NONE
        mapped = picture.quantize(colors=colours, palette=palette, dither=mode)
        reduced.append(torch.from_numpy(np.array(mapped.convert("RGB"), dtype=np.float32) / 255.0))
    return torch.stack(reduced)


def bayer_matrix(exponent: int) -> np.ndarray:
    """Bayer's threshold matrix of side 2^n, each value within -1.5 .. 1.5 of that of the one before, divided by 4^n."""
    matrix = np.zeros((1, 1), dtype=np.float32)
    for level in range(1, exponent + 1):
        count = float(4**level)
        spread = matrix * count
        matrix = np.block([[spread - 1.5, spread + 0.5], [spread + 1.5, spread - 0.5]]).astype(np.float32) / count
    return matrix


def _bayer(picture: Image.Image, palette: Image.Image, order: int) -> Image.Image:
    """Ordered dithering: the matrix, as wide as the palette's step, is added before the colours are mapped."""
    colours = len(palette.getpalette() or ()) // 3
    offsets = 2.0 * 256.0 / colours * bayer_matrix(round(math.log2(order))) + 0.5
    pixels = np.asarray(picture, dtype=np.float32)
    height, width = pixels.shape[:2]
    tiled = np.tile(offsets, (math.ceil(height / order), math.ceil(width / order)))[:height, :width, None]
    return Image.fromarray(np.clip(pixels + tiled, 0, 255).astype(np.uint8))


def add_noise(image: Tensor, seed: int, strength: float) -> Tensor:
    """Normal noise from torch's CPU generator, clamped to 0..1."""
    noise = torch.randn(image.shape, generator=torch.Generator("cpu").manual_seed(seed))
    return (image + strength * noise).clamp(0.0, 1.0)
