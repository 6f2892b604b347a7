"""One text tower over chunks of 77 tokens, with learned vectors in the place of some; joining of towers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from hires.errors import ModelFileError, PromptError, SettingError
from hires.models.clip import ClipModel
from hires.text.chunks import Chunk, Segment
from hires.text.tokenizer import END

MAX_WEIGHT: Final = 1e6  # nested brackets overflow beyond this; no picture is left long before
_AT_ONCE: Final = 16  # chunks per call: long prompts must not need more memory than short ones


def padding_id(clip: ClipModel) -> int:
    """What follows the end token: CLIP-L was trained with more end tokens, OpenCLIP's towers with zeros."""
    return END if clip.kind == "l" else 0


@torch.no_grad()
def run_tower(clip: ClipModel, chunks: Sequence[Chunk], layer: int = -1, norm: bool = True) -> tuple[Tensor, Tensor]:
    """Hidden states (chunks, 77, width) after layer `layer` (-1 is the last) and pooled vectors (chunks, out).

    `norm` applies the final layer norm to the hidden states. The pooled vector is the final state, normed and
    projected, at the first end token; it does not depend on `layer`. Both come back in float32 on the CPU.
    """
    count = len(clip.module.encoder.layers)
    if not 1 <= -layer <= count:
        raise SettingError(f"The text encoder has {count} layers; layer {layer} does not exist.", "Lower clip skip.")
    results = [_run(clip, chunks[start : start + _AT_ONCE], layer, norm) for start in range(0, len(chunks), _AT_ONCE)]
    hidden, pooled = zip(*results, strict=True)
    return torch.cat(hidden), torch.cat(pooled)


def _run(clip: ClipModel, chunks: Sequence[Chunk], layer: int, norm: bool) -> tuple[Tensor, Tensor]:
    module = clip.module
    ids = torch.tensor([chunk.ids for chunk in chunks], device=clip.device)
    x = module.embeddings.token_embedding(ids.clamp(min=0)).float()
    for row, chunk in enumerate(chunks):
        for position, token in enumerate(chunk.tokens):
            if isinstance(token, Tensor):
                if token.shape[-1] != x.shape[-1]:
                    raise ModelFileError(f"An embedding of width {token.shape[-1]} does not fit width {x.shape[-1]}.")
                x[row, position] = token.to(x)
    length = x.shape[1]
    x = x + module.embeddings.position_embedding(torch.arange(length, device=x.device)).float()

    # Every token sees itself and those before it; padding is not masked (as the models were trained).
    mask = torch.full((length, length), -torch.inf, device=x.device).triu(1)[None, None]
    last = len(module.encoder.layers) + layer
    chosen = x
    for index, block in enumerate(module.encoder.layers):
        x = block(x, mask)
        if index == last:
            chosen = x
    hidden = module.final_layer_norm(chosen) if norm else chosen
    ends = (ids == END).int().argmax(dim=-1)
    pooled = module.final_layer_norm(x[torch.arange(len(chunks), device=x.device), ends]).float()
    if clip.projection is not None:
        pooled = pooled @ clip.projection.to(pooled)
    return hidden.float().cpu(), pooled.cpu()


def blend_from_empty(hidden: Tensor, empty: Tensor, weights: Tensor) -> Tensor:
    """z_empty + w (z - z_empty) where w (chunks, 77) is not 1."""
    weights = weights[..., None]
    return torch.where(weights == 1.0, hidden, empty + (hidden - empty) * weights)


def weights_of(chunks: Sequence[Chunk]) -> Tensor:
    """(chunks, 77) float32."""
    return torch.tensor([chunk.weights for chunk in chunks], dtype=torch.float32)


def join_towers(outputs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Chunks laid end to end, towers side by side (cut to the shorter); the last tower's pooled first chunk."""
    flat = [hidden.reshape(1, -1, hidden.shape[-1]) for hidden, _ in outputs]
    shortest = min(hidden.shape[1] for hidden in flat)
    return torch.cat([hidden[:, :shortest] for hidden in flat], dim=-1), outputs[-1][1][:1]


def check_weights(segments: Sequence[Segment]) -> None:
    """Refuse weights that only runaway nesting makes."""
    for segment in segments:
        if not abs(segment.weight) <= MAX_WEIGHT:
            raise PromptError(
                f"A part of the prompt has the weight {segment.weight:g}.",
                f"Weights up to {MAX_WEIGHT:g} are possible, 0.5 to 1.5 are usual; look for too many brackets.",
            )
