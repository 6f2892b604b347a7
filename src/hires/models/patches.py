"""Patches between a UNet's blocks: Deep Shrink, FreeU, HyperTile, token merging, hypernetworks, guidance by attention.

Each is a frozen value in `DiffusionModel.options["patches"]`; `patched` adds one. The UNet itself is never changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hires.models.handles import DiffusionModel
from hires.models.layers import derived_identity
from hires.models.walk import Attend, Patch, Place

Resize = Callable[[Tensor, int, int, str], Tensor]
"""resize(features (batch, channels, h, w), width, height, method)"""


def patched(model: DiffusionModel, patch: Patch, *facts: object) -> DiffusionModel:
    """The model with one more patch; `facts` are the numbers that its results depend on."""
    options = {**model.options, "patches": (*model.patches, patch)}
    identity = derived_identity(model.identity, type(patch).__name__, *facts)
    return replace(model, options=options, identity=identity)


def with_option(model: DiffusionModel, name: str, value: Any, *facts: object) -> DiffusionModel:
    """The model with an option that a room above reads."""
    return replace(
        model, options={**model.options, name: value}, identity=derived_identity(model.identity, name, *facts)
    )


@dataclass(frozen=True)
class DeepShrink(Patch):
    """Kohya's Deep Shrink: features shrink behind an input block while sigma_end <= sigma <= sigma_start, and grow
    back to the skip's size on the way up."""

    block: int
    factor: float
    sigma_start: float
    sigma_end: float
    behind_skip: bool
    down: str
    up: str
    resize: Resize

    def after_input(self, h: Tensor, place: Place) -> Tensor:
        return h if self.behind_skip else self._shrunk(h, place)

    def after_skip(self, h: Tensor, place: Place) -> Tensor:
        return self._shrunk(h, place) if self.behind_skip else h

    def before_output(self, h: Tensor, skip: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        # ComfyUI compares heights only, and fails where just the widths differ
        if h.shape[2:] == skip.shape[2:]:
            return h, skip
        return self.resize(h, skip.shape[3], skip.shape[2], self.up), skip

    def _shrunk(self, h: Tensor, place: Place) -> Tensor:
        if place.block != self.block or not self.sigma_end <= place.sigma <= self.sigma_start:
            return h
        width, height = (round(side * (1.0 / self.factor)) for side in (h.shape[3], h.shape[2]))
        return self.resize(h, width, height, self.down)


@dataclass(frozen=True)
class FreeU(Patch):
    """FreeU (Si et al. 2023): stronger backbone features, weaker low frequencies of skips, at the two widest decoder
    levels; version 2 scales by the map of the features' mean. `scales` is channels -> (b, s)."""

    scales: Mapping[int, tuple[float, float]]
    version: int

    def before_output(self, h: Tensor, skip: Tensor, place: Place) -> tuple[Tensor, Tensor]:
        if h.shape[1] not in self.scales:
            return h, skip
        b, s = self.scales[h.shape[1]]
        factor: Tensor | float = b
        if self.version == 2:
            mean = h.mean(dim=1, keepdim=True)
            low, high = mean.amin(dim=(1, 2, 3), keepdim=True), mean.amax(dim=(1, 2, 3), keepdim=True)
            # a level of one cell has no spread
            factor = (b - 1.0) * ((mean - low) / (high - low).clamp(min=torch.finfo(mean.dtype).tiny)) + 1.0
        half = h.shape[1] // 2
        return torch.cat([h[:, :half] * factor, h[:, half:]], dim=1), low_frequencies_scaled(skip, s)


def low_frequencies_scaled(x: Tensor, factor: float) -> Tensor:
    """x (batch, channels, h, w) with the four bins around its spectrum's centre scaled."""
    spectrum = torch.fft.fftshift(torch.fft.fftn(x.float(), dim=(-2, -1)), dim=(-2, -1))
    row, column = x.shape[-2] // 2, x.shape[-1] // 2
    spectrum[..., row - 1 : row + 1, column - 1 : column + 1] *= factor
    return torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=(-2, -1)), dim=(-2, -1)).real.to(x.dtype)


@dataclass(frozen=True)
class HyperTile(Patch):
    """HyperTile (Fernandes): self-attention within tiles, on levels down to `max_depth`.

    As in ComfyUI only the queries are cut into tiles; keys and values fall into as many runs of tokens in their own
    order. The number of tiles a side is one of the first `swap_size` possible; which one follows from sigma.
    """

    tile: int
    swap_size: int
    max_depth: int
    scale_depth: bool

    def attention(self, attend: Attend, q: Tensor, k: Tensor, v: Tensor, place: Place) -> Tensor:
        height, width = place.size
        counts = [(height / 2**i) * (width / 2**i) for i in range(self.max_depth + 1)]
        tokens = q.shape[1]
        if place.crosswise or tokens not in counts:
            return attend(q, k, v)
        least = self.tile * (2 ** counts.index(tokens) if self.scale_depth else 1)
        aspect = width / height
        # ComfyUI's rows and columns are the other way round where the latent is not square
        rows, columns = round(math.sqrt(tokens * aspect)), round(math.sqrt(tokens / aspect))
        chosen = torch.Generator().manual_seed(hash(place.sigma) & 0x7FFFFFFF)
        across = [self._pieces(side, least, chosen) for side in (rows, columns)]
        if math.prod(across) == 1:
            return attend(q, k, v)
        nh, nw = across
        batch, channels = q.shape[0], q.shape[2]
        tiles = q.reshape(batch, nh, rows // nh, nw, columns // nw, channels).transpose(2, 3)
        tiled = tiles.reshape(batch * nh * nw, -1, channels)
        answer = attend(tiled, k, v).reshape(batch, nh, nw, rows // nh, columns // nw, -1)
        return answer.transpose(2, 3).reshape(batch, tokens, -1)

    def _pieces(self, side: int, least: int, generator: torch.Generator) -> int:
        least = min(least, side)
        pieces = [side // size for size in range(least, side + 1) if side % size == 0][: self.swap_size]
        if len(pieces) == 1:
            return pieces[0]
        return pieces[int(torch.randint(0, len(pieces) - 1, (1,), generator=generator))]  # the last is never taken


@dataclass(frozen=True)
class Hypernetwork(Patch):
    """Small networks by width that change keys and values: k + H0(k) * strength, v + H1(v) * strength."""

    networks: Mapping[int, tuple[torch.nn.Module, torch.nn.Module]]
    strength: float

    def attention(self, attend: Attend, q: Tensor, k: Tensor, v: Tensor, place: Place) -> Tensor:
        if k.shape[-1] not in self.networks:
            return attend(q, k, v)
        for_keys, for_values = self.networks[k.shape[-1]]
        added = (k + for_keys(k.float()).to(k) * self.strength, v + for_values(v.float()).to(v) * self.strength)
        return attend(q, *added)


@dataclass(frozen=True)
class TokenMerging(Patch):
    """Token Merging for Stable Diffusion (Bolya and Hoffman 2023): at the top level alike tokens are averaged before
    self-attention and spread again after it. One token in each 2x2 block stays.

    As in ComfyUI which one follows from sigma, and tokens are alike as attention sees them; as A1111 sets its authors'
    code up (`webui`) it is the first, and they are alike as they come into the layer, before they are normed."""

    ratio: float
    webui: bool = False

    def attention(self, attend: Attend, q: Tensor, k: Tensor, v: Tensor, place: Place) -> Tensor:
        height, width = place.size
        merged = int(q.shape[1] * self.ratio)
        if place.crosswise or q.shape[1] != height * width or merged <= 0 or min(place.size) < 2:
            return attend(q, k, v)
        kept, others = _destinations(height, width, None if self.webui else place.sigma, q.device)
        count = min(merged, len(others))
        alike = place.tokens if self.webui and place.tokens is not None else q
        metric = alike / alike.norm(dim=-1, keepdim=True)
        likeness, nearest = (metric[:, others] @ metric[:, kept].transpose(1, 2)).max(dim=-1)
        order = likeness.argsort(dim=-1, descending=True)
        gone, left = order[:, :count], order[:, count:]
        target = nearest.gather(1, gone)

        def merge(x: Tensor) -> Tensor:
            source, stay = x[:, others], x[:, kept]
            away = source.gather(1, gone[..., None].expand(-1, -1, x.shape[-1]))
            rest = source.gather(1, left[..., None].expand(-1, -1, x.shape[-1]))
            index = target[..., None].expand(-1, -1, x.shape[-1])
            return torch.cat([rest, stay.scatter_reduce(1, index, away, reduce="mean")], dim=1)

        mixed = merge(q)
        answer = attend(mixed, mixed, mixed)
        rest, stay = answer[:, : left.shape[1]], answer[:, left.shape[1] :]
        width_out = answer.shape[-1]
        sources = answer.new_empty(len(q), len(others), width_out)
        sources.scatter_(1, left[..., None].expand(-1, -1, width_out), rest)
        away = stay.gather(1, target[..., None].expand(-1, -1, width_out))
        sources.scatter_(1, gone[..., None].expand(-1, -1, width_out), away)
        result = answer.new_empty(len(q), q.shape[1], width_out)
        result[:, kept], result[:, others] = stay, sources
        return result


def _destinations(height: int, width: int, sigma: float | None, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token numbers that stay, one of each whole 2x2 block, and all others; without a sigma the first of each block."""
    rows, columns = height // 2, width // 2
    choice = torch.zeros((rows, columns), dtype=torch.int64)
    if sigma is not None:
        generator = torch.Generator().manual_seed(hash(sigma) & 0x7FFFFFFF)
        choice = torch.randint(0, 4, (rows, columns), generator=generator)
    y = torch.arange(rows)[:, None] * 2 + choice // 2
    x = torch.arange(columns)[None] * 2 + choice % 2
    kept = (y * width + x).flatten()
    others = torch.ones(height * width, dtype=torch.bool)
    others[kept] = False
    return kept.to(device), others.nonzero()[:, 0].to(device)


@dataclass(frozen=True)
class ValuesOnly(Patch):
    """Perturbed attention (Ahn et al. 2024): the middle's self-attention is left out, its values pass unmixed."""

    def weighted(self, q: Tensor, k: Tensor, v: Tensor, heads: int, place: Place) -> Tensor | None:
        return v if place.stage == "middle" and not place.crosswise else None


@dataclass(frozen=True, eq=False)
class AttentionRecord(Patch):
    """Notes the first middle layer's self-attention, (batch * heads, tokens, tokens), in the list it was made with."""

    noted: list[Tensor] = field(default_factory=list)

    def weighted(self, q: Tensor, k: Tensor, v: Tensor, heads: int, place: Place) -> Tensor | None:
        if place.stage != "middle" or place.crosswise or place.depth != 0:
            return None
        batch = q.shape[0]
        split = [t.reshape(batch, -1, heads, t.shape[-1] // heads).transpose(1, 2).float() for t in (q, k, v)]
        weights = (split[0] @ split[1].transpose(-1, -2) * split[0].shape[-1] ** -0.5).softmax(dim=-1)
        self.noted.append(weights.flatten(0, 1))
        return (weights @ split[2]).transpose(1, 2).flatten(2).to(v.dtype)
