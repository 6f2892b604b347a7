"""An AutoencoderKL as a list of tasks that tiles can be taken through, and how far around a tile each task reaches.

The network falls in two: a trunk at latent resolution, with its attention over every position, that is run whole, and
the rest, in which every operation but group norm is local. For the rest the margin that a tile needs at each task is
worked out backwards from the tasks themselves, whatever the number of levels, layers and channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

from diffusers import AutoencoderKL, VQModel
from torch import nn

from hires.tiling.grid import Box


@dataclass(frozen=True, eq=False)
class Convolve:
    """A convolution that keeps the size."""

    conv: nn.Conv2d


@dataclass(frozen=True, eq=False)
class Norm:
    """Group norm and, unless it belongs to an attention, SiLU. With `branch` what comes in is kept aside for `Add`."""

    norm: nn.GroupNorm
    branch: bool = False
    shortcut: nn.Conv2d | None = None


@dataclass(frozen=True, eq=False)
class Add:
    """Add what was kept aside, through a shortcut where the block has one."""

    shortcut: nn.Conv2d | None = None


@dataclass(frozen=True)
class Enlarge:
    """Twice the size, nearest."""


@dataclass(frozen=True, eq=False)
class Shrink:
    """Half the size: a convolution of stride 2, padded at the right and bottom alone."""

    conv: nn.Conv2d


@dataclass(frozen=True, eq=False)
class Attend:
    """Attention of every position to every other, with its norm and residual."""

    attention: Any


Task = Convolve | Norm | Add | Enlarge | Shrink | Attend
Margin = tuple[int, int]
"""Lines needed before (top, left) and after (bottom, right)."""


@dataclass(frozen=True)
class Program:
    """Tasks, and for each (and for the result) the margin its input needs and the lines it has per latent cell."""

    tasks: tuple[Task, ...]
    margins: tuple[Margin, ...]
    factors: tuple[int, ...]
    levels: tuple[int, ...] = ()
    """Indices of tasks at which a level starts: where least is to be kept of a tile."""

    @property
    def norms(self) -> tuple[int, ...]:
        """Indices of the tasks that need statistics of the whole picture."""
        return tuple(index for index, task in enumerate(self.tasks) if isinstance(task, Norm))

    @property
    def halo_cells(self) -> Margin:
        """The margin of a tile of the input, in latent cells, rounded up."""
        before, after = (-(-lines // self.factors[0]) for lines in self.margins[0])
        return before, after

    def core(self, index: int, cells: Box) -> Box:
        """A tile's core, given in latent cells, in the lines of task `index`'s input."""
        return cells.scaled(self.factors[index])

    def box(self, index: int, cells: Box, canvas: tuple[int, int]) -> Box:
        """What of the canvas (height, width in latent cells) task `index` needs as its input to serve a core."""
        before, after = self.margins[index]
        factor = self.factors[index]
        grown = self.core(index, cells).grown(before, before, after, after)
        return grown.within(canvas[0] * factor, canvas[1] * factor)


def _program(tasks: Iterable[Task], factor: int, levels: Iterable[int] = ()) -> Program:
    """`factor` is the number of lines per latent cell of the result."""
    tasks = tuple(tasks)
    margins: list[Margin] = [(0, 0)]
    factors = [factor]
    for task in reversed(tasks):
        before, after = margins[-1]
        if isinstance(task, Convolve):
            reach = task.conv.kernel_size[0] // 2
            before, after = before + reach, after + reach
        elif isinstance(task, Enlarge):
            before, after = -(-before // 2), -(-after // 2)
            factors.append(factors[-1] // 2)
        elif isinstance(task, Shrink):
            before, after = 2 * before, 2 * after + 1
            factors.append(factors[-1] * 2)
        if not isinstance(task, Enlarge | Shrink):
            factors.append(factors[-1])
        margins.append((before, after))
    return Program(tasks, tuple(reversed(margins)), tuple(reversed(factors)), tuple(levels))


def scale_of(vae: AutoencoderKL) -> int:
    """Pixels per latent cell."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def is_known_layout(vae: Any) -> bool:
    """Whether a VAE is built of the blocks that are understood here (it has the layout of Stable Diffusion's)."""
    if not isinstance(vae, AutoencoderKL | VQModel):
        return False
    config = vae.config
    return (
        set(config.down_block_types) == {"DownEncoderBlock2D"}
        and set(config.up_block_types) == {"UpDecoderBlock2D"}
        and len(config.down_block_types) == len(config.block_out_channels) > 1
        and config.act_fn == "silu"
    )


def decoder_programs(vae: AutoencoderKL) -> tuple[Program, Program]:
    """(the trunk from the latent on, the rest up to the pixels)."""
    decoder = vae.decoder
    trunk: list[Task] = [] if vae.post_quant_conv is None else [Convolve(vae.post_quant_conv)]
    trunk += [Convolve(decoder.conv_in), *_middle(decoder.mid_block)]
    trunk += _resnets(decoder.up_blocks[0].resnets)
    rest: list[Task] = []
    levels: list[int] = []
    for below, block in zip(decoder.up_blocks[:-1], decoder.up_blocks[1:], strict=True):
        levels.append(len(rest))
        rest += [Enlarge(), Convolve(below.upsamplers[0].conv), *_resnets(block.resnets)]
    rest += [Norm(decoder.conv_norm_out), Convolve(decoder.conv_out)]
    return _program(trunk, 1), _program(rest, scale_of(vae), levels)


def encoder_programs(vae: AutoencoderKL) -> tuple[Program, Program]:
    """(the front from the pixels to latent resolution, the trunk up to the moments)."""
    encoder = vae.encoder
    front: list[Task] = [Convolve(encoder.conv_in)]
    levels: list[int] = []
    for block in encoder.down_blocks[:-1]:
        front += [*_resnets(block.resnets), Shrink(block.downsamplers[0].conv)]
        levels.append(len(front))
    trunk = [*_resnets(encoder.down_blocks[-1].resnets), *_middle(encoder.mid_block)]
    trunk += [Norm(encoder.conv_norm_out), Convolve(encoder.conv_out)]
    if vae.quant_conv is not None:
        trunk.append(Convolve(vae.quant_conv))
    return _program(front, 1, levels[:-1]), _program(trunk, 1)


def _middle(block: Any) -> list[Task]:
    attentions = [Attend(attention) for attention in block.attentions if attention is not None]
    return [*_resnets(block.resnets[:1]), *attentions, *_resnets(block.resnets[1:])]


def _resnets(blocks: Iterable[Any]) -> list[Task]:
    tasks: list[Task] = []
    for block in blocks:
        # A shortcut to fewer channels is taken before the block's work: less is kept aside.
        shortcut = block.conv_shortcut
        early = shortcut is not None and shortcut.out_channels < shortcut.in_channels
        tasks += [
            Norm(block.norm1, branch=True, shortcut=shortcut if early else None),
            Convolve(block.conv1),
            Norm(block.norm2),
            Convolve(block.conv2),
            Add(None if early else shortcut),
        ]
    return tasks


def weight_bytes(vae: AutoencoderKL) -> int:
    """What the network's weights take."""
    return sum(prod(weight.shape) * weight.element_size() for weight in vae.parameters())
