"""Which parts of a prompt concern a tile, by where in the picture the network looks for them (AccDiffusion's idea,
Lin et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hires.tiling.grid import Box

SHARE = 0.85
"""Of a part's mean attention over the picture: a tile with less than this is not told the part."""


@dataclass(frozen=True, eq=False)
class PartMaps:
    """The parts of a prompt, and maps (parts, h, w), not negative, of how much each place of the whole picture looks
    for each. A part whose map is empty belongs everywhere."""

    parts: tuple[str, ...]
    maps: Tensor

    def shares(self, box: Box, canvas: tuple[int, int]) -> list[float]:
        """How much each part is looked for in a box of a canvas (height, width), 1 as much as on average."""
        rows = _covered(box.top / canvas[0], box.bottom / canvas[0], self.maps.shape[1])
        columns = _covered(box.left / canvas[1], box.right / canvas[1], self.maps.shape[2])
        inside = torch.einsum("y,pyx,x->p", rows, self.maps.double(), columns)
        average = self.maps.double().mean(dim=(1, 2))
        return [float(here / all_) if all_ > 0 else 1.0 for here, all_ in zip(inside, average, strict=True)]

    def kept(self, box: Box, canvas: tuple[int, int], share: float = SHARE) -> tuple[str, ...]:
        """The parts that a box is told: those looked for at least `share` as much as on average, but always one."""
        found = self.shares(box, canvas)
        if not found:
            return ()
        least = min(share, max(found))
        return tuple(part for part, here in zip(self.parts, found, strict=True) if here >= least)


def _covered(start: float, end: float, count: int) -> Tensor:
    """The weights (count,) of equal cells of 0..1 in the mean over start..end, summing to one."""
    edges = torch.arange(count + 1, dtype=torch.float64) / count
    weights = (edges[1:].clamp(max=end) - edges[:-1].clamp(min=start)).clamp(min=0)
    return weights / weights.sum()
