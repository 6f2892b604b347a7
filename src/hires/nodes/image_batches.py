"""Batches of pictures: joining, cutting and repeating them; empty pictures."""

from __future__ import annotations

from typing import Annotated, cast

import torch
from torch import Tensor

from hires.graph.declare import node
from hires.graph.inputs import Int
from hires.imaging.batches import cut_into, fitted_image, same_channels
from hires.imaging.sizes import check_size
from hires.nodes.context import RunContext
from hires.nodes.types import BatchSize, CanvasSide, Colour, Image

Items = Annotated[int, Int(1, 4096)]


@node("ImageBatch", title="Batch Images", category="image", outputs=("IMAGE",))
def image_batch(*, image1: Image, image2: Image) -> Tensor:
    """Both as one batch; the second is resized to the first and cut in the centre to its aspect."""
    image1, image2 = same_channels(image1, image2)
    return torch.cat([image1, fitted_image(image2, image1)])


@node("EmptyImage", category="image", outputs=("IMAGE",))
def empty_image(
    *,
    width: CanvasSide = 512,
    height: CanvasSide = 512,
    batch_size: BatchSize = 1,
    color: Colour = 0,
    context: RunContext,
) -> Tensor:
    """Pictures of one colour, written as one number 0xRRGGBB."""
    check_size(max(width, 16), max(height, 16), context.max_megapixels, "the empty picture", batch_size)
    levels = torch.tensor([color >> 16 & 0xFF, color >> 8 & 0xFF, color & 0xFF]) / 255.0
    return levels.expand(batch_size, height, width, 3).contiguous()


@node("ImageFromBatch", category="image/batch", outputs=("IMAGE",))
def image_from_batch(*, image: Image, batch_index: Annotated[int, Int(0, 4095)] = 0, length: Items = 1) -> Tensor:
    """Take pictures out of a batch."""
    first = min(len(image) - 1, batch_index)
    return image[first : first + length].clone()


@node("RepeatImageBatch", category="image/batch", outputs=("IMAGE",))
def repeat_image_batch(*, image: Image, amount: Items = 1) -> Tensor:
    """Repeat the whole batch."""
    return image.repeat(amount, 1, 1, 1)


@node(
    "RebatchImages",
    title="Rebatch Images",
    category="image/batch",
    outputs=("IMAGE",),
    output_is_list=(True,),
    input_is_list=True,
)
def rebatch_images(*, images: Image, batch_size: BatchSize = 1) -> list[Tensor]:
    """A list of batches regrouped to batches of one size."""
    batches = cast(list[Tensor], images)  # a node that takes lists gets every input as one
    return cut_into([item for batch in batches for item in batch.split(1)], cast(list[int], batch_size)[0])
