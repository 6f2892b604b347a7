"""Pictures to begin from: upright, and without transparency."""

from __future__ import annotations

from PIL import Image, ImageColor, ImageOps

from hires.errors import SettingError
from hires.imaging.pictures import eight_bit

WHITE = "#ffffff"


def flattened(picture: Image.Image, background: str = WHITE) -> Image.Image:
    """An RGB picture: turned by its EXIF orientation, laid over a colour ("#rrggbb" or a CSS name) where transparent.

    Raises SettingError for a colour that cannot be read.
    """
    try:
        colour = ImageColor.getcolor(background, "RGBA")
    except ValueError as error:
        raise SettingError(f"there is no colour {background!r}", "Write it as #rrggbb, for example #ffffff.") from error
    upright = eight_bit(ImageOps.exif_transpose(picture))
    if not has_transparency(upright):
        return upright.convert("RGB")
    layer = upright.convert("RGBA")
    below = Image.new("RGBA", layer.size, colour)
    below.paste(layer, mask=layer)
    return below.convert("RGB")


def has_transparency(picture: Image.Image) -> bool:
    """Whether the picture has an alpha channel or a transparent colour, used or not."""
    return "A" in picture.getbands() or "transparency" in picture.info
