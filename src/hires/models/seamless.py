"""Networks whose pictures go on at their other side: convolutions that are padded from there instead of with zeros."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

ROUND = ("off", "both", "x", "y")
"""Across which sides a picture is to go on: none, all four, left and right, or top and bottom."""


@contextmanager
def going_round(network: nn.Module, sides: str) -> Iterator[None]:
    """Within it, every padded convolution of `network` is padded from the other side, as A1111's Tiling does it.

    sides is one of ROUND. The network must not be used by another thread meanwhile.
    """
    layers = [] if sides == "off" else [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    padded = [layer for layer in layers if layer.padding not in ((0, 0), "valid")]
    for layer in padded:
        layer.__dict__["_conv_forward"] = partial(_convolved, layer, sides)
    try:
        yield
    finally:
        for layer in padded:
            layer.__dict__.pop("_conv_forward", None)


def _convolved(layer: nn.Conv2d, sides: str, planes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The layer's convolution of (batch, channels, height, width)."""
    assert isinstance(layer.padding, tuple)
    rows, columns = layer.padding
    planes = pad(planes, (columns, columns, 0, 0), "circular" if sides in ("both", "x") else "constant")
    planes = pad(planes, (0, 0, rows, rows), "circular" if sides in ("both", "y") else "constant")
    return conv2d(planes, weight, bias, layer.stride, 0, layer.dilation, layer.groups)
