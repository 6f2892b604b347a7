"""Filters on pictures: blending, blur, sharpening, palettes, edges, noise; transparency and compositing."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Float, Int
from hires.imaging import blending, edges, filters
from hires.imaging.batches import fitted_image, repeat_to, same_channels
from hires.imaging.canvas import paste
from hires.imaging.masks import as_masks, resize_mask
from hires.nodes.types import Fraction, Image, Mask, Pixels, Seed

Radius = Annotated[int, Int(1, 31)]
Threshold = Annotated[float, Float(0.01, 0.99, 0.01)]


@node("ImageInvert", title="Invert Image", category="image", outputs=("IMAGE",))
def image_invert(*, image: Image) -> Tensor:
    """1 - image."""
    return 1.0 - image


@node("ImageBlend", category="image/postprocessing", outputs=("IMAGE",))
def image_blend(
    *,
    image1: Image,
    image2: Image,
    blend_factor: Fraction = 0.5,
    blend_mode: Annotated[str, Choice(tuple(blending.BLEND_MODES))],
) -> Tensor:
    """Blend the second picture over the first."""
    image1, image2 = same_channels(image1, image2)
    return blending.blend(image1, fitted_image(image2, image1, "bicubic"), blend_mode, blend_factor)


@node("ImageBlur", category="image/postprocessing", outputs=("IMAGE",))
def image_blur(
    *, image: Image, blur_radius: Radius = 1, sigma: Annotated[float, Float(0.1, 10.0, 0.1)] = 1.0
) -> Tensor:
    """Gaussian blur; sigma is relative to the radius."""
    return filters.blur(image, blur_radius, sigma)


@node("ImageSharpen", category="image/postprocessing", outputs=("IMAGE",))
def image_sharpen(
    *,
    image: Image,
    sharpen_radius: Radius = 1,
    sigma: Annotated[float, Float(0.1, 10.0, 0.01)] = 1.0,
    alpha: Annotated[float, Float(0.0, 5.0, 0.01)] = 1.0,
) -> Tensor:
    """Unsharp masking; alpha is its strength."""
    return filters.sharpen(image, sharpen_radius, sigma, alpha)


@node("ImageQuantize", category="image/postprocessing", outputs=("IMAGE",))
def image_quantize(
    *, image: Image, colors: Annotated[int, Int(1, 256)] = 256, dither: Annotated[str, Choice(filters.DITHERS)]
) -> Tensor:
    """Reduce to a palette."""
    return filters.quantize(image, colors, dither)


@node("ImageAddNoise", category="image", outputs=("IMAGE",))
def image_add_noise(*, image: Image, seed: Seed = 0, strength: Fraction = 0.5) -> Tensor:
    """Add normal noise."""
    return filters.add_noise(image, seed, strength)


@node("Canny", category="image/preprocessors", outputs=("IMAGE",))
def canny(*, image: Image, low_threshold: Threshold = 0.4, high_threshold: Threshold = 0.8) -> Tensor:
    """White edges on black."""
    return edges.canny(image, low_threshold, high_threshold)[..., None].expand(-1, -1, -1, 3).contiguous()


@node("ImageCompositeMasked", category="image", outputs=("IMAGE",))
def image_composite_masked(
    *,
    destination: Image,
    source: Image,
    x: Pixels = 0,
    y: Pixels = 0,
    resize_source: Annotated[bool, Bool()] = False,
    mask: Mask | None = None,
) -> Tensor:
    """Paste one picture onto another through a mask."""
    destination, source = same_channels(destination, source)
    target, pasted = destination.movedim(-1, 1), source.movedim(-1, 1)
    if resize_source:
        pasted = interpolate(pasted, size=target.shape[-2:], mode="bilinear")
    return paste(target, pasted, x, y, mask).movedim(1, -1)


@node(
    "SplitImageWithAlpha",
    title="Split Image with Alpha",
    category="mask/compositing",
    outputs=("IMAGE", "MASK"),
)
def split_image_with_alpha(*, image: Image) -> tuple[Tensor, Tensor]:
    """Colour, and a mask that is 1 where the picture is transparent."""
    colour = image[..., :3]
    return colour, 1.0 - image[..., 3] if image.shape[-1] > 3 else torch.zeros_like(image[..., 0])


@node("JoinImageWithAlpha", title="Join Image with Alpha", category="mask/compositing", outputs=("IMAGE",))
def join_image_with_alpha(*, image: Image, alpha: Mask) -> Tensor:
    """Transparent where the mask is 1."""
    mask = repeat_to(resize_mask(alpha, *image.shape[1:3]), len(image))
    return torch.cat([image[..., :3], 1.0 - mask[..., None]], dim=-1)


@node(
    "PorterDuffImageComposite",
    title="Porter-Duff Image Composite",
    category="mask/compositing",
    outputs=("IMAGE", "MASK"),
)
def porter_duff_image_composite(
    *,
    source: Image,
    source_alpha: Mask,
    destination: Image,
    destination_alpha: Mask,
    mode: Annotated[str, Choice(tuple(blending.PORTER_DUFF))] = "DST",
) -> tuple[Tensor, Tensor]:
    """Compose two pictures with transparency; the masks are 1 where a picture is transparent."""
    count = min(len(source), len(as_masks(source_alpha)), len(destination), len(as_masks(destination_alpha)))
    target = destination[:count, ..., :3]
    over = fitted_image(source[:count, ..., :3], target, "bicubic")
    opacities = [
        1.0 - fitted_image(as_masks(mask)[:count, ..., None], target, "bicubic")[..., 0]
        for mask in (source_alpha, destination_alpha)
    ]
    colour, alpha = blending.porter_duff(over, opacities[0], target, opacities[1], mode)
    return colour, 1.0 - alpha
