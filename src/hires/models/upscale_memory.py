"""How much memory a network takes for each pixel of a tile, found by running a small one; and how much is free."""

from __future__ import annotations

import os

import torch

from hires.models.peak import LiveBytes
from hires.models.upscale import UpscaleModel

SAMPLE_SIDE = 64
MARGIN = 1.4
"""For what convolutions take beside their inputs and outputs, and what the allocator leaves unused."""
SHARE = 0.8
"""Of the memory that is free, this much is planned with."""


def bytes_per_pixel(model: UpscaleModel, cell: int = 1) -> int:
    """Device memory for a pixel of a tile, from a run of a small tile, with a margin."""
    side = -(-max(SAMPLE_SIDE, model.network.size_requirements.minimum) // cell) * cell
    sample = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    counter = LiveBytes()
    counter.not_counting([*model.network.model.parameters(), *model.network.model.buffers(), sample])
    with counter:
        model.upscale(sample)
    return int(counter.peak / (side * side) * MARGIN)


def free_bytes(device: torch.device) -> int | None:
    """What may be planned with on a device; None where the system does not tell."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int((torch.cuda.mem_get_info(device)[0] + unused) * SHARE)
    if device.type == "cpu" and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return int(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * SHARE)
    return None
