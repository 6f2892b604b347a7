"""Taking one part of a picture through a VAE's tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from hires.steady import Moments, moments, normalised, silu_in_place, steady_conv2d
from hires.tiling.grid import Box
from hires.tiling.vae_tasks import Add, Convolve, Enlarge, Norm, Program, Shrink, Task

Note = Callable[[str], None]


@dataclass
class Part:
    """A part (1, channels, height, width) of the picture somewhere in the network, and what was kept aside of it.

    `box` and `kept_box` say which lines of the canvas they are.
    """

    x: Tensor
    box: Box
    kept: Tensor | None = None
    kept_box: Box | None = None

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Part:
        kept = None if self.kept is None else self.kept.to(device, dtype)
        return Part(self.x.to(device, dtype), self.box, kept, self.kept_box)

    @property
    def is_finite(self) -> bool:
        tensors = (self.x,) if self.kept is None else (self.x, self.kept)
        return all(bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all()) for tensor in tensors)

    @property
    def fits_half(self) -> bool:
        tensors = (self.x,) if self.kept is None else (self.x, self.kept)
        limit = torch.finfo(torch.float16).max
        return all(float(torch.stack(torch.aminmax(tensor)).abs().max()) <= limit for tensor in tensors)


def run(
    program: Program,
    part: Part,
    cells: Box,
    canvas: tuple[int, int],
    span: tuple[int, int],
    statistics: Mapping[int, Moments],
) -> Part:
    """The part after tasks span[0] .. span[1] - 1; `cells` is its core and `canvas` the size, both in latent cells.

    The part's tensors are not changed, and it is emptied on the way so that nothing lives longer than it must.
    """
    for index in range(*span):
        task = program.tasks[index]
        if isinstance(task, Norm):
            _norm(part, task, statistics[index])
        elif isinstance(task, Add):
            _add(part, task)
        else:
            after = program.box(index + 1, cells, canvas)
            part.x, part.box = local(task, part.x, part.box, after)
    return part


def _norm(part: Part, task: Norm, of: Moments) -> None:
    x = part.x
    if task.branch:
        part.kept = x if task.shortcut is None else convolved(x, task.shortcut, 0)
        part.kept_box = part.box
    part.x = silu_in_place(normalised(x, task.norm, of))


def _add(part: Part, task: Add) -> None:
    assert part.kept is not None and part.kept_box is not None
    kept = _cut(part.kept, part.kept_box, part.box)
    part.x += kept if task.shortcut is None else convolved(kept, task.shortcut, 0)
    part.kept = part.kept_box = None


def local(task: Task, x: Tensor, box: Box, after: Box) -> tuple[Tensor, Box]:
    """A task whose result at a point depends on a few lines around it: the result and which lines it is (`after`)."""
    if isinstance(task, Convolve):
        # Zeros around the part are right at the canvas's border; elsewhere they spoil lines that are cut off.
        x = convolved(x, task.conv, task.conv.padding[0])
    elif isinstance(task, Enlarge):
        x, box = interpolate(x, scale_factor=2.0, mode="nearest"), box.scaled(2)
    elif isinstance(task, Shrink):
        short = 2 * after.height + 1 - x.shape[2], 2 * after.width + 1 - x.shape[3]
        if max(short) > 0:
            x = pad(x, (0, max(short[1], 0), 0, max(short[0], 0)))
        x = convolved(x, task.conv, 0)
        box = Box(box.top // 2, box.left // 2, box.top // 2 + x.shape[2], box.left // 2 + x.shape[3])
    else:
        raise TypeError(f"{type(task).__name__} is not local")
    return _cut(x, box, after).contiguous(), after  # here, where least else is alive: the next norm would copy it


def convolved(x: Tensor, conv: nn.Conv2d, padding: int | str) -> Tensor:
    """A convolution in the precision of x, whatever that of the weights."""
    bias = None if conv.bias is None else conv.bias.to(x.device, x.dtype)
    return steady_conv2d(x, conv.weight.to(x.device, x.dtype), bias, conv.stride, padding)


def _cut(x: Tensor, box: Box, to: Box) -> Tensor:
    if box == to:
        return x
    rows, columns = to.relative_to(box).slices
    return x[:, :, rows, columns]


def core_moments(program: Program, index: int, part: Part, cells: Box) -> Moments:
    """The moments, for the norm that is task `index`, of the part's core alone: halos belong to other tiles."""
    task = program.tasks[index]
    assert isinstance(task, Norm)
    return moments(_cut(part.x, part.box, program.core(index, cells)), task.norm.num_groups)
