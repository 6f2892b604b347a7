"""Room around a picture to be drawn into: how much on each side, its masks, and noise of the picture's own texture.

Pictures are Pillow's RGB of 8 bits, masks "L", 255 = to be drawn; sizes are (width, height).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hires.errors import SettingError
from hires.imaging.colour_correction import match_histograms
from hires.imaging.resize_modes import Size
from hires.imaging.targets import SizeRule

Direction = Literal["left", "right", "up", "down"]
DIRECTIONS: tuple[Direction, ...] = ("left", "right", "up", "down")
MULTIPLE = 64
"""The web UI's canvases are of so many pixels times a whole number."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Room:
    """Pixels of new canvas on each side."""

    left: int = 0
    right: int = 0
    up: int = 0
    down: int = 0

    def size(self, picture: Size) -> Size:
        """The canvas of a picture of that size."""
        return picture[0] + self.left + self.right, picture[1] + self.up + self.down


@dataclass(frozen=True)
class Outpainting:
    """What is handed to inpainting: the canvas, black or noise where it is new; the mask of what the result covers, to
    be blurred by `blur`; and, not to be blurred, that of what is filled before and redrawn in the latent."""

    canvas: Image.Image
    mask: Image.Image
    latent_mask: Image.Image
    blur: float


def room(picture: Size, pixels: int, directions: Collection[Direction], multiple: int = MULTIPLE) -> Room:
    """`pixels` on each of the chosen sides, and as many more as bring the canvas to a multiple, spread over both sides.

    An axis with no chosen side is left as it is (the web UI adds a black strip to it).
    """
    unknown = [name for name in directions if name not in DIRECTIONS]
    if unknown or not directions:
        said = f"there is no direction {unknown[0]!r}" if unknown else "outpainting needs a direction"
        raise SettingError(said, f"Use one or more of {', '.join(DIRECTIONS)}.")
    if pixels < 1:
        raise SettingError(f"outpainting must add 1 pixel or more, not {pixels}")
    left, right = _spread(picture[0], pixels, "left" in directions, "right" in directions, multiple)
    up, down = _spread(picture[1], pixels, "up" in directions, "down" in directions, multiple)
    return Room(left, right, up, down)


def _spread(length: int, pixels: int, before: bool, after: bool, multiple: int) -> tuple[int, int]:
    sides = before + after
    if not sides:
        return 0, 0
    total = -(-(length + sides * pixels) // multiple) * multiple - length
    first = total // sides if before else 0
    return first, total - first if after else 0


def extended(picture: Image.Image, around: Room, blur: float = 4, rule: SizeRule = "exact") -> Outpainting:
    """Poor man's outpainting: the picture on black, to be filled by the masked content "fill".

    The overlay's mask reaches 2 blur into the picture and is to be blurred by a sigma of 2 blur; the latent's reaches
    half a blur. "webui" keeps one more line on the right and at the bottom, of the new canvas where blur is 0.
    """
    picture = picture.convert("RGB")
    size = around.size(picture.size)
    canvas = Image.new("RGB", size)
    canvas.paste(picture, (around.left, around.up))
    masks = [_mask(size, around, reach, rule) for reach in (int(blur * 2), int(blur // 2))]
    return Outpainting(canvas, masks[0], masks[1], blur * 2)


def extended_with_noise(
    picture: Image.Image,
    around: Room,
    blur: float = 8,
    fall_off: float = 1.0,
    colour_variation: float = 0.05,
    seed: int = 0,
    rule: SizeRule = "exact",
) -> Outpainting:
    """Outpainting mk2: the new canvas holds noise of the picture's texture, for the masked content "original".

    The overlay's mask reaches one blur into the picture and is to be blurred by a sigma of 4 blur; the latent's reaches
    two. The web UI does this for one side after the other, each with a `Room` of one side.
    """
    plain = extended(picture, around, 0)
    size = around.size(picture.size)
    mask, latent_mask = (_mask(size, around, int(reach), rule) for reach in (blur, blur * 2))
    noised = matched_noise(np.asarray(plain.canvas) / 255, np.asarray(mask) / 255, fall_off, colour_variation, seed)
    bytes_ = (noised * 255).clip(0, 255).astype(np.uint8)
    return Outpainting(Image.fromarray(bytes_), mask, latent_mask, blur * 4)


def _mask(size: Size, around: Room, reach: int, rule: SizeRule) -> Image.Image:
    """White, and black where the picture is, less `reach` at each side that has new room."""
    more = 1 if rule == "webui" else 0
    left, up = (side + reach if side else 0 for side in (around.left, around.up))
    right = size[0] - around.right - reach + more if around.right else size[0]
    down = size[1] - around.down - reach + more if around.down else size[1]
    mask = np.full((size[1], size[0]), 255, np.uint8)
    mask[up : max(down, up), left : max(right, left)] = 0
    return Image.fromarray(mask)


def matched_noise(
    pixels: Floats, mask: Floats, fall_off: float = 1.0, colour_variation: float = 0.05, seed: int = 0
) -> Floats:
    """Noise with the spectrum and the colours of a picture, where the mask is 1; the picture elsewhere.

    pixels (h, w, 3) in 0..1, mask (h, w) in 0..1, neither 0 nor 1 everywhere. White noise is weighted towards low
    frequencies, multiplied in frequency space by the picture's amplitudes ^ fall_off and given its phases; then its
    histograms are matched to the picture's. Source: parlance-zz's g-diffuser.
    """
    hole, kept = mask > 1e-6, mask < 1e-3
    if not (hole.any() and kept.any()):
        return pixels
    weight = mask[..., None]
    seen = pixels * (1 - weight)
    seen = seen / max(seen.max(), 1e-9) + pixels.mean() * weight
    spectrum = _spectrum(seen)
    amplitude = np.abs(spectrum)
    phase = np.divide(spectrum, amplitude, out=np.zeros_like(spectrum), where=amplitude > 0)
    noise = np.random.default_rng(seed).random(pixels.shape)
    noise = colour_variation * noise + (1 - colour_variation) * noise.mean(axis=-1, keepdims=True)
    low = np.real(_picture(_spectrum(noise) * _window(*mask.shape)[..., None]))
    shaped = np.real(_picture(np.abs(_spectrum(low)) ** 2 * amplitude**fall_off * phase))
    shaped = shaped - shaped.min()
    shaped = shaped / max(shaped.max(), 1e-9)
    shaped[hole] = match_histograms(shaped[hole], pixels[kept])
    return (pixels * (1 - weight) + shaped * weight).clip(0, 1)


def _spectrum(pixels: Floats) -> NDArray[np.complex128]:
    shifted = np.fft.fftshift(pixels, axes=(0, 1))
    return np.fft.ifftshift(np.fft.fft2(shifted, axes=(0, 1), norm="ortho"), axes=(0, 1))


def _picture(spectrum: Floats | NDArray[np.complex128]) -> NDArray[np.complex128]:
    shifted = np.fft.fftshift(spectrum, axes=(0, 1))
    return np.fft.ifftshift(np.fft.ifft2(shifted, axes=(0, 1), norm="ortho"), axes=(0, 1))


def _window(height: int, width: int) -> Floats:
    """1 / ((x² + 1) (y² + 1)), x and y from -1 to 1 on the shorter side, further on the longer one."""
    shorter = min(height, width)
    y, x = ((np.arange(side) / side * 2 - 1) * side / shorter for side in (height, width))
    return 1 / ((y[:, None] ** 2 + 1) * (x[None, :] ** 2 + 1))
