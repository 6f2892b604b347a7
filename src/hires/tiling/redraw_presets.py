"""The web UI's and the ComfyUI port's ways of redrawing tiles, number for number: masks, crops, sizes, order.

Masks are pictures of 256 levels there, blurred after they were drawn; what of them is not zero decides the crop, which
is then resized to the processing size. That is why tiles there are drawn a little smaller than they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from hires.imaging.inpaint_masks import blurred_line
from hires.tiling.grid import Box, even_starts
from hires.tiling.grid_presets import (
    comfy_ultimate_processing_size,
    sd_upscale_ramp,
    to_aspect,
    ultimate_processing_size,
)
from hires.tiling.redraw import Job, Line, RedrawPlan, Round, Ultimate, product_mask

Shape = Literal["cell", "row", "column", "radial"]
Bytes = NDArray[np.uint8]
Sides = tuple[int, int, int, int]


def ultimate_preset(height: int, width: int, options: Ultimate, preset: Literal["a1111", "comfyui"]) -> RedrawPlan:
    """Ultimate SD upscale of a canvas as the web UI's script or its ComfyUI port makes it."""
    make = _Maker(height, width, options, preset)
    tall, wide = options.tile
    rows, columns = range(0, height, tall), range(0, width, wide)
    order = [(row, column) for row in range(len(rows)) for column in range(len(columns))]
    if options.mode == "Chess":
        order.sort(key=lambda place: sum(place) % 2)
    size = (ultimate_processing_size if preset == "a1111" else comfy_ultimate_processing_size)(
        options.tile, options.padding
    )
    rounds = []
    if options.mode != "None":
        cells = [Box(rows[r], columns[c], rows[r] + tall + 1, columns[c] + wide + 1) for r, c in order]
        rounds += [make.round("cell", core, options.blur, options.padding, size, seam=False) for core in cells]
    rounds += _seams(make, options, rows, columns)
    joins = (tuple(rows[1:]), tuple(columns[1:]))
    named = {"a1111": "Ultimate SD upscale as in the web UI", "comfyui": "Ultimate SD upscale as in ComfyUI"}
    return RedrawPlan((height, width), tuple(rounds), named[preset], preset, preset == "a1111", joins)


def _seams(make: _Maker, options: Ultimate, rows: Sequence[int], columns: Sequence[int]) -> list[Round]:
    if options.seams == "None":
        return []
    (tall, wide), blur, padding = options.tile, options.seam_blur, options.seam_padding
    if options.seams == "Band Pass":
        band, (height, width) = options.seam_width, make.canvas
        upright = [Box(0, x - band // 2, height, x - band // 2 + band) for x in columns[1:]]
        level = [Box(y - band // 2, 0, y - band // 2 + band, width) for y in rows[1:]]
        across = _cells_up(height), _cells_up(band + 2 * padding)
        found = [make.round("column", core, 0, padding, across) for core in upright]
        along = _cells_up(band + 2 * padding), _cells_up(width)
        return found + [make.round("row", core, 0, padding, along) for core in level]
    size = options.tile
    between_rows = [Box(y + tall // 2, x, y + tall // 2 + tall, x + wide) for y in rows[:-1] for x in columns]
    between_columns = [Box(y, x + wide // 2, y + tall, x + wide // 2 + wide) for y in rows for x in columns[:-1]]
    found = [make.round("row", core, blur, padding, size) for core in between_rows]
    found += [make.round("column", core, blur, padding, size) for core in between_columns]
    if options.seams == "Half Tile + Intersections":
        crossings = [(y + tall // 2, x + wide // 2) for y in rows[:-1] for x in columns[:-1]]
        cores = [Box(y, x, y + tall, x + wide) for y, x in crossings]
        found += [make.round("radial", core, blur, 0, size) for core in cores]
    return found


def _cells_up(length: int) -> int:
    """The length that the VAE can take."""
    return -(-length // 8) * 8


class _Maker:
    """Jobs of one canvas in one of the two ways."""

    def __init__(self, height: int, width: int, options: Ultimate, preset: str) -> None:
        self.canvas = (height, width)
        self._comfy, self._uniform = preset == "comfyui", options.uniform or preset == "a1111"

    def round(
        self, shape: Shape, core: Box, blur: int, padding: int, size: tuple[int, int], seam: bool = True
    ) -> Round:
        """One job: later ones see what it left."""
        height, width = self.canvas
        drawn, place = self._mask(shape, core, blur)
        seen = self._mask(shape, core, 0) if self._comfy else (drawn, place)
        box = _bounds(*seen).grown(padding).within(height, width)
        if self._comfy:
            box = Box(box.top, box.left, box.bottom - (box.bottom < height), box.right - (box.right < width))
        if not self._comfy:
            box = to_aspect(box, height, width, size)
        elif self._uniform:
            box = _lengthened(box, self.canvas, _of_aspect(box, size))
        else:
            size = (_cells_up(box.height), _cells_up(box.width))
            box = _lengthened(box, self.canvas, size)
            size = (_cells_up(box.height), _cells_up(box.width))
        return Round((Job(box, size, core.within(height, width), _cut(drawn, place, box)),), "over", seam)

    def _mask(self, shape: Shape, core: Box, blur: int) -> tuple[Bytes, Box]:
        """The drawn mask and the part of the canvas it is of."""
        height, width = self.canvas
        inside = core.within(height, width)
        far = 4 * blur + 8 if self._comfy else 2 * int(2.5 * blur + 0.5)
        window = inside.grown(far).within(height, width)
        margins = (
            inside.top - window.top,
            inside.left - window.left,
            window.bottom - inside.bottom,
            window.right - inside.right,
        )
        part = inside.relative_to(core)
        return _blurred(shape, (core.height, core.width), part, margins, blur, self._comfy), window


def _bounds(mask: Bytes, place: Box) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return place
    box = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    return box.moved(place.top, place.left)


def _cut(mask: Bytes, place: Box, crop: Box) -> Callable[[], Tensor]:
    def part() -> Tensor:
        found = np.zeros((crop.height, crop.width), np.uint8)
        top, left = max(crop.top, place.top), max(crop.left, place.left)
        bottom, right = min(crop.bottom, place.bottom), min(crop.right, place.right)
        shared = Box(top, left, bottom, right)
        found[shared.relative_to(crop).slices] = mask[shared.relative_to(place).slices]
        return torch.from_numpy(found).float() / 255

    return part


def _of_aspect(box: Box, size: tuple[int, int]) -> tuple[int, int]:
    aspect = size[1] / size[0]
    if box.width / box.height > aspect:
        return round(box.width / aspect), box.width
    return box.height, round(box.height * aspect)


def _lengthened(box: Box, canvas: tuple[int, int], size: tuple[int, int]) -> Box:
    """A box brought to a size: half of what lacks behind it, the rest before it, what finds no room there behind."""
    spans = []
    for start, end, length, wanted in zip((box.top, box.left), (box.bottom, box.right), canvas, size, strict=True):
        end = min(end + (wanted - (end - start)) // 2, length)
        start = max(start - (wanted - (end - start)), 0)
        spans.append((start, min(end + wanted - (end - start), length)))
    return Box(spans[0][0], spans[1][0], spans[0][1], spans[1][1])


@lru_cache(maxsize=64)
def _blurred(shape: Shape, size: tuple[int, int], part: Box, margins: Sides, blur: int, comfy: bool) -> Bytes:
    """A mask of `size` (height, width), its visible part only, with margins around it, blurred."""
    top, left, bottom, right = margins
    mask = np.pad(_drawn(shape, *size)[part.slices], ((top, bottom), (left, right)))
    if blur <= 0:
        return mask
    if comfy:
        return np.asarray(Image.fromarray(mask).filter(ImageFilter.GaussianBlur(blur)))
    return blurred_line(blurred_line(mask, blur, axis=1), blur, axis=0)


def _drawn(shape: Shape, height: int, width: int) -> Bytes:
    """white, or Pillow's gradients: to the middle and back along an axis, or from the middle outwards."""
    if shape == "cell":
        return np.full((height, width), 255, np.uint8)
    if shape == "radial":
        picture = Image.radial_gradient("L").resize((width, height), Image.Resampling.BICUBIC)
        return 255 - np.asarray(picture)
    if shape == "column":
        return _drawn("row", width, height).T
    ramp = np.asarray(Image.linear_gradient("L").resize((width, height // 2), Image.Resampling.BICUBIC))
    rest = np.asarray(Image.linear_gradient("L").resize((width, height - height // 2), Image.Resampling.BICUBIC))
    return np.concatenate([ramp, rest[::-1]])


# ---- the web UI's SD upscale ----------------------------------------------------------------------------------------


def sd_upscale_preset(height: int, width: int, tile: tuple[int, int], overlap: int) -> RedrawPlan:
    """The script's tiles and joins: each later tile fades in over its first `overlap` lines and covers the rest.

    A tile larger than the canvas is brought down to it (the script leaves black there).
    """
    tall, wide = (min(side, length) for side, length in zip(tile, (height, width), strict=True))
    tops, lefts = even_starts(height, tall, overlap), even_starts(width, wide, overlap)
    rows, columns = _later_wins(height, tops, tall, overlap), _later_wins(width, lefts, wide, overlap)
    jobs = []
    for top, down in zip(tops, rows, strict=True):
        for left, across in zip(lefts, columns, strict=True):
            crop = Box(top, left, top + tall, left + wide)
            jobs.append(Job(crop, (_cells_up(tall), _cells_up(wide)), crop, product_mask(down, across, crop)))
    joins = (tuple(top + overlap // 2 for top in tops[1:]), tuple(left + overlap // 2 for left in lefts[1:]))
    rounds = (Round(tuple(jobs), sees_former=False),)
    return RedrawPlan((height, width), rounds, "SD upscale as in the web UI", "a1111", joins=joins)


def _later_wins(length: int, starts: Sequence[int], tile: int, overlap: int) -> list[Line]:
    """Each tile's share on the axis (length,) when every one is pasted over the former with a ramp at its start."""
    alphas = []
    for index, start in enumerate(starts):
        alpha = torch.zeros(length, dtype=torch.float64)
        alpha[start : start + tile] = 1
        ramp = min(overlap, tile) if index else 0
        alpha[start : start + ramp] = torch.from_numpy(sd_upscale_ramp(overlap)[:ramp]).double()
        alphas.append(alpha)
    lines, left = [], torch.ones(length, dtype=torch.float64)
    for alpha in reversed(alphas):
        lines.append((alpha * left).float())
        left = left * (1 - alpha)
    return lines[::-1]
