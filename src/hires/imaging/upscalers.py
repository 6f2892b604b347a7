"""Image upscalers behind one interface: Nearest and Lanczos here, networks wherever a file of weights is loaded.

An upscaler enlarges by at least the factor asked for, in its own way; `enlarge` brings the result to the exact size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from hires.errors import SettingError
from hires.imaging.resample import resample


class Upscaler(Protocol):
    """Enlarges images (batch, height, width, 3) in 0..1 by `factor` or more, keeping the aspect ratio."""

    @property
    def name(self) -> str: ...

    def upscale(self, images: Tensor, factor: float) -> Tensor: ...


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
    """The listed name that `name` stands for; SettingError with all names if there is none."""
    for candidate in available:
        if same_name(name, candidate):
            return candidate
    raise SettingError(f"could not find upscaler named {name!r}", f"There are: {', '.join(available)}.")


def resize_pixels(images: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """images (batch, h, w, channels) -> (batch, height, width, channels) by a method of `resample`."""
    return resample(images.movedim(-1, 1), width, height, method, crop).movedim(1, -1)


def enlarge(images: Tensor, width: int, height: int, upscaler: Upscaler | None, plain: str = "None") -> Tensor:
    """images (batch, h, w, 3) to exactly (batch, height, width, 3).

    With `upscaler` None the plain method is used in one resampling (Lanczos for "None"). With a network, it runs
    first when anything has to grow, and Lanczos mends the difference in size (A1111's resize mode 0; spec quirk of a
    second resampling through a size floored to 8 is not repeated).
    """
    if upscaler is None:
        method = "nearest-exact" if same_name(plain, "Nearest") else "lanczos"
        return resize_pixels(images, width, height, method)
    factor = max(width / images.shape[2], height / images.shape[1])
    if factor > 1:
        images = upscaler.upscale(images, factor)
    if tuple(images.shape[1:3]) != (height, width):
        images = resize_pixels(images, width, height, "lanczos")
    return images


LoadUpscaler = Callable[[str], Upscaler]
