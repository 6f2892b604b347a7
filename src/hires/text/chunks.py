"""Tokens -> chunks of 77 (start, 75, end), by the rules of the two dialects.

A token is an id of the vocabulary or, where an embedding stands, a vector (width,). Every token carries its weight
and the number of the segment it came from (0 for start, end and padding).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from torch import Tensor

from hires.errors import PromptError
from hires.text.tokenizer import CHUNK, COMMA, END, ROOM, START

Token = int | Tensor

MAX_CHUNKS: Final = 256  # 19,200 tokens; the cross-attention cost of every step grows with them
_WHOLE_BELOW: Final = 8  # ComfyUI never cuts a segment with fewer tokens


@dataclass(frozen=True)
class Segment:
    """Tokens that share a weight and, in ComfyUI's rule, stay together while they are few."""

    tokens: Sequence[Token]
    weight: float = 1.0


@dataclass(frozen=True)
class Chunk:
    """77 positions for the encoder."""

    tokens: tuple[Token, ...]
    weights: tuple[float, ...]
    segments: tuple[int, ...]

    @property
    def weighted(self) -> bool:
        """Whether any weight differs from 1."""
        return any(weight != 1.0 for weight in self.weights)

    @property
    def ids(self) -> list[int]:
        """The ids, -1 where a vector stands."""
        return [token if isinstance(token, int) else -1 for token in self.tokens]


@dataclass
class _Filling:
    """The inner tokens of a chunk while it is filled."""

    tokens: list[Token] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, tokens: Sequence[Token], weight: float, segment: int) -> None:
        self.tokens += tokens
        self.weights += [weight] * len(tokens)
        self.segments += [segment] * len(tokens)

    def cut(self, at: int) -> _Filling:
        """Keep the first `at` tokens and return the others."""
        rest = _Filling(self.tokens[at:], self.weights[at:], self.segments[at:])
        del self.tokens[at:], self.weights[at:], self.segments[at:]
        return rest

    def close(self, pad: int) -> Chunk:
        empty = CHUNK - 2 - len(self)
        return Chunk(
            (START, *self.tokens, END, *[pad] * empty),
            (1.0, *self.weights, *[1.0] * (empty + 1)),
            (0, *self.segments, *[0] * (empty + 1)),
        )


def empty_chunk(pad: int) -> Chunk:
    """The chunk of an empty text."""
    return _Filling().close(pad)


def chunk_segments(segments: Iterable[Segment], pad: int) -> list[Chunk]:
    """ComfyUI's rule: a segment of fewer than 8 tokens opens the next chunk rather than being cut; others are cut
    exactly where the chunk is full."""
    done: list[Chunk] = []
    filling = _Filling()
    for number, segment in enumerate(segments, start=1):
        tokens = segment.tokens
        whole = len(tokens) < _WHOLE_BELOW
        while len(filling) + len(tokens) > ROOM:
            fits = 0 if whole else ROOM - len(filling)
            filling.add(tokens[:fits], segment.weight, number)
            tokens = tokens[fits:]
            filling = _next(done, filling, pad)
        filling.add(tokens, segment.weight, number)
    _next(done, filling, pad)
    return done


def chunk_with_commas(parts: Sequence[Sequence[Segment]], pad: int, backtrack: int = 20) -> tuple[list[Chunk], int]:
    """The A1111 web UI's rule, and its token count.

    `parts` are the texts between BREAKs, each a list of segments; a segment of vectors is one embedding and is not
    cut. When a chunk is full, the next token is no comma and the last comma lies at most `backtrack` tokens back, what
    follows that comma moves to the next chunk. The count is 75 per closed chunk and the tokens of the last.
    """
    done: list[Chunk] = []
    filling = _Filling()
    number = 0
    for index, part in enumerate(parts):
        if index > 0:
            filling = _next(done, filling, pad)
        last_comma = -1
        for segment in part:
            number += 1
            for unit in _units(segment):
                if isinstance(unit[0], int) and unit[0] == COMMA:
                    last_comma = len(filling)
                elif backtrack and len(filling) == ROOM and last_comma >= 0 and ROOM - last_comma <= backtrack:
                    rest = filling.cut(last_comma + 1)
                    _next(done, filling, pad)
                    filling, last_comma = rest, -1
                if len(filling) + len(unit) > ROOM:
                    filling, last_comma = _next(done, filling, pad), -1
                filling.add(unit, segment.weight, number)
    count = ROOM * len(done) + len(filling)
    if len(filling) or not done:
        _next(done, filling, pad)
    return done, count


def _units(segment: Segment) -> Iterable[Sequence[Token]]:
    """What goes into a chunk at once: a token, or an embedding's vectors as far as they fit a chunk at all."""
    if segment.tokens and not isinstance(segment.tokens[0], int):
        return [segment.tokens[start : start + ROOM] for start in range(0, len(segment.tokens), ROOM)]
    return [segment.tokens[index : index + 1] for index in range(len(segment.tokens))]


def drop_misfits(chunk: Chunk, width: int, pad: int) -> tuple[Chunk, int]:
    """The chunk without vectors of another width, refilled with padding at its end; and how many were dropped."""
    keep = [isinstance(token, int) or token.shape[-1] == width for token in chunk.tokens]
    dropped = keep.count(False)
    if not dropped:
        return chunk, 0
    return (
        replace(
            chunk,
            tokens=(*(t for t, kept in zip(chunk.tokens, keep, strict=True) if kept), *[pad] * dropped),
            weights=(*(w for w, kept in zip(chunk.weights, keep, strict=True) if kept), *[1.0] * dropped),
            segments=(*(s for s, kept in zip(chunk.segments, keep, strict=True) if kept), *[0] * dropped),
        ),
        dropped,
    )


def _next(done: list[Chunk], filling: _Filling, pad: int) -> _Filling:
    """Close the chunk that was filled and open another."""
    if len(done) == MAX_CHUNKS:
        raise PromptError(
            f"The prompt is too long: more than {MAX_CHUNKS} chunks of {ROOM} tokens.",
            "Shorten it; what stands that far back has no visible effect.",
        )
    done.append(filling.close(pad))
    return _Filling()
