"""Canvases: pasting one picture or latent onto another, and room around a picture for outpainting."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hires.imaging.batches import repeat_to

GREY = 0.5


def paste(destination: Tensor, source: Tensor, x: int, y: int, mask: Tensor | None = None) -> Tensor:
    """source (batch, channels, h, w) laid on destination at (x, y), through a mask (batch, h, w) of any size.

    Repeated to the destination's batch; what lies beyond the border, also to the left and the top, is left off.
    """
    result = destination.clone()
    source = repeat_to(source, len(result))
    height, width = source.shape[-2:]
    weight = torch.ones(1, 1, height, width, dtype=source.dtype)
    if mask is not None:
        weight = mask.reshape(-1, 1, *mask.shape[-2:])
        weight = repeat_to(interpolate(weight, size=(height, width), mode="bilinear"), len(result))
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, result.shape[-1]), min(y + height, result.shape[-2])
    if right <= left or bottom <= top:
        return result
    place = (..., slice(top, bottom), slice(left, right))
    part = (..., slice(top - y, bottom - y), slice(left - x, right - x))
    result[place] = weight[part] * source[part] + (1.0 - weight[part]) * result[place]
    return result


def pad_for_outpaint(
    image: Tensor, left: int, top: int, right: int, bottom: int, feathering: int
) -> tuple[Tensor, Tensor]:
    """The image (batch, h, w, channels) on a larger grey canvas, and a mask (1, H, W) of the new room.

    Inside the old picture the mask falls from 1 at a padded side to 0 over `feathering` pixels, quadratically; not
    where twice the feathering does not fit into the picture (ComfyUI).
    """
    batch, height, width, channels = image.shape
    canvas = torch.full((batch, height + top + bottom, width + left + right, channels), GREY)
    canvas[:, top : top + height, left : left + width] = image
    mask = torch.ones(1, canvas.shape[1], canvas.shape[2])
    inside = torch.zeros(height, width)
    if feathering > 0 and feathering * 2 < height and feathering * 2 < width:
        rows, columns = torch.arange(height), torch.arange(width)
        from_top = rows if top else torch.full_like(rows, height)
        from_bottom = height - rows if bottom else torch.full_like(rows, height)
        from_left = columns if left else torch.full_like(columns, width)
        from_right = width - columns if right else torch.full_like(columns, width)
        vertical, horizontal = torch.minimum(from_top, from_bottom), torch.minimum(from_left, from_right)
        distance = torch.minimum(vertical[:, None], horizontal[None, :])
        inside = ((feathering - distance).clamp(min=0) / feathering) ** 2
    mask[:, top : top + height, left : left + width] = inside
    return canvas, mask
