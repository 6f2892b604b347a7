"""What a picture was computed on: kept beside the workflow as `hires`, to say why it may differ when drawn again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

KEY = "hires"


@dataclass(frozen=True)
class Origin:
    """version of hires and of torch; device type and its name; how weights are held and what is computed in; how many
    pictures may go through the network at once."""

    version: str = ""
    torch: str = ""
    device: str = ""
    device_name: str = ""
    weights: str = ""
    precision: str = ""
    together: str = ""

    def stored(self) -> dict[str, str]:
        """As it stands in a file."""
        return asdict(self)

    def differences(self, other: Origin) -> list[str]:
        """What is not the same where both know it, in words, this one being the file's."""
        return [
            f"{WORDS[name]}: {was} in the file, {now} here"
            for name in WORDS
            if (was := getattr(self, name)) and (now := getattr(other, name)) and was != now
        ]


WORDS: Mapping[str, str] = {
    "version": "version of hires",
    "torch": "version of torch",
    "device": "device",
    "device_name": "kind of device",
    "weights": "precision of the weights",
    "precision": "precision of the computation",
    "together": "pictures through the network at once",
}


def read_origin(texts: Mapping[str, str]) -> Origin:
    """What the texts of a file say; empty where they say nothing."""
    try:
        stored = json.loads(texts.get(KEY, ""))
    except (ValueError, RecursionError):
        return Origin()
    if not isinstance(stored, dict):
        return Origin()
    known = {entry.name for entry in fields(Origin)}
    return Origin(**{name: str(value)[:200] for name, value in stored.items() if name in known})
