"""Which files may be upscalers that draw by diffusion. Light: lists are made before torch is loaded."""

from __future__ import annotations

from pathlib import Path

from hires.models.endings import SAFETENSORS_SUFFIXES

LDSR, SD_X4 = "LDSR", "SD x4 upscaler"
LARGE_BYTES = 300_000_000
LONGEST_HEADER = 100_000_000
NETWORK = b'"model.diffusion_model.'


def may_draw(path: Path) -> bool:
    """Whether a file is worth looking into: one that holds a diffusion model, as far as its beginning tells.

    Small .pth files are not: those are networks, and the old ones among them would be read whole.
    """
    try:
        if path.suffix.lower() not in SAFETENSORS_SUFFIXES:
            return path.suffix.lower() == ".ckpt" or path.stat().st_size >= LARGE_BYTES
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return length <= LONGEST_HEADER and NETWORK in file.read(length)
    except OSError:
        return False
