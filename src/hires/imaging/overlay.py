"""Pasting what inpainting drew back into the picture, every pixel outside the mask untouched.

Pictures are Pillow's RGB of 8 bits; overlay masks are "L", 255 where the result covers the source, and of the size of
the picture that the result is laid on. Boxes are (left, top, right, bottom).
"""

from __future__ import annotations

from PIL import Image, ImageOps

from hires.imaging.inpaint_masks import Box
from hires.imaging.resize_modes import Enlarge, Size, resized
from hires.imaging.targets import SizeRule


def uncropped(result: Image.Image, box: Box, size: Size, enlarge: Enlarge | None = None) -> Image.Image:
    """The drawn part brought to its box on an empty canvas of the picture's size (RGBA, transparent elsewhere)."""
    canvas = Image.new("RGBA", size)
    part = resized(result, (box[2] - box[0], box[3] - box[1]), "Crop and resize", enlarge)
    canvas.paste(part.convert("RGBA"), box[:2])
    return canvas


def paste_back(
    result: Image.Image,
    source: Image.Image,
    overlay: Image.Image,
    box: Box | None = None,
    enlarge: Enlarge | None = None,
) -> Image.Image:
    """The source (RGB) with the result showing through the overlay mask; byte-equal to the source where that is 0.

    Without a box the result has the source's size, with one it is brought to the box. `enlarge`: as in `resized`.
    """
    below = uncropped(result, box, source.size, enlarge) if box else result.convert("RGBA")
    above = source.convert("RGB").convert("RGBA")
    above.putalpha(ImageOps.invert(overlay))
    return Image.alpha_composite(below, above).convert("RGB")


def paste_box(
    result: Image.Image, source: Image.Image, box: Box, rule: SizeRule = "exact", enlarge: Enlarge | None = None
) -> Image.Image:
    """Without the overlay (option `overlay_inpaint` off): the whole box laid on the source, no mask taken into account.

    "webui": only the drawn part itself, at the size at which it was drawn.
    """
    if rule == "webui":
        return result.convert("RGB")
    made = source.convert("RGB")
    part = resized(result, (box[2] - box[0], box[3] - box[1]), "Crop and resize", enlarge)
    made.paste(part, box[:2])
    return made


def mask_picture(overlay: Image.Image) -> Image.Image:
    """The overlay mask as a grey RGB picture (`return_mask`, `save_mask`)."""
    return overlay.convert("RGB")


def masked_composite(
    result: Image.Image, overlay: Image.Image, box: Box | None = None, enlarge: Enlarge | None = None
) -> Image.Image:
    """What was drawn, as transparent as the overlay mask says, black under full transparency (RGBA).

    `return_mask_composite`, `save_mask_composite`: the picture to be laid over the source elsewhere.
    """
    drawn = uncropped(result, box, overlay.size, enlarge) if box else result.convert("RGBA")
    drawn.putalpha(overlay if overlay.size == drawn.size else resized(overlay, drawn.size, "Resize and fill"))
    return drawn.convert("RGBa").convert("RGBA")
