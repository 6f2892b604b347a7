"""Texts that were encoded, kept so that no text goes through the encoders twice: not within a prompt that changes over
the steps, nor from one run to the next whose prompts share a variant."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from torch import Tensor

from hires.models.clip import TextStack
from hires.text.encode import Emphasis, encode_webui

LIMIT_BYTES = 64_000_000
Encoded = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Encoding:
    """How the A1111 dialect encodes a text, beside clip skip, which the text encoder carries."""

    emphasis: str = "Original"
    comma_backtrack: int = 20
    zero_if_empty: bool = False


@dataclass
class EncodedTexts:
    """(cond, pooled) by encoder, text and options, the least recently used dropped beyond `limit_bytes`; and how often
    an encoder ran."""

    limit_bytes: int = LIMIT_BYTES
    encoded: int = 0
    _kept: OrderedDict[object, Encoded] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def encode(self, clip: TextStack, text: str, how: Encoding) -> Encoded:
        """cond (1, 77*chunks, width) and pooled (1, out) of a text without tags, AND and schedules."""
        key = (clip.identity or id(clip), clip.layer, _embedding_files(clip.embedding_dirs), text, how)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = encode_webui(
            clip,
            text,
            emphasis=cast(Emphasis, how.emphasis),
            comma_backtrack=how.comma_backtrack,
            clip_skip=-(clip.layer or -1),
            zero_if_empty=how.zero_if_empty,
        )
        with self._lock:
            self.encoded += 1
            self._bytes += 0 if key in self._kept else _size(made)
            self._kept[key] = made
            while self._bytes > self.limit_bytes and len(self._kept) > 1:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
        return made


def _size(made: Encoded) -> int:
    return sum(tensor.nbytes for tensor in made)


def _embedding_files(folders: Sequence[Path]) -> tuple[tuple[str, int, int], ...]:
    """What tells whether an embedding has come, gone or changed."""
    found = []
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(root, name)
                status = os.stat(path)
                found.append((path, status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))
