"""Weights held in one precision, computing in another.

A held layer converts its weights to its input's precision at every call, so a file of half-precision weights needs
half the memory and still gives the numbers of float32 arithmetic, to the last bit what converting first would give.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from hires.steady import SteadyConv2d

WeightsPolicy = Literal["auto", "float32", "float16", "bfloat16"]
POLICIES: tuple[str, ...] = ("auto", "float32", "float16", "bfloat16")
SMALL_FILE_BYTES = 1_000_000_000  # in half precision; below it, converting once is cheap and computes faster


def as_input(weight: Tensor | None, x: Tensor) -> Tensor | None:
    """The weight in the input's precision; itself when that is its own."""
    if weight is None:
        return None
    held: Tensor = weight.to(x.dtype)
    return held


class Scratch(threading.local):
    """Memory in which the layers of one module convert their weights, one after the other, one piece a thread.

    Fresh memory for every conversion would cost ten times the conversion itself: the system clears every page of it.
    """

    def __init__(self) -> None:
        self.memory = torch.empty(0, dtype=torch.uint8)

    def __deepcopy__(self, memo: object) -> Scratch:
        return self

    def converted(self, weight: Tensor, x: Tensor) -> Tensor:
        """The weight in the input's precision, good until the next call in this thread."""
        dense = weight.is_contiguous() or (weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last))
        # Other devices' allocators keep their memory, and their work runs on after the call; gradients need the weight.
        if weight.dtype == x.dtype or x.device.type != "cpu" or x.requires_grad or not dense:
            return weight.to(x.dtype)
        size = weight.numel() * x.dtype.itemsize
        if self.memory.numel() < size:
            with torch.inference_mode(False):  # a tensor made in inference mode could not be written outside of it
                self.memory = torch.empty(size, dtype=torch.uint8)
        room = self.memory[:size].view(x.dtype).as_strided(weight.shape, weight.stride())
        return room.copy_(weight)


FLOAT8 = torch.float8_e4m3fn
FLOAT8_MODES = ("off", "sdxl", "all")
"""For which families the UNet's linear layers and convolutions are held in 8 bits."""


def in_float8(mode: str, family: str) -> bool:
    """Whether a mode holds the UNet of a family in 8 bits."""
    return mode == "all" or (mode == "sdxl" and family.startswith("sdxl"))


class HeldLinear(nn.Linear):
    """A linear layer whose weights follow its input's precision."""

    scratch: Scratch

    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input, self.scratch.converted(self.weight, input), as_input(self.bias, input))


class HeldConv2d(SteadyConv2d):
    """A convolution whose weights follow its input's precision."""

    scratch: Scratch

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.scratch.converted(self.weight, input), as_input(self.bias, input))


class HeldGroupNorm(nn.GroupNorm):
    """A group norm whose weights follow its input's precision."""

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = as_input(self.weight, input), as_input(self.bias, input)
        return functional.group_norm(input.contiguous(), self.num_groups, weight, bias, self.eps)


class ContiguousGroupNorm(nn.GroupNorm):
    """A group norm that lays its input out channel by channel first.

    On CPUs torch sums channels-last inputs in a way that loses so much of a nearly constant channel's variance that a
    UNet of an empty latent (KSamplerAdvanced without noise) is off by 1 %; laid out this way it is off by 1e-5.
    """

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.contiguous())


class HeldLayerNorm(nn.LayerNorm):
    """A layer norm whose weights follow its input's precision."""

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = as_input(self.weight, input), as_input(self.bias, input)
        return functional.layer_norm(input, self.normalized_shape, weight, bias, self.eps)


class HeldEmbedding(nn.Embedding):
    """An embedding whose vectors come out in `compute_dtype`; only the rows looked up are converted."""

    compute_dtype: torch.dtype = torch.float32

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).to(self.compute_dtype)


HELD: Mapping[type[nn.Module], type[nn.Module]] = {
    nn.Linear: HeldLinear,
    nn.Conv2d: HeldConv2d,
    nn.GroupNorm: HeldGroupNorm,
    nn.LayerNorm: HeldLayerNorm,
    nn.Embedding: HeldEmbedding,
}


def hold(module: nn.Module, compute_dtype: torch.dtype) -> None:
    """Make a module whose weights are in another precision compute in `compute_dtype`."""
    scratch = Scratch()
    for layer in module.modules():
        own = list(layer.parameters(recurse=False))
        if not own or type(layer) in HELD.values():
            continue
        if type(layer) not in HELD:
            raise TypeError(f"no held form of {type(layer).__name__}")
        layer.__class__ = HELD[type(layer)]
        if isinstance(layer, HeldLinear | HeldConv2d):
            layer.scratch = scratch
        if isinstance(layer, HeldEmbedding):
            layer.compute_dtype = compute_dtype


def lay_out_norms(module: nn.Module) -> None:
    """Make the group norms of a module give ComfyUI's numbers whatever the layout of what comes in."""
    for layer in module.modules():
        if type(layer) is nn.GroupNorm:
            layer.__class__ = ContiguousGroupNorm


def held_dtype(policy: WeightsPolicy, stored: torch.dtype, numbers: int, compute: torch.dtype) -> torch.dtype:
    """The precision to hold weights in: `stored` is the file's, `numbers` how many weights the whole file has.

    "auto" converts small files to `compute` once and leaves large ones as they are; it never holds more bits than the
    computation uses.
    """
    if policy != "auto":
        dtype: torch.dtype = getattr(torch, policy)
        return dtype
    if compute.itemsize <= stored.itemsize or numbers * 2 < SMALL_FILE_BYTES:
        return compute
    return stored
