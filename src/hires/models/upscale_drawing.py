"""Upscalers that draw the larger picture by diffusion, told from other files by their tensors."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from hires.errors import ModelFileError
from hires.models.checkpoint import CPU, Placement
from hires.models.drawing_names import LARGE_BYTES, LDSR, SD_X4
from hires.models.endings import SAFETENSORS_SUFFIXES
from hires.models.ldsr import LdsrModel, is_ldsr, load_ldsr
from hires.models.sd_x4 import SdX4Model, is_sd_x4, load_sd_x4
from hires.models.weights import TensorInfo, open_weights

DrawingUpscaler = LdsrModel | SdX4Model
SIGNS = {LDSR: is_ldsr, SD_X4: is_sd_x4}


def drawing_kind(tensors: Mapping[str, TensorInfo]) -> str | None:
    """LDSR, SD_X4 or None, by a file's tensors."""
    return next((title for title, is_it in SIGNS.items() if is_it(tensors)), None)


def drawing_file(path: Path) -> str | None:
    """LDSR, SD_X4 or None, by what a file holds; remembered as long as the file stays as it is.

    Small .pth files are not looked into: those are networks, and the old ones among them would be read whole.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    if path.suffix.lower() not in (*SAFETENSORS_SUFFIXES, ".ckpt") and status.st_size < LARGE_BYTES:
        return None
    return _looked_into(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _looked_into(path: Path, size: int, time: int) -> str | None:
    try:
        return drawing_kind(open_weights(path).tensors)
    except ModelFileError:
        return None  # loading it will say what is wrong


def load_drawing(path: Path, placement: Placement = CPU, *, identity: str | None = None) -> DrawingUpscaler:
    """Load whichever of them a file holds; ModelFileError where it holds none."""
    if drawing_file(path) == SD_X4:
        return load_sd_x4(path, placement, identity=identity)
    return load_ldsr(path, placement, identity=identity)
