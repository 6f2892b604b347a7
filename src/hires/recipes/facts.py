"""What a recipe has to know of a weights file; read by the engine, so that recipes stay plain functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True)
class ModelFacts:
    """name as the models folder lists it; hash = first 10 hex digits of SHA-256; native_size in pixels a side;
    in_channels are those of a checkpoint's UNet."""

    name: str
    hash: str
    family: str
    native_size: int
    in_channels: int = 4

    @property
    def stem(self) -> str:
        return PurePath(self.name.replace("\\", "/")).stem

    @property
    def title(self) -> str:
        """As A1111 writes a checkpoint in a field: name and hash."""
        return f"{self.stem} [{self.hash}]"


NATIVE_SIZE_UNKNOWN = 512
PIX2PIX = 8
"""Channels of an InstructPix2Pix UNet: the noise and the picture that it is to change."""


def stated_facts(title: str) -> ModelFacts:
    """What a title says ("name.safetensors", "name [hash]") of a model that is not there."""
    match = re.fullmatch(r"(.*?)\s*(?:\[([0-9a-fA-F]*)\])?", title, re.DOTALL)
    name, stated = (match[1], match[2] or "") if match is not None else (title, "")
    listed = name if PurePath(name).suffix in (".safetensors", ".ckpt", ".pt") else f"{name}.safetensors"
    return ModelFacts(listed, stated, "", NATIVE_SIZE_UNKNOWN)
