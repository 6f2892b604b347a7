"""Muon (Jordan et al. 2024): momentum whose singular values are all brought to about one before it is followed.

For matrices and convolutions inside a network; what is left (biases, norms, embeddings, the first and the last layer)
is AdamW's. Steps are scaled after Liu et al. 2025, so that one learning rate and weight decay serve both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""A quintic that brings singular values of 0..1 near one in few steps (Jordan et al. 2024)."""
ITERATIONS = 5
ADAM_RMS = 0.2
"""What AdamW's steps measure, rms, at a learning rate of one."""


@torch.no_grad()
def orthogonalised(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are about one (0.7 to 1.2), by Newton-Schulz in bfloat16."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(torch.bfloat16)
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)


def inner_matrices(network: nn.Module) -> list[Tensor]:
    """What Muon is for: weights of linear maps and convolutions, but for those that read or write the data."""
    return [
        layer.weight
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and not name.endswith(("conv_in", "conv_out"))
    ]


class Muon(torch.optim.Optimizer):
    """The optimiser for weights of two or more dimensions, each taken as (outputs, everything else)."""

    def __init__(self, weights: Sequence[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step along Nesterov's momentum, orthogonalised."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"]
                momentum.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(momentum, group["momentum"])
                matrix = ahead.reshape(len(ahead), -1)
                update = orthogonalised(matrix).reshape(ahead.shape)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * ADAM_RMS * max(matrix.shape) ** 0.5)
