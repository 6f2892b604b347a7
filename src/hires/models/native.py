"""The size that a model draws best at."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hires.errors import ModelFileError
from hires.models.hashes import safetensors_header
from hires.models.sizes import METADATA_KEY

SIDES = {"sd1": 512, "sd2": 768, "sdxl": 1024, "sdxl_refiner": 1024}
"""Pixels a side of the squares that the families were trained on."""


def native_size(path: Path, family: str) -> int:
    """Pixels a side: what the file's metadata says ("hires.config" or "modelspec.resolution"), else the family's."""
    default = next((side for name, side in SIDES.items() if family == name), 512)
    if path.suffix.lower() not in (".safetensors", ".sft") or not path.is_file():
        return default
    try:
        _, metadata = safetensors_header(path)
        config = json.loads(metadata.get(METADATA_KEY, "{}"))
    except (ModelFileError, ValueError, OSError):
        return default
    if isinstance(config, dict) and isinstance(config.get("native_size"), int):
        return int(config["native_size"])
    stated = re.fullmatch(r"(\d{2,5})x(\d{2,5})", str(metadata.get("modelspec.resolution", "")))
    return min(int(stated[1]), int(stated[2])) if stated else default
