"""Batches of two origins brought to one length, one size and one number of channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from hires.imaging.resample import resample


def repeat_to(tensor: Tensor, count: int) -> Tensor:
    """The batch repeated from its beginning, or cut, to `count` items."""
    if len(tensor) >= count:
        return tensor[:count]
    return tensor.repeat(math.ceil(count / len(tensor)), *(1 for _ in tensor.shape[1:]))[:count]


def spread_to(tensor: Tensor, count: int) -> Tensor:
    """`count` items spread evenly over the batch, each repeated in its place or some left out (ComfyUI)."""
    size = len(tensor)
    if count == size or count <= 1:
        return tensor[:count]
    if count < size:
        step = (size - 1) / (count - 1)
        picked = [min(round(index * step), size - 1) for index in range(count)]
    else:
        picked = [min(math.floor((index + 0.5) * size / count), size - 1) for index in range(count)]
    return tensor[picked]


def fitted(samples: Tensor, like: Tensor, method: str = "bilinear") -> Tensor:
    """samples (batch, channels, h, w) at the size of `like`, cut in the centre to its aspect."""
    if samples.shape[-2:] == like.shape[-2:]:
        return samples
    return resample(samples, like.shape[-1], like.shape[-2], method, "center")


def fitted_image(image: Tensor, like: Tensor, method: str = "bilinear") -> Tensor:
    """`fitted` for images (batch, height, width, channels)."""
    return fitted(image.movedim(-1, 1), like.movedim(-1, 1), method).movedim(1, -1)


def with_alpha(image: Tensor) -> Tensor:
    """An image (batch, height, width, 3 or 4) with an alpha channel, opaque where it had none."""
    return pad(image, (0, 1), value=1.0) if image.shape[-1] == 3 else image


def same_channels(image: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both images with as many channels as the richer of them has."""
    if image.shape[-1] == other.shape[-1]:
        return image, other
    return with_alpha(image), with_alpha(other)


def cut_into(items: list[Tensor], size: int) -> list[Tensor]:
    """Images of one item each joined to batches of `size`; a change of the pictures' size begins a new batch."""
    batches: list[list[Tensor]] = []
    for item in items:
        if not batches or len(batches[-1]) == size or batches[-1][0].shape != item.shape:
            batches.append([])
        batches[-1].append(item)
    return [torch.cat(batch) for batch in batches]
