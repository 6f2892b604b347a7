"""How much memory a VAE will take: its tasks walked with the sizes of a picture, nothing computed.

Bytes beyond the weights and beyond what is given in; what a device takes where the work is done on one, else what the
process takes, with the tiles that are parked and the result. Convolutions are counted as oneDNN runs them: the input
or the result twice for a moment, in the layout of the processor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from diffusers import AutoencoderKL
from torch import nn

from hires.steady import CHUNK
from hires.tiling.grid import Box, cell_boxes
from hires.tiling.vae_tasks import (
    Add,
    Attend,
    Convolve,
    Enlarge,
    Norm,
    Program,
    Shrink,
    Task,
    decoder_programs,
    encoder_programs,
    scale_of,
)
from hires.tiling.vae_tiled import SAMPLE_CELLS, SAMPLE_TILES, first_level, sampled_cores
from hires.tiling.vae_trunk import QUERIES, STRIP, is_cut

OVERHEAD = 24_000_000
"""Bytes: what libraries and the allocator take besides."""
WHOLE = 1.07
"""Measured over counted, where diffusers runs the whole."""


def predicted_decode_peak(
    vae: AutoencoderKL,
    height: int,
    width: int,
    tile: int | None = None,
    mode: str = "exact",
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> int:
    """Bytes for one picture of (height, width) latent cells; `tile` in latent cells, None for the whole by diffusers.

    dtype and device are those of the weights, if not given.
    """
    size, item = (height, width), (dtype or vae.dtype).itemsize
    trunk, rest = decoder_programs(vae)
    latent = vae.config.latent_channels
    if tile is None:
        whole = _joined(trunk, rest)
        blocks = [len(trunk.tasks) + level + 2 for level in rest.levels]
        return int(WHOLE * _walked(whole, size, latent, item, blocks=blocks)) + OVERHEAD
    on_host = torch.device(device or vae.device).type == "cpu"
    pixels = 4 * int(vae.config.out_channels) * height * width * scale_of(vae) ** 2 if on_host else 0
    channels = _channels_after(trunk.tasks, latent)
    features = item * channels * size[0] * size[1]
    tiles = _tiles(rest, size, channels, item, tile, mode, on_host, features)
    return max(_trunk(trunk, size, latent, item), tiles) + pixels + OVERHEAD


def predicted_encode_peak(
    vae: AutoencoderKL,
    height: int,
    width: int,
    tile: int | None = None,
    mode: str = "exact",
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> int:
    """The same for encoding."""
    size, item = (height, width), (dtype or vae.dtype).itemsize
    front, trunk = encoder_programs(vae)
    channels = int(vae.config.in_channels)
    if tile is None:
        blocks = [0, 1, *front.levels, len(front.tasks)]
        return int(WHOLE * _walked(_joined(front, trunk), size, channels, item, blocks=blocks)) + OVERHEAD
    on_host = torch.device(device or vae.device).type == "cpu"
    wide = _channels_after(front.tasks, channels)
    features = item * wide * size[0] * size[1]
    tiles = _tiles(front, size, channels, item, tile, mode, on_host, 0) + features
    return max(_trunk(trunk, size, wide, item), tiles) + OVERHEAD


def _trunk(program: Program, size: tuple[int, int], channels: int, item: int) -> int:
    """The trunk as `run_whole` runs it: in place, by strips. What it is given counts."""
    cells = size[0] * size[1] * item  # bytes of a channel
    kept, peak = 0, 0
    for index, task in enumerate(program.tasks):
        alive, more = kept + channels * cells, 0
        if isinstance(task, Norm) and (task.branch or index == 0):
            if task.branch:
                wide = channels if task.shortcut is None else task.shortcut.out_channels
                kept = wide * cells
                more = 0 if task.shortcut is None else kept + _strip(task.shortcut, size, item)
            alive, more = channels * cells, max(channels * cells + (kept if more else 0), more)
        elif isinstance(task, Norm):
            more = min(CHUNK * item, channels * cells)
        elif isinstance(task, Convolve):
            in_place = index > 0 and task.conv.in_channels == task.conv.out_channels
            more = _strip(task.conv, size, item)
            if is_cut(task.conv, *size) and not in_place:
                more += task.conv.out_channels * cells
            channels = task.conv.out_channels
        elif isinstance(task, Add):
            more = 0 if task.shortcut is None else channels * cells + _strip(task.shortcut, size, item)
            kept = 0
        elif isinstance(task, Attend):
            more = 2 * channels * cells + 5 * min(QUERIES, size[0] * size[1]) * channels * item
        peak = max(peak, alive + more)
    return peak


def _strip(conv: nn.Conv2d, size: tuple[int, int], item: int) -> int:
    """What a convolution takes besides its input: the result, laid out as oneDNN does, or that of a strip."""
    area = size[0] * size[1]
    weights = 2 * conv.weight.numel() * item
    if is_cut(conv, *size):
        area = min(area, STRIP // max(conv.in_channels, conv.out_channels))
        return item * area * (2 * conv.in_channels + 2 * conv.out_channels) + weights
    return item * area * max(conv.in_channels + conv.out_channels, 2 * conv.out_channels) + weights


def _tiles(
    program: Program,
    size: tuple[int, int],
    channels: int,
    item: int,
    tile: int,
    mode: str,
    on_host: bool,
    given: int,
) -> int:
    """The tiled part: the largest tile's work, and on the host the tiles that wait. `given` lives in the first span."""
    cores = cell_boxes(*size, (tile, tile))
    if mode == "exact-lowram":
        breaks = [index for index in program.levels if index > 0]
    else:
        breaks = [] if mode == "fast" else list(program.norms)
    if mode == "fast-colour":
        first = first_level(program)
        breaks = [index for index in breaks if index >= len(first.tasks)]
    peak = _spans(program, size, channels, item, cores, breaks, on_host and mode != "exact-disk", given)
    if mode.startswith("fast"):
        program = first if mode == "fast-colour" else program
        sample = sampled_cores(size, min(tile, SAMPLE_CELLS), SAMPLE_TILES)
        peak = max(peak, _spans(program, size, channels, item, sample, program.norms, on_host, given, keeps=True))
    return peak


def _spans(
    program: Program,
    size: tuple[int, int],
    channels: int,
    item: int,
    cores: Sequence[Box],
    breaks: Sequence[int],
    parks: bool,
    given: int,
    *,
    keeps: bool = False,
) -> int:
    """`keeps` says that what is given stays alive to the end."""
    largest = max(cores, key=lambda core: program.box(0, core, size).area)
    peak, waiting, start = 0, 0, 0
    for end in [*breaks, len(program.tasks)]:
        parked = _parked(program, size, channels, item, cores, end) if end < len(program.tasks) else 0
        work = _walked(program, size, channels, item, core=largest, span=(start, end))
        if start == 0 and channels == 3:
            work += 8 * channels * program.box(0, largest, size).area
        alive = given if start == 0 or keeps else 0
        peak = max(peak, work + alive + (max(waiting, parked) if parks else 0))
        waiting, start = parked, end
    return peak


def _parked(program: Program, size: tuple[int, int], channels: int, item: int, cores: Iterable[Box], index: int) -> int:
    """All tiles, waiting before a task."""
    total = 0
    for core in cores:
        total += _Walk(program, size, item, core).to(channels, index).alive
    return total


@dataclass
class _Walk:
    """The tensors alive while a tile (or, without a core, the whole picture) goes through a program.

    Tensors are numbers; `bytes_of` has their sizes. `peak` is the most that was alive so far.
    """

    program: Program
    size: tuple[int, int]
    item: int
    core: Box | None = None
    blocks: Sequence[int] = ()
    bytes_of: dict[int, int] = field(default_factory=dict)
    x: int = 0
    kept: int | None = None
    held: int | None = None
    channels: int = 0
    kept_channels: int = 0
    peak: int = 0

    @property
    def alive(self) -> int:
        return sum(self.bytes_of[name] for name in {self.x, self.kept, self.held} - {None} if name is not None)

    def to(self, channels: int, end: int, start: int = 0) -> _Walk:
        """From the program's input to before task `end`; the peak is that from `start` on."""
        self.channels = channels
        self.x = self._new(channels, 0)
        for index in range(end):
            if index == start:
                self.peak = 0
            if index in self.blocks:
                self.held = self.x
            self._step(self.program.tasks[index], index)
        self.peak = max(self.peak, self.alive) if end > start else self.alive
        return self

    def _lines(self, index: int) -> int:
        factor = self.program.factors[index]
        if self.core is None:
            return self.size[0] * self.size[1] * factor * factor
        return self.program.box(index, self.core, self.size).area

    def _new(self, channels: int, index: int) -> int:
        name = len(self.bytes_of)
        self.bytes_of[name] = channels * self._lines(index) * self.item
        return name

    def _need(self, more: int) -> None:
        self.peak = max(self.peak, self.alive + more)

    def _conv(self, given: int, result: int) -> int:
        return max(given + result, 2 * result)

    def _step(self, task: Task, index: int) -> None:
        given = self.bytes_of[self.x]
        if isinstance(task, Norm):
            self._norm(task, index, given)
        elif isinstance(task, Add):
            assert self.kept is not None
            kept = self.bytes_of[self.kept]
            if task.shortcut is not None:
                self._need(self._conv(kept, given) + (kept if self.core is not None else 0))
            elif self.blocks:
                self._need(given)
            self.kept = None
        elif isinstance(task, Attend):
            self._need(7 * given)  # diffusers' own: tiles have none
        else:
            if isinstance(task, Enlarge):
                result = self._new(self.channels, index + 1)
                self._need(4 * given)
            else:
                self.channels = task.conv.out_channels
                result = self._new(self.channels, index + 1)
                copied = given if isinstance(task, Shrink) else 0
                weights = 2 * task.conv.weight.numel() * self.item
                self._need(copied + self._conv(given, self.bytes_of[result]) + weights)
            self.x = result

    def _norm(self, task: Norm, index: int, given: int) -> None:
        if task.branch:
            self.kept = self.x
            if task.shortcut is not None and not self.blocks:
                self.kept = self._new(task.shortcut.out_channels, index)
                result = self.bytes_of[self.kept]
                # counted without the new tensor, which is not there yet
                self._need(self._conv(given, result) - result + (given if self.core is not None else 0))
        self._need(given * (2 if self.blocks else 1))
        self.x = self._new(self.channels, index + 1)


def _walked(
    program: Program,
    size: tuple[int, int],
    channels: int,
    item: int,
    *,
    core: Box | None = None,
    span: tuple[int, int] | None = None,
    blocks: Sequence[int] = (),
) -> int:
    start, end = span or (0, len(program.tasks))
    return _Walk(program, size, item, core, blocks).to(channels, end, start).peak


def _channels_after(tasks: Iterable[Task], channels: int) -> int:
    for task in tasks:
        if isinstance(task, Convolve | Shrink):
            channels = task.conv.out_channels
    return channels


def _joined(first: Program, second: Program) -> Program:
    return Program(
        first.tasks + second.tasks,
        first.margins[:-1] + second.margins,
        first.factors[:-1] + second.factors,
    )
