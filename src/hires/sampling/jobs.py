"""The evaluations that a call of guidance is made of: an entry on the crop it sees, batched, and joined by weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from hires.sampling.guidance import Cond

Place = tuple[int, int, int, int]
"""(height, width, y, x) in latent cells; one that reaches beyond the latent goes on at its other side."""

MOST_REPEATS = 4
"""Of a short text, to be evaluated in one call with a longer one."""


@dataclass
class Clock:
    """The step that a run is in. A tiling that moves from step to step reads it; the loop sets it.

    `together` is how many jobs a call of the network was found to have memory for; 0 as long as any number has.
    """

    step: int = 0
    together: int = 0


class Crop(Protocol):
    """A tile of a latent: its place, its window as it is (h, w), and its share where all shares sum to one (h, w)."""

    @property
    def place(self) -> Place: ...

    @property
    def window(self) -> Tensor: ...

    @property
    def share(self) -> Tensor: ...


class Tiles(Protocol):
    """Which crops an entry is evaluated on in a step."""

    @property
    def tile_batch(self) -> int:
        """How many crops go into one call of the network."""
        ...

    def key(self, step: int) -> bytes:
        """Everything that the crops of a step, and what they are told, depend on."""
        ...

    def crops(self, height: int, width: int, step: int, wraps: bool) -> Sequence[Crop]:
        """The crops of an area of this size. Only where it `wraps` may they reach beyond it."""
        ...

    def vector(self, vector: Tensor, place: Place, size: tuple[int, int]) -> Tensor:
        """What a crop is told in the place of an entry's vector (1, v)."""
        ...


@dataclass(frozen=True, eq=False)
class Job:
    """One crop of one entry: x (batch, 4, h, w), its weights (1 or batch, 1, h, w), its place in a latent of `size`.

    `number` counts the crops of an entry.
    """

    side: int
    cond: Cond
    x: Tensor
    weight: Tensor
    place: Place
    size: tuple[int, int]
    number: int = 0
    tiled: bool = False


def cut(tensor: Tensor, place: Place) -> Tensor:
    """The part of (..., height, width) at a place."""
    h, w, y, x = place
    if y + h <= tensor.shape[-2] and x + w <= tensor.shape[-1]:
        return tensor[..., y : y + h, x : x + w]
    return tensor[..., _lines(y, h, tensor.shape[-2])[:, None], _lines(x, w, tensor.shape[-1])]


def _lines(start: int, length: int, whole: int) -> Tensor:
    return torch.arange(start, start + length) % whole


def _add(total: Tensor, place: Place, part: Tensor) -> None:
    h, w, y, x = place
    if y + h <= total.shape[-2] and x + w <= total.shape[-1]:
        total[..., y : y + h, x : x + w] += part
    else:
        total[..., _lines(y, h, total.shape[-2])[:, None], _lines(x, w, total.shape[-1])] += part


class Sums:
    """What the entries of one side come to: their mean by weight, and over it those with an opacity."""

    def __init__(self, x: Tensor) -> None:
        self._total = torch.zeros_like(x)
        self._weight = torch.full_like(x, 1e-37)
        self._over: tuple[Tensor, Tensor, Tensor] | None = None

    def add(self, job: Job, estimate: Tensor) -> None:
        if job.cond.opacity is None:
            _add(self._total, job.place, estimate * job.weight)
            _add(self._weight, job.place, job.weight)
            return
        if self._over is None:
            self._over = (*(torch.zeros_like(self._total) for _ in range(3)),)  # type: ignore[assignment]
        assert self._over is not None
        total, opacity, layers = self._over
        _add(total, job.place, estimate * job.weight)
        _add(opacity, job.place, job.weight)
        if job.number == 0:
            assert job.cond.area is not None
            _add(layers, job.cond.area, torch.ones((), dtype=layers.dtype))

    def result(self) -> Tensor:
        base = self._total / self._weight
        if self._over is None:
            return base
        total, opacity, layers = self._over
        count = layers.clamp(min=1.0)  # where several lie over each other each counts its part
        return base * (1.0 - opacity / count) + total / count


def jobs_of(x: Tensor, side: int, cond: Cond, tiles: Tiles | None, step: int) -> list[Job]:
    """An entry's jobs: one, or one a tile. A tile as large as what the entry covers is no tile."""
    height, width = x.shape[2:]
    area = _area(cond, height, width)
    weight = _weight(cond, area, x)
    size = (height, width)
    crops = () if tiles is None else tiles.crops(area[0], area[1], step, area == (height, width, 0, 0))
    if len(crops) <= 1:
        if cond.windowed and crops:
            weight = weight * crops[0].window.to(weight)
        return [Job(side, cond, cut(x, area), weight, area, size)]
    jobs = []
    for number, crop in enumerate(crops):
        h, w, y, left = crop.place
        place = (h, w, area[2] + y, area[3] + left)
        part = cut(weight, crop.place) * (crop.window if cond.windowed else crop.share).to(weight)
        jobs.append(Job(side, cond, cut(x, place), part, place, size, number, tiled=True))
    return jobs


def _area(cond: Cond, height: int, width: int) -> Place:
    """The part of the latent that an entry covers."""
    if cond.area is None:
        return (height, width, 0, 0)
    h, w, y, left = cond.area
    y, left = min(y, height - 1), min(left, width - 1)
    return (min(h, height - y), min(w, width - left), y, left)


def _weight(cond: Cond, area: Place, x: Tensor) -> Tensor:
    """An entry's weights on its area, (1 or batch, 1, h, w)."""
    h, w, y, left = area
    height, width = x.shape[2:]
    if cond.opacity is not None:
        return cond.opacity[:, None].to(x)
    weight = torch.full((1, 1, h, w), cond.strength, dtype=x.dtype, device=x.device)
    if cond.mask is not None:
        weight = weight * cond.mask[:, None, y : y + h, left : left + w].to(x)
    elif cond.area is not None and not cond.windowed:
        weight = weight * _soft_edges(area, height, width).to(x)
    return weight


def _soft_edges(area: Place, height: int, width: int) -> Tensor:
    """Ramps of up to 8 cells on the sides of an area that are not the latent's border, (1, 1, h, w)."""
    h, w, y, left = area
    ramp = torch.ones(1, 1, h, w)
    fade_h, fade_w = min(8, h // 4), min(8, w // 4)
    for t in range(fade_h):
        if y != 0:
            ramp[:, :, t] *= (t + 1) / fade_h
        if y + h < height:
            ramp[:, :, h - 1 - t] *= (t + 1) / fade_h
    for t in range(fade_w):
        if left != 0:
            ramp[:, :, :, t] *= (t + 1) / fade_w
        if left + w < width:
            ramp[:, :, :, w - 1 - t] *= (t + 1) / fade_w
    return ramp


def concat_crop(job: Job, batch: int) -> Tensor:
    """The extra input channels of a job, (batch, channels, h, w)."""
    assert job.cond.concat is not None
    part = cut(job.cond.concat, job.place).to(job.x)
    return part.expand(batch, -1, -1, -1) if part.shape[0] == 1 else part


def repeated(context: Tensor, batch: int, tokens: int) -> Tensor:
    """Cross attention over a text repeated k times gives the same as over it once, so lengths may be equalised."""
    longer = context.repeat(1, tokens // context.shape[1], 1)
    return longer.expand(batch, -1, -1) if longer.shape[0] == 1 else longer


def groups_of(jobs: Sequence[Job], tile_batch: int) -> list[list[Job]]:
    """Jobs that one call of the network can serve: same crop size and inputs, texts at most 4 times repeated.

    Of tiles, `tile_batch` at a time with all their entries; they are dealt evenly over as few calls as that takes.
    """
    count = 1 + max((job.number for job in jobs), default=0)
    portion = count if tile_batch < 1 else math.ceil(count / math.ceil(count / tile_batch))
    groups: list[list[Job]] = []
    for first in range(0, count, portion):
        portion_groups: list[list[Job]] = []
        for job in jobs:
            if not first <= job.number < first + portion:
                continue
            for group in portion_groups:
                if _can_join(group, job):
                    group.append(job)
                    break
            else:
                portion_groups.append([job])
        groups += portion_groups
    return groups


def _can_join(group: list[Job], job: Job) -> bool:
    first = group[0]
    if first.x.shape != job.x.shape or (first.cond.vector is None) != (job.cond.vector is None):
        return False
    if (first.cond.concat is None) != (job.cond.concat is None):
        return False
    if first.cond.control is not job.cond.control:
        return False
    if first.cond.control is not None and first.place != job.place and not (first.tiled and job.tiled):
        return False
    height, width = first.size
    is_area = first.cond.area is not None and not first.tiled
    if is_area and (len(group) + 1) * math.prod(first.x.shape[2:]) > 2 * height * width:
        return False  # many tiles: no more memory than both sides of the whole latent take
    lengths = [member.cond.context.shape[1] for member in [*group, job]]
    return math.lcm(*lengths) <= MOST_REPEATS * min(lengths)
