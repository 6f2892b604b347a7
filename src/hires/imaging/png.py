"""PNG files written strip by strip, with 8 or 16 bits a channel: what Pillow does only whole, or not at all.

Source: the PNG specification (third edition), sections 5 (chunks), 9 (filtering) and 11 (tEXt, iTXt, iCCP, eXIf).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

Raster = NDArray[Any]
"""(height, width, channels) of uint8 or uint16; 1 to 4 channels: grey, grey and alpha, RGB, RGBA."""


class Rows(Protocol):
    """A raster, or something that makes its rows when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __getitem__(self, rows: slice, /) -> Any: ...


SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
STRIP_BYTES = 4_000_000


def write_png(
    path: Path,
    raster: Rows,
    texts: Mapping[str, str] | None = None,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    compression: int = 4,
) -> None:
    """Write a raster, of which no more than a strip is held. Texts become tEXt or iTXt chunks."""
    height, width, channels = raster.shape
    if raster.dtype not in (np.uint8, np.uint16) or channels not in COLOUR_TYPES:
        raise ValueError(f"no PNG of {raster.dtype} with {channels} channels")
    with path.open("wb") as file:
        file.write(SIGNATURE)
        header = (width, height, raster.dtype.itemsize * 8, COLOUR_TYPES[channels], 0, 0, 0)
        _chunk(file, b"IHDR", struct.pack(">IIBBBBB", *header))
        if icc_profile:
            _chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile))
        for key, text in (texts or {}).items():
            _chunk(file, *_text_chunk(key, text))
        if exif:
            _chunk(file, b"eXIf", exif.removeprefix(b"Exif\0\0"))
        packer = zlib.compressobj(compression)
        for strip in _filtered_strips(raster):
            if data := packer.compress(strip):
                _chunk(file, b"IDAT", data)
        _chunk(file, b"IDAT", packer.flush())
        _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


def _text_chunk(key: str, text: str) -> tuple[bytes, bytes]:
    """A keyword is Latin-1 of 1 to 79 bytes."""
    name = key.encode("latin-1", "replace")[:79].replace(b"\0", b" ") or b"Comment"
    try:
        return b"tEXt", name + b"\0" + text.encode("latin-1").replace(b"\0", b" ")
    except UnicodeEncodeError:
        return b"iTXt", name + b"\0\0\0\0\0" + text.encode("utf-8", "replace").replace(b"\0", b" ")


def _filtered_strips(raster: Rows) -> Iterator[bytes]:
    """The rows, each with the filter that leaves the smallest differences (the specification's heuristic)."""
    height, width, channels = raster.shape
    pixel = channels * raster.dtype.itemsize
    above = np.zeros((1, width * pixel), dtype=np.uint8)
    rows_at_once = max(1, STRIP_BYTES // (width * pixel))
    for top in range(0, height, rows_at_once):
        strip = np.ascontiguousarray(raster[top : top + rows_at_once])
        if strip.dtype == np.uint16:
            strip = strip.astype(">u2")
        rows = strip.view(np.uint8).reshape(len(strip), -1)
        up = np.concatenate([above, rows[:-1]])
        above = rows[-1:]
        yield _filtered(rows, up, pixel).tobytes()


def _filtered(rows: NDArray[np.uint8], up: NDArray[np.uint8], pixel: int) -> NDArray[np.uint8]:
    """(rows, bytes) -> (rows, 1 + bytes), the filter's number first."""
    left, corner = _shifted(rows, pixel), _shifted(up, pixel)
    mean = ((left.astype(np.uint16) + up) >> 1).astype(np.uint8)
    candidates = np.stack([rows, rows - left, rows - up, rows - mean, rows - _paeth(left, up, corner)])
    cost = np.abs(candidates.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64)
    best = cost.argmin(axis=0)
    chosen = candidates[best, np.arange(len(rows))]
    return np.concatenate([best[:, None].astype(np.uint8), chosen], axis=1)


def _shifted(rows: NDArray[np.uint8], pixel: int) -> NDArray[np.uint8]:
    return np.pad(rows, ((0, 0), (pixel, 0)))[:, : rows.shape[1]]


def _paeth(left: NDArray[np.uint8], up: NDArray[np.uint8], corner: NDArray[np.uint8]) -> NDArray[np.uint8]:
    a, b, c = left.astype(np.int16), up.astype(np.int16), corner.astype(np.int16)
    by_left, by_up, by_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest = np.where((by_left <= by_up) & (by_left <= by_corner), left, np.where(by_up <= by_corner, up, corner))
    return nearest.astype(np.uint8)
