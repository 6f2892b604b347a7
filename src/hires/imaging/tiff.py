"""TIFF files written strip by strip, with 8 or 16 bits a channel: Pillow writes no colour of 16 bits, and only whole.

Source: TIFF revision 6.0 (Adobe 1992), its supplement 2 for deflate, and BigTIFF above 4 GB. The directory comes first,
with room for the strips' places, which are filled in at the end.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from hires.imaging.png import Raster, Rows

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, SAMPLES, ROWS_EACH, COUNTS, PLANAR, PREDICTOR, EXTRA, PROFILE = 273, 277, 278, 279, 284, 317, 338, 34675
STRUCTURE = {WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, 266, OFFSETS, SAMPLES, ROWS_EACH, COUNTS, PLANAR, PREDICTOR}
STRUCTURE |= {EXTRA, 339, PROFILE, 322, 323, 324, 325}
"""What of another file's directory says how that file was laid out."""
DEFLATE, DIFFERENCES, UNASSOCIATED_ALPHA = 8, 2, 2
CLASSIC, BIG = b"II*\0\x08\0\0\0", b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0"
CLASSIC_BYTES = 4_000_000_000
STRIP_BYTES = 1_000_000


def write_tiff(
    path: Path,
    raster: Rows,
    icc_profile: bytes | None = None,
    exif: Image.Exif | None = None,
    compression: int = 4,
) -> None:
    """Write (height, width, 1 to 4) of uint8 or uint16, of which no more than a strip is held.

    Grey with alpha becomes RGBA, which more programs read.
    """
    height, width, channels = raster.shape
    if raster.dtype not in (np.uint8, np.uint16) or not 1 <= channels <= 4:
        raise ValueError(f"no TIFF of {raster.dtype} with {channels} channels")
    channels = 4 if channels == 2 else channels
    row_bytes = width * channels * raster.dtype.itemsize
    rows = min(max(1, STRIP_BYTES // row_bytes), height)
    head = BIG if height * row_bytes > CLASSIC_BYTES else CLASSIC
    count = -(-height // rows)
    directory = _directory(head, raster, channels, rows, icc_profile, exif)
    _fill_in(directory, head, [0] * count, [0] * count)
    room = len(directory.tobytes(len(head)))
    offsets, counts = [], []
    with path.open("wb") as file:
        file.write(head + bytes(room))
        for strip in _strips(raster, rows):
            packed = zlib.compress(strip, compression)
            offsets.append(file.tell() - len(head) - room)  # the directory counts from its own end
            counts.append(len(packed))
            file.write(packed + b"\0" * (len(packed) % 2))
        _fill_in(directory, head, offsets, counts)
        file.seek(len(head))
        file.write(directory.tobytes(len(head)))


def _directory(
    head: bytes, raster: Rows, channels: int, rows: int, icc_profile: bytes | None, exif: Image.Exif | None
) -> ImageFileDirectory_v2:
    directory = ImageFileDirectory_v2(head)
    carried = Image.Exif()
    if exif is not None:
        carried.load(exif.tobytes())  # directories that were added are only listed once it is written and read
    for tag in carried:
        if tag not in STRUCTURE:
            directory[tag] = carried.get_ifd(tag) if tag in TiffTags.TAGS_V2_GROUPS else carried[tag]
    height, width, _ = raster.shape
    values: dict[int, Any] = {
        WIDTH: width,
        HEIGHT: height,
        BITS: (raster.dtype.itemsize * 8,) * channels,
        COMPRESSION: DEFLATE,
        PHOTOMETRIC: 1 if channels == 1 else 2,
        SAMPLES: channels,
        ROWS_EACH: rows,
        PLANAR: 1,
        PREDICTOR: DIFFERENCES,
    }
    if channels == 4:
        values[EXTRA] = UNASSOCIATED_ALPHA
    if icc_profile:
        directory.tagtype[PROFILE] = TiffTags.UNDEFINED
        values[PROFILE] = icc_profile
    for tag, value in values.items():
        directory[tag] = value
    return directory


def _fill_in(directory: ImageFileDirectory_v2, head: bytes, offsets: list[int], counts: list[int]) -> None:
    """The strips' places and lengths; with their types stated, they always take the same room."""
    for tag, numbers in ((OFFSETS, offsets), (COUNTS, counts)):
        directory.tagtype[tag] = TiffTags.LONG8 if head == BIG else TiffTags.LONG
        directory[tag] = tuple(numbers)


def _strips(raster: Rows, rows: int) -> Iterator[bytes]:
    """The rows as differences from the pixel to the left, little-endian."""
    for top in range(0, raster.shape[0], rows):
        strip: Raster = raster[top : top + rows]
        if strip.shape[2] == 2:
            strip = strip[..., [0, 0, 0, 1]]
        differences = strip.copy()
        differences[:, 1:] -= strip[:, :-1]
        yield differences.astype(differences.dtype.newbyteorder("<"), copy=False).tobytes()
