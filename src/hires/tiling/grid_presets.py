"""The geometries of the tools people come from, number for number, where they differ from hires' own.

A1111's SD upscale script, Ultimate SD upscale (web UI and ComfyUI), Tiled Diffusion, ComfyUI's and DemoFusion's grids.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hires.imaging import inpaint_masks
from hires.tiling.blend import tile_starts as comfy_starts
from hires.tiling.grid import Box, boxes_at, even_boxes, even_starts
from hires.tiling.windows import WindowKind

__all__ = ["comfy_starts"]


@dataclass(frozen=True)
class JointPreset:
    """Settings of tiled denoising under a name; tile and overlap in latent cells."""

    tile: int
    overlap: int
    window: WindowKind
    tile_batch: int
    grid: Literal["even", "jitter"] = "even"


JOINT_PRESETS: dict[str, JointPreset] = {
    "tiled-diffusion-txt2img": JointPreset(96, 48, "uniform", 4),
    "tiled-diffusion-img2img": JointPreset(96, 8, "gaussian", 4),
    "tiled-diffusion-comfyui": JointPreset(96, 8, "gaussian", 4),
    "forge": JointPreset(96, 8, "uniform", 4),
    "demofusion": JointPreset(128, 64, "uniform", 4),
    "spotdiffusion": JointPreset(64, 0, "uniform", 4),
    "hires-sd1": JointPreset(96, 24, "cosine", 4, "jitter"),
    "hires-sdxl": JointPreset(128, 32, "cosine", 4, "jitter"),
}


def tiled_diffusion_boxes(height: int, width: int, tile: tuple[int, int], overlap: int) -> list[Box]:
    """Tiled Diffusion's grid: tiles (height, width) clamped to the canvas, the overlap to the shorter side less 4."""
    tile = min(tile[0], height), min(tile[1], width)
    return even_boxes(height, width, tile, max(0, min(overlap, min(tile) - 4)))


def even_batch(count: int, tile_batch: int) -> int:
    """How many of `count` tiles Tiled Diffusion takes at a time: as few calls as the batch allows, evened out."""
    return ceil(count / ceil(count / tile_batch))


def demofusion_starts(length: int, tile: int, stride: int) -> list[int]:
    """DemoFusion's windows: at every stride, the last pulled back to end with the canvas."""
    if length <= tile:
        return [0]
    count = int((length - tile) / stride - 1e-6) + 2
    return [min(index * stride, length - tile) for index in range(count)]


# A1111's SD upscale script


def sd_upscale_boxes(height: int, width: int, tile: tuple[int, int], overlap: int) -> list[Box]:
    """SD upscale's tiles (height, width), row by row. A tile larger than the canvas starts before it, at a negative
    place: the script fills what lies outside with black."""
    rows, columns = (
        even_starts(length, side, overlap) if side <= length else [length - side]
        for length, side in ((height, tile[0]), (width, tile[1]))
    )
    return boxes_at(rows, columns, tile)


def sd_upscale_seeds(seed: int, tiles: int, batch_size: int, run: int = 0) -> list[int]:
    """The seed of each tile. A batch starts one above the former's first seed, so that batches share seeds."""
    return [seed + run + tile // batch_size + tile % batch_size for tile in range(tiles)]


def sd_upscale_ramp(overlap: int) -> NDArray[np.float32]:
    """The later tile's weight over its first `overlap` lines: in steps of 1/255, from 0."""
    return np.floor(255 * np.arange(overlap) / max(overlap, 1)).astype(np.float32) / np.float32(255)


# Ultimate SD upscale


def ultimate_cells(height: int, width: int, tile: tuple[int, int]) -> list[Box]:
    """Disjoint cells of the full tile size (height, width), row by row; the last of a row may be a sliver."""
    rows, columns = range(0, height, tile[0]), range(0, width, tile[1])
    return [box.within(height, width) for box in boxes_at(rows, columns, tile)]


def ultimate_order(boxes: list[Box], mode: Literal["Linear", "Chess"]) -> list[Box]:
    """The order in which cells are redrawn: row by row, or first the even fields of a chess board."""
    if mode == "Linear":
        return boxes
    rows, columns = sorted({box.top for box in boxes}), sorted({box.left for box in boxes})
    return sorted(boxes, key=lambda box: (rows.index(box.top) + columns.index(box.left)) % 2)


def ultimate_processing_size(tile: tuple[int, int], padding: int) -> tuple[int, int]:
    """(height, width) at which the web UI's script redraws a tile: padding counted once, up to multiples of 64."""
    return ceil((tile[0] + padding) / 64) * 64, ceil((tile[1] + padding) / 64) * 64


def ultimate_crop_box(
    height: int, width: int, cell: tuple[int, int, int, int], blur: int, padding: int, size: tuple[int, int]
) -> Box:
    """What the web UI's script crops of the canvas for a cell (top, left, tile height, tile width).

    The mask's last line is inclusive, so it is one longer than the tile; a blurred mask counts as far as it is not
    rounded to 0 of 255. The box is then brought to the shape of `size`, the processing size.
    """
    top, left, tall, wide = cell
    reach = _blur_reach(blur)
    mask = Box(top, left, top + tall + 1, left + wide + 1).within(height, width)
    box = mask.grown(reach).within(height, width).grown(padding).within(height, width)
    return to_aspect(box, height, width, size)


def _blur_reach(blur: int) -> int:
    """How far a Gaussian of that sigma (kernel of 2 * int(2.5 sigma + 0.5) + 1) carries an edge in 8 bits."""
    if blur <= 0:
        return 0
    kernel = inpaint_masks.blur_kernel(blur)
    edge = np.zeros((1, 2 * len(kernel)), np.uint8)
    edge[:, len(kernel) :] = 255
    return int((inpaint_masks.blurred_line(edge, blur, axis=1)[:, : len(kernel)] > 0).sum())


def comfy_ultimate_crop_box(
    height: int, width: int, cell: tuple[int, int, int, int], padding: int, size: tuple[int, int] | None
) -> Box:
    """The same for the ComfyUI port, where the blur does not count and the inclusive line is taken off again.

    `size` is the processing size to whose shape the box is brought (uniform tiles), or None for boxes as they are.
    """
    top, left, tall, wide = cell
    box = Box(top, left, top + tall + 1, left + wide + 1).within(height, width).grown(padding).within(height, width)
    right = box.right - 1 if box.right < width else box.right
    bottom = box.bottom - 1 if box.bottom < height else box.bottom
    box = Box(box.top, box.left, bottom, right)
    return box if size is None else to_aspect(box, height, width, size)


def comfy_ultimate_processing_size(tile: tuple[int, int], padding: int) -> tuple[int, int]:
    """(height, width) at which the ComfyUI port redraws a tile: padding counted once, to multiples of 8."""
    return round((tile[0] + padding) / 8) * 8, round((tile[1] + padding) / 8) * 8


def to_aspect(box: Box, height: int, width: int, size: tuple[int, int]) -> Box:
    """A box lengthened on one axis to the shape of `size` (height, width), pushed back into the canvas."""
    corners = (box.left, box.top, box.right, box.bottom)
    left, top, right, bottom = inpaint_masks.to_aspect(corners, (width, height), (size[1], size[0]))
    return Box(top, left, bottom, right)
