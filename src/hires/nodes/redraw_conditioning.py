"""Conditioning for one tile of a picture: areas, masks, hints and sizes as the tile sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from hires.imaging.masks import resize_mask
from hires.imaging.resample import resample
from hires.imaging.sizes import LATENT
from hires.nodes.steering import ControlLink
from hires.nodes.types import ConditioningList
from hires.tiling.grid import Box

Sizes = Literal["crop", "canvas", "native", "as given"]
SIZES: tuple[str, ...] = ("crop", "canvas", "native", "as given")
LARGEST_CROP = 1024
"""Pixels: what SDXL is told of a tile's place is scaled so that the shorter side stays within what it has seen."""
PLACED = ("area", "mask", "mask_strength", "set_area_to_bounds")


@dataclass(frozen=True, eq=False)
class Canvas:
    """The picture that tiles are cut from, (height, width) in pixels, and what of conditioning was fitted to it once.

    Areas in latent cells count on a picture of the size `source`. `regions` False leaves out entries that hold for a
    part of the picture.
    """

    size: tuple[int, int]
    source: tuple[int, int]
    sizes: Sizes = "crop"
    regions: bool = True
    fitted: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def once(self, tensor: Tensor, fit: Any) -> Tensor:
        """What fit(tensor) gave the first time."""
        if id(tensor) not in self.fitted:
            self.fitted[id(tensor)] = (tensor, fit(tensor))  # the tensor is kept, so that its id stays its own
        return self.fitted[id(tensor)][1]


def cropped(entries: ConditioningList, canvas: Canvas, crop: Box, size: tuple[int, int]) -> ConditioningList:
    """The entries that concern a crop which is drawn at `size` (height, width).

    Where none is left, those that hold for the whole picture, or else all without their places, are taken.
    """
    found: ConditioningList = []
    links: dict[int, ControlLink] = {}
    whole = [entry for entry in entries if not is_placed(entry[1])]
    for tensor, options in entries if canvas.regions or not whole else whole:
        seen = _seen(options, canvas, crop, size)
        if seen is not None:
            found.append((tensor, _steered(seen, canvas, crop, size, links)))
    if not found:
        bare = [(t, {k: v for k, v in options.items() if k not in PLACED}) for t, options in entries]
        return cropped(bare, canvas, crop, size) if entries else []
    return [(tensor, _told(options, canvas, crop, size)) for tensor, options in found]


def stacked(
    entries: ConditioningList, canvas: Canvas, crops: Sequence[Box], size: tuple[int, int], images: int
) -> ConditioningList:
    """Entries for several tiles in one batch, each of `images` pictures: hints are cropped for each, areas and masks
    stay as they are (the ComfyUI port)."""
    result: ConditioningList = []
    for tensor, options in entries:
        link: ControlLink | None = options.get("control")
        if link is not None:
            options = {**options, "control": _stacked_link(link, canvas, crops, size, images)}
        result.append((tensor, options))
    return result


def _stacked_link(
    link: ControlLink, canvas: Canvas, crops: Sequence[Box], size: tuple[int, int], images: int
) -> ControlLink:
    regions = [] if link.region is None else [_hint(link.region, canvas, crop, size) for crop in crops]
    region = torch.cat([part.expand(images, -1, -1) for part in regions]) if regions else None
    hints = [_hint(link.image, canvas, crop, size) for crop in crops]
    hints = [hint.expand(images, -1, -1, -1) if len(hint) == 1 else hint[:images] for hint in hints]
    previous = None if link.previous is None else _stacked_link(link.previous, canvas, crops, size, images)
    return replace(link, image=torch.cat(hints), previous=previous, region=region)


def is_placed(options: dict[str, Any]) -> bool:
    """Whether an entry holds for a part of the picture."""
    return options.get("area") is not None or options.get("mask") is not None


def _seen(options: dict[str, Any], canvas: Canvas, crop: Box, size: tuple[int, int]) -> dict[str, Any] | None:
    """An entry's options with its area, mask and shown picture cut to the crop; None where it does not reach it."""
    options = dict(options)
    if options.get("area") is not None:
        area = _area(options["area"], canvas, crop, size)
        if area is None:
            return None
        options["area"] = area
    if options.get("mask") is not None:
        mask = canvas.once(options["mask"], lambda mask: resize_mask(mask, *canvas.size))[:, *crop.slices]
        if not bool((mask > 0).any()):
            return None
        options["mask"] = resize_mask(mask, size[0] // LATENT, size[1] // LATENT)
    for name, unit in (("concat_latent_image", LATENT), ("concat_mask", 1)):
        if options.get(name) is not None:
            options[name] = _shown(options[name], unit, canvas, crop, size)
    return options


def _area(area: Sequence[Any], canvas: Canvas, crop: Box, size: tuple[int, int]) -> tuple[int, ...] | None:
    """(height, width, y, x) in the tile's latent cells."""
    if area[0] == "percentage":
        shares = [float(value) for value in area[1:]]
    else:
        height, width = (side / LATENT for side in canvas.source)
        shares = [area[0] / height, area[1] / width, area[2] / height, area[3] / width]
    spans = []
    for share, start, length, first, extent, cells in (
        (shares[0], shares[2], canvas.size[0], crop.top, crop.height, size[0] // LATENT),
        (shares[1], shares[3], canvas.size[1], crop.left, crop.width, size[1] // LATENT),
    ):
        low = round((start * length - first) / extent * cells)
        high = round(((start + share) * length - first) / extent * cells)
        low, high = max(low, 0), min(high, cells)
        if high <= low:
            return None
        spans.append((low, high))
    (top, bottom), (left, right) = spans
    return bottom - top, right - left, top, left


def _shown(picture: Tensor, unit: int, canvas: Canvas, crop: Box, size: tuple[int, int]) -> Tensor:
    """What an inpainting network is shown, (batch, channels, h, w) in units of so many pixels, cut to the crop."""
    height, width = (side // unit for side in canvas.size)

    def fit(given: Tensor) -> Tensor:
        planes = given if unit == LATENT else given.reshape(-1, 1, *given.shape[-2:])
        return resample(planes, width, height, "bilinear", "center")

    whole = canvas.once(picture, fit)
    place = Box(*(side // unit for side in (crop.top, crop.left, crop.bottom, crop.right)))
    part = whole[..., *place.slices]
    wanted = (size[0] // unit, size[1] // unit)
    if tuple(part.shape[-2:]) == wanted:
        return part
    return resample(part, wanted[1], wanted[0], "bilinear")


def _steered(
    options: dict[str, Any], canvas: Canvas, crop: Box, size: tuple[int, int], links: dict[int, ControlLink]
) -> dict[str, Any]:
    link: ControlLink | None = options.get("control")
    if link is None:
        return options
    return {**options, "control": _cut_link(link, canvas, crop, size, links)}


def _cut_link(
    link: ControlLink, canvas: Canvas, crop: Box, size: tuple[int, int], links: dict[int, ControlLink]
) -> ControlLink:
    """The link with its hint cut to the crop; entries that shared one share it still."""
    if id(link) not in links:
        previous = None if link.previous is None else _cut_link(link.previous, canvas, crop, size, links)
        region = None if link.region is None else _hint(link.region, canvas, crop, size)
        links[id(link)] = replace(link, image=_hint(link.image, canvas, crop, size), previous=previous, region=region)
    return links[id(link)]


def _hint(image: Tensor, canvas: Canvas, crop: Box, size: tuple[int, int]) -> Tensor:
    """The part of pictures (batch, height, width, channel), or of masks (batch, height, width)."""
    height, width = canvas.size
    is_picture = image.ndim == 4

    def fit(given: Tensor) -> Tensor:
        planes = given.movedim(-1, 1) if is_picture else given[:, None]
        return resample(planes, width, height, "nearest-exact", "center")

    part = canvas.once(image, fit)[..., *crop.slices]
    if tuple(part.shape[-2:]) != size:
        part = resample(part, size[1], size[0], "nearest-exact")
    return part.movedim(1, -1) if is_picture else part[:, 0]


def _told(options: dict[str, Any], canvas: Canvas, crop: Box, size: tuple[int, int]) -> dict[str, Any]:
    """What SDXL is told of sizes: a crop of the canvas at its place, the whole canvas, or a picture of its own."""
    if canvas.sizes == "as given":
        return options
    (height, width), (tall, wide) = canvas.size, size
    top: float = 0
    left: float = 0
    if canvas.sizes == "crop":
        scale = min(1.0, LARGEST_CROP / min(height, width))
        top, left = crop.top * scale, crop.left * scale
    elif canvas.sizes == "canvas":
        tall, wide = height, width
    else:
        height, width = tall, wide
    numbers = {"height": height, "width": width, "crop_h": top, "crop_w": left}
    return {**options, **numbers, "target_height": tall, "target_width": wide}
