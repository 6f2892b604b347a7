"""What a recipe has to know of a weights file; read by the engine, so that recipes stay plain functions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True)
class ModelFacts:
    """name as the models folder lists it; hash = first 10 hex digits of SHA-256; native_size in pixels a side."""

    name: str
    hash: str
    family: str
    native_size: int

    @property
    def stem(self) -> str:
        return PurePath(self.name.replace("\\", "/")).stem

    @property
    def title(self) -> str:
        """As A1111 writes a checkpoint in a field: name and hash."""
        return f"{self.stem} [{self.hash}]"
