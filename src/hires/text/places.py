"""The parts of a prompt between its commas, and where among the encoder's positions their tokens stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from hires.text.chunks import Chunk
from hires.text.tokenizer import CHUNK, COMMA

OPENING, CLOSING = "([{<", ")]}>"
_WHOLE = re.compile(r"\b(AND|BREAK)\b")
Chunks = Callable[[str], Sequence[Chunk]]


def prompt_parts(text: str) -> list[str]:
    """The parts between commas outside of all brackets, none empty. A prompt of several (AND, BREAK) is one part."""
    if _WHOLE.search(text):
        return [text.strip()] if text.strip() else []
    parts, depth, begun, escaped = [], 0, 0, False
    for index, sign in enumerate(text):
        if not escaped and sign in OPENING:
            depth += 1
        elif not escaped and sign in CLOSING:
            depth = max(depth - 1, 0)
        elif sign == "," and depth == 0:
            parts.append(text[begun:index])
            begun = index + 1
        escaped = sign == "\\" and not escaped
    parts.append(text[begun:])
    return [part.strip() for part in parts if part.strip()]


def joined(parts: Sequence[str]) -> str:
    """The text whose tokens `part_positions` counts: a blank before each comma keeps it a token of its own."""
    return " , ".join(parts)


def part_positions(parts: Sequence[str], chunks: Chunks) -> list[list[int]] | None:
    """The positions of each part's tokens in what the encoder gives for joined(parts), over all its chunks.

    `chunks` cuts a text as the prompt's dialect does. None where the parts' tokens do not add up to the whole's.
    """
    whole = _content(chunks(joined(parts)))
    found, at = [], 0
    for number, part in enumerate(parts):
        count = len(_content(chunks(part)))
        found.append([position for position, _ in whole[at : at + count]])
        at += count
        if number < len(parts) - 1:
            if at >= len(whole) or whole[at][1] != COMMA:
                return None
            at += 1
    return found if at == len(whole) else None


def _content(chunks: Sequence[Chunk]) -> list[tuple[int, object]]:
    """(position, token) of what was written, without start, end and padding."""
    return [
        (number * CHUNK + index, token if isinstance(token, int) else None)
        for number, chunk in enumerate(chunks)
        for index, (token, segment) in enumerate(zip(chunk.tokens, chunk.segments, strict=True))
        if segment > 0
    ]
