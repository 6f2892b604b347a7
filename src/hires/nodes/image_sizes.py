"""The size and place of pictures: resizing, cropping, turning, room for outpainting, enlarging with a network."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from hires.graph.declare import NodeResult, node
from hires.graph.inputs import Choice, Float
from hires.imaging.canvas import pad_for_outpaint
from hires.imaging.sizes import check_size
from hires.imaging.upscalers import resize_pixels
from hires.models.upscale import UpscaleModel
from hires.nodes.context import RunContext
from hires.nodes.types import (
    CanvasSide,
    Crop,
    FlipMethod,
    Image,
    ImageMethod,
    Pixels,
    Rotation,
    Side,
    Upscaler,
    UpscalerName,
)
from hires.tiling.blend import smaller_until_it_fits, tiled_scale

MEGAPIXEL = 1024 * 1024
"""Pixels; ComfyUI counts in powers of two."""
UPSCALE_TILE, UPSCALE_OVERLAP, SMALLEST_UPSCALE_TILE = 512, 32, 128
AreaFirst = Annotated[str, Choice(("area", "lanczos", "bilinear", "nearest-exact", "bilinear", "bicubic"))]


@node("ImageScale", title="Upscale Image", category="image/upscaling", outputs=("IMAGE",))
def image_scale(
    *,
    image: Image,
    upscale_method: ImageMethod,
    width: Pixels = 512,
    height: Pixels = 512,
    crop: Crop,
    context: RunContext,
) -> Tensor:
    """Resize to a size; one side 0 keeps the aspect, both 0 change nothing."""
    if width == 0 and height == 0:
        return image
    old_height, old_width = image.shape[1:3]
    if width == 0:
        width = max(1, round(old_width * height / old_height))
    elif height == 0:
        height = max(1, round(old_height * width / old_width))
    return _scaled(image, width, height, upscale_method, crop, context)


@node("ImageScaleBy", title="Upscale Image By", category="image/upscaling", outputs=("IMAGE",))
def image_scale_by(
    *,
    image: Image,
    upscale_method: ImageMethod,
    scale_by: Annotated[float, Float(0.01, 8.0, 0.01)] = 1.0,
    context: RunContext,
) -> Tensor:
    """Resize both sides by a factor."""
    width, height = round(image.shape[2] * scale_by), round(image.shape[1] * scale_by)
    return _scaled(image, width, height, upscale_method, "disabled", context)


@node("ImageScaleToTotalPixels", category="image/upscaling", outputs=("IMAGE",))
def image_scale_to_total_pixels(
    *,
    image: Image,
    upscale_method: ImageMethod,
    megapixels: Annotated[float, Float(0.01, 16.0, 0.01)] = 1.0,
    context: RunContext,
) -> Tensor:
    """Resize to a number of pixels (a megapixel is 1024 x 1024), keeping the aspect."""
    height, width = image.shape[1:3]
    factor = math.sqrt(int(megapixels * MEGAPIXEL) / (width * height))
    return _scaled(image, round(width * factor), round(height * factor), upscale_method, "disabled", context)


@node("ImageScaleToMaxDimension", category="image/upscaling", outputs=("IMAGE",))
def image_scale_to_max_dimension(
    *, image: Image, upscale_method: AreaFirst, largest_size: Pixels = 512, context: RunContext
) -> Tensor:
    """Resize so that the longer side gets a length, keeping the aspect."""
    height, width = image.shape[1:3]
    longest = max(width, height)
    width, height = round(width / longest * largest_size), round(height / longest * largest_size)
    return _scaled(image, width, height, upscale_method, "disabled", context)


def _scaled(image: Tensor, width: int, height: int, method: str, crop: str, context: RunContext) -> Tensor:
    width, height = max(width, 1), max(height, 1)
    check_size(max(width, 16), max(height, 16), context.max_megapixels, "the resized picture", len(image))
    return resize_pixels(image, width, height, method, crop)


@node("ImageCrop", title="Image Crop", category="image/transform", outputs=("IMAGE",))
def image_crop(
    *, image: Image, width: CanvasSide = 512, height: CanvasSide = 512, x: Pixels = 0, y: Pixels = 0
) -> Tensor:
    """Cut a rectangle out; what lies beyond the picture is left off, one pixel at least remains."""
    left, top = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return image[:, top : top + height, left : left + width]


@node("ImageFlip", category="image/transform", outputs=("IMAGE",))
def image_flip(*, image: Image, flip_method: FlipMethod) -> Tensor:
    """Mirror the picture."""
    return torch.flip(image, dims=[1 if flip_method.startswith("x") else 2])


@node("ImageRotate", category="image/transform", outputs=("IMAGE",))
def image_rotate(*, image: Image, rotation: Rotation) -> Tensor:
    """Turn the picture clockwise."""
    quarters = ("none", "90 degrees", "180 degrees", "270 degrees").index(rotation)
    return torch.rot90(image, k=quarters, dims=[2, 1])


@node("ImagePadForOutpaint", title="Pad Image for Outpainting", category="image", outputs=("IMAGE", "MASK"))
def image_pad_for_outpaint(
    *,
    image: Image,
    left: Side = 0,
    top: Side = 0,
    right: Side = 0,
    bottom: Side = 0,
    feathering: Pixels = 40,
    context: RunContext,
) -> tuple[Tensor, Tensor]:
    """Room around the picture, and a mask of it that fades into the picture."""
    height, width = image.shape[1] + top + bottom, image.shape[2] + left + right
    check_size(max(width, 16), max(height, 16), context.max_megapixels, "the padded picture", len(image))
    return pad_for_outpaint(image, left, top, right, bottom, feathering)


@node(
    "GetImageSize",
    title="Get Image Size",
    category="image",
    outputs=("INT", "INT", "INT"),
    output_names=("width", "height", "batch_size"),
)
def get_image_size(*, image: Image) -> NodeResult:
    """Width, height and number of pictures."""
    batch, height, width = image.shape[:3]
    text = f"width: {width}\nheight: {height}\nbatch size: {batch}"
    return NodeResult((width, height, batch), ui={"text": [text]})


@node("UpscaleModelLoader", title="Load Upscale Model", category="loaders", outputs=("UPSCALE_MODEL",))
def load_upscale_model(*, model_name: UpscalerName, context: RunContext) -> UpscaleModel:
    """Load a network that enlarges pictures: ESRGAN, Real-ESRGAN, SwinIR, DAT and others."""
    return context.store.upscaler(model_name)


@node("ImageUpscaleWithModel", title="Upscale Image (using Model)", category="image/upscaling", outputs=("IMAGE",))
def image_upscale_with_model(*, upscale_model: Upscaler, image: Image, context: RunContext) -> Tensor:
    """Enlarge by the network's own factor, in tiles, which are halved as long as they do not fit the memory."""
    scale = upscale_model.scale
    height, width = image.shape[1] * scale, image.shape[2] * scale
    check_size(max(width, 16), max(height, 16), context.max_megapixels, "the enlarged picture", len(image))
    planes = image[..., :3].movedim(-1, 1)

    def enlarge(tile: int) -> Tensor:
        return tiled_scale(planes, upscale_model.upscale, (tile, tile), UPSCALE_OVERLAP, scale, context.progress)

    enlarged = smaller_until_it_fits(enlarge, UPSCALE_TILE, SMALLEST_UPSCALE_TILE, "enlarging the picture")
    return enlarged.movedim(1, -1).clamp(0.0, 1.0)
