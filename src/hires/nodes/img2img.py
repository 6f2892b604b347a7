"""Pictures and masks made ready for img2img and inpainting as the A1111 web UI does, and what was drawn pasted back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Literal, cast

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageOps
from torch import Tensor

from hires.errors import SettingError
from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Float, Int, Socket, Text
from hires.imaging import outpainting
from hires.imaging.batches import repeat_to
from hires.imaging.colour_correction import corrected
from hires.imaging.fills import filled
from hires.imaging.flatten import WHITE, flattened
from hires.imaging.inpaint_masks import Box, blurred, grey_mask, only_masked, whole_picture
from hires.imaging.overlay import mask_picture, masked_composite, paste_back, paste_box
from hires.imaging.pictures import to_pictures, to_tensor
from hires.imaging.resize_modes import RESIZE_MODES, Enlarge, ResizeMode, resized, resizes_latent
from hires.imaging.sizes import check_size
from hires.imaging.sketches import sketch
from hires.imaging.soft_inpainting import changed, overlay_masks
from hires.models.upscale_names import find_upscaler
from hires.nodes.context import RunContext
from hires.nodes.types import MAX_RESOLUTION, Fraction, Image, Latent, Mask, Model, Seed
from hires.nodes.upscaling import UpscalerTitle, hires_upscale
from hires.sampling.inpainting import Masking

Frame = Annotated[int, Int(16, MAX_RESOLUTION, 8)]
Colour = Annotated[str, Text()]
Switch = Annotated[bool, Bool()]
Blur = Annotated[float, Float(0.0, 256.0, 1.0)]
Mode = Annotated[ResizeMode, Choice(RESIZE_MODES)]
DrawnArea = Annotated[Literal["Whole picture", "Only masked"], Choice(("Whole picture", "Only masked"))]
Threshold = Annotated[float, Float(0.0, 8.0, 0.1)]
Contrast = Annotated[float, Float(2.0, 8.0, 0.1)]
METHODS = ("fill", "noise")
SMOOTH = ("None", "Lanczos")
"""Upscalers that are what resizing does anyway."""


@dataclass(frozen=True, eq=False)
class InpaintArea:
    """Where what is drawn belongs: `source` is the picture that it is laid on, `overlays` the masks through which it
    shows (one, or one for each picture drawn; none where the whole picture is drawn anew), `box` the part of the source
    that is drawn, None for all of it."""

    source: PillowImage.Image
    overlays: tuple[PillowImage.Image, ...]
    box: Box | None
    frame: tuple[int, int]


Area = Annotated[InpaintArea, Socket("INPAINT_AREA")]


def as_mask(mask: Tensor) -> PillowImage.Image:
    """The first of (batch, height, width) in 0..1 as a picture of 8 bits."""
    levels = mask.reshape(-1, *mask.shape[-2:])[0].clamp(0, 1).cpu().numpy()
    return PillowImage.fromarray(np.rint(levels * 255).astype(np.uint8))


def mask_tensor(masks: Iterable[PillowImage.Image]) -> Tensor:
    """(batch, height, width) float32 in 0..1."""
    levels = [np.asarray(mask.convert("L"), dtype=np.float32) / 255 for mask in masks]
    return torch.from_numpy(np.stack(levels))


def _with_alpha(image: Tensor, mask: Tensor | None) -> PillowImage.Image:
    """A loaded picture with the transparency that LoadImage gives as a mask, where it has any."""
    picture = to_pictures(image)[0]
    if mask is None or tuple(mask.shape[-2:]) != tuple(image.shape[1:3]) or not bool(mask.any()):
        return picture
    layer = picture.convert("RGBA")
    layer.putalpha(ImageOps.invert(as_mask(mask)))
    return layer


def enlarge_by(context: RunContext, upscaler: str) -> Enlarge | None:
    """How a picture that grows is enlarged; None for an upscaler that is Lanczos."""
    title = find_upscaler(context.store, upscaler)
    if title in SMOOTH:
        return None

    def enlarge(picture: PillowImage.Image, factor: float) -> PillowImage.Image:
        larger = hires_upscale(image=to_tensor(picture), upscaler=title, scale_by=factor, context=context)
        return to_pictures(larger)[0]

    return enlarge


@node("HiresFlatten", title="Flatten on a Colour (hires)", category="image/img2img", outputs=("IMAGE",))
def hires_flatten(*, image: Image, mask: Mask | None = None, background: Colour = WHITE) -> Tensor:
    """A loaded picture laid over a colour where LoadImage's mask says that it is transparent."""
    return to_tensor(flattened(_with_alpha(image, mask), background))


@node("HiresGreyMask", title="Picture to Mask (hires)", category="mask", outputs=("MASK",))
def hires_grey_mask(*, image: Image, mask: Mask | None = None, rounding: Switch = True) -> Tensor:
    """An uploaded mask: what of a layer is opaque, cut at one half, else the picture's luminance; white = repaint."""
    return mask_tensor([grey_mask(_with_alpha(image, mask), rounding)])


@node("HiresResizeMode", title="Resize Mode (hires)", category="image/img2img", outputs=("IMAGE",))
def hires_resize_mode(
    *,
    image: Image,
    width: Frame = 512,
    height: Frame = 512,
    mode: Mode = "Just resize",
    upscaler: UpscalerTitle = "None",
    context: RunContext,
) -> Tensor:
    """Bring a picture to a frame: stretched, cut, or with its borders drawn out. The upscaler is for what grows."""
    check_size(width, height, context.max_megapixels, "the resized picture", len(image))
    enlarge = enlarge_by(context, upscaler)
    made = [resized(picture, (width, height), mode, enlarge) for picture in to_pictures(image)]
    return torch.cat([to_tensor(picture) for picture in made])


@node(
    "HiresInpaintSketch",
    title="Inpaint Sketch (hires)",
    category="image/img2img",
    outputs=("IMAGE", "MASK"),
)
def hires_inpaint_sketch(
    *, sketched: Image, image: Image, transparency: Annotated[float, Float(0.0, 100.0, 1.0)] = 0.0
) -> tuple[Tensor, Tensor]:
    """What was painted over a picture: the picture to begin from, and a mask of where the two differ."""
    start, mask = sketch(to_pictures(sketched)[0], to_pictures(image)[0], transparency)
    return to_tensor(start), mask_tensor([mask])


@node(
    "HiresOutpaint",
    title="Outpaint (hires)",
    category="image/img2img",
    outputs=("IMAGE", "MASK", "MASK"),
    output_names=("image", "mask", "latent_mask"),
)
def hires_outpaint(
    *,
    image: Image,
    left: Switch = True,
    right: Switch = True,
    up: Switch = True,
    down: Switch = True,
    pixels: Annotated[int, Int(1, 4096)] = 128,
    method: Annotated[str, Choice(METHODS)] = "fill",
    mask_blur: Blur = 4.0,
    fall_off: Annotated[float, Float(0.0, 4.0, 0.01)] = 1.0,
    colour_variation: Fraction = 0.05,
    seed: Seed = 0,
    context: RunContext,
) -> tuple[Tensor, Tensor, Tensor]:
    """Room around a picture, black or noise of its texture; a mask of the result, to be blurred, and the latent's."""
    picture = to_pictures(image)[0]
    chosen = {"left": left, "right": right, "up": up, "down": down}
    sides = cast("list[outpainting.Direction]", [side for side, wanted in chosen.items() if wanted])
    around = outpainting.room(picture.size, pixels, sides)
    check_size(*around.size(picture.size), context.max_megapixels, "the canvas")
    if method == "fill":
        made = outpainting.extended(picture, around, mask_blur)
    else:
        made = outpainting.extended_with_noise(picture, around, mask_blur, fall_off, colour_variation, seed)
    return to_tensor(made.canvas), mask_tensor([made.mask]), mask_tensor([made.latent_mask])


@node(
    "HiresInpaintArea",
    title="Inpaint Area (hires)",
    category="image/img2img",
    outputs=("IMAGE", "MASK", "INPAINT_AREA"),
    output_names=("image", "mask", "area"),
)
def hires_inpaint_area(
    *,
    image: Image,
    mask: Mask,
    width: Frame = 512,
    height: Frame = 512,
    area: DrawnArea = "Whole picture",
    padding: Annotated[int, Int(0, 4096)] = 32,
    invert: Switch = False,
    blur_x: Blur = 4.0,
    blur_y: Blur = 4.0,
    mode: Mode = "Just resize",
    upscaler: UpscalerTitle = "None",
    own_size: Switch = False,
    below: Image | None = None,
    context: RunContext,
) -> tuple[Tensor, Tensor, InpaintArea]:
    """The part of a picture that a mask marks, as it is drawn, its mask, and where it belongs. 1 = repaint.

    own_size: of a whole picture the result is brought back to the size that the picture came with. below: what the
    result is laid on where that is another picture of its size, as it was before something was painted on it.
    """
    check_size(width, height, context.max_megapixels, "the area that is drawn")
    frame, enlarge = (width, height), enlarge_by(context, upscaler)
    source, grey = to_pictures(image)[0], as_mask(mask)
    ground = source if below is None else to_pictures(below)[0]
    soft = blurred(ImageOps.invert(grey) if invert else grey, blur_x, blur_y)
    if area == "Only masked":
        found = only_masked(soft, source.size, frame, padding)
        if found is None:
            context.note("the mask is empty, so the whole picture is drawn")
            drawn = source if resizes_latent(mode) else resized(source, frame, mode, enlarge)
            return to_tensor(drawn), torch.ones(1, height, width), InpaintArea(drawn, (), None, frame)
        drawn = resized(source.crop(found.box), frame, "Resize and fill", enlarge)
        return to_tensor(drawn), mask_tensor([found.mask]), InpaintArea(ground, (found.overlay,), found.box, frame)
    shape: ResizeMode = "Just resize" if resizes_latent(mode) else mode
    fitted = resized(source, frame, shape, enlarge)
    if not own_size:
        ground = fitted if ground is source else resized(ground, frame, shape, enlarge)
    overlay = whole_picture(soft, ground.size, shape).overlay
    drawn = source if resizes_latent(mode) else fitted
    found_mask = whole_picture(soft, frame, shape).mask
    return to_tensor(drawn), mask_tensor([found_mask]), InpaintArea(ground, (overlay,), None, frame)


@node("HiresFillMasked", title="Fill Masked (hires)", category="image/img2img", outputs=("IMAGE",))
def hires_fill_masked(*, image: Image, mask: Mask) -> Tensor:
    """What lies under the mask replaced by a blur of what surrounds it (masked content "fill")."""
    return torch.cat([to_tensor(filled(picture, as_mask(mask))) for picture in to_pictures(image)])


@node("HiresColorCorrection", title="Color Correction (hires)", category="image/img2img", outputs=("IMAGE",))
def hires_color_correction(*, image: Image, like: Image) -> Tensor:
    """Pictures given the colours of another one, their own light and dark kept."""
    reference = to_pictures(like)[0]
    return torch.cat([to_tensor(corrected(picture, reference)) for picture in to_pictures(image)])


@node("HiresSoftOverlay", title="Soft Overlay (hires)", category="image/img2img", outputs=("INPAINT_AREA",))
def hires_soft_overlay(
    *,
    area: Area,
    samples: Latent,
    model: Model,
    mask_influence: Fraction = 0.0,
    difference_threshold: Threshold = 0.5,
    difference_contrast: Contrast = 2.0,
) -> InpaintArea:
    """Soft inpainting's masks of what shows: where the latent, drawn under a soft mask, has really changed."""
    masking: Masking | None = samples.get("masking")
    if masking is None or masking.soft is None or not area.overlays:
        raise SettingError(
            "there is no soft mask on this latent", "Put HiresLatentMask with `soft` before the sampler."
        )
    soft = replace(
        masking.soft,
        mask_influence=mask_influence,
        difference_threshold=difference_threshold,
        difference_contrast=difference_contrast,
    )
    made = samples["samples"] * model.latent_scale
    began = repeat_to(masking.original, len(made)) * model.latent_scale
    shown = changed(began, made, repeat_to(samples["noise_mask"].float(), len(made)), soft)
    overlays = overlay_masks(shown, area.frame, area.source.size, area.box)
    size = area.source.size
    return replace(area, overlays=tuple(mask if mask.size == size else resized(mask, size) for mask in overlays))


@node("HiresPasteBack", title="Paste Back (hires)", category="image/img2img", outputs=("IMAGE",))
def hires_paste_back(
    *,
    image: Image,
    area: Area,
    overlay: Switch = True,
    upscaler: UpscalerTitle = "None",
    context: RunContext,
) -> Tensor:
    """What was drawn laid into its picture; with `overlay` every pixel outside the blurred mask is the picture's."""
    enlarge, source = enlarge_by(context, upscaler), area.source
    made = []
    for number, picture in enumerate(to_pictures(image)):
        if area.box is None and picture.size != source.size:
            picture = resized(picture, source.size, enlarge=enlarge)
        if overlay and area.overlays:
            mask = area.overlays[min(number, len(area.overlays) - 1)]
            picture = paste_back(picture, source, mask, area.box, enlarge)
        elif area.box is not None:
            picture = paste_box(picture, source, area.box, enlarge=enlarge)
        made.append(to_tensor(picture))
    return torch.cat(made)


@node(
    "HiresMaskPictures",
    title="Mask and Masked Composite (hires)",
    category="image/img2img",
    outputs=("IMAGE", "IMAGE"),
    output_names=("mask", "composite"),
)
def hires_mask_pictures(
    *, image: Image, area: Area, upscaler: UpscalerTitle = "None", context: RunContext
) -> tuple[Tensor, Tensor]:
    """The mask through which what was drawn shows in its picture, and what was drawn, as transparent as the mask says.

    The composite has four channels and the picture's size, to be laid over it by any program.
    """
    enlarge, size = enlarge_by(context, upscaler), area.source.size
    masks, composites = [], []
    for number, picture in enumerate(to_pictures(image)):
        if area.box is None and picture.size != size:
            picture = resized(picture, size, enlarge=enlarge)
        overlays = area.overlays or (PillowImage.new("L", size, 255),)
        overlay = overlays[min(number, len(overlays) - 1)]
        masks.append(to_tensor(mask_picture(overlay)))
        levels = np.asarray(masked_composite(picture, overlay, area.box, enlarge), dtype=np.float32) / 255
        composites.append(torch.from_numpy(levels)[None])
    return torch.cat(masks), torch.cat(composites)
