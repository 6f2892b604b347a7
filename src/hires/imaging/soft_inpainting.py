"""Soft inpainting: partly masked pixels keep a part of what they were, and the overlay shows what really changed.

Latents are (batch, channels, h, w) float; nmask is (1, 1, h, w) or (batch, 1, h, w) in 0..1, 1 = repaint, not rounded.
Source: the A1111 web UI.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn.functional import pad, unfold

from hires.errors import SettingError
from hires.imaging.inpaint_masks import Box
from hires.imaging.resize_modes import Size, resized
from hires.imaging.targets import SizeRule

RANGES = {
    "schedule_bias": (0, 8),
    "preservation_strength": (0, 8),
    "transition_contrast_boost": (1, 32),
    "mask_influence": (0, 1),
    "difference_threshold": (0, 8),
    "difference_contrast": (2, 8),
}
SMOOTHING = 4.0
"""Radius of the blur that takes the latent's steps out of an overlay mask, in pixels."""
SPREAD, REACH = 1.5, 2
"""Of the kernel: exp(-r² / SPREAD²), in latent cells as far as REACH."""


@dataclass(frozen=True)
class SoftInpainting:
    """The sliders. Raises SettingError for one that is out of its range."""

    schedule_bias: float = 1.0
    """Below 1 the original is kept more near the end, above 1 at the beginning."""
    preservation_strength: float = 0.5
    transition_contrast_boost: float = 4.0
    mask_influence: float = 0.0
    difference_threshold: float = 0.5
    difference_contrast: float = 2.0

    def __post_init__(self) -> None:
        for each in fields(self):
            low, high = RANGES[each.name]
            value = getattr(self, each.name)
            if not low <= value <= high:
                name = each.name.replace("_", " ")
                raise SettingError(f"soft inpainting's {name} must be from {low} to {high}, not {value:g}")


def schedule_weights(nmask: Tensor, sigma: float, soft: SoftInpainting) -> Tensor:
    """The share of what was denoised at a noise level: nmask ^ (sigma^bias * strength)."""
    return nmask ** (sigma**soft.schedule_bias * soft.preservation_strength)


def blended(original: Tensor, current: Tensor, share: Tensor, soft: SoftInpainting) -> Tensor:
    """`share` of the current latent and the rest of the original one, where opposite vectors do not cancel out.

    v = (1 - t) a + t b gets the magnitude ((1 - t) |a|^c + t |b|^c)^(1/c) over the channels; c is the contrast boost.
    """
    contrast = soft.transition_contrast_boost
    mixed = original * (1 - share) + current * share
    there = mixed.norm(dim=1, keepdim=True) + 1e-5
    a, b = (latent.norm(dim=1, keepdim=True) for latent in (original, current))
    larger = torch.maximum(a, b).clamp(min=1e-5)  # taken out, so that no power leaves the range of half precision
    mean = ((1 - share) * (a / larger) ** contrast + share * (b / larger) ** contrast) ** (1 / contrast)
    return mixed * (larger * mean / there)


def smootherstep(x: Tensor) -> Tensor:
    """Perlin's 6x⁵ - 15x⁴ + 10x³: from 0 to 1 with no first and second derivative at both ends."""
    return x * x * x * (x * (6 * x - 15) + 10)


def kernel() -> Tensor:
    """(5, 5) float64: exp(-r² / 2.25), lowered and stretched to be 1 in the middle and 0 at radius 3."""
    line = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    squares = line[:, None] ** 2 + line[None, :] ** 2
    at_zero = math.exp(-((REACH + 1) ** 2) / SPREAD**2)
    return ((torch.exp(-squares / SPREAD**2) - at_zero) / (1 - at_zero)).clamp(min=0)


def weighted_percentiles(values: Tensor, weights: Tensor, low: float, high: float, narrowest: float = 1.0) -> Tensor:
    """values (batch, h, w) -> at each place the mean of what ranks from `low` to `high` (0..1) of the surroundings.

    Ranks count by weight (an odd square); what lies beyond the border has none. A band of less weight than `narrowest`
    is widened about its middle, within what there is.
    """
    reach = len(weights) // 2
    sides = (reach, reach, reach, reach)
    padded = pad(values.double()[:, None], sides)
    there = pad(torch.ones_like(values, dtype=torch.float64)[:, None], sides)
    around, inside = unfold(padded, len(weights)), unfold(there, len(weights))  # (batch, 25, h * w)
    around, order = around.sort(dim=1)
    weight = (inside * weights.flatten()[:, None]).gather(1, order)
    ends = weight.cumsum(dim=1)
    total = ends[:, -1:]
    starts = ends - weight
    first, last = total * low, total * high
    middle = (first + last) / 2
    thin = last - first < narrowest
    first, last = torch.where(thin, middle - narrowest / 2, first), torch.where(thin, middle + narrowest / 2, last)
    shift = (total - last).clamp(max=0) * thin
    first, last = first + shift, last + shift
    shift = (-first).clamp(min=0) * thin
    first, last = first + shift, last + shift
    share = (torch.minimum(last, ends) - torch.maximum(first, starts)).clamp(min=0)
    return ((around * share).sum(1) / share.sum(1)).reshape(values.shape).to(values.dtype)


def changed(original: Tensor, result: Tensor, nmask: Tensor, soft: SoftInpainting) -> Tensor:
    """How much of the result each latent cell shows, by how far it moved from the original: (batch, h, w) in 0..1.

    On the CPU, wherever the latents are. With mask influence, cells that were barely masked must move further, wholly
    masked ones not at all.
    """
    distance = (result - original).norm(dim=1).float().cpu()
    for low, high in ((0.9, 1.0), (0.25, 0.75)):
        distance = weighted_percentiles(distance, kernel(), low, high)
    outside = 1 - nmask[:, 0].clamp(0, 1).float().cpu() ** (soft.preservation_strength / 2)
    scale = 0.5 * (1 - soft.mask_influence) + outside * soft.mask_influence
    half = soft.difference_threshold * scale / (1.00001 - scale)
    # where half is 0 any change is a full one, and none stays none
    moved = torch.where(distance > 0, distance / half, torch.zeros_like(distance))
    return 1 - smootherstep(1 / (1 + moved**soft.difference_contrast))


def overlay_masks(
    shown: Tensor, frame: Size, size: Size | None = None, box: Box | None = None, rule: SizeRule = "exact"
) -> list[Image.Image]:
    """`changed` (batch, h, w) -> an overlay mask ("L") for each picture, 255 = the result.

    frame (width, height): at which was drawn. With a box the mask is of `size`, the whole picture's.
    """
    found = []
    for levels in shown.cpu().numpy():
        small = Image.fromarray((255 * levels).astype(np.uint8))
        mask = resized(small, frame, "Resize and fill", rule=rule).filter(ImageFilter.GaussianBlur(SMOOTHING))
        if box is not None and size is not None:
            whole = Image.new("L", size)
            whole.paste(resized(mask, (box[2] - box[0], box[3] - box[1]), "Crop and resize"), box[:2])
            mask = whole
        found.append(mask)
    return found
