"""Products in bfloat16 on CPUs that multiply them faster, everything between the products in float32.

Autocast keeps what a product gives in bfloat16, and PyTorch's norms and attention are several times slower on it on a
CPU than in float32 (measured on AVX-512: a step of training took as long as in float32, and two thirds of that here).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

SHORT = torch.bfloat16


class ShortLinear(nn.Linear):
    """`nn.Linear` whose product is taken of numbers rounded to bfloat16; float32 in, float32 out."""

    def forward(self, input: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(SHORT)
        return linear(input.to(SHORT), self.weight.to(SHORT), bias).float()


class ShortConv2d(nn.Conv2d):
    """`nn.Conv2d`, likewise."""

    def forward(self, input: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(SHORT)
        short = conv2d(
            input.to(SHORT), self.weight.to(SHORT), bias, self.stride, self.padding, self.dilation, self.groups
        )
        return short.float()


def multiplies_short() -> bool:
    """Whether this CPU has instructions for products of bfloat16."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def shorten(network: nn.Module) -> nn.Module:
    """Let a network's linear maps and convolutions multiply in bfloat16, in place; weights stay float32."""
    for layer in network.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = ShortLinear
        elif type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
            layer.__class__ = ShortConv2d
    return network
