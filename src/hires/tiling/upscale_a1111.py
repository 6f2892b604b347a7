"""Enlarging over tiles as the A1111 web UI does for ESRGAN and its kin: 8 bits in and out of every tile, blue first.

Tiles overlap by so few pixels that they differ from the whole picture; hires' own way does not (see `upscale`).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import numpy as np
from PIL import Image
from torch import Tensor

from hires.imaging.strips import as_stored
from hires.tiling.grid import Box
from hires.tiling.grid_presets import sd_upscale_boxes, sd_upscale_ramp
from hires.tiling.plan import TilePlan
from hires.tiling.upscale import OnTile, Pixels, as_planes

TILE, OVERLAP = 192, 8
BYTES = np.dtype(np.uint8)


def a1111_plan(height: int, width: int, tile: int = TILE, overlap: int = OVERLAP) -> TilePlan:
    """The web UI's tiles; they may reach beyond a picture that is smaller, where they are black."""
    boxes = tuple(sd_upscale_boxes(height, width, (tile, tile), overlap))
    return TilePlan((height, width), boxes, boxes, "enlarging as A1111", window="linear")


def enlarge_as_a1111(
    source: Pixels,
    run: Callable[[Tensor], Tensor],
    scale: int,
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
    on_tile: OnTile | None = None,
) -> Pixels:
    """source (h, w, 3) uint8 -> (h * scale, w * scale, 3) uint8.

    run: (1, 3, h, w) in 0..1 -> the same enlarged. Of two tiles the later one fades in over its first pixels, in steps
    of 1/255, first along the rows, then down the columns.
    """
    picture = Image.fromarray(np.ascontiguousarray(source))
    plan = a1111_plan(picture.height, picture.width, tile, overlap)
    whole = Image.new("RGB", (picture.height * scale, picture.width * scale))  # on its side: rows are laid as columns
    fade = Image.fromarray((sd_upscale_ramp(overlap * scale) * 255).round().astype(np.uint8)[None])
    done = 0
    for top, boxes in groupby(plan.boxes, key=lambda box: box.top):
        row = Image.new("RGB", (whole.height, tile * scale))
        for box in boxes:
            _laid(row, _enlarged(picture, box, run), box.left * scale, fade)
            done += 1
            if on_tile is not None:
                on_tile(done, len(plan.boxes))
        _laid(whole, row.transpose(Image.Transpose.TRANSPOSE), top * scale, fade)
    return np.asarray(whole.transpose(Image.Transpose.TRANSPOSE))


def _enlarged(picture: Image.Image, box: Box, run: Callable[[Tensor], Tensor]) -> Image.Image:
    part = np.asarray(picture.crop((box.left, box.top, box.right, box.bottom)))
    planes = run(as_planes(part).flip(1)).flip(1)
    return Image.fromarray(as_stored(np.ascontiguousarray(planes[0].movedim(0, -1).numpy()), BYTES))


def _laid(onto: Image.Image, part: Image.Image, left: int, fade: Image.Image) -> None:
    """Lay a part at a column, faded in unless it begins the picture."""
    if left == 0:
        onto.paste(part, (0, 0))
        return
    ramp, height = fade.width, part.height
    if ramp:
        onto.paste(part.crop((0, 0, ramp, height)), (left, 0), mask=fade.resize((ramp, height)))
    onto.paste(part.crop((ramp, 0, part.width, height)), (left + ramp, 0))
