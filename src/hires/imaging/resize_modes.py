"""The A1111 web UI's resize modes: a picture or mask brought to a frame of another aspect.

Pictures are Pillow's, of 8 bits: masks are "L" and stay so, any other becomes "RGB" (lay transparency on a colour
first, see `flatten`). Sizes are (width, height).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from PIL import Image

from hires.errors import SettingError
from hires.imaging.targets import SizeRule

Size = tuple[int, int]
ResizeMode = Literal["Just resize", "Crop and resize", "Resize and fill", "Just resize (latent upscale)"]
RESIZE_MODES: tuple[ResizeMode, ...] = (
    "Just resize",
    "Crop and resize",
    "Resize and fill",
    "Just resize (latent upscale)",
)
"""By their labels, in the order of the numbers 0 to 3 that the web UI's interface gives them."""

Enlarge = Callable[[Image.Image, float], Image.Image]
"""An upscaler: an RGB picture and a factor above 1 -> the larger picture, of about that factor."""


def resize_mode(number: int) -> ResizeMode:
    """The mode behind a number of the web UI's interface; SettingError if there is none."""
    if not 0 <= number < len(RESIZE_MODES):
        names = ", ".join(f"{index} {name}" for index, name in enumerate(RESIZE_MODES))
        raise SettingError(f"there is no resize mode {number}", f"Use {names}.")
    return RESIZE_MODES[number]


def resizes_latent(mode: ResizeMode) -> bool:
    """Whether the picture keeps its size and its latent is interpolated ("bilinear") instead."""
    return mode == "Just resize (latent upscale)"


def resized(
    picture: Image.Image,
    size: Size,
    mode: ResizeMode = "Just resize",
    enlarge: Enlarge | None = None,
    rule: SizeRule = "exact",
) -> Image.Image:
    """The picture at `size`; as it is in the mode that resizes the latent.

    `enlarge` is used where a picture (not a mask) grows; what remains is done by Lanczos. rule: how "Resize and fill"
    fills, see `_filled`.
    """
    if min(size) < 1:
        raise SettingError(f"a picture cannot be resized to {size[0]}x{size[1]}", "Both sides must be 1 pixel or more.")
    picture = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
    if mode == "Just resize":
        return _scaled(picture, size, enlarge)
    if mode == "Crop and resize":
        scaled = _scaled(picture, covering_size(picture.size, size), enlarge)
        return _laid_in(scaled, size)
    if mode == "Resize and fill":
        return _filled(_scaled(picture, fitting_size(picture.size, size), enlarge), size, rule)
    return picture


def covering_size(size: Size, frame: Size) -> Size:
    """A picture's size scaled so that it covers the frame: one side equal, the other truncated."""
    (width, height), (wide, tall) = size, frame
    if wide / tall > width / height:
        return wide, max(height * wide // width, tall)
    return max(width * tall // height, wide), tall


def fitting_size(size: Size, frame: Size) -> Size:
    """A picture's size scaled so that it fits into the frame: one side equal, the other truncated, 1 at least."""
    (width, height), (wide, tall) = size, frame
    if wide / tall < width / height:
        return wide, max(height * wide // width, 1)
    return max(width * tall // height, 1), tall


def centred(outer: int, inner: int) -> int:
    """Where a span of `inner` begins in the middle of one of `outer`; negative where it is the longer one."""
    return outer // 2 - inner // 2


def _scaled(picture: Image.Image, size: Size, enlarge: Enlarge | None) -> Image.Image:
    factor = max(size[0] / picture.width, size[1] / picture.height)
    if enlarge is not None and factor > 1 and picture.mode != "L":
        picture = enlarge(picture, factor)
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def _laid_in(scaled: Image.Image, size: Size) -> Image.Image:
    frame = Image.new(scaled.mode, size)
    frame.paste(scaled, (centred(size[0], scaled.width), centred(size[1], scaled.height)))
    return frame


def _filled(scaled: Image.Image, size: Size, rule: SizeRule) -> Image.Image:
    """The scaled picture in the middle of the frame, its outermost lines drawn out over what is empty.

    "webui" repeats the original's two flaws: its bands are equally thick, so that an odd line is left black; and its
    bands are Pillow's bicubic of an empty box, 9/8 of the outermost line less 1/8 of the one before it.
    """
    if rule == "webui":
        return _with_bands(_laid_in(scaled, size), scaled)
    left, top = centred(size[0], scaled.width), centred(size[1], scaled.height)
    margins = [(top, size[1] - scaled.height - top), (left, size[0] - scaled.width - left), (0, 0)]
    pixels = np.asarray(scaled)
    return Image.fromarray(np.pad(pixels, margins[: pixels.ndim], mode="edge"))


def _with_bands(frame: Image.Image, scaled: Image.Image) -> Image.Image:
    (wide, tall), (width, height) = frame.size, scaled.size
    if (level := centred(tall, height)) > 0:
        frame.paste(scaled.resize((wide, level), box=(0, 0, width, 0)), (0, 0))
        frame.paste(scaled.resize((wide, level), box=(0, height, width, height)), (0, level + height))
    if (upright := centred(wide, width)) > 0:
        frame.paste(scaled.resize((upright, tall), box=(0, 0, 0, height)), (0, 0))
        frame.paste(scaled.resize((upright, tall), box=(width, 0, width, height)), (upright + width, 0))
    return frame
