"""Degradations for an upscaler's training, after Real-ESRGAN (Wang et al. 2021): what happens to pictures on their way.

Blur, downscaling by several kernels, noise, JPEG; and plain bicubic, on which upscalers are compared.

Pictures are uint8 (height, width, 3).
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from hires.errors import SettingError

Picture = NDArray[np.uint8]

KERNELS = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
LARGEST_BLUR = 2.4
"""Standard deviation in pixels of the large picture."""
LARGEST_NOISE = 12.0
JPEG_QUALITY = (45, 95)


def bicubic_down(image: Picture, scale: int = 4) -> Picture:
    """Antialiased bicubic (a = -0.5), the field's reference degradation."""
    return downscale(image, "bicubic", scale)


def downscale(image: Picture, kernel: str, scale: int = 4) -> Picture:
    """One of KERNELS, widened by the scale so that nothing aliases."""
    height, width = image.shape[:2]
    if height % scale or width % scale:
        raise SettingError(f"A picture of {width}x{height} cannot be reduced by {scale}.", "Crop it to a multiple.")
    small = Image.fromarray(image).resize((width // scale, height // scale), KERNELS[kernel])
    return np.asarray(small)


def degrade(image: Picture, rng: np.random.Generator, scale: int = 4) -> Picture:
    """`image` at 1/scale with a random share of blur, noise and JPEG; one in five is only downscaled."""
    kernel = tuple(KERNELS)[int(rng.integers(len(KERNELS)))]
    if rng.random() < 0.2:
        return downscale(image, kernel, scale)
    if rng.random() < 0.7:
        image = _blurred(image, float(rng.uniform(0.3, LARGEST_BLUR)) * scale / 4)
    small = downscale(image, kernel, scale)
    if rng.random() < 0.6:
        small = _noisy(small, rng)
    if rng.random() < 0.6:
        small = _jpeg(small, int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1)))
    return small


def _blurred(image: Picture, sigma: float) -> Picture:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def _noisy(image: Picture, rng: np.random.Generator) -> Picture:
    """Gaussian noise, of one channel for all (luminance) in four of ten."""
    channels = 1 if rng.random() < 0.4 else 3
    noise = rng.normal(0.0, float(rng.uniform(1.0, LARGEST_NOISE)), (*image.shape[:2], channels))
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def _jpeg(image: Picture, quality: int) -> Picture:
    held = BytesIO()
    Image.fromarray(image).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held).convert("RGB"))
