"""Group norm over a picture that is never whole: moments of parts, merged exactly, and applied to each part."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

CHUNK = 1 << 24
"""Numbers that are widened to take their moments, or written over, at a time: 64 MB in float32."""


@dataclass(frozen=True)
class Moments:
    """How many numbers each group has, their mean, and the sum of their squared distances from it (float64, CPU)."""

    count: int
    mean: Tensor  # (groups,)
    squares: Tensor  # (groups,)

    def merged(self, other: Moments) -> Moments:
        """Of both parts together (Chan, Golub, LeVeque 1979): exact, the tiles' differing means included."""
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        squares = self.squares + other.squares + delta**2 * (self.count * other.count / count)
        return Moments(count, mean, squares)

    @property
    def variance(self) -> Tensor:
        return self.squares / self.count


def moments(part: Tensor, groups: int) -> Moments:
    """Moments of each channel group of (1, channels, height, width)."""
    grouped = part[0].unflatten(0, (groups, -1))  # (groups, channels / groups, height, width)
    count = grouped[0].numel()
    if part.dtype in (torch.float32, torch.float64):
        variance, mean = torch.var_mean(grouped, dim=(1, 2, 3), correction=0)
    else:
        step = max(1, CHUNK // count)
        found = [torch.var_mean(some.float(), dim=(1, 2, 3), correction=0) for some in grouped.split(step)]
        variance, mean = (torch.cat(values) for values in zip(*found, strict=True))
    return Moments(count, mean.double().cpu(), variance.double().cpu() * count)


def normalised(x: Tensor, norm: nn.GroupNorm, of: Moments) -> Tensor:
    """What group norm gives for x when the moments are those of the whole picture; a new tensor."""
    return batch_norm(x, *_by_channel(x, norm, of), training=False, eps=norm.eps)


def normalise_in_place(x: Tensor, norm: nn.GroupNorm, of: Moments) -> None:
    """The same, written over x some channels at a time."""
    step = max(1, CHUNK // max(1, x[:, 0].numel()))
    mean, variance, weight, bias = _by_channel(x, norm, of)
    for start in range(0, x.shape[1], step):
        some = slice(start, start + step)
        scale, shift = (None if value is None else value[some] for value in (weight, bias))
        x[:, some] = batch_norm(x[:, some], mean[some], variance[some], scale, shift, training=False, eps=norm.eps)


def _by_channel(x: Tensor, norm: nn.GroupNorm, of: Moments) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Mean, variance, weight and bias of each channel where x is, in float32 at least."""
    repeats = norm.num_channels // norm.num_groups
    where = x.device, torch.promote_types(x.dtype, torch.float32)
    mean, variance = (values.to(*where).repeat_interleave(repeats) for values in (of.mean, of.variance))
    weight, bias = (None if value is None else value.to(*where) for value in (norm.weight, norm.bias))
    return mean, variance, weight, bias
