"""Brownian noise for SDE samplers: a path over sigma that any sampler may ask for increments of, in any order.

The path is torchsde's BrownianTree (halving tree, times rounded to 6 decimals, a seed sequence per node), which
k-diffusion's SDE samplers are defined on, with the normal numbers of its nodes taken from a chosen source. An
increment depends on (low, high, seed, shape) alone, so a resumed run needs no tree kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from hires.sampling.noise import Anchor, Source, standard_normal

POOL_SIZE = 24
DIGITS = 6

BrownianNoise = Callable[[Tensor, Tensor], Tensor]
"""W(sigma, sigma_next): a standard-normal tensor of x's shape, the path's increment over the step, scaled."""


class BrownianTree:
    """A Brownian path over [low, high]; increments of `shape`, float32 on the CPU."""

    def __init__(self, low: float, high: float, seed: int, shape: Sequence[int], source: Source = "CPU") -> None:
        self.low, self.high = round(low, DIGITS), round(high, DIGITS)
        self.seed, self.shape, self.source = seed, tuple(shape), source
        self._root = self._normal(()) * math.sqrt(high - low)
        self._nodes: dict[tuple[int, int], Tensor] = {}

    def increment(self, start: float, end: float) -> Tensor:
        """The path's value at `end` less that at `start` <= end; both are clamped to the path's range."""
        start, end = (min(max(time, self.low), self.high) for time in (start, end))
        if start == end:
            return torch.zeros(self.shape)
        pieces = self._pieces(round(start, DIGITS), round(end, DIGITS))
        total = pieces[0] if pieces else torch.zeros(self.shape)
        for piece in pieces[1:]:
            total = total + piece
        return total

    def _pieces(self, start: float, end: float) -> list[Tensor]:
        """The increments of the tree's nodes that [start, end] is made of, from left to right."""
        pieces = []
        stack = [(0, 0, self.low, self.high, self._root)]
        while stack:
            depth, index, left, right, value = stack.pop()
            if end <= left or start >= right:
                continue
            if start <= left and right <= end:
                pieces.append(value)
                continue
            middle = round(0.5 * (right + left), DIGITS)
            left_value = self._left(depth, index, left, middle, right, value)
            stack.append((depth + 1, 2 * index + 1, middle, right, value - left_value))
            stack.append((depth + 1, 2 * index, left, middle, left_value))
        return pieces

    def _left(self, depth: int, index: int, left: float, middle: float, right: float, value: Tensor) -> Tensor:
        """The left half's share of a node's increment: a Brownian bridge."""
        if (depth, index) not in self._nodes:
            reciprocal = 1 / (right - left)
            mean = (middle - left) * value * reciprocal
            deviation = math.sqrt((middle - left) * (right - middle) * reciprocal)
            self._nodes[depth, index] = mean + deviation * self._normal((index, depth))
        return self._nodes[depth, index]

    def _normal(self, spawn_key: tuple[int, ...]) -> Tensor:
        words = np.random.SeedSequence(entropy=self.seed, spawn_key=spawn_key, pool_size=POOL_SIZE)
        return standard_normal(self.source, int(words.generate_state(1)[0]), self.shape)


def brownian_noise(
    bounds: tuple[float, float],
    seeds: Sequence[int],
    like: Tensor,
    source: Source = "CPU",
    per_image: bool = False,
    anchor: Anchor | None = None,
) -> BrownianNoise:
    """W for tensors like x (batch, channels, h, w): one path for the batch, or one for each image's seed.

    With an anchor, the part of a path for the whole canvas.
    """
    shape = like.shape[1:] if per_image else like.shape
    if anchor is not None:
        return _anchored(bounds, seeds, like, source, per_image, anchor)
    trees = [BrownianTree(*bounds, seed, shape, source) for seed in (seeds if per_image else seeds[:1])]

    def noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        low, high = (sigma_next, sigma) if sigma_next < sigma else (sigma, sigma_next)
        increments = [tree.increment(float(low), float(high)) for tree in trees]
        path = torch.stack(increments) if per_image else increments[0]
        sign = -1.0 if sigma_next < sigma else 1.0
        return (path * sign / (sigma_next - sigma).abs().sqrt()).to(like.device)

    return noise


def _anchored(
    bounds: tuple[float, float], seeds: Sequence[int], like: Tensor, source: Source, per_image: bool, anchor: Anchor
) -> BrownianNoise:
    path = ("path", bounds, tuple(seeds), source, per_image)
    whole = torch.empty(anchor.whole(like.shape), device=like.device)

    def noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        draw = anchor.once(path, lambda: brownian_noise(bounds, seeds, whole, source, per_image))
        drawn = anchor.once((path, float(sigma), float(sigma_next)), lambda: draw(sigma, sigma_next))
        return anchor.cut(drawn, like.shape)

    return noise
