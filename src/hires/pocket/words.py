"""The part of CLIP's vocabulary that captions use: a small table to train, filled up to the whole one afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hires.text.tokenizer import CHUNK, END, ROOM, START, tokenize

VOCABULARY = 49408


def clip_ids(text: str) -> list[int]:
    """Start, at most 75 tokens, end, and ends up to 77, as SD 1.x pads."""
    inner = tokenize(text)[:ROOM]
    return [START, *inner, *[END] * (CHUNK - 1 - len(inner))]


class Words:
    """A vocabulary of the ids in `used` (ascending): CLIP id `used[i]` is word i."""

    def __init__(self, used: Iterable[int]) -> None:
        self.used = sorted({*used, START, END})
        # words that no caption has are taken for the end of the text
        self._word = np.full(VOCABULARY, len(self.used) - 1, np.int64)
        self._word[self.used] = np.arange(len(self.used))
        self.empty: NDArray[np.int64] = self.tokens([""])[0]

    @classmethod
    def of_captions(cls, captions: Iterable[Iterable[str]]) -> Words:
        """The ids that the captions of all scenes need."""
        return cls({token for texts in captions for text in texts for token in tokenize(text)})

    def __len__(self) -> int:
        return len(self.used)

    def tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """(texts, 77) words."""
        words: NDArray[np.int64] = self._word[np.array([clip_ids(text) for text in texts])]
        return words

    def token_table(self, captions: Sequence[Sequence[str]]) -> NDArray[np.int64]:
        """(scenes, captions, 77) words."""
        return np.stack([self.tokens(texts) for texts in captions])

    def whole_table(self, rows: Tensor) -> Tensor:
        """Trained rows (words, width) -> (49408, width); untrained words get the mean of the others."""
        table = rows.mean(0, keepdim=True).repeat(VOCABULARY, 1)
        table[torch.tensor(self.used)] = rows
        return table
