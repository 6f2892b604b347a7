"""Inpaint sketch: what was painted over a picture, as its mask and as the picture to begin from."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from hires.errors import SettingError
from hires.imaging.targets import SizeRule


def sketch_mask(sketched: Image.Image, original: Image.Image) -> Image.Image:
    """A mask, 255 where any channel of the two RGB pictures differs."""
    if sketched.size != original.size:
        raise SettingError(
            f"the sketch has {sketched.width}x{sketched.height} pixels, the picture {original.width}x{original.height}",
            "Paint on the picture at its own size.",
        )
    differs = (np.asarray(sketched.convert("RGB")) != np.asarray(original.convert("RGB"))).any(axis=-1)
    return Image.fromarray(differs.astype(np.uint8) * 255)


def sketch(
    sketched: Image.Image,
    original: Image.Image,
    transparency: float = 0.0,
    blur: float = 4.0,
    rule: SizeRule = "exact",
) -> tuple[Image.Image, Image.Image]:
    """The picture to begin from (RGB) and the mask ("L", yet to be blurred by `blur`, the mask's sigma).

    transparency in 0..100 lets the original shine through the painted colours. "webui" takes it from the mask too, so
    that from about 50 nothing is repainted, and blurs strokes and their edges by `blur`.
    """
    if not 0 <= transparency <= 100:
        raise SettingError(f"mask transparency must be from 0 to 100, not {transparency:g}")
    mask = sketch_mask(sketched, original)
    sketched, original = sketched.convert("RGB"), original.convert("RGB")
    faint = mask.point(lambda level: int(level * (1 - transparency / 100)))
    if rule == "exact":
        return Image.composite(sketched, original, faint), mask
    soft = ImageFilter.GaussianBlur(blur)
    return Image.composite(sketched.filter(soft), original, faint.filter(soft)), faint
