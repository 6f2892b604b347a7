"""Sizes of the two passes: hires fix's target and its crop rule."""

from __future__ import annotations

from dataclasses import dataclass

from hires.imaging.sizes import LATENT


@dataclass(frozen=True)
class HiresSize:
    """The second pass: enlarged to width x height, then a crop in latent cells leaves the delivered size."""

    width: int
    height: int
    crop_x_latent: int = 0
    crop_y_latent: int = 0

    @property
    def delivered(self) -> tuple[int, int]:
        """(width, height) in pixels of the picture that comes out."""
        return (
            (self.width // LATENT - self.crop_x_latent) * LATENT,
            (self.height // LATENT - self.crop_y_latent) * LATENT,
        )


def hires_size(width: int, height: int, scale: float, to_width: int = 0, to_height: int = 0) -> HiresSize:
    """The second pass for a first pass of width x height pixels (A1111).

    Without a target size both sides are multiplied by scale and truncated. One target side keeps the aspect; both
    cover the target and crop what stands over, in latent cells.
    """
    if not to_width and not to_height:
        return HiresSize(int(width * scale), int(height * scale))
    if not to_height:
        return HiresSize(to_width, to_width * height // width)
    if not to_width:
        return HiresSize(to_height * width // height, to_height)
    if width / height < to_width / to_height:
        x, y = to_width, to_width * height // width
    else:
        x, y = to_height * width // height, to_height
    return HiresSize(x, y, (x - to_width) // LATENT, (y - to_height) // LATENT)
