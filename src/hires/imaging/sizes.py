"""Limits of sizes, checked before anything is allocated, and the grid of a latent."""

from __future__ import annotations

from hires.errors import SettingError

LATENT = 8
"""Pixels per latent cell and side."""

SMALLEST, LARGEST = 16, 16384
"""Pixels a side: two latent cells at least; ComfyUI's maximum resolution at most."""


def check_size(width: int, height: int, max_megapixels: float, what: str = "the picture", images: int = 1) -> None:
    """Raise SettingError for a size that cannot be drawn: a side out of range, or too many pixels in all."""
    for name, side in (("width", width), ("height", height)):
        if not SMALLEST <= side <= LARGEST:
            raise SettingError(
                f"{what} cannot be {width}x{height}: {name} must be from {SMALLEST} to {LARGEST} pixels, not {side}"
            )
    megapixels = width * height * images / 1e6
    if megapixels > max_megapixels:
        many = f"{images} pictures of " if images > 1 else ""
        raise SettingError(
            f"{what} would have {many}{width}x{height} pixels, {megapixels:.0f} megapixels; the limit is "
            f"{max_megapixels:.0f}",
            "Choose a smaller size or raise max_megapixels in the settings.",
        )


def floor_to_latent(side: int) -> int:
    """The largest multiple of 8 pixels that is not above `side`: what a latent of that side delivers."""
    return side // LATENT * LATENT
