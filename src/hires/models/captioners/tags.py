"""From the tags that a tagger is sure of to a prompt, by the A1111 web UI's rules for DeepBooru."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hires.errors import SettingError

RATING = "rating:"
"""How tags that rate a picture begin; they are never told."""


@dataclass(frozen=True)
class TagRules:
    """threshold: what a tag's probability must reach, 0..1. alphabetical: else the surest first. spaces: for
    underscores. escape: a backslash before brackets and backslashes, so that they weigh nothing in a prompt. ranks:
    `(tag:0.987)`. discard: tags that are never told, with spaces or underscores.
    """

    threshold: float = 0.5
    alphabetical: bool = True
    spaces: bool = True
    escape: bool = True
    ranks: bool = False
    discard: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise SettingError(f"the threshold of tags must be from 0 to 1, not {self.threshold}")


def told_tags(probabilities: Mapping[str, float], rules: TagRules | None = None) -> str:
    """The prompt of the tags of a picture: "1girl, blue eyes, smile"; "" where none is sure enough."""
    rules = rules or TagRules()
    dropped = {tag.strip().replace(" ", "_") for tag in rules.discard}
    sure = {
        tag: probability
        for tag, probability in probabilities.items()
        if probability >= rules.threshold and not tag.startswith(RATING) and tag not in dropped
    }
    order = sorted(sure) if rules.alphabetical else sorted(sure, key=lambda tag: (-sure[tag], tag))
    return ", ".join(_told(tag, sure[tag], rules) for tag in order)


def _told(tag: str, probability: float, rules: TagRules) -> str:
    text = tag.replace("_", " ") if rules.spaces else tag
    if rules.escape:
        text = re.sub(r"([\\()])", r"\\\1", text)
    return f"({text}:{probability:.3f})" if rules.ranks else text
