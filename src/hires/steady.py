"""What a VAE computes, made independent of how its picture is cut: parts together give the whole's bits.

Group norm takes its moments in float64: what is left of their rounding is far below float32's, so that parts, merged,
and the whole get the same mean and variance. PyTorch's own sums in float32: in another order it gives other bits, and
with channels last, on the processor, it takes the variance as E[x²] - E[x]², whose error grows with the picture
(512x512: 7e-4 of a result's deviation). Convolutions sum in one order too. On a graphics card nothing is promised to
the bit: there convolutions choose their way by size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, pad, silu

CACHED = 1 << 17
"""Numbers that are widened at a time on a processor, so that they stay in its cache."""
CHUNK = 1 << 24
"""Numbers that are widened on other devices, or written over, at a time: 64 MB in float32."""
FEW = 8
"""Fewer channels than these are convolved with channels last."""
VECTOR = 64
"""Numbers that are taken in whole vectors on any processor."""
GRAIN = 32768
"""PyTorch's: numbers for which another thread is worth its while."""
Padding = int | str | tuple[int, ...]


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
    channels, height, width = part.shape[1:]
    count = channels // groups * height * width
    wide = torch.float32 if part.device.type == "mps" else torch.float64  # Metal has no float64
    total, squares = torch.zeros(2, channels, dtype=wide, device=part.device)
    for some in _chunks(part[0], CACHED if part.device.type == "cpu" else CHUNK):
        widened = some.to(wide, copy=True)
        total += widened.sum(dim=(1, 2))
        squares += widened.square_().sum(dim=(1, 2))
    mean, square = (values.cpu().double().unflatten(0, (groups, -1)).sum(dim=1) / count for values in (total, squares))
    return Moments(count, mean, (square - mean**2).clamp(min=0.0) * count)


def _chunks(planes: Tensor, numbers: int) -> Iterator[Tensor]:
    """(channels, height, width) in parts of about so many numbers, as views."""
    channels, _, width = planes.shape
    for rows in planes.split(max(1, numbers // (channels * width)), dim=1):
        yield from rows.split(max(1, numbers // channels), dim=2) if channels * width > numbers else (rows,)


def normalised(x: Tensor, norm: nn.GroupNorm, of: Moments) -> Tensor:
    """What group norm gives for x when the moments are those of the whole picture; a new tensor."""
    return batch_norm(x.contiguous(), *_by_channel(x, norm, of), training=False, eps=norm.eps)


def normalise_in_place(x: Tensor, norm: nn.GroupNorm, of: Moments) -> None:
    """The same, written over x some channels at a time."""
    step = max(1, CHUNK // max(1, x[:, 0].numel()))
    mean, variance, weight, bias = _by_channel(x, norm, of)
    for start in range(0, x.shape[1], step):
        some = slice(start, start + step)
        scale, shift = (None if value is None else value[some] for value in (weight, bias))
        x[:, some] = batch_norm(x[:, some], mean[some], variance[some], scale, shift, training=False, eps=norm.eps)


def steady_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int | tuple[int, ...] = 1, padding: Padding = 0
) -> Tensor:
    """x (batch, channels, height, width) convolved, summed in the same order whatever its size, on a processor.

    oneDNN chooses its way by size and layout: planes are safe with many channels, channels last with few (measured).
    """
    if x.device.type == "cpu" and x.shape[1] < FEW:
        return conv2d(channels_last(x), weight, bias, stride, padding).contiguous()
    return conv2d(x, weight, bias, stride, padding)


def silu_in_place(x: Tensor) -> Tensor:
    """x * sigmoid(x) written over x, of any shape, in numbers that do not depend on their place.

    PyTorch takes the last few of each thread's part by another exponential than the rest.
    """
    if x.device.type != "cpu" or not x.is_contiguous():
        return silu(x, inplace=True)
    flat = x.view(-1)
    even = _even(flat.numel())
    silu(flat[:even], inplace=True)
    rest = flat[even:]
    rest.copy_(silu(pad(rest, (0, -len(rest) % VECTOR)), inplace=True)[: len(rest)])
    return x


def _even(count: int) -> int:
    """How many of so many numbers PyTorch's threads share in equal parts of whole vectors."""
    threads = max(1, min(torch.get_num_threads(), -(-count // GRAIN)))
    step = VECTOR * threads
    return max(count // step * step, (threads - 1) * GRAIN)


class SteadySiLU(nn.SiLU):
    """SiLU by `silu_in_place`; a new tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return silu_in_place(x.clone(memory_format=torch.contiguous_format))


class SteadyGroupNorm(nn.GroupNorm):
    """Group norm with the moments of `moments`, for (batch, channels, height, width) and (batch, channels, length)."""

    def forward(self, x: Tensor) -> Tensor:
        pictures = (x if x.ndim == 4 else x.unsqueeze(2)).split(1)
        results = [normalised(one, self, moments(one, self.num_groups)) for one in pictures]
        result = results[0] if len(results) == 1 else torch.cat(results)
        return result if x.ndim == 4 else result.squeeze(2)


def steady(autoencoder: nn.Module) -> None:
    """Makes diffusers' autoencoder give, to the bit on a processor, what tiles of any size give together."""
    for name, module in autoencoder.named_modules():
        if isinstance(module, nn.GroupNorm):
            module.__class__ = SteadyGroupNorm
        elif type(module) is nn.SiLU:
            module.__class__ = SteadySiLU
        elif isinstance(module, nn.Conv2d):
            # Weights with channels last would have the result so, whatever the layout of what comes in.
            module.weight.data = module.weight.data.contiguous()
        few = isinstance(module, nn.Conv2d) and module.in_channels < FEW
        if (few or name.rpartition(".")[0].endswith(".attentions")) and not module._forward_hooks:
            module.register_forward_hook(_in_planes)
            if few:
                module.register_forward_pre_hook(_channels_last)


def _in_planes(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> Tensor:
    """Diffusers' attention, too, leaves its result with channels last, and what follows would keep that."""
    return result.contiguous()


def _channels_last(convolution: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
    return channels_last(given[0]) if given[0].device.type == "cpu" else given[0]


def channels_last(x: Tensor) -> Tensor:
    """(batch, channels, height, width) with its channels beside each other in memory."""
    channels, height, width = x.shape[1:]
    # A view with a batch of one may have any stride there, by which PyTorch would take it for the other layout.
    strides = (channels * height * width, 1, width * channels, channels)
    return x.contiguous(memory_format=torch.channels_last).as_strided(x.shape, strides)


def _by_channel(x: Tensor, norm: nn.GroupNorm, of: Moments) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Mean, variance, weight and bias of each channel where x is, in float32 at least."""
    repeats = norm.num_channels // norm.num_groups
    where = x.device, torch.promote_types(x.dtype, torch.float32)
    mean, variance = (values.to(*where).repeat_interleave(repeats) for values in (of.mean, of.variance))
    weight, bias = (None if value is None else value.to(*where) for value in (norm.weight, norm.bias))
    return mean, variance, weight, bias
