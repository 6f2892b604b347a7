"""Pictures from outside: opened once, checked at the door, turned into tensors.

A picture may be hostile: its header is read first, and nothing is decoded that claims more pixels than the limit.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from hires.errors import ImageFileError

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
MAX_PIXELS = 200_000_000
"""200 megapixels: A1111's own limit for what it will make (`img_max_size_mp`)."""


def open_picture(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open and decode a picture, turned upright by its EXIF orientation.

    Raises ImageFileError when it is missing, of no known format, broken, truncated, or larger than `max_pixels`.
    """
    with _told_plainly(source):
        picture = _opened(source, max_pixels)
        picture.load()
        return _upright(picture)


def open_frames(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> list[Image.Image]:
    """Every frame of an animation or page of a document that has the first one's size; one for other pictures.

    An MPO, a photograph with its preview or a second view, counts as the one picture. `max_pixels` bounds all frames
    together. Raises ImageFileError as `open_picture` does.
    """
    with _told_plainly(source):
        picture = _opened(source, max_pixels)
        count = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
        _check_pixels(_name(source), picture.width, picture.height, max_pixels, count)
        frames: list[Image.Image] = []
        for index in range(count):
            picture.seek(index)
            picture.load()
            frames.append(_upright(picture.copy()))
        return [frame for frame in frames if frame.size == frames[0].size]


def _opened(source: Path | bytes, max_pixels: int) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        picture = Image.open(source if isinstance(source, Path) else BytesIO(source), formats=FORMATS)
    _check_pixels(_name(source), picture.width, picture.height, max_pixels)
    return picture


def _check_pixels(name: str, width: int, height: int, max_pixels: int, frames: int = 1) -> None:
    if width * height * frames > max_pixels:
        many = f"{frames} frames of " if frames > 1 else ""
        raise ImageFileError(
            f"{name} has {many}{width}x{height} pixels, more than the limit of {max_pixels // 1_000_000} megapixels",
            "Make it smaller first.",
        )


@contextmanager
def _told_plainly(source: Path | bytes) -> Iterator[None]:
    """Pillow's errors in the user's words."""
    name = _name(source)
    try:
        yield
    except FileNotFoundError as error:
        raise ImageFileError(f"there is no picture {name}", "Check the name and the input folder.") from error
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ImageFileError(f"{name} is not a picture that can be read", f"Use {', '.join(FORMATS)}.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageFileError(f"{name} is broken or cut off ({error})") from error


def _name(source: Path | bytes) -> str:
    return source.name if isinstance(source, Path) else "the picture"


def _upright(picture: Image.Image) -> Image.Image:
    info = dict(picture.info)
    upright = ImageOps.exif_transpose(picture)
    upright.info.update(info)
    return upright


def eight_bit(picture: Image.Image) -> Image.Image:
    """A grey picture of 16 or 32 bits a pixel brought to 8, as ComfyUI does; any other as it is."""
    if not picture.mode.startswith("I"):
        return picture
    return picture.convert("I").point(lambda level: level * (1 / 255)).convert("L")


def to_tensor(picture: Image.Image) -> Tensor:
    """A picture -> (1, height, width, 3) float32 in 0..1, transparency dropped."""
    pixels = np.asarray(eight_bit(picture).convert("RGB"), dtype=np.float32) / 255.0
    return torch.from_numpy(pixels)[None]


def alpha_mask(picture: Image.Image) -> Tensor:
    """1 where transparent, (1, height, width); without an alpha channel zeros (1, 64, 64), as in ComfyUI."""
    if "A" in picture.getbands() or (picture.mode == "P" and "transparency" in picture.info):
        alpha = np.asarray(picture.convert("RGBA").getchannel("A"), dtype=np.float32) / 255.0
        return 1.0 - torch.from_numpy(alpha)[None]
    return torch.zeros(1, 64, 64)


def to_pictures(images: Tensor) -> list[Image.Image]:
    """(batch, height, width, 3) in 0..1 -> 8-bit pictures, truncating as both originals do."""
    bytes_ = np.clip(255.0 * images.detach().cpu().numpy(), 0, 255).astype(np.uint8)
    return [Image.fromarray(pixels) for pixels in bytes_]
