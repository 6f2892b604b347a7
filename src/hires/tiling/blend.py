"""Work on a large picture tile by tile, joined with feathered overlaps: ComfyUI's grid, weights and numbers.

Tiles start every `tile - overlap` and the last of a row may be short. A tile's weight rises over the overlap from each
of its four sides, also at the picture's border, and the result is sum(weight * tile) / sum(weight).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TypeVar

import torch
from torch import Tensor

from hires.errors import MemoryLimitError, is_out_of_memory

Function = Callable[[Tensor], Tensor]
"""From a part (1, channels, h, w) to its result (1, any channels, h * scale, w * scale)."""
OnTile = Callable[[int, int], None]
"""Called with the number of finished tiles and of all tiles; may raise to stop the work."""
Size = tuple[int, int]
T = TypeVar("T")


def tile_starts(size: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin on an axis; 0 alone when one tile holds it all."""
    if size <= tile:
        return [0]
    return [min(start, size - overlap) for start in range(0, size - overlap, tile - overlap)]


def tile_count(shape: Sequence[int], tile: Size, overlap: int) -> int:
    """How many tiles (batch, channels, height, width) is cut into."""
    batch, height, width = shape[0], shape[-2], shape[-1]
    return batch * len(tile_starts(height, tile[0], overlap)) * len(tile_starts(width, tile[1], overlap))


def feathered(height: int, width: int, feather: int) -> Tensor:
    """Weights (1, 1, height, width): (t + 1) / feather for the t-th line from each side.

    An axis that is not longer than the feather has none, as in ComfyUI.
    """
    rows, columns = _ramp(height, feather), _ramp(width, feather)
    return (rows[:, None] * columns[None, :])[None, None]


def _ramp(size: int, feather: int) -> Tensor:
    ramp = torch.ones(size)
    if 0 < feather < size:
        rise = torch.arange(1, feather + 1) / feather
        ramp[:feather] *= rise
        ramp[size - feather :] *= rise.flip(0)
    return ramp


def tiled_scale(
    samples: Tensor,
    function: Function,
    tile: Size,
    overlap: int,
    scale: float,
    on_tile: OnTile | None = None,
) -> Tensor:
    """`function` over samples (batch, channels, h, w), image by image, tile by tile -> (batch, any, h*scale, w*scale).

    tile is (height, width) and overlap a length, both in cells of `samples`; scale may be below 1 (an encoder). An
    image that fits one tile is given to the function as it is. The result is float32 on the CPU.
    """
    done, total = 0, tile_count(samples.shape, tile, overlap)
    results: list[Tensor] = []
    for image in samples.split(1):
        height, width = image.shape[-2:]
        starts = list(product(tile_starts(height, tile[0], overlap), tile_starts(width, tile[1], overlap)))
        joined: _Canvas | None = None
        for top, left in starts:
            part = image[:, :, top : top + tile[0], left : left + tile[1]]
            result = function(part).to("cpu", torch.float32)
            if len(starts) == 1:
                results.append(result)
            else:
                joined = joined or _Canvas(result.shape[1], round(height * scale), round(width * scale))
                joined.add(result, round(top * scale), round(left * scale), round(overlap * scale))
            done += 1
            if on_tile is not None:
                on_tile(done, total)
        if joined is not None:
            results.append(joined.mean())
    return torch.cat(results) if len(results) > 1 else results[0]


class _Canvas:
    """The weighted sum of tiles of one image, and the sum of the weights."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        self.total = torch.zeros(1, channels, height, width)
        self.weight = torch.zeros(1, 1, height, width)

    def add(self, tile: Tensor, top: int, left: int, feather: int) -> None:
        height, width = tile.shape[-2:]
        weight = feathered(height, width, feather)
        place = (..., slice(top, top + height), slice(left, left + width))
        self.total[place] += tile * weight
        self.weight[place] += weight

    def mean(self) -> Tensor:
        return self.total.div_(self.weight)


def three_tilings(tile: int) -> tuple[Size, Size, Size]:
    """(height, width) of the tilings whose mean ComfyUI's tiled VAE takes: tall, wide and square tiles."""
    return (tile * 2, tile // 2), (tile // 2, tile * 2), (tile, tile)


def mean_of_tilings(
    samples: Tensor, function: Function, tile: int, overlap: int, scale: float, on_tile: OnTile | None = None
) -> Tensor:
    """The mean of `tiled_scale` over three tilings whose seams lie in different places (ComfyUI's tiled VAE)."""
    sizes = three_tilings(tile)
    counts = [tile_count(samples.shape, size, overlap) for size in sizes]
    total = torch.zeros(())
    for index, size in enumerate(sizes):
        report = None
        if on_tile is not None:
            report = _shifted(on_tile, sum(counts[:index]), sum(counts))
        total = total + tiled_scale(samples, function, size, overlap, scale, report)
    return total / len(sizes)


def _shifted(on_tile: OnTile, before: int, total: int) -> OnTile:
    return lambda done, _: on_tile(before + done, total)


def smaller_until_it_fits(work: Callable[[int], T], tile: int, smallest: int, what: str) -> T:
    """work(tile), with the tile halved whenever memory runs out; MemoryLimitError below `smallest`."""
    while True:
        try:
            return work(tile)
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if tile // 2 < smallest:
                raise MemoryLimitError(
                    f"{what} does not fit the memory, even in tiles of {tile} pixels",
                    "Close other programs, or use a smaller model or the CPU.",
                ) from error
        tile //= 2
