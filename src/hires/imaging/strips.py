"""Pictures too large to be held several times: room in a file for them, and their rows rounded as they are needed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hires.imaging.png import Raster

MAPPED_BYTES = 1_500_000_000
"""A picture that takes more than this is kept in a temporary file, not in memory."""
STRIP_BYTES = 4_000_000


def new_pixels(height: int, width: int, channels: int, dtype: Any = np.float32) -> NDArray[Any]:
    """Room for a picture: in memory, or in a temporary file that goes with the array when it is large."""
    shape, kind = (height, width, channels), np.dtype(dtype)
    if height * width * channels * kind.itemsize <= MAPPED_BYTES:
        return np.empty(shape, dtype=kind)
    with tempfile.TemporaryFile(prefix="hires-") as file:
        return np.memmap(file, dtype=kind, mode="w+", shape=shape)


def rows_at_once(row: NDArray[Any]) -> int:
    """How many rows like this one make a strip."""
    return max(1, STRIP_BYTES // max(1, row.size * 4))


def as_stored(pixels: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """float32 in 0..1 clamped and, for whole numbers, rounded to their range."""
    clamped = pixels.clip(0.0, 1.0)
    if dtype.kind != "u":
        return clamped.astype(dtype, copy=False)
    return np.rint(clamped * np.float32(np.iinfo(dtype).max)).astype(dtype)


@dataclass(frozen=True)
class Rounded:
    """A picture (height, width, 3 or 4) of float32 in 0..1 as whole numbers, rounded where rows are asked for.

    grey: one channel, the mean of the colours, and alpha where there is one.
    """

    pixels: NDArray[np.float32]
    dtype: np.dtype[Any]
    grey: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.pixels.shape
        return height, width, channels - 2 if self.grey else channels

    def __getitem__(self, rows: slice) -> Raster:
        """(rows, width, channels): the rows of a slice without step."""
        start, stop, _ = rows.indices(self.pixels.shape[0])
        made = np.empty((max(stop - start, 0), *self.shape[1:]), dtype=self.dtype)
        step = rows_at_once(self.pixels[0])
        for top in range(start, stop, step):
            part = np.asarray(self.pixels[top : min(top + step, stop)])
            if self.grey:
                part = np.concatenate([part[..., :3].mean(axis=-1, keepdims=True), part[..., 3:]], axis=-1)
            made[top - start : top - start + len(part)] = as_stored(part, self.dtype)
        return made
