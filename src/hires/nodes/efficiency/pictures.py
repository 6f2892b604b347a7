"""Laying one picture over another."""

from __future__ import annotations

from typing import Annotated

import torch
from PIL import Image as Pillow
from torch import Tensor

from hires.graph.declare import node
from hires.graph.inputs import Choice, Float, Int
from hires.imaging.pictures import to_pictures, to_tensor
from hires.imaging.resample import resample
from hires.imaging.sizes import check_size
from hires.nodes.context import RunContext
from hires.nodes.types import MAX_RESOLUTION, Image, Mask

RESIZES = ("None", "Fit", "Resize by rescale_factor", "Resize to width & heigth")
Offset = Annotated[int, Int(-48_000, 48_000, 10)]
OverlaySide = Annotated[int, Int(0, MAX_RESOLUTION, 64)]


@node("Image Overlay", category="Efficiency Nodes/Image", outputs=("IMAGE",))
def image_overlay(
    *,
    base_image: Image,
    overlay_image: Image,
    overlay_resize: Annotated[str, Choice(RESIZES)],
    resize_method: Annotated[str, Choice(("nearest-exact", "bilinear", "area"))],
    rescale_factor: Annotated[float, Float(0.01, 16.0, 0.1)] = 1.0,
    width: OverlaySide = 512,
    height: OverlaySide = 512,
    x_offset: Offset = 0,
    y_offset: Offset = 0,
    rotation: Annotated[int, Int(-180, 180, 5)] = 0,
    opacity: Annotated[float, Float(0.0, 100.0, 5.0)] = 0.0,
    optional_mask: Mask | None = None,
    context: RunContext,
) -> Tensor:
    """Lay a picture over others, resized, turned and see-through; `opacity` is how much is seen through, in percent.

    Without a mask the whole rectangle covers what is below, corners and transparency included (as in the pack).
    """
    old_height, old_width = overlay_image.shape[1:3]
    if overlay_resize == "Fit":
        factor = min(base_image.shape[2] / old_width, base_image.shape[1] / old_height)
        new = (round(old_width * factor), round(old_height * factor))
    elif overlay_resize == "Resize by rescale_factor":
        new = (int(old_width * rescale_factor), int(old_height * rescale_factor))
    elif overlay_resize == "Resize to width & heigth":
        new = (width, height)
    else:
        new = (old_width, old_height)
    new = (max(new[0], 1), max(new[1], 1))
    check_size(max(new[0], 16), max(new[1], 16), context.max_megapixels, "the overlay")
    planes = overlay_image[:1, ..., :3].movedim(-1, 1)
    if new != (old_width, old_height):
        planes = resample(planes, *new, resize_method)
    overlay = to_pictures(planes.movedim(1, -1))[0].convert("RGBA")
    overlay.putalpha(_alpha(optional_mask, new, opacity))
    overlay = overlay.rotate(rotation, expand=True)
    results = []
    for below in to_pictures(base_image[..., :3]):
        canvas = below.convert("RGBA")
        canvas.paste(overlay, (x_offset, y_offset), overlay if optional_mask is not None else None)
        results.append(to_tensor(canvas.convert("RGB")))
    return torch.cat(results)


def _alpha(mask: Tensor | None, size: tuple[int, int], opacity: float) -> Pillow.Image:
    """What covers: the inverted mask (1 = see-through), weakened by `opacity` percent."""
    share = 1.0 - opacity / 100.0
    if mask is None:
        return Pillow.new("L", size, int(255 * share))
    covering = 1.0 - mask.reshape(-1, 1, *mask.shape[-2:])[:1].float()
    covering = resample(covering, *size, "bilinear").clamp(0.0, 1.0)[0, 0] * share
    return Pillow.fromarray((covering * 255.0).to(torch.uint8).numpy())
