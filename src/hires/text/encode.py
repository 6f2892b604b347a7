"""Prompt -> conditioning: the two dialects' ways from text to (tokens, pooled) tensors.

All return `cond` (1, 77*chunks, width) and `pooled` (1, out) in float32 on the CPU. SDXL's towers are joined on the
width axis; the pooled vector is that of the last tower and the first chunk, and is never weighted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from hires.errors import SettingError
from hires.models.clip import ClipModel, TextStack
from hires.text.chunks import Chunk, Segment, chunk_segments, chunk_with_commas, drop_misfits, empty_chunk
from hires.text.embeddings import Embedding, Trigger, find_by_name, load_embedding, match_triggers, triggers
from hires.text.encoder import blend_from_empty, check_weights, join_towers, padding_id, run_tower, weights_of
from hires.text.schedule import schedule
from hires.text.syntax_comfy import EmbeddingName, parse_weights, split_embeddings
from hires.text.syntax_webui import parse_attention, split_and, split_networks, strip_comments
from hires.text.tokenizer import ROOM, tokenize
from hires.text.weighting import TokenNormalization, WeightInterpretation, interpret_weights, normalize_weights

log = logging.getLogger(__name__)

Emphasis = Literal["Original", "No norm", "Ignore", "None", "ComfyUI"]
EMPHASIS: Final[tuple[str, ...]] = get_args(Emphasis)

Layer = tuple[int, bool]  # hidden layer (negative), and whether the final layer norm follows


# --- ComfyUI -------------------------------------------------------------------------------------------------------


def encode_comfy(stack: TextStack, text: str, text_l: str | None = None) -> tuple[Tensor, Tensor]:
    """Encode as ComfyUI's CLIPTextEncode. `text_l` is the text of CLIP-L where CLIPTextEncodeSDXL states another; the
    shorter of the two is then filled up with empty chunks.

    A weight w moves a token's vector away from that of an empty chunk: z_empty + w (z - z_empty).
    """
    return encode_weighted(stack, text, text_l)


def encode_weighted(
    stack: TextStack,
    text: str,
    text_l: str | None = None,
    *,
    token_normalization: TokenNormalization = "none",
    weight_interpretation: WeightInterpretation = "comfy",
) -> tuple[Tensor, Tensor]:
    """ComfyUI's text syntax under the weighting options of the Efficiency nodes (see weighting.py)."""
    chunks = [comfy_chunks(stack, clip, _text_for(stack, clip, text, text_l)) for clip in stack.clips]
    if text_l is not None:
        chunks = _fill_up(stack, chunks)
    outputs = []
    for clip, own in zip(stack.clips, chunks, strict=True):
        own = normalize_weights(own, token_normalization)
        outputs.append(interpret_weights(_comfy_runner(stack, clip), own, weight_interpretation))
    return join_towers(outputs)


def comfy_chunks(stack: TextStack, clip: ClipModel, text: str) -> list[Chunk]:
    """The chunks that ComfyUI makes of `text` for one tower, embeddings looked up."""
    pad = padding_id(clip)
    segments = [
        Segment(tokens, weight)
        for piece, weight in parse_weights(text)
        for part in split_embeddings(piece)
        for tokens in _comfy_tokens(stack, clip, part)
        if tokens
    ]
    check_weights(segments)
    chunks = []
    for chunk in chunk_segments(segments, pad):
        fitting, dropped = drop_misfits(chunk, clip.width, pad)
        if dropped:
            log.warning("%d embedding vectors do not fit CLIP-%s (width %d): ignored", dropped, clip.kind, clip.width)
        chunks.append(fitting)
    return chunks


def comfy_layer(stack: TextStack, clip: ClipModel) -> Layer:
    """Hidden layer under ComfyUI's rules; one that this tower does not have means its last, normed."""
    layer = stack.layer if stack.layer is not None else _own_layer(stack)
    if not 1 <= -layer <= clip.depth:
        return -1, True
    return layer, not _is_sdxl(stack)


def _comfy_runner(stack: TextStack, clip: ClipModel) -> Callable[[Sequence[Chunk]], tuple[Tensor, Tensor]]:
    """Chunks -> (hidden (chunks, 77, width), pooled), weights applied."""

    def run(chunks: Sequence[Chunk]) -> tuple[Tensor, Tensor]:
        layer, norm = comfy_layer(stack, clip)
        hidden, pooled = run_tower(clip, chunks, layer, norm)
        if any(chunk.weighted for chunk in chunks):
            hidden = blend_from_empty(hidden, _empty_hidden(clip, (layer, norm)), weights_of(chunks))
        return hidden, pooled

    return run


def _comfy_tokens(stack: TextStack, clip: ClipModel, part: str | EmbeddingName) -> list[Sequence[int | Tensor]]:
    """Token groups of one part; an embedding's vectors are a group of their own."""
    if isinstance(part, str):
        return [tokenize(part)]
    path = find_by_name(part.name, stack.embedding_dirs)
    name = part.name
    if path is None:  # `embedding:name,` where no file is called `name,`
        name = part.name.rstrip(",")
        path = find_by_name(name, stack.embedding_dirs) if name else None
    if path is None:
        log.warning("embedding:%s was not found: ignored", name)
    vectors = list(load_embedding(path).for_tower(clip.kind)) if path is not None else []
    return [vectors, tokenize(f"{part.name[len(name) :]} {part.rest}")]


def _text_for(stack: TextStack, clip: ClipModel, text: str, text_l: str | None) -> str:
    return text_l if text_l is not None and clip.kind == "l" and len(stack.clips) > 1 else text


def _fill_up(stack: TextStack, chunks: list[list[Chunk]]) -> list[list[Chunk]]:
    longest = max(map(len, chunks))
    return [
        [*own, *[empty_chunk(padding_id(clip))] * (longest - len(own))]
        for clip, own in zip(stack.clips, chunks, strict=True)
    ]


# --- the A1111 web UI ----------------------------------------------------------------------------------------------


def encode_webui(
    stack: TextStack,
    text: str,
    *,
    emphasis: Emphasis = "Original",
    comma_backtrack: int = 20,
    clip_skip: int = 1,
    sdxl_clip_l_skip: bool = False,
    zero_if_empty: bool = False,
) -> tuple[Tensor, Tensor]:
    """Encode one text (comments, tags, AND and schedules already resolved) as the A1111 web UI does.

    Emphasis "Original" scales each chunk back to the mean it had before weighting, text by text. `clip_skip` counts
    SD1's layers from the end (1 is the last) and means nothing to later families; with `sdxl_clip_l_skip` it holds for
    SDXL's CLIP-L. `stack.layer` is not consulted. `zero_if_empty` gives zeros for SDXL's empty text.
    """
    check_emphasis(emphasis)
    table = triggers(stack.embedding_dirs) if stack.embedding_dirs else {}
    outputs = []
    for clip in stack.clips:
        layer = webui_layer(stack, clip, clip_skip, sdxl_clip_l_skip)
        chunks, _ = _webui_chunks(text, stack, clip, table, emphasis, comma_backtrack)
        hidden, pooled = run_tower(clip, chunks, *layer)
        outputs.append((_emphasize(hidden, chunks, clip, layer, emphasis), pooled))
    cond, pooled = join_towers(outputs)
    if zero_if_empty and text == "" and _is_sdxl(stack):
        return torch.zeros_like(cond), torch.zeros_like(pooled)
    return cond, pooled


def webui_chunks(stack: TextStack, clip: ClipModel, text: str, emphasis: str, comma_backtrack: int) -> list[Chunk]:
    """The chunks that the web UI makes of `text` for one tower, embeddings looked up."""
    table = triggers(stack.embedding_dirs) if stack.embedding_dirs else {}
    return _webui_chunks(text, stack, clip, table, emphasis, comma_backtrack)[0]


def webui_layer(stack: TextStack, clip: ClipModel, clip_skip: int = 1, sdxl_clip_l_skip: bool = False) -> Layer:
    """Hidden layer under the web UI's rules."""
    if clip_skip < 1:
        raise SettingError(f"Clip skip is {clip_skip}.", "It counts from 1, the last layer.")
    if stack.family == "sd1":
        return -clip_skip, True
    if _is_sdxl(stack):
        return (-clip_skip if sdxl_clip_l_skip and clip.kind == "l" else -2), False
    return -2, True


def count_tokens(
    text: str,
    stack: TextStack | None = None,
    *,
    steps: int = 20,
    negative: bool = False,
    emphasis: Emphasis = "Original",
    comma_backtrack: int = 20,
) -> tuple[int, int]:
    """(count, limit) as the web UI's counter shows it: comments and tags left out, the longest of all variants that
    AND and schedules make. With a `stack`, its embeddings count by their vectors."""
    _, count = _longest_variant(text, stack, steps, negative, emphasis, comma_backtrack)
    return count, -(-max(count, 1) // ROOM) * ROOM


def count_chunks(
    text: str,
    stack: TextStack | None = None,
    *,
    steps: int = 20,
    negative: bool = False,
    emphasis: Emphasis = "Original",
    comma_backtrack: int = 20,
) -> list[int]:
    """The tokens in each chunk of the variant that `count_tokens` counts; one that BREAK or a comma closed early has
    fewer than 75."""
    chunks, _ = _longest_variant(text, stack, steps, negative, emphasis, comma_backtrack)
    return [sum(number > 0 for number in chunk.segments) for chunk in chunks]


def _longest_variant(
    text: str, stack: TextStack | None, steps: int, negative: bool, emphasis: str, comma_backtrack: int
) -> tuple[list[Chunk], int]:
    text = split_networks(strip_comments(text))[0]
    parts = [text] if negative else [part for part, _ in split_and(text)]
    variants = sorted({variant for part in parts for _, variant in schedule(part, steps)})
    table = triggers(stack.embedding_dirs) if stack and stack.embedding_dirs else {}
    clip = stack.clips[0] if stack else None
    found = [_webui_chunks(each, stack, clip, table, emphasis, comma_backtrack) for each in variants]
    return max(found, key=lambda made: made[1])


def embeddings_in(stack: TextStack, text: str, emphasis: Emphasis = "Original") -> list[Embedding]:
    """The embeddings that `encode_webui` would use for `text`, each once, for `TI hashes`."""
    table = triggers(stack.embedding_dirs)
    found: dict[str, Embedding] = {}
    for section in _sections(text, emphasis):
        for piece, _ in section:
            for item in match_triggers(tokenize(piece, "webui"), table, stack):
                if isinstance(item, Embedding):
                    found.setdefault(item.name, item)
    return list(found.values())


def check_emphasis(emphasis: str) -> None:
    """Refuse an emphasis mode that does not exist."""
    if emphasis not in EMPHASIS:
        raise SettingError(f"There is no emphasis mode {emphasis!r}.", f"Choose one of {', '.join(EMPHASIS)}.")


def _webui_chunks(
    text: str,
    stack: TextStack | None,
    clip: ClipModel | None,
    table: dict[int, list[Trigger]],
    emphasis: str,
    comma_backtrack: int,
) -> tuple[list[Chunk], int]:
    parts = []
    for section in _sections(text, emphasis):
        segments = [
            Segment(tokens, weight) for piece, weight in section for tokens in _webui_tokens(piece, stack, clip, table)
        ]
        check_weights(segments)
        parts.append(segments)
    return chunk_with_commas(parts, padding_id(clip) if clip else 0, comma_backtrack)


def _webui_tokens(
    piece: str, stack: TextStack | None, clip: ClipModel | None, table: dict[int, list[Trigger]]
) -> list[Sequence[int | Tensor]]:
    """Token groups of one piece; an embedding's vectors are a group of their own."""
    if stack is None or clip is None:
        return [tokenize(piece, "webui")]
    tokens = tokenize(piece, "webui" if clip.kind == "l" else "webui_html")
    return [
        list(item.for_tower(clip.kind)) if isinstance(item, Embedding) else item
        for item in match_triggers(tokens, table, stack)
    ]


def _sections(text: str, emphasis: str) -> list[list[tuple[str, float]]]:
    if emphasis == "None":
        return [[(text, 1.0)]]
    sections = parse_attention(text)
    if emphasis == "Ignore":
        return [[(piece, 1.0) for piece, _ in section] for section in sections]
    return sections


def _emphasize(hidden: Tensor, chunks: Sequence[Chunk], clip: ClipModel, layer: Layer, emphasis: str) -> Tensor:
    if not any(chunk.weighted for chunk in chunks):
        return hidden
    weights = weights_of(chunks)
    if emphasis == "ComfyUI":
        return blend_from_empty(hidden, _empty_hidden(clip, layer), weights)
    weighted = hidden * weights[..., None]
    if emphasis == "No norm":
        return weighted
    before, after = hidden.mean(dim=(1, 2), keepdim=True), weighted.mean(dim=(1, 2), keepdim=True)
    return weighted * torch.where(after == 0, torch.ones_like(after), before / after)


# --- both ----------------------------------------------------------------------------------------------------------


def _own_layer(stack: TextStack) -> int:
    """SD1 uses CLIP-L's last layer, all later families the one before."""
    return -1 if stack.family == "sd1" else -2


def _is_sdxl(stack: TextStack) -> bool:
    return any(clip.kind == "g" for clip in stack.clips)


def _empty_hidden(clip: ClipModel, layer: Layer) -> Tensor:
    """Hidden states (1, 77, width) of an empty chunk."""
    return run_tower(clip, [empty_chunk(padding_id(clip))], *layer)[0]
