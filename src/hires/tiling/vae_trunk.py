"""The trunk of a VAE: the part at latent resolution, run over the whole canvas because its attention sees all of it.

It takes little more than the two tensors that a residual block needs, or the three of the attention: norms and
convolutions work in place, convolutions by strips of rows, the attention by some queries at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, scaled_dot_product_attention

from hires.steady import moments, normalise_in_place, normalised, silu_in_place, steady_conv2d
from hires.tiling.grid import Box
from hires.tiling.vae_run import Note, Part, convolved
from hires.tiling.vae_tasks import Add, Attend, Convolve, Norm, Program

STRIP = 1 << 24
"""Numbers of a convolution's input or result at a time: 64 MB in float32."""
QUERIES = 1 << 14
"""Positions that ask at a time."""
SCORES = 1 << 26
"""Attention scores at a time where the device's kernel makes them all: 256 MB in float32."""


def run_whole(program: Program, x: Tensor, note: Note | None = None, where: str = "VAE") -> Tensor:
    """A program over a whole canvas (1, channels, height, width), which is left as it is.

    Half precision that overflows is done again in float32, and said; the result is then half where it fits.
    """
    device = x.device
    spare = x.to("cpu") if x.dtype == torch.float16 else None  # not on the device, where it would add to the peak
    part = _whole(x)
    del x
    _through(program, part)
    if spare is None or part.is_finite:
        return part.x
    del part
    if note is not None:
        note(f"half precision overflowed in the {where}'s trunk: done again in float32")
    part = _whole(spare.to(device, torch.float32))
    _through(program, part)
    return part.x.half() if part.fits_half else part.x


def _whole(x: Tensor) -> Part:
    return Part(x.contiguous(), Box(0, 0, x.shape[2], x.shape[3]))


def _through(program: Program, part: Part) -> None:
    """The part after all tasks. What was given is never written to: the first task makes a new tensor."""
    for index, task in enumerate(program.tasks):
        if isinstance(task, Norm):
            of = moments(part.x, task.norm.num_groups)
            if task.branch:
                part.kept = part.x if task.shortcut is None else in_strips(part.x, task.shortcut)
            if task.branch or index == 0:
                part.x = normalised(part.x, task.norm, of)
            else:
                normalise_in_place(part.x, task.norm, of)
            silu_in_place(part.x)
        elif isinstance(task, Add):
            assert part.kept is not None
            part.x += part.kept if task.shortcut is None else in_strips(part.kept, task.shortcut)
            part.kept = None
        elif isinstance(task, Attend):
            attend(part.x, task.attention)
        elif isinstance(task, Convolve):
            part.x = in_strips(part.x, task.conv, in_place=index > 0)
        else:
            raise TypeError(f"{type(task).__name__} changes the size: it is no task of a trunk")


def in_strips(x: Tensor, conv: nn.Conv2d, *, in_place: bool = False) -> Tensor:
    """A convolution that keeps the size, by strips of rows, so that what the device's libraries take besides is small.

    In place, the result is written over x where the number of channels allows it.
    """
    height, width = x.shape[2:]
    if not is_cut(conv, height, width):
        return convolved(x, conv, conv.padding[0])
    rows, reach = _rows(conv, width), conv.kernel_size[0] // 2
    result = x if in_place and conv.in_channels == conv.out_channels else None
    if result is None:
        result = x.new_empty(1, conv.out_channels, height, width)
    weight = conv.weight.to(x.device, x.dtype)
    bias = None if conv.bias is None else conv.bias.to(x.device, x.dtype)
    above = x.new_zeros(1, conv.in_channels, reach, width)  # the rows before the strip, before they were written over
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        missing = max(0, bottom + reach - height)
        strip = torch.cat([above, x[:, :, top : bottom + reach]], dim=2)
        if reach:
            above = x[:, :, bottom - reach : bottom].clone()
            strip = pad(strip, (0, 0, 0, missing)) if missing else strip
        result[:, :, top:bottom] = steady_conv2d(strip, weight, bias, padding=(0, reach))
        del strip
    return result


def is_cut(conv: nn.Conv2d, height: int, width: int) -> bool:
    """Whether a picture of that many latent cells is taken through a convolution by strips."""
    return _rows(conv, width) < height


def _rows(conv: nn.Conv2d, width: int) -> int:
    return max(1, STRIP // (max(conv.in_channels, conv.out_channels) * width))


def attend(x: Tensor, attention: Any) -> None:
    """Adds to x (1, channels, height, width) its attention over all positions.

    Keys and values are there whole, queries some at a time; a position is written to when it has asked.
    """
    of = moments(x, attention.group_norm.num_groups)
    positions = x.view(1, x.shape[1], -1)
    count, heads = positions.shape[2], attention.heads

    def normed(some: slice) -> Tensor:
        return normalised(positions[:, :, None, some], attention.group_norm, of)[:, :, 0].transpose(1, 2)

    keys, values = (
        x.new_empty(1, heads, count, layer.out_features // heads) for layer in (attention.to_k, attention.to_v)
    )
    for some in _slices(count, QUERIES):
        hidden = normed(some)
        keys[:, :, some] = _heads(_linear(hidden, attention.to_k), heads)
        values[:, :, some] = _heads(_linear(hidden, attention.to_v), heads)
    step = QUERIES if x.device.type == "cpu" else min(QUERIES, max(64, SCORES // (count * heads)))
    for some in _slices(count, step):
        queries = _heads(_linear(normed(some), attention.to_q), heads)
        mixed = scaled_dot_product_attention(queries, keys, values, scale=attention.scale)
        mixed = mixed.transpose(1, 2).flatten(2)  # (1, positions, channels)
        positions[:, :, some] += _linear(mixed, attention.to_out[0]).transpose(1, 2)


def _slices(count: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    bias = None if layer.bias is None else layer.bias.to(x.device, x.dtype)
    return linear(x, layer.weight.to(x.device, x.dtype), bias)
