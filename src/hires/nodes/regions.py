"""Regions in CONDITIONING: entries with a region of their own, and what the canvas's entries are under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hires.errors import SettingError
from hires.nodes.types import ConditioningList
from hires.sampling.guidance import Cond
from hires.sampling.noise import standard_normal
from hires.tiling.regions import FOREGROUND, Region, region_noise, uncovered

REGION, UNDER = "region", "under_regions"
BACKGROUNDS = ("fill", "on", "off")
"""What is drawn where: the whole canvas under the regions (on), only what they leave uncovered (fill), or nothing
(off, which is refused where something is left uncovered)."""


def with_regions(
    canvas: ConditioningList, parts: Sequence[tuple[Region, ConditioningList]], background: str
) -> ConditioningList:
    """The canvas's entries with regions over them; regions that were there before are kept."""
    before = [(tensor, options) for tensor, options in canvas if REGION in options]
    base = [(tensor, options) for tensor, options in canvas if REGION not in options]
    regions = (*(options[REGION] for _, options in before), *(region for region, _ in parts))
    under: ConditioningList = [(tensor, {**options, UNDER: (background, regions)}) for tensor, options in base]
    over: ConditioningList = [
        (tensor, {**options, REGION: region}) for region, entries in parts for tensor, options in entries
    ]
    return [*under, *before, *over]


def placed(cond: Cond, options: dict[str, Any], shape: Sequence[int]) -> Cond | None:
    """An entry on its region, or under the regions, of a latent (batch, 4, h, w); None where nothing of it is seen.

    Raises SettingError when regions alone leave a part of the picture bare.
    """
    height, width = shape[2:]
    region: Region | None = options.get(REGION)
    if region is not None:
        opacity = region.opacity(height, width)[None] if region.blend == FOREGROUND else None
        return replace(cond, area=region.place(height, width), mask=None, opacity=opacity, windowed=opacity is None)
    if UNDER not in options:
        return cond
    background, regions = options[UNDER]
    if background == "on":
        return replace(cond, windowed=True)
    bare = uncovered(regions, height, width)
    if not bool(bare.any()):
        return None
    if background == "off":
        raise SettingError(
            f"the regions leave {float(bare.float().mean()):.0%} of the picture uncovered",
            "Let Background regions cover all of it, or draw the background (fill or on).",
        )
    mask = bare[None].float() if cond.mask is None else cond.mask * bare
    return replace(cond, mask=mask, windowed=True)


def with_region_noise(noise: Tensor, positive: ConditioningList) -> Tensor:
    """The initial noise of a run, with that of regions that have a seed."""
    regions = list(dict.fromkeys(options[REGION] for _, options in positive if REGION in options))
    if not regions or not bool(torch.count_nonzero(noise)):
        return noise
    return region_noise(noise, regions, lambda seed, shape: standard_normal("CPU", seed, shape))
