"""Upscalers by the names that people know: the latent ones, and those that need no weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from hires.errors import SettingError

if TYPE_CHECKING:  # names are listed before torch is loaded
    from torch import Tensor

PLAIN = ("None", "Lanczos", "Nearest")
"""The upscalers that need no weights, as the A1111 web UI lists them; None enlarges with Lanczos."""

LATENT_UPSCALERS = {
    "Latent": "bilinear",
    "Latent (antialiased)": "bilinear antialiased",
    "Latent (bicubic)": "bicubic",
    "Latent (bicubic antialiased)": "bicubic antialiased",
    "Latent (nearest)": "nearest",
    "Latent (nearest-exact)": "nearest-exact",
}
"""A1111's latent upscalers and the resampling each stands for."""


def same_name(a: str, b: str) -> bool:
    """Names of upscalers are compared without case, spaces and underscores (SwinIR 4x = swinir_4x)."""
    return _plain(a) == _plain(b)


def _plain(name: str) -> str:
    return "".join(name.lower().replace("_", " ").split())


def find_name(name: str, available: Sequence[str]) -> str:
    """The listed name that `name` stands for, a file's with or without its ending; SettingError if there is none."""
    for candidate in available:
        if same_name(name, candidate) or same_name(name, PurePath(candidate).stem):
            return candidate
    raise SettingError(f"could not find upscaler named {name!r}", f"There are: {', '.join(available)}.")


def resize_pixels(images: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """images (batch, h, w, channels) -> (batch, height, width, channels) by a method of `resample`."""
    from hires.imaging.resample import resample

    return resample(images.movedim(-1, 1), width, height, method, crop).movedim(1, -1)
