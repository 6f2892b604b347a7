"""What a network's call needs of memory beyond its weights, at a size and a batch."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import nn

from hires.models.clip import TextStack
from hires.models.handles import DiffusionModel
from hires.models.peak import LiveBytes, peak_bytes
from hires.models.upscale import UpscaleModel

CRUDE = 256
"""Bytes a latent cell and channel of the UNet's first level: more than any Stable Diffusion UNet needs in float32."""
ALLOCATOR = 1.15
"""Bytes that a process comes to hold over those of live tensors: allocators keep what was freed in pieces."""
TOKENS = 77
LONG_PROMPT = 4
"""Windows of tokens that a prompt is planned with."""
SAMPLE_SIDE = 64
SAMPLE_MARGIN = 1.4
"""For what convolutions take beside their inputs and outputs, and what the allocator leaves unused."""
LAYERS_KEPT = 33
"""Outputs of layers that are kept at most, for a layer before the last to be chosen."""


def unet_need(model: DiffusionModel, height: int, width: int, batch: int, enough: int | None = None) -> int:
    """Bytes for one call over `batch` crops of (height, width) latent cells.

    With `enough`, a crude upper bound is the answer where it is no larger than that: it costs nothing.
    """
    first = int(model.unet.config.block_out_channels[0])
    largest = max(p.numel() for p in model.unet.parameters()) * model.compute_dtype.itemsize
    crude = CRUDE * first * height * width * batch * model.compute_dtype.itemsize // 4 + 2 * largest
    if enough is not None and crude <= enough:
        return crude
    live = _unet_peak(_Same(model.unet), model.compute_dtype, height, width, batch, model.vector_width)
    return int(live * ALLOCATOR) + largest


def text_need(stack: TextStack) -> int:
    """Bytes for encoding a long prompt, beyond the weights: an upper bound, small beside those of all other stages.

    A layer's inputs, its wide inner layer and its attention live at one time; the largest matrix is converted.
    """
    tokens = TOKENS * LONG_PROMPT
    need = 0
    for clip in stack.clips:
        config = clip.module.config
        width, inner, heads = int(config.hidden_size), int(config.intermediate_size), int(config.num_attention_heads)
        rows = tokens * (8 * width + 3 * inner) + LONG_PROMPT * 2 * heads * TOKENS**2
        need = max(need, 4 * (rows + width * inner + LAYERS_KEPT * tokens * width))
    return int(need * ALLOCATOR)


def bytes_per_pixel(model: UpscaleModel, cell: int = 1) -> int:
    """Device memory for a pixel of a tile, from a run of a small tile, with a margin."""
    side = -(-max(SAMPLE_SIDE, model.network.size_requirements.minimum) // cell) * cell
    sample = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    counter = LiveBytes()
    counter.not_counting([*model.network.model.parameters(), *model.network.model.buffers(), sample])
    with counter:
        model.upscale(sample)
    return int(counter.peak / (side * side) * SAMPLE_MARGIN)


class _Same:
    """A module as a key that does not keep it alive."""

    def __init__(self, module: nn.Module) -> None:
        self.module: ReferenceType[nn.Module] = ref(module)
        self._key = id(module)

    def __hash__(self) -> int:
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.module() is not None and self.module() is other.module()


@lru_cache(maxsize=256)
def _unet_peak(module: _Same, dtype: torch.dtype, height: int, width: int, batch: int, vector: int) -> int:
    unet = module.module()
    assert unet is not None
    config: Any = unet.config
    return peak_bytes(
        unet,
        lambda run, tensor: run(
            tensor(batch, int(config.in_channels), height, width, dtype=dtype),
            tensor(batch),
            encoder_hidden_states=tensor(batch, TOKENS, int(config.cross_attention_dim), dtype=dtype),
            class_labels=tensor(batch, vector, dtype=dtype) if vector else None,
            return_dict=False,
        ),
    )
