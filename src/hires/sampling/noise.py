"""Random numbers of a run: the initial noise and the streams that samplers draw their step noise from.

Every number comes from a generator made here from a seed; the global generators are never touched. ComfyUI draws
one tensor for a whole batch; the A1111 web UI gives each image its own generator, so that an image is the same
alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from hires.errors import SettingError
from hires.sampling import philox

Source = Literal["CPU", "NV", "GPU"]
"""CPU: torch's CPU generator. NV: CUDA's numbers, computed anywhere. GPU: the device's own generator."""


def standard_normal(source: Source, seed: int, shape: Sequence[int]) -> Tensor:
    """The first tensor of a seed's stream, float32 on the CPU."""
    if source == "NV":
        return philox.normal(seed, 0, tuple(shape))
    generator = _generator(source).manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator, device=generator.device).cpu()


def initial_noise(seed: int, shape: Sequence[int], batch_index: Sequence[int] | None = None) -> Tensor:
    """ComfyUI's noise for a latent batch (batch, channels, h, w).

    With `batch_index` (images cut from a batch) image k is the tensor number batch_index[k] of the stream, drawn one
    by one; drawing them at once gives other numbers unless channels * h * w is a multiple of 16.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    if batch_index is None:
        return torch.randn(tuple(shape), generator=generator)
    images = [torch.randn((1, *shape[1:]), generator=generator) for _ in range(max(batch_index) + 1)]
    return torch.cat([images[index] for index in batch_index])


def mask_noise(sampler: str, noise: Tensor, seed: int) -> Tensor:
    """The noise that ComfyUI lays on the kept part of an inpainted latent: the initial one; for `ddim` a new one."""
    return initial_noise(seed + 1, noise.shape) if sampler == "ddim" else noise


def image_noise(
    seeds: Sequence[int],
    shape: Sequence[int],
    source: Source = "CPU",
    *,
    subseeds: Sequence[int] | None = None,
    subseed_strength: float = 0.0,
    resize_from: tuple[int, int] | None = None,
) -> Tensor:
    """A1111's noise for images of shape (channels, h, w) each: (images, channels, h, w).

    `subseed_strength` (0..1) turns each image's noise towards its variation seed's; `resize_from` is the (width,
    height) in pixels of the picture whose composition the noise is to keep.
    """
    channels, height, width = shape
    small = (channels, resize_from[1] // 8, resize_from[0] // 8) if resize_from and min(resize_from) > 0 else None
    images = []
    for index, seed in enumerate(seeds):
        noise = standard_normal(source, seed, small or shape)
        if subseeds is not None and subseed_strength != 0:
            noise = slerp(subseed_strength, noise, standard_normal(source, subseeds[index], small or shape))
        if small is not None and small != (channels, height, width):
            noise = paste_centred(noise, standard_normal(source, seed, shape))
        images.append(noise)
    return torch.stack(images)


def slerp(t: float, low: Tensor, high: Tensor) -> Tensor:
    """Spherical interpolation of two noises (channels, h, w), column by column as A1111 does it."""
    low_unit = low / torch.norm(low, dim=1, keepdim=True)
    high_unit = high / torch.norm(high, dim=1, keepdim=True)
    cosine = (low_unit * high_unit).sum(1)
    if cosine.mean() > 0.9995:
        return low * (1 - t) + high * t
    omega = torch.acos(cosine)
    sine = torch.sin(omega)
    return (torch.sin((1.0 - t) * omega) / sine).unsqueeze(1) * low + (torch.sin(t * omega) / sine).unsqueeze(1) * high


def paste_centred(small: Tensor, canvas: Tensor) -> Tensor:
    """`small` (channels, h, w) laid on the middle of `canvas`; what does not fit is cut off evenly."""
    pasted = canvas.clone()
    (height, width), (h, w) = canvas.shape[1:], small.shape[1:]
    dy, dx = (height - h) // 2, (width - w) // 2
    rows, columns = h if dy >= 0 else h + 2 * dy, w if dx >= 0 else w + 2 * dx
    to_y, to_x, from_y, from_x = max(dy, 0), max(dx, 0), max(-dy, 0), max(-dx, 0)
    source = small[:, from_y : from_y + rows, from_x : from_x + columns]
    pasted[:, to_y : to_y + rows, to_x : to_x + columns] = source
    return pasted


T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Anchor:
    """A tile's place in a larger latent, whose noise it takes its part of: whatever the tiles, noise is the canvas's.

    canvas is (height, width) of the whole and origin (top, left) of the tile, in latent cells. Tiles of one canvas may
    share `held`, so that what is drawn for all of it is drawn once.
    """

    canvas: tuple[int, int]
    origin: tuple[int, int]
    held: dict[Hashable, Any] = field(default_factory=dict)

    def whole(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The canvas's shape for a tile of `shape` (..., height, width)."""
        return (*shape[:-2], *self.canvas)

    def cut(self, noise: Tensor, shape: Sequence[int]) -> Tensor:
        """The tile's part (..., height, width) of the canvas's noise."""
        top, left = self.origin
        return noise[..., top : top + shape[-2], left : left + shape[-1]]

    def once(self, key: Hashable, draw: Callable[[], T]) -> T:
        """What was drawn for the canvas under a key."""
        if key not in self.held:
            self.held[key] = draw()
        found: T = self.held[key]
        return found


@dataclass(frozen=True, eq=False)
class StreamState:
    """Where a stream of normal tensors stands. CPU and GPU streams keep their generators' states, one row each
    (uint8); an NV stream is its seeds and the number of tensors drawn. With an anchor, each tensor is a part of one
    that is drawn for the canvas."""

    source: Source = "CPU"
    per_image: bool = False
    seeds: tuple[int, ...] = ()
    drawn: int = 0
    generators: Tensor | None = None
    anchor: Anchor | None = None

    def draw(self, like: Tensor) -> tuple[Tensor, StreamState]:
        """The next tensor, of x's shape, type float32 and device; and the stream after it."""
        anchor = self.anchor
        if anchor is None:
            return self._drawn(like)
        key = ("stream", self.source, self.per_image, self.seeds, self.drawn)
        whole = torch.empty(anchor.whole(like.shape), device=like.device)
        noise, after = anchor.once(key, lambda: self._drawn(whole))
        return anchor.cut(noise, like.shape), replace(after, anchor=anchor)

    def _drawn(self, like: Tensor) -> tuple[Tensor, StreamState]:
        shape = tuple(like.shape[1:] if self.per_image else like.shape)
        if self.source == "NV":
            tensors = [philox.normal(seed, self.drawn, shape) for seed in self.seeds]
            after = replace(self, drawn=self.drawn + 1)
        else:
            assert self.generators is not None
            tensors, states = [], []
            for row in self.generators:
                generator = _generator(self.source)
                generator.set_state(row.clone())  # a row of its own memory: the state is read as an aligned struct
                tensors.append(torch.randn(shape, generator=generator, device=generator.device))
                states.append(generator.get_state())
            after = replace(self, drawn=self.drawn + 1, generators=torch.stack(states))
        noise = torch.stack(tensors) if self.per_image else tensors[0]
        return noise.to(like.device), after


def start_stream(source: Source, seeds: Sequence[int], per_image: bool, anchor: Anchor | None = None) -> StreamState:
    generators = None
    if source != "NV":
        generators = torch.stack([_generator(source).manual_seed(seed).get_state() for seed in seeds])
    return StreamState(source, per_image, tuple(seeds), 0, generators, anchor)


def skip_one(stream: StreamState, like: Tensor) -> StreamState:
    """The stream after one tensor: where it stands once the initial noise was drawn from it."""
    if stream.source == "NV":
        return replace(stream, drawn=stream.drawn + 1)
    return stream.draw(like)[1]


def _generator(source: Source) -> torch.Generator:
    if source == "CPU":
        return torch.Generator("cpu")
    if not torch.cuda.is_available():
        raise SettingError(
            "Noise from the GPU (RNG: GPU) needs a CUDA device and there is none.", "Use NV, which gives its numbers."
        )
    return torch.Generator("cuda")
