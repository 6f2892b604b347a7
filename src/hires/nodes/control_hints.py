"""What ControlNets are shown and how strongly each layer heeds them, as the web UI's extension has it."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from torch.nn.functional import interpolate

from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Float, Int, OptionalInput
from hires.imaging.inpaint_masks import cropped
from hires.imaging.pictures import to_pictures, to_tensor
from hires.imaging.preprocessors import LEAST, MOST, PREPROCESSORS, RESOLUTION, preprocessed, resolution_for
from hires.imaging.resize_modes import resized
from hires.imaging.sizes import check_size
from hires.nodes.context import RunContext
from hires.nodes.controlnets import CATEGORY, Control, ControlStrength, Percent, linked, linked_sides
from hires.nodes.img2img import Area, Frame, Mode
from hires.nodes.steering import ControlLink
from hires.nodes.types import Conditioning, ConditioningList, Image, Mask

USUAL = -1.0
"""A threshold that stands for the preprocessor's own value."""
CONTROL_MODES = ("Balanced", "My prompt is more important", "ControlNet is more important")
BALANCED, PROMPT_FIRST, CONTROL_FIRST = CONTROL_MODES
MASKED = 0.5
"""Of a mask; what lies above it is repainted."""

Module = Annotated[str, Choice(tuple(PREPROCESSORS))]
Resolution = Annotated[int, Int(LEAST, MOST, 8), OptionalInput]
Threshold = Annotated[float, Float(USUAL, 4096.0, 0.01), OptionalInput, "-1: the preprocessor's own"]
ControlMode = Annotated[str, Choice(CONTROL_MODES)]
PixelPerfect = Annotated[bool, Bool(), OptionalInput, "Work with a pixel for each of the frame's."]


@node("HiresControlHint", title="ControlNet Preprocessor (hires)", category=CATEGORY, outputs=("IMAGE",))
def hires_control_hint(
    *,
    image: Image,
    module: Module,
    resolution: Resolution = RESOLUTION,
    threshold_a: Threshold = USUAL,
    threshold_b: Threshold = USUAL,
    pixel_perfect: PixelPerfect = False,
    width: Annotated[Frame, OptionalInput] = 512,
    height: Annotated[Frame, OptionalInput] = 512,
    mode: Annotated[Mode, OptionalInput] = "Crop and resize",
    context: RunContext,
) -> Tensor:
    """A picture as a ControlNet is to see it: edges, lines, a blur ... of the extension's numbers."""
    made = []
    for picture in to_pictures(image):
        size = resolution
        if pixel_perfect:
            size = resolution_for(picture.size, (width, height), mode == "Resize and fill")
            size = min(max(size, LEAST), MOST)
        if PREPROCESSORS[module].sized:
            factor = size / min(picture.size)
            worked_on = round(picture.width * factor), round(picture.height * factor)
            check_size(*worked_on, context.max_megapixels, "what a preprocessor works on")
        given = [None if value == USUAL else value for value in (threshold_a, threshold_b)]
        pixels = np.asarray(picture.convert("RGB"))
        made.append(to_tensor(PillowImage.fromarray(preprocessed(pixels, module, size, *given))))
    return torch.cat(made)


@node("HiresInpaintHint", title="ControlNet Inpaint Hint (hires)", category=CATEGORY, outputs=("IMAGE",))
def hires_inpaint_hint(*, image: Image, mask: Mask) -> Tensor:
    """A picture for an inpainting ControlNet: -1 where the mask, brought to its size, says that it is repainted."""
    size = (image.shape[1], image.shape[2])
    levels = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    fitted = levels if tuple(levels.shape[2:]) == size else interpolate(levels, size=size, mode="bilinear")
    gone = (fitted > MASKED).movedim(1, -1)
    return torch.where(gone, torch.full_like(image[..., :3], -1.0), image[..., :3])


@node("HiresAreaOfPicture", title="Area of Another Picture (hires)", category=CATEGORY, outputs=("IMAGE",))
def hires_area_of_picture(*, image: Image, area: Area, mode: Mode = "Crop and resize") -> Tensor:
    """Of a picture laid over the one that is repainted, the part that is drawn, at the size at which it is drawn."""
    made = []
    for picture in to_pictures(image):
        if area.box is None:
            fitted = resized(picture, area.frame, mode)
        else:
            fitted = cropped(resized(picture, area.source.size, mode), area.box, area.frame)
        made.append(to_tensor(fitted))
    return torch.cat(made)


@node(
    "HiresControlNetApply",
    title="Apply ControlNet by Mode (hires)",
    category=CATEGORY,
    outputs=("CONDITIONING", "CONDITIONING"),
    output_names=("positive", "negative"),
)
def hires_apply_controlnet(
    *,
    positive: Conditioning,
    negative: Conditioning,
    control_net: Control,
    image: Image,
    strength: ControlStrength = 1.0,
    start_percent: Percent = 0.0,
    end_percent: Percent = 1.0,
    control_mode: ControlMode = "Balanced",
    soft_weights: Annotated[bool, Bool(), "Less of the outer layers whatever the mode."] = False,
    region: Mask | None = None,
) -> tuple[ConditioningList, ConditioningList]:
    """Steer by a picture, within a region where one is given. "My prompt is more important" takes less of the outer
    layers; "ControlNet is more important" takes as much of each, and leaves the negative side alone."""
    if strength == 0.0:
        return positive, negative
    soft = soft_weights or control_mode != BALANCED
    within = None if region is None else region.reshape(-1, *region.shape[-2:])[:1].float()
    link = ControlLink(control_net, image, strength, start_percent, end_percent, soft=soft, region=within)
    if control_mode == CONTROL_FIRST:
        return linked(link, positive, {}, to_uncond=False), negative
    return linked_sides(link, positive, negative)
