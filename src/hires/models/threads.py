"""UNets, ControlNets and text encoders whose numbers, on a processor, do not depend on how many threads share the work.

Linear layers, attention, norms and convolutions of more than a point keep their order of summing as they are with 1, 2,
4 and 8 threads (seen with PyTorch 2.15 on AVX2 and AVX-512; with 3, linear layers differ in their last bits).
"""

from __future__ import annotations

import torch
from diffusers.models.activations import GEGLU
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers.activations import GELUActivation, QuickGELUActivation

from hires import steady

GELU_GRAIN = 1
"""PyTorch divides this one among all threads."""


def steady_gelu(x: Tensor) -> Tensor:
    """GELU by the error function of x of any shape; a new tensor."""
    if steady.divides_evenly(x, GELU_GRAIN):
        return gelu(x)
    return steady.in_vectors(torch.ops.aten.gelu_, x.clone(memory_format=torch.contiguous_format), GELU_GRAIN)


class SteadyGEGLU(GEGLU):
    """Half of a linear layer's output, times GELU of the other half."""

    def gelu(self, gate: Tensor) -> Tensor:
        return steady_gelu(gate)


class SteadyGELU(GELUActivation):
    """Of OpenCLIP's text encoders."""

    def forward(self, input: Tensor) -> Tensor:
        return steady_gelu(input)


class SteadyQuickGELU(QuickGELUActivation):
    """Of OpenAI's: x * sigmoid(1.702 x)."""

    def forward(self, input: Tensor) -> Tensor:
        if steady.divides_evenly(input):
            return super().forward(input)
        return input * steady.in_vectors(torch.sigmoid_, 1.702 * input)


LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    **steady.LAYERS,
    GEGLU: SteadyGEGLU,
    GELUActivation: SteadyGELU,
    QuickGELUActivation: SteadyQuickGELU,
}


def steady_layers(network: nn.Module) -> None:
    """Makes a network give the same bits on a processor whatever the number of threads."""
    steady.steady_layers(network, LAYERS)
