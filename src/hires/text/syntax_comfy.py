"""ComfyUI's prompt dialect: `(text:weight)` and `embedding:name`. Nothing else has a meaning.

The grammar is the one of ComfyUI's text nodes, oddities included, because workflows rely on its numbers: a weight is
absolute inside its own group and multiplied by 1.1 per further level, a group that is never closed is plain text
unless its last character is `)`, and after a stray `)` the next `(` opens nothing.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise

Weighted = tuple[str, float]

# Escaped brackets while the text is parsed. Lone surrogates cannot occur in decoded text.
_OPEN, _CLOSE = "\udc28", "\udc29"
_EMBEDDING = re.compile(r"(?:\A|[ \n])embedding:")


@dataclass(frozen=True)
class EmbeddingName:
    """A mention `embedding:name`: the name as typed, up to the next blank, and the text that follows it."""

    name: str
    rest: str = ""


def parse_weights(text: str) -> list[Weighted]:
    """Split `text` into (text, weight) pieces in reading order; linear in its length, whatever the nesting."""
    text = text.replace("\\(", _OPEN).replace("\\)", _CLOSE)
    openers, partner = _match_brackets(text)
    last_colon, last_bracket = _last_seen(text)
    pieces: list[Weighted] = []
    ranges = [(0, len(text), 1.0)]
    while ranges:
        low, high, weight = ranges.pop()
        start = _first_opener(text, openers, low, high)
        if start > low:
            pieces.append((_unescape(text[low:start]), weight))
        if start >= high:
            continue
        end = partner.get(start, high)
        if end >= high:  # never closed in this range: the group is all the rest, if that ends like a group
            if text[high - 1] != ")":
                pieces.append((_unescape(text[start:high]), weight))
                continue
            end = high - 1
        else:
            ranges.append((end + 1, high, weight))
        inner_end, inner_weight = end, weight * 1.1
        colon = last_colon[end]
        if colon > start + 1 and colon > last_bracket[end]:
            stated = _number(text[colon + 1 : end])
            if stated is not None:
                inner_end, inner_weight = colon, stated
        ranges.append((start + 1, inner_end, inner_weight))
    return pieces


def split_embeddings(text: str) -> list[str | EmbeddingName]:
    """Cut one weighted piece at its `embedding:` mentions (preceded by the start, a space or a line feed)."""
    starts = [mark.start() for mark in _EMBEDDING.finditer(text)]
    parts: list[str | EmbeddingName] = [text[: starts[0]] if starts else text]
    for start, end in pairwise([*starts, len(text)]):
        words = text[text.index(":", start, end) + 1 : end].split(maxsplit=1)
        if words:
            parts.append(EmbeddingName(*words))
    return [part for part in parts if part != ""]


def _match_brackets(text: str) -> tuple[list[bool], dict[int, int]]:
    """Which `(` open a group, and where the closed ones close. A stray `)` makes the next bare `(` plain text."""
    openers = [False] * len(text)
    partner: dict[int, int] = {}
    stack: list[int] = []
    stray = 0
    for index, char in enumerate(text):
        if char == "(":
            if not stack and stray:
                stray -= 1
                continue
            openers[index] = True
            stack.append(index)
        elif char == ")":
            if stack:
                partner[stack.pop()] = index
            else:
                stray += 1
    return openers, partner


def _last_seen(text: str) -> tuple[list[int], list[int]]:
    """For each end position: the last colon and the last bracket before it (-1 where there is none)."""
    colons, brackets = [-1], [-1]
    for index, char in enumerate(text):
        colons.append(index if char == ":" else colons[-1])
        brackets.append(index if char in "()" else brackets[-1])
    return colons, brackets


def _first_opener(text: str, openers: list[bool], low: int, high: int) -> int:
    start = text.find("(", low, high)
    while start >= 0 and not openers[start]:
        start = text.find("(", start + 1, high)
    return high if start < 0 else start


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _unescape(text: str) -> str:
    return text.replace(_OPEN, "(").replace(_CLOSE, ")")
