"""What networks compute on a processor, made independent of how many threads share the work; and what a VAE computes,
of how its picture is cut: parts together give the whole's bits.

Group norm takes its moments in float64: what is left of their rounding is far below float32's, so that parts, merged,
and the whole get the same mean and variance. PyTorch's own sums in float32: in another order it gives other bits, and
with channels last, on the processor, it takes the variance as E[x²] - E[x]², whose error grows with the picture
(512x512: 7e-4 of a result's deviation). Convolutions sum in one order too; those of single points as products of
matrices, for oneDNN divides their sums among the threads. On a graphics card nothing is promised to the bit: there
convolutions choose their way by size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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
SINGLE = 1024
"""A product of matrices with fewer points than these has its sums divided among threads, too; two at once have not."""
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
    """x (batch, channels, height, width) convolved, summed in the same order whatever its size and the number of
    threads, on a processor.

    oneDNN chooses its way by size and layout: planes are safe with many channels, channels last with few (measured).
    """
    if x.device.type == "cpu" and weight.shape[2:] == (1, 1) and stride in (1, (1, 1)) and padding in (0, (0, 0)):
        return pointwise_conv2d(x, weight, bias)
    if x.device.type == "cpu" and x.shape[1] < FEW:
        return conv2d(channels_last(x), weight, bias, stride, padding).contiguous()
    return conv2d(x, weight, bias, stride, padding)


def pointwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution as a product of matrices: x (batch, in, height, width) by weight (out, in, 1, 1) and bias
    (out,), to (batch, out, height, width)."""
    points = x.flatten(2)
    if len(x) == 1 and points.shape[2] < SINGLE:
        points = points.expand(2, -1, -1)
    matrices = weight.flatten(1).expand(len(points), -1, -1)
    results = matrices.bmm(points) if bias is None else torch.baddbmm(bias[None, :, None], matrices, points)
    return results[: len(x)].unflatten(2, x.shape[2:])


class SteadyConv2d(nn.Conv2d):
    """A convolution whose numbers, on a processor, do not depend on the number of threads."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        of_points = self.kernel_size == self.stride == (1, 1) and self.padding in ((0, 0), "valid", "same")
        ordinary = input.ndim == 4 and input.shape[1] == self.in_channels and self.groups == 1
        if input.device.type == "cpu" and of_points and ordinary:
            return pointwise_conv2d(input, weight, bias)
        return super()._conv_forward(input, weight, bias)


def silu_in_place(x: Tensor) -> Tensor:
    """x * sigmoid(x) written over x, of any shape, in numbers that do not depend on their place."""
    return in_vectors(_silu_, x)


def _silu_(x: Tensor) -> Tensor:
    return silu(x, inplace=True)


def in_vectors(act: Callable[[Tensor], Any], x: Tensor, grain: int = GRAIN) -> Tensor:
    """x of any shape after `act`, which writes over each number what it makes of that, wherever it stands.

    PyTorch takes the last few of each thread's part by another exponential or error function than the rest. `grain` is
    for how many numbers it takes another thread.
    """
    if x.device.type != "cpu" or not x.is_contiguous():
        act(x)
        return x
    flat = x.view(-1)
    even = _even(flat.numel(), grain)
    act(flat[:even])
    rest = flat[even:]
    padded = pad(rest, (0, -len(rest) % VECTOR))
    act(padded)
    rest.copy_(padded[: len(rest)])
    return x


def divides_evenly(x: Tensor, grain: int = GRAIN) -> bool:
    """Whether PyTorch itself takes all numbers of x alike with the threads that it has now, or must, for gradients."""
    if x.device.type != "cpu" or x.requires_grad:
        return True
    return x.shape[-1] % VECTOR == 0 and _even(x.numel(), grain) == x.numel()


def _even(count: int, grain: int) -> int:
    """How many of so many numbers PyTorch's threads share in equal parts of whole vectors."""
    threads = max(1, min(torch.get_num_threads(), -(-count // grain)))
    step = VECTOR * threads
    return max(count // step * step, (threads - 1) * grain)


class SteadySiLU(nn.SiLU):
    """SiLU by `silu_in_place`; a new tensor."""

    def forward(self, x: Tensor) -> Tensor:
        if divides_evenly(x.view(-1) if x.is_contiguous() else x):
            return silu(x)
        return silu_in_place(x.clone(memory_format=torch.contiguous_format))


class SteadyGroupNorm(nn.GroupNorm):
    """Group norm with the moments of `moments`, for (batch, channels, height, width) and (batch, channels, length)."""

    def forward(self, x: Tensor) -> Tensor:
        pictures = (x if x.ndim == 4 else x.unsqueeze(2)).split(1)
        results = [normalised(one, self, moments(one, self.num_groups)) for one in pictures]
        result = results[0] if len(results) == 1 else torch.cat(results)
        return result if x.ndim == 4 else result.squeeze(2)


LAYERS: Mapping[type[nn.Module], type[nn.Module]] = {nn.Conv2d: SteadyConv2d, nn.SiLU: SteadySiLU}


def steady_layers(network: nn.Module, layers: Mapping[type[nn.Module], type[nn.Module]] = LAYERS) -> None:
    """Makes these layers of a network give the same bits on a processor whatever the number of threads."""
    for module in network.modules():
        module.__class__ = layers.get(type(module), type(module))


def steady(autoencoder: nn.Module) -> None:
    """Makes diffusers' autoencoder give, to the bit on a processor, what tiles of any size give together."""
    steady_layers(autoencoder)
    for name, module in autoencoder.named_modules():
        if isinstance(module, nn.GroupNorm):
            module.__class__ = SteadyGroupNorm
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
