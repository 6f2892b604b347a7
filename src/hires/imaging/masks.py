"""Masks (batch, height, width) in 0..1, 1 = selected: resizing, growing, feathering, combining. Source: ComfyUI."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d, pad

from hires.imaging.batches import repeat_to

Operation = Callable[[Tensor, Tensor], Tensor]

# Logic works on rounded masks.
OPERATIONS: Mapping[str, Operation] = {
    "multiply": lambda destination, source: destination * source,
    "add": lambda destination, source: destination + source,
    "subtract": lambda destination, source: destination - source,
    "and": lambda destination, source: (destination.round().bool() & source.round().bool()).float(),
    "or": lambda destination, source: (destination.round().bool() | source.round().bool()).float(),
    "xor": lambda destination, source: (destination.round().bool() ^ source.round().bool()).float(),
}


def as_masks(mask: Tensor) -> Tensor:
    """(height, width), (batch, height, width) or (batch, 1, height, width) -> (batch, height, width)."""
    return mask.reshape(-1, mask.shape[-2], mask.shape[-1])


def resize_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, (batch, height, width)."""
    mask = as_masks(mask)
    if tuple(mask.shape[1:]) == (height, width):
        return mask
    return interpolate(mask[:, None].float(), size=(height, width), mode="bilinear")[:, 0]


def composite(destination: Tensor, source: Tensor, x: int, y: int, operation: str) -> Tensor:
    """One mask laid on another at (x, y); what lies beyond the border is left off. Clamped to 0..1."""
    result = as_masks(destination).clone()
    source = repeat_to(as_masks(source), len(result))
    target = result[:, y : y + source.shape[1], x : x + source.shape[2]]
    part = source[:, : target.shape[1], : target.shape[2]]
    if target.numel() > 0:
        result[:, y : y + source.shape[1], x : x + source.shape[2]] = OPERATIONS[operation](target, part)
    return result.clamp(0.0, 1.0)


def feather(mask: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Fade the mask out over a number of pixels from each side: line t is multiplied by (t + 1) / n.

    On the right and at the bottom line t is the one at index -t, so that t = 0 falls on the first column or row: an
    error of ComfyUI's node that is repeated here for equal numbers.
    """
    result = as_masks(mask).clone()
    height, width = result.shape[1:]
    left, right, top, bottom = min(left, width), min(right, width), min(top, height), min(bottom, height)
    for count, columns in ((left, range(left)), (right, range(0, -right, -1))):
        for t, column in enumerate(columns):
            result[:, :, column] *= (t + 1) / count
    for count, rows in ((top, range(top)), (bottom, range(0, -bottom, -1))):
        for t, row in enumerate(rows):
            result[:, row] *= (t + 1) / count
    return result


def grow(mask: Tensor, amount: int, tapered_corners: bool) -> Tensor:
    """Grey dilation by `amount` pixels, erosion for a negative one.

    Tapered corners: `amount` passes with a plus of 5 pixels, which makes diamonds; else with the square of 9.
    """
    sign = 1.0 if amount >= 0 else -1.0
    result = as_masks(mask).float()[:, None] * sign
    passes = min(abs(amount), sum(result.shape[-2:]))  # after so many passes the whole picture has one value
    for _ in range(passes):
        if tapered_corners:
            upright = max_pool2d(result, (3, 1), stride=1, padding=(1, 0))
            result = torch.maximum(upright, max_pool2d(result, (1, 3), stride=1, padding=(0, 1)))
        else:
            result = max_pool2d(result, 3, stride=1, padding=1)
    return result[:, 0] * sign


def grow_square(mask: Tensor, size: int) -> Tensor:
    """A mask (batch, 1, height, width), rounded and grown by a square of `size` pixels; 0 leaves it as it is.

    For an even size the mask grows one pixel further to the right and the bottom, as by ComfyUI's convolution.
    """
    if size == 0:
        return mask
    before = size // 2  # ceil((size - 1) / 2), the convolution's padding
    after = size - 1 - before
    padded = pad(mask.round(), (before, after, before, after))
    return max_pool2d(padded, size, stride=1)


def of_colour(image: Tensor, colour: int) -> Tensor:
    """1 where an image (batch, height, width, 3), rounded to 8 bits, has exactly the colour 0xRRGGBB."""
    levels = (image[..., :3].clamp(0.0, 1.0) * 255.0).round().to(torch.int32)
    packed = (levels[..., 0] << 16) + (levels[..., 1] << 8) + levels[..., 2]
    return (packed == colour).float()


def as_grey(mask: Tensor) -> Tensor:
    """A mask as an image (batch, height, width, 3)."""
    return as_masks(mask)[..., None].expand(-1, -1, -1, 3).contiguous()
