"""How an enlarging network is made to fit the memory budget: by the size of its tiles."""

from __future__ import annotations

from collections.abc import Iterator

from hires.models.budget import Choice
from hires.models.upscale import UpscaleModel
from hires.nodes.context import RunContext
from hires.nodes.upscaling import network_enlarger
from hires.tiling.upscale import TILES


def enlarging_choices(context: RunContext, model: UpscaleModel, height: int, width: int) -> Iterator[Choice]:
    """A picture of (height, width) in tiles, the largest first, their surroundings included."""
    enlarger = network_enlarger(context, model)
    for tile in TILES:
        if tile <= enlarger.largest:
            side = tile + 2 * enlarger.halo
            need = enlarger.bytes_per_pixel * min(side, height) * min(side, width)
            yield Choice(f"in tiles of {tile}" if tile < max(height, width) else "whole", need)
