"""Latents of two origins: mixing, adding and joining them, and how batches of them are grouped and seeded."""

from __future__ import annotations

from typing import Annotated, cast

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Float
from hires.imaging.batches import fitted, repeat_to
from hires.imaging.canvas import paste
from hires.imaging.sizes import LATENT
from hires.nodes.latents import changed
from hires.nodes.types import BatchSize, Fraction, Latent, LatentDict, Mask, Side

SeedBehavior = Annotated[str, Choice(("random", "fixed"))]
Multiplier = Annotated[float, Float(-10.0, 10.0, 0.01)]


@node("LatentBlend", title="Latent Blend", category="_for_testing", outputs=("LATENT",))
def latent_blend(*, samples1: Latent, samples2: Latent, blend_factor: Fraction = 0.5) -> LatentDict:
    """samples1 * factor + samples2 * (1 - factor)."""
    first = samples1["samples"]
    second = fitted(samples2["samples"], first, "bicubic")
    return changed(samples1, first * blend_factor + second * (1.0 - blend_factor))


@node("LatentAdd", category="latent/advanced", outputs=("LATENT",))
def latent_add(*, samples1: Latent, samples2: Latent) -> LatentDict:
    """The sum; the second is brought to the first's size and batch."""
    return changed(samples1, samples1["samples"] + _like_first(samples1, samples2))


@node("LatentSubtract", category="latent/advanced", outputs=("LATENT",))
def latent_subtract(*, samples1: Latent, samples2: Latent) -> LatentDict:
    """The difference; the second is brought to the first's size and batch."""
    return changed(samples1, samples1["samples"] - _like_first(samples1, samples2))


@node("LatentMultiply", category="latent/advanced", outputs=("LATENT",))
def latent_multiply(*, samples: Latent, multiplier: Multiplier = 1.0) -> LatentDict:
    """All values times a number."""
    return changed(samples, samples["samples"] * multiplier)


@node("LatentInterpolate", category="latent/advanced", outputs=("LATENT",))
def latent_interpolate(*, samples1: Latent, samples2: Latent, ratio: Fraction = 1.0) -> LatentDict:
    """Between two latents, the direction of each cell and its magnitude apart; ratio 1 is the first."""
    first, second = samples1["samples"], _like_first(samples1, samples2)
    size_first, size_second = first.norm(dim=1, keepdim=True), second.norm(dim=1, keepdim=True)
    direction = _unit(first, size_first) * ratio + _unit(second, size_second) * (1.0 - ratio)
    direction = _unit(direction, direction.norm(dim=1, keepdim=True))
    return changed(samples1, direction * (size_first * ratio + size_second * (1.0 - ratio)))


def _unit(vectors: Tensor, size: Tensor) -> Tensor:
    return torch.nan_to_num(vectors / size)


def _like_first(first: LatentDict, second: LatentDict) -> Tensor:
    samples = first["samples"]
    return repeat_to(fitted(second["samples"], samples), len(samples))


@node("LatentCompositeMasked", category="latent", outputs=("LATENT",))
def latent_composite_masked(
    *,
    destination: Latent,
    source: Latent,
    x: Side = 0,
    y: Side = 0,
    resize_source: Annotated[bool, Bool()] = False,
    mask: Mask | None = None,
) -> LatentDict:
    """Paste one latent onto another through a mask."""
    target, pasted = destination["samples"], source["samples"]
    if resize_source:
        pasted = interpolate(pasted, size=target.shape[-2:], mode="bilinear")
    return changed(destination, paste(target, pasted, x // LATENT, y // LATENT, mask))


@node("LatentBatch", category="latent/batch", outputs=("LATENT",))
def latent_batch(*, samples1: Latent, samples2: Latent) -> LatentDict:
    """Both batches as one; each item keeps the noise of its row."""
    first, second = samples1["samples"], samples2["samples"]
    result = changed(samples1, torch.cat([first, fitted(second, first)]))
    result["batch_index"] = [*_rows(samples1), *_rows(samples2)]
    return result


def _rows(latent: LatentDict, start: int = 0) -> list[int]:
    return latent.get("batch_index", list(range(start, start + len(latent["samples"]))))


@node("LatentBatchSeedBehavior", category="latent/advanced", outputs=("LATENT",))
def latent_batch_seed_behavior(*, samples: Latent, seed_behavior: SeedBehavior = "fixed") -> LatentDict:
    """fixed: all items get the noise of the first; random: each that of its place in the batch."""
    result = changed(samples, samples["samples"])
    if seed_behavior == "fixed":
        result["batch_index"] = [_rows(samples)[0]] * len(samples["samples"])
    else:
        result.pop("batch_index", None)
    return result


@node(
    "RebatchLatents",
    title="Rebatch Latents",
    category="latent/batch",
    outputs=("LATENT",),
    output_is_list=(True,),
    input_is_list=True,
)
def rebatch_latents(*, latents: Latent, batch_size: BatchSize = 1) -> list[LatentDict]:
    """A list of latents regrouped to batches of one size; each item keeps its noise row and its mask."""
    given = cast(list[LatentDict], latents)  # a node that takes lists gets every input as one
    size = cast(list[int], batch_size)[0]
    groups: list[list[LatentDict]] = []
    for item in _items(given):
        last = groups[-1] if groups else []
        if not last or len(last) == size or last[0]["samples"].shape != item["samples"].shape:
            groups.append([])
        groups[-1].append(item)
    return [_joined(group) for group in groups]


def _items(latents: list[LatentDict]) -> list[LatentDict]:
    """Every latent alone, with its mask at the picture's size and its row, counted on over the whole list."""
    items: list[LatentDict] = []
    for latent in latents:
        samples, rows = latent["samples"], _rows(latent, len(items))
        height, width = samples.shape[2] * LATENT, samples.shape[3] * LATENT
        mask = latent.get("noise_mask")
        if mask is None:
            mask = torch.ones(len(samples), 1, height, width)
        mask = mask.reshape(-1, 1, *mask.shape[-2:])
        if tuple(mask.shape[-2:]) != (height, width):
            mask = interpolate(mask, size=(height, width), mode="bilinear")
        mask = repeat_to(mask, len(samples))
        for index, row in enumerate(rows):
            one = slice(index, index + 1)
            items.append({"samples": samples[one], "noise_mask": mask[one], "batch_index": [row]})
    return items


def _joined(items: list[LatentDict]) -> LatentDict:
    result: LatentDict = {"samples": torch.cat([item["samples"] for item in items])}
    mask = torch.cat([item["noise_mask"] for item in items])
    if not (mask == 1.0).all():
        result["noise_mask"] = mask
    result["batch_index"] = [row for item in items for row in item["batch_index"]]
    return result
