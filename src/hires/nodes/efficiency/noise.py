"""The Noise Control Script's noise: another generator, and a second seed mixed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hires.nodes.efficiency.scripts import NoiseControl
from hires.nodes.types import LatentDict
from hires.sampling.noise import Source, initial_noise, start_stream


def initial_noise_of(control: NoiseControl, source: Source) -> Callable[[LatentDict, int], Tensor]:
    """The first pass's noise.

    With a second seed n = n_1 (1 - w) + n_2 w; item i of a batch is mixed of the same two by w i, so that the first is
    n_1. The sum is not brought back to unit variance (as in the pack).
    """

    def noise(latent: LatentDict, seed: int) -> Tensor:
        shape, indices = latent["samples"].shape, latent.get("batch_index")
        if control.seed is None:
            return sourced_noise(source, seed, shape, indices)
        if len(latent["samples"]) == 1:
            first, second = (sourced_noise(source, each, shape, indices) for each in (seed, control.seed))
            return first * (1.0 - control.weight) + second * control.weight
        one = (1, *shape[1:])
        first, second = (sourced_noise(source, each, one, None) for each in (seed, control.seed))
        weights = [control.weight * item for item in range(shape[0])]
        return torch.cat([first * (1.0 - weight) + second * weight for weight in weights])

    return noise


def sourced_noise(source: Source, seed: int, shape: Sequence[int], indices: list[int] | None) -> Tensor:
    """Noise of a latent's shape from a generator; `indices` names rows of its stream."""
    if source == "CPU":
        return initial_noise(seed, shape, indices)
    stream = start_stream(source, (seed,), per_image=False)
    if indices is None:
        return stream.draw(torch.empty(tuple(shape)))[0]
    drawn = []
    for _ in range(max(indices) + 1):
        row, stream = stream.draw(torch.empty((1, *shape[1:])))
        drawn.append(row)
    return torch.cat([drawn[index] for index in indices])
