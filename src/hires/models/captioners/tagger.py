"""Taggers of the WD family: which of some ten thousand tags a drawing deserves.

A folder of theirs has model.onnx and selected_tags.csv. The network takes pictures (1, side, side, 3) of blue, green
and red in 0..255 and gives a probability for every row of the table.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hires.errors import ModelFileError
from hires.imaging.flatten import flattened
from hires.models.captioners.tags import TagRules, told_tags

NETWORK, TABLE = "model.onnx", "selected_tags.csv"
RATINGS = "9"
"""The category of tags that rate a picture. 0 is what it shows, 4 is who."""


@dataclass(frozen=True)
class Tagger:
    """A loaded tagger; `tags` are the names of its numbers, None for one that is never told."""

    title: str
    session: Any
    tags: tuple[str | None, ...]
    side: int
    rules: TagRules = field(default_factory=TagRules)

    def probabilities(self, picture: Image.Image) -> dict[str, float]:
        """The probability, 0..1, of every tag that is no rating."""
        pixels = np.ascontiguousarray(squared(picture, self.side)[None, :, :, ::-1])
        name = self.session.get_inputs()[0].name
        numbers = self.session.run(None, {name: pixels})[0][0]
        return {tag: float(number) for tag, number in zip(self.tags, numbers, strict=True) if tag is not None}

    def caption(self, picture: Image.Image) -> str:
        """The tags as a prompt."""
        return told_tags(self.probabilities(picture), self.rules)


def squared(picture: Image.Image, side: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(side, side, 3) in 0..255: the picture in the middle of a white square."""
    flat = flattened(picture)
    longest = max(flat.size)
    square = Image.new("RGB", (longest, longest), "white")
    square.paste(flat, ((longest - flat.width) // 2, (longest - flat.height) // 2))
    return np.asarray(square.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)


def is_tagger(folder: Path) -> bool:
    """Whether a folder has a tagger's two files."""
    return (folder / NETWORK).is_file() and (folder / TABLE).is_file()


def load_tagger(folder: Path) -> Tagger:
    """Load a tagger's folder; ModelFileError says what is wrong with it, or what is not installed."""
    try:
        import onnxruntime
    except ImportError:
        raise ModelFileError(
            f"the tagger {folder.name} runs by onnxruntime, which is not installed", "pip install 'hires[interrogate]'."
        ) from None
    try:
        session = onnxruntime.InferenceSession(str(folder / NETWORK), providers=onnxruntime.get_available_providers())
        shape, numbers = session.get_inputs()[0].shape, session.get_outputs()[0].shape[-1]
    except Exception as problem:  # onnxruntime has an exception of its own for every fault
        told = " ".join(str(problem).split())[:200]
        raise ModelFileError(
            f"{folder.name}/{NETWORK} cannot be loaded: {told} ({folder})", "Fetch it again."
        ) from None
    if len(shape) != 4 or not isinstance(shape[1], int) or shape[1] != shape[2] or shape[3] != 3:
        raise ModelFileError(f"{folder.name}/{NETWORK} takes {shape}, no square pictures of three colours ({folder})")
    tags = read_tags(folder / TABLE)
    if isinstance(numbers, int) and numbers != len(tags):
        raise ModelFileError(f"{folder.name} has {len(tags)} tags for {numbers} numbers ({folder})", "Fetch both anew.")
    return Tagger(folder.name, session, tags, shape[1])


def read_tags(path: Path) -> tuple[str | None, ...]:
    """The names in a table of tags, in its order; None for ratings."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return tuple(None if row.get("category") == RATINGS else row["name"] for row in rows)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as problem:
        raise ModelFileError(f"{path.name} cannot be read as a table of tags: {problem!r} ({path})") from None
