"""Pictures as arrays with every bit that the file has: 8 or 16 bits, grey or colour, with or without alpha."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hires.imaging.pictures import MAX_PIXELS, open_picture
from hires.imaging.png import SIGNATURE, Raster

LOW_BYTES = {2: ("RGB", "RGB;16L"), 6: ("RGBA", "RGBA;16L")}
"""PNG colour type -> mode and raw mode by which Pillow gives the second byte of every 16, which it else drops."""
GREY_ALPHA = 4
DEEP = 16
FIRST_BYTE, SECOND_BYTE = ";16B", ";16L"
"""Endings of the raw modes that keep the one and the other byte of every two."""
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PLANAR, TWO_PLANES = 284, 2
DEEP_TIFF = tuple(f"{mode};16{order}" for mode in ("RGB", "RGBA", "RGBX") for order in "LBN")


def open_raster(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[Raster, Image.Image]:
    """The pixels of a file, upright, and the picture as Pillow knows it (for its texts, profile and EXIF).

    Raises ImageFileError as `open_picture` does. Palettes become RGB or RGBA, CMYK becomes RGB.
    """
    picture = open_picture(path, max_pixels)
    if (raw_mode := _deep_tiff(path)) is not None:
        return _joined(path, raw_mode), picture
    depth, colour_type = _png_header(path)
    if depth == DEEP and colour_type in (*LOW_BYTES, GREY_ALPHA):
        return _deep(path, colour_type), picture
    return raster_of(picture), picture


def raster_of(picture: Image.Image) -> Raster:
    """(height, width, 1 to 4): uint16 for pictures of 16-bit grey, else uint8."""
    if picture.mode.startswith("I;16"):
        return np.asarray(picture, dtype=np.uint16)[..., None]
    if picture.mode == "I":
        return np.clip(np.asarray(picture), 0, 65535).astype(np.uint16)[..., None]
    if picture.mode == "F":
        return np.clip(np.asarray(picture), 0, 255).astype(np.uint8)[..., None]
    clear = "transparency" in picture.info
    if picture.mode in ("1", "L") and not clear:
        return np.asarray(picture.convert("L"))[..., None]
    if picture.mode in ("LA", "La"):
        return np.asarray(picture.convert("LA"))
    return np.asarray(picture.convert("RGBA" if clear or picture.mode in ("RGBA", "RGBa", "PA") else "RGB"))


def _png_header(path: Path) -> tuple[int, int]:
    """(bits a channel, colour type) of a PNG; (0, 0) for any other file."""
    with path.open("rb") as file:
        head = file.read(26)
    return (head[24], head[25]) if head.startswith(SIGNATURE) and len(head) == 26 else (0, 0)


def _deep(path: Path, colour_type: int) -> Raster:
    """16 bits a channel, from readings of the same file that each keep one byte of the two."""
    if colour_type == GREY_ALPHA:  # four bytes a pixel, which look like one of four channels
        together = _read_as(path, "RGBA", "RGBA").astype(np.uint16)
        return np.stack([together[..., 0] << 8 | together[..., 1], together[..., 2] << 8 | together[..., 3]], axis=-1)
    mode, low = LOW_BYTES[colour_type]
    high = _read_as(path, mode, f"{mode};16B").astype(np.uint16)
    deep: Raster = high << 8 | _read_as(path, mode, low)
    return deep


def _read_as(path: Path, mode: str, raw_mode: str) -> NDArray[Any]:
    with Image.open(path, formats=("PNG",)) as picture:
        picture._mode = mode
        picture.tile = [tile._replace(args=raw_mode) for tile in picture.tile]
        picture.load()
        return np.asarray(ImageOps.exif_transpose(picture))


def _deep_tiff(path: Path) -> str | None:
    """The raw mode of a TIFF's colours of 16 bits, which says where the high byte is; None for any other file."""
    with path.open("rb") as file:
        if file.read(4) not in TIFF_SIGNATURES:
            return None
    with Image.open(path, formats=("TIFF",)) as picture:
        tags: Any = getattr(picture, "tag_v2", {})
        raw_modes = {tile.args[0] for tile in picture.tile if isinstance(tile.args, tuple)}
        if tags.get(PLANAR) == TWO_PLANES or len(raw_modes) != 1:
            return None
        raw_mode = str(raw_modes.pop())
        return raw_mode if raw_mode in DEEP_TIFF else None


def _joined(path: Path, raw_mode: str) -> Raster:
    """16 bits a channel, from two readings that each keep one byte of the two."""
    kind, order = raw_mode.split(";")
    little = {"16L": True, "16B": False, "16N": sys.byteorder == "little"}[order]
    first, second = (_read_tiff(path, f"{kind}{ending}").astype(np.uint16) for ending in (FIRST_BYTE, SECOND_BYTE))
    joined: Raster = second << 8 | first if little else first << 8 | second
    return joined


def _read_tiff(path: Path, raw_mode: str) -> NDArray[Any]:
    with Image.open(path, formats=("TIFF",)) as picture:
        picture.tile = [tile._replace(args=(raw_mode, *tile.args[1:])) for tile in picture.tile]  # type: ignore[index]
        picture.load()
        return np.asarray(ImageOps.exif_transpose(picture))
