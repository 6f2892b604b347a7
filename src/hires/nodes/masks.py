"""Masks: making, combining, growing, turning into pictures and back."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from hires.errors import SettingError
from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Int
from hires.imaging import masks
from hires.imaging.sizes import check_size
from hires.nodes.context import RunContext
from hires.nodes.types import MAX_RESOLUTION, CanvasSide, Colour, Fraction, Image, Mask, Pixels

CHANNELS = ("red", "green", "blue", "alpha")
Channel = Annotated[str, Choice(CHANNELS)]
Operation = Annotated[str, Choice(tuple(masks.OPERATIONS))]
Expand = Annotated[int, Int(-MAX_RESOLUTION, MAX_RESOLUTION)]


@node("MaskToImage", title="Convert Mask to Image", category="mask", outputs=("IMAGE",))
def mask_to_image(*, mask: Mask) -> Tensor:
    """A mask as a grey picture."""
    return masks.as_grey(mask)


@node("ImageToMask", title="Convert Image to Mask", category="mask", outputs=("MASK",))
def image_to_mask(*, image: Image, channel: Channel) -> Tensor:
    """One channel of a picture as a mask."""
    index = CHANNELS.index(channel)
    if index >= image.shape[-1]:
        raise SettingError(f"the picture has no {channel} channel", "Choose red, green or blue.")
    return image[..., index]


@node("ImageColorToMask", category="mask", outputs=("MASK",))
def image_color_to_mask(*, image: Image, color: Colour = 0) -> Tensor:
    """1 where the picture has exactly the colour, written as one number 0xRRGGBB."""
    return masks.of_colour(image, color)


@node("SolidMask", category="mask", outputs=("MASK",))
def solid_mask(
    *, value: Fraction = 1.0, width: CanvasSide = 512, height: CanvasSide = 512, context: RunContext
) -> Tensor:
    """One value everywhere."""
    check_size(max(width, 16), max(height, 16), context.max_megapixels, "the mask")
    return torch.full((1, height, width), value)


@node("InvertMask", category="mask", outputs=("MASK",))
def invert_mask(*, mask: Mask) -> Tensor:
    """1 - mask."""
    return 1.0 - mask


@node("CropMask", category="mask", outputs=("MASK",))
def crop_mask(*, mask: Mask, x: Pixels = 0, y: Pixels = 0, width: CanvasSide = 512, height: CanvasSide = 512) -> Tensor:
    """Cut a rectangle out; what lies beyond the mask is left off."""
    mask = masks.as_masks(mask)
    cut = mask[:, y : y + height, x : x + width]
    if cut.numel() == 0:
        raise SettingError(
            f"nothing is left of a mask of {mask.shape[2]}x{mask.shape[1]} pixels cut at ({x}, {y})",
            "Choose a smaller x and y.",
        )
    return cut


@node("MaskComposite", category="mask", outputs=("MASK",))
def mask_composite(*, destination: Mask, source: Mask, x: Pixels = 0, y: Pixels = 0, operation: Operation) -> Tensor:
    """Combine two masks, the second laid on the first at (x, y)."""
    return masks.composite(destination, source, x, y, operation)


@node("FeatherMask", category="mask", outputs=("MASK",))
def feather_mask(*, mask: Mask, left: Pixels = 0, top: Pixels = 0, right: Pixels = 0, bottom: Pixels = 0) -> Tensor:
    """Fade the mask out towards its sides."""
    return masks.feather(mask, left, top, right, bottom)


@node("GrowMask", category="mask", outputs=("MASK",))
def grow_mask(*, mask: Mask, expand: Expand = 0, tapered_corners: Annotated[bool, Bool()] = True) -> Tensor:
    """Grow the mask by some pixels, or shrink it by a negative number."""
    return masks.grow(mask, expand, tapered_corners)


@node("ThresholdMask", category="mask", outputs=("MASK",))
def threshold_mask(*, mask: Mask, value: Fraction = 0.5) -> Tensor:
    """1 where the mask is above a value."""
    return (mask > value).float()
