"""Other ways to read weights, as the Efficiency nodes offer them (BlenderNeko's ADV_CLIP_emb).

`encode` takes chunks and gives (hidden (chunks, 77, width), pooled), with the chunks' weights applied ComfyUI's way.
A segment is a stretch of text of one weight; segment 0 is start, end and padding and keeps weight 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from hires.errors import SettingError
from hires.text.chunks import Chunk
from hires.text.encoder import weights_of

TokenNormalization = Literal["none", "mean", "length", "length+mean"]
WeightInterpretation = Literal["comfy", "A1111", "compel", "comfy++", "down_weight"]
Encode = Callable[[Sequence[Chunk]], tuple[Tensor, Tensor]]

_MASK: Final = 266  # the token that stands for "nothing here"


def normalize_weights(chunks: Sequence[Chunk], how: str) -> list[Chunk]:
    """`length`: the distance from 1 shrinks by the root of the segment's token count. `mean`: all are shifted so that
    their mean is 1. `length+mean`: one after the other."""
    if how not in get_args(TokenNormalization):
        raise SettingError(f"There is no token normalization {how!r}.", f"Choose {_choices(TokenNormalization)}.")
    if how.startswith("length"):
        lengths = Counter(segment for chunk in chunks for segment in chunk.segments)
        chunks = [_reweigh(chunk, lambda w, segment: _shrunk(w, lengths[segment])) for chunk in chunks]
    if how.endswith("mean"):
        weights = [w for chunk in chunks for w, segment in zip(chunk.weights, chunk.segments, strict=True) if segment]
        shift = 1 - sum(weights) / len(weights) if weights else 0.0
        chunks = [_reweigh(chunk, lambda w, _: w + shift) for chunk in chunks]
    return list(chunks)


def interpret_weights(encode: Encode, chunks: Sequence[Chunk], how: str) -> tuple[Tensor, Tensor]:
    """(hidden, pooled) of `chunks` under one of the interpretations; pooled is always the unweighted one."""
    if how not in get_args(WeightInterpretation):
        raise SettingError(f"There is no weight interpretation {how!r}.", f"Choose {_choices(WeightInterpretation)}.")
    if how == "comfy":
        return encode(chunks)
    plain = [_reweigh(chunk, lambda w, _: 1.0) for chunk in chunks]
    hidden, pooled = encode(plain)
    if how == "A1111":
        weighted = hidden * weights_of(chunks)[..., None]
        mean = weighted.mean()
        return weighted * (hidden.mean() / mean if mean != 0 else 1.0), pooled
    if how == "compel":
        raised = [_reweigh(chunk, lambda w, _: max(w, 1.0)) for chunk in chunks]
        return _weigh_down(encode, raised, chunks, encode(raised)[0]), pooled
    if how == "comfy++":
        return _weigh_down(encode, plain, chunks, hidden) + _weigh_up(encode, plain, chunks, hidden), pooled
    top = max(weight for chunk in chunks for weight in chunk.weights)
    scaled = [_reweigh(chunk, lambda w, _: w / top) for chunk in chunks]
    return _weigh_down(encode, plain, scaled, hidden), pooled


def _weigh_down(encode: Encode, base: Sequence[Chunk], chunks: Sequence[Chunk], hidden: Tensor) -> Tensor:
    """Sum of (w_i - w_(i-1)) * the encoding of `base` in which what weighs less than w_i is masked, over the distinct
    weights w_1 < w_2 < ... up to 1 of `chunks`."""
    levels = sorted({weight for chunk in chunks for weight in chunk.weights if weight < 1.0})
    if not levels:
        return hidden
    total = hidden * levels[0]
    for below, level in zip(levels, [*levels[1:], 1.0], strict=True):
        masked = [
            _masked(own, [index for index, weight in enumerate(chunk.weights) if weight <= below])
            for own, chunk in zip(base, chunks, strict=True)
        ]
        total = total + encode(masked)[0] * (level - below)
    return total


def _weigh_up(encode: Encode, plain: Sequence[Chunk], chunks: Sequence[Chunk], hidden: Tensor) -> Tensor:
    """(w - 1) (z - z without the segment), for every segment with w > 1 and at its positions."""
    heavy = {
        segment: weight
        for chunk in chunks
        for segment, weight in zip(chunk.segments, chunk.weights, strict=True)
        if weight > 1.0
    }
    total = torch.zeros_like(hidden)
    numbers = torch.tensor([chunk.segments for chunk in chunks])
    for segment, weight in heavy.items():
        masked = [_masked(own, [i for i, number in enumerate(own.segments) if number == segment]) for own in plain]
        difference = (hidden - encode(masked)[0]) * (weight - 1)
        total = total + difference * (numbers == segment)[..., None]
    return total


def _masked(chunk: Chunk, positions: Collection[int]) -> Chunk:
    hidden = set(positions)
    return replace(
        chunk,
        tokens=tuple(_MASK if index in hidden else token for index, token in enumerate(chunk.tokens)),
        weights=tuple(1.0 if index in hidden else weight for index, weight in enumerate(chunk.weights)),
    )


def _reweigh(chunk: Chunk, change: Callable[[float, int], float]) -> Chunk:
    pairs = zip(chunk.weights, chunk.segments, strict=True)
    return replace(chunk, weights=tuple(change(weight, segment) if segment else 1.0 for weight, segment in pairs))


def _shrunk(weight: float, length: int) -> float:
    return 1 + math.copysign(abs(weight - 1) / math.sqrt(length), weight - 1)


def _choices(names: object) -> str:
    return ", ".join(get_args(names))
