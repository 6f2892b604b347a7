"""Tiles that go through a network together: all stop at a norm, share its statistics, and go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from hires.steady import Moments
from hires.tiling.blend import OnTile
from hires.tiling.grid import Box
from hires.tiling.parked import Parking
from hires.tiling.vae_run import Note, Part, core_moments, run
from hires.tiling.vae_tasks import Program

Load = Callable[[Box], Tensor]
"""From a box of the program's input (in its lines) to a new tensor (1, channels, height, width) on the device."""
Emit = Callable[[Box, Tensor], None]
"""Takes a core's box (in the lines of the result) and the result."""


@dataclass
class Lockstep:
    """A program over tiles of one canvas.

    `cores` are disjoint boxes in latent cells that cover the `canvas` (height, width), or a sample of it. Statistics
    that are not `known` are gathered from the cores. `breaks` are the tasks before which tiles are parked: the more of
    them, the more is kept and the less is computed again. `release` is called when nothing will be loaded any more.
    """

    program: Program
    cores: Sequence[Box]
    canvas: tuple[int, int]
    load: Load
    emit: Emit
    device: torch.device
    parking: Parking
    breaks: Sequence[int]
    known: Mapping[int, Moments] = field(default_factory=dict)
    report: Callable[[], None] = lambda: None
    release: Callable[[], object] = lambda: None
    note: Note | None = None
    where: str = "VAE"
    _wide: set[int] = field(default_factory=set)

    @property
    def spans(self) -> list[tuple[int, int]]:
        return list(pairwise([0, *self.breaks, len(self.program.tasks)]))

    def _inner(self, span: tuple[int, int]) -> list[int]:
        """Norms within a span whose statistics need a sweep of their own: all but one that it starts with."""
        start = span[0]
        norms = [index for index in self.program.norms if start <= index < span[1] and index not in self.known]
        return [index for index in norms if index != start or (start == 0 and 0 not in self.breaks)]

    @property
    def work(self) -> int:
        """How many times `report` will be called."""
        return len(self.cores) * sum(len(self._inner(span)) + 1 for span in self.spans)

    def __call__(self) -> dict[int, Moments]:
        """Runs it all; gives the statistics of every norm."""
        statistics = dict(self.known)
        for position, (start, end) in enumerate(self.spans):
            first = position == 0
            for norm in self._inner((start, end)):
                statistics[norm] = self._gather(start, norm, first, statistics)
            at_norm = end in self.program.norms and end not in statistics
            gathered = self._advance(start, end, first, statistics, at_norm)
            if gathered is not None:
                statistics[end] = gathered
            if first:
                self.release()
        return statistics

    def _gather(self, start: int, norm: int, first: bool, statistics: Mapping[int, Moments]) -> Moments:
        """The statistics of a norm, from tiles that are taken up to it and dropped."""
        total: Moments | None = None
        for number, cells in enumerate(self.cores):
            part = self._taken(number, cells, (start, norm), first, statistics)
            found = core_moments(self.program, norm, part, cells)
            total = found if total is None else total.merged(found)
            self.report()
        assert total is not None
        return total

    def _advance(
        self, start: int, end: int, first: bool, statistics: Mapping[int, Moments], at_norm: bool
    ) -> Moments | None:
        """Takes every tile from one break to the next, where it is parked, or to the end; the statistics met there."""
        total: Moments | None = None
        for number, cells in enumerate(self.cores):
            part = self._taken(number, cells, (start, end), first, statistics)
            if at_norm:
                found = core_moments(self.program, end, part, cells)
                total = found if total is None else total.merged(found)
            if end == len(self.program.tasks):
                self.emit(self.program.core(end, cells), part.x)
            else:
                self.parking.put(number, part)
            del part
            self.report()
        return total

    def _taken(
        self, number: int, cells: Box, span: tuple[int, int], first: bool, statistics: Mapping[int, Moments]
    ) -> Part:
        """A tile after a span of tasks; once more in float32 if half precision overflowed."""
        part = run(self.program, self._start(number, cells, first), cells, self.canvas, span, statistics)
        if part.x.dtype != torch.float16 or part.is_finite:
            return part
        del part
        self._say(number)
        wide = self._start(number, cells, first).to(self.device, torch.float32)
        part = run(self.program, wide, cells, self.canvas, span, statistics)
        return part.to(self.device, torch.float16) if part.fits_half else part

    def _start(self, number: int, cells: Box, first: bool) -> Part:
        if not first:
            return self.parking.get(number, self.device)
        box = self.program.box(0, cells, self.canvas)
        return Part(self.load(box), box)

    def _say(self, number: int) -> None:
        if not self._wide and self.note is not None:
            self.note(f"half precision overflowed in tiles of the {self.where}: those are done again in float32")
        self._wide.add(number)


def counted(on_tile: OnTile | None, total: int) -> Callable[[], None]:
    """A report without arguments that counts up to `total`."""
    done = 0

    def report() -> None:
        nonlocal done
        done += 1
        if on_tile is not None:
            on_tile(min(done, total), total)

    return report
