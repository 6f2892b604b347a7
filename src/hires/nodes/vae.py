"""Between pictures and latents: the VAE whole and in tiles, and what inpainting needs of it."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hires.graph.declare import node
from hires.graph.inputs import Bool, Int
from hires.imaging.batches import repeat_to
from hires.imaging.masks import grow_square
from hires.imaging.sizes import LATENT
from hires.models.handles import VaeModel, as_image, crop_to_latent_grid
from hires.nodes.conditioning import with_options
from hires.nodes.context import RunContext
from hires.nodes.latents import changed
from hires.nodes.types import Conditioning, ConditioningList, Image, Latent, LatentDict, Mask, Vae
from hires.nodes.vae_modes import TILE, check_vae, decode_raw, decoded, encode_raw, encoded
from hires.tiling.blend import mean_of_tilings

Overlap = Annotated[int, Int(0, 4096, 32)]
Frames = Annotated[int, Int(8, 4096, 4), "For video only."]
FrameOverlap = Annotated[int, Int(4, 4096, 4), "For video only."]


@node("VAEDecode", title="VAE Decode", category="latent", outputs=("IMAGE",))
def vae_decode(*, samples: Latent, vae: Vae, context: RunContext) -> Tensor:
    """Latents to pictures, one at a time, so that a batch gives what each alone gives; in tiles if memory runs out."""
    check_vae(vae)
    return decoded(vae, samples["samples"], "auto", TILE, context)


@node("VAEEncode", title="VAE Encode", category="latent", outputs=("LATENT",))
def vae_encode(*, pixels: Image, vae: Vae, context: RunContext) -> LatentDict:
    """Pictures to latents: the posterior's mean, sides cut to multiples of 8; in tiles if memory runs out."""
    return {"samples": _encode(vae, pixels, context)}


def _encode(vae: VaeModel, pixels: Tensor, context: RunContext) -> Tensor:
    check_vae(vae)
    return encoded(vae, pixels, "auto", TILE, context)


@node("VAEDecodeTiled", title="VAE Decode (Tiled)", category="_for_testing", outputs=("IMAGE",))
def vae_decode_tiled(
    *,
    samples: Latent,
    vae: Vae,
    tile_size: Annotated[int, Int(64, 4096, 32)] = 512,
    overlap: Overlap = 64,
    temporal_size: Frames = 64,
    temporal_overlap: FrameOverlap = 8,
    context: RunContext,
) -> Tensor:
    """Decode in tiles, three ways with seams in different places, and take the mean."""
    check_vae(vae)
    if tile_size < overlap * 4:
        overlap = tile_size // 4
    return _decode_tiled(vae, samples["samples"], tile_size // LATENT, overlap // LATENT, context)


def _decode_tiled(vae: VaeModel, latents: Tensor, tile: int, overlap: int, context: RunContext) -> Tensor:
    """tile and overlap in latent cells. The mean is taken of what the network gives, before it is clamped."""
    return as_image(
        mean_of_tilings(latents, lambda part: decode_raw(vae, part, context), tile, overlap, LATENT, context.progress)
    )


@node("VAEEncodeTiled", title="VAE Encode (Tiled)", category="_for_testing", outputs=("LATENT",))
def vae_encode_tiled(
    *,
    pixels: Image,
    vae: Vae,
    tile_size: Annotated[int, Int(64, 4096, 64)] = 512,
    overlap: Overlap = 64,
    temporal_size: Frames = 64,
    temporal_overlap: FrameOverlap = 8,
    context: RunContext,
) -> LatentDict:
    """Encode in tiles, three ways with seams in different places, and take the mean."""
    check_vae(vae)
    if tile_size // 2 <= overlap:  # the narrow tiles would not advance; ComfyUI fails here
        overlap = tile_size // 4
    return {"samples": _encode_tiled(vae, pixels, tile_size, overlap, context)}


def _encode_tiled(vae: VaeModel, pixels: Tensor, tile: int, overlap: int, context: RunContext) -> Tensor:
    """tile and overlap in pixels, brought down to the latent's grid so that no part is cut inside the picture."""
    tile, overlap = tile // (2 * LATENT) * (2 * LATENT), overlap // LATENT * LATENT
    planes = crop_to_latent_grid(pixels[..., :3]).movedim(-1, 1)
    return mean_of_tilings(
        planes, lambda part: encode_raw(vae, part.movedim(1, -1), context), tile, overlap, 1 / LATENT, context.progress
    )


@node("SetLatentNoiseMask", title="Set Latent Noise Mask", category="latent/inpaint", outputs=("LATENT",))
def set_latent_noise_mask(*, samples: Latent, mask: Mask) -> LatentDict:
    """Restrict sampling to a mask (1 = repaint)."""
    result = changed(samples, samples["samples"])
    result.pop("masking", None)
    result["noise_mask"] = mask.reshape(-1, 1, mask.shape[-2], mask.shape[-1])
    return result


@node("VAEEncodeForInpaint", title="VAE Encode (for Inpainting)", category="latent/inpaint", outputs=("LATENT",))
def vae_encode_for_inpaint(
    *,
    pixels: Image,
    vae: Vae,
    mask: Mask,
    grow_mask_by: Annotated[int, Int(0, 64)] = 6,
    context: RunContext,
) -> LatentDict:
    """Encode with grey under the mask, and a noise mask grown by some pixels; meant for denoise 1."""
    image, mask = _on_latent_grid(pixels, mask)
    grown = grow_square(mask, grow_mask_by).clamp(0.0, 1.0).round()
    return {"samples": _encode(vae, _greyed(image, mask), context), "noise_mask": grown}


@node(
    "InpaintModelConditioning",
    category="conditioning/inpaint",
    outputs=("CONDITIONING", "CONDITIONING", "LATENT"),
    output_names=("positive", "negative", "latent"),
)
def inpaint_model_conditioning(
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    pixels: Image,
    mask: Mask,
    noise_mask: Annotated[bool, Bool()] = True,
    context: RunContext,
) -> tuple[ConditioningList, ConditioningList, LatentDict]:
    """What an inpainting network is shown beside the noise: the mask, and the picture with grey under it."""
    image, mask = _on_latent_grid(pixels, mask)
    shown = {"concat_latent_image": _encode(vae, _greyed(image, mask), context), "concat_mask": mask}
    latent: LatentDict = {"samples": _encode(vae, image, context)}
    if noise_mask:
        latent["noise_mask"] = mask
    return with_options(positive, **shown), with_options(negative, **shown), latent


@node(
    "InstructPixToPixConditioning",
    category="conditioning/instructpix2pix",
    outputs=("CONDITIONING", "CONDITIONING", "LATENT"),
    output_names=("positive", "negative", "latent"),
)
def instruct_pix2pix_conditioning(
    *, positive: Conditioning, negative: Conditioning, vae: Vae, pixels: Image, context: RunContext
) -> tuple[ConditioningList, ConditioningList, LatentDict]:
    """What an InstructPix2Pix network is shown beside the noise: the picture that it is to change."""
    encoded = _encode(vae, pixels, context)
    latent: LatentDict = {"samples": torch.zeros_like(encoded)}
    shown = {"concat_latent_image": encoded}
    return with_options(positive, **shown), with_options(negative, **shown), latent


def _on_latent_grid(pixels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The picture and its mask (batch or 1, 1, height, width), both cut in the centre to multiples of 8."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    mask = interpolate(mask, size=pixels.shape[1:3], mode="bilinear")
    mask = mask if len(mask) <= len(pixels) else mask[: len(pixels)]
    return crop_to_latent_grid(pixels), crop_to_latent_grid(mask.movedim(1, -1)).movedim(-1, 1)


def _greyed(pixels: Tensor, mask: Tensor) -> Tensor:
    """Middle grey wherever the mask, rounded, is 1."""
    kept = 1.0 - repeat_to(mask, len(pixels)).round().movedim(1, -1)
    return (pixels[..., :3] - 0.5) * kept + 0.5
