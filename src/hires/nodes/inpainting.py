"""Latents under a mask in the A1111 web UI's way: the mask, what lies under it, what a network is shown of it."""

from __future__ import annotations

from typing import Annotated, cast

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from torch.nn.functional import interpolate

from hires.errors import SettingError
from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Float, OptionalInput
from hires.imaging.batches import repeat_to
from hires.imaging.inpaint_masks import latent_mask
from hires.imaging.soft_inpainting import SoftInpainting
from hires.nodes.conditioning import with_options
from hires.nodes.context import RunContext
from hires.nodes.latents import changed
from hires.nodes.sampling import RandomSource
from hires.nodes.types import (
    Conditioning,
    ConditioningList,
    Fraction,
    Image,
    Latent,
    LatentDict,
    Mask,
    Model,
    Seed,
    Vae,
)
from hires.nodes.vae_modes import TILE, check_vae, encoded
from hires.sampling.inpainting import Masking
from hires.sampling.noise import Source, image_noise

Switch = Annotated[bool, Bool()]
FILLS = ("latent noise", "latent nothing")


@node("HiresLatentMask", title="Latent Mask (hires)", category="latent/inpaint", outputs=("LATENT",))
def hires_latent_mask(
    *,
    samples: Latent,
    mask: Mask,
    rounding: Switch = True,
    soft: Annotated[bool, Bool(), OptionalInput] = False,
    schedule_bias: Annotated[float, Float(0.0, 8.0, 0.1), OptionalInput] = 1.0,
    preservation_strength: Annotated[float, Float(0.0, 8.0, 0.05), OptionalInput] = 0.5,
    transition_contrast_boost: Annotated[float, Float(1.0, 32.0, 0.5), OptionalInput] = 4.0,
) -> LatentDict:
    """Restrict sampling to a mask (1 = repaint), which samplers in the A1111 dialect use as the web UI does.

    The mask is brought to the latent in 8 bits by bicubic interpolation, and rounded to 0 and 1; a soft one is not.
    """
    height, width = samples["samples"].shape[-2:]
    levels = mask.reshape(-1, *mask.shape[-2:]).clamp(0, 1).cpu().numpy()
    pictures = [PillowImage.fromarray(np.rint(level * 255).astype(np.uint8)) for level in levels]
    made = [latent_mask(picture, (width, height), rounding and not soft) for picture in pictures]
    sliders = SoftInpainting(schedule_bias, preservation_strength, transition_contrast_boost) if soft else None
    result = changed(samples, samples["samples"])
    result["noise_mask"] = torch.cat(made)
    result["masking"] = Masking(samples["samples"], sliders)
    return result


@node("HiresLatentFill", title="Fill Latent (hires)", category="latent/inpaint", outputs=("LATENT",))
def hires_latent_fill(
    *,
    samples: Latent,
    model: Model,
    fill: Annotated[str, Choice(FILLS)],
    seed: Seed = 0,
    rng: RandomSource = "NV",
    count_seeds: Switch = True,
) -> LatentDict:
    """Masked content "latent noise" (of each picture's own seed) or "latent nothing" (zeros) under a latent's mask."""
    nmask, masking = samples.get("noise_mask"), samples.get("masking")
    if nmask is None or masking is None:
        raise SettingError(
            "there is no mask on this latent to fill under", "Put HiresLatentMask before HiresLatentFill."
        )
    latents = samples["samples"]
    nmask = repeat_to(nmask.float(), len(latents))
    made = latents * (1 - nmask)
    if fill == "latent noise":
        rows = range(len(latents)) if count_seeds else [0] * len(latents)
        noise = image_noise([(seed + row) % 2**64 for row in rows], latents.shape[1:], cast(Source, rng))
        made = made + noise / model.latent_scale * nmask
    result = changed(samples, made)
    result["masking"] = Masking(made, masking.soft)
    return result


@node(
    "HiresInpaintConditioning",
    title="Inpainting Conditioning (hires)",
    category="conditioning/inpaint",
    outputs=("CONDITIONING", "CONDITIONING"),
    output_names=("positive", "negative"),
)
def hires_inpaint_conditioning(
    *,
    positive: Conditioning,
    negative: Conditioning,
    model: Model,
    vae: Vae,
    pixels: Image,
    mask: Mask | None = None,
    mask_weight: Fraction = 1.0,
    rounding: Switch = True,
    context: RunContext,
) -> tuple[ConditioningList, ConditioningList]:
    """What an inpainting network is shown beside the noise: the mask, and the picture with as much of what lies under
    it turned to grey as `mask_weight` says. Without a mask all is masked. An InstructPix2Pix network is shown the
    picture, other networks nothing."""
    if model is None or model.in_channels not in (8, 9):
        return positive, negative
    check_vae(vae)
    if model.in_channels == 8:
        picture = {"concat_latent_image": encoded(vae, pixels[..., :3], "auto", TILE, context)}
        return with_options(positive, **picture), with_options(negative, **picture)
    side = pixels.shape[1:3]
    share = torch.ones(1, 1, *side) if mask is None else mask.reshape(-1, 1, *mask.shape[-2:]).float()
    share = interpolate(share, size=side, mode="bilinear") if share.shape[-2:] != side else share
    share = share.round() if rounding else share
    kept = 1 - repeat_to(share, len(pixels)).movedim(1, -1) * mask_weight
    shown = encoded(vae, (pixels[..., :3] - 0.5) * kept + 0.5, "auto", TILE, context)
    small: Tensor = interpolate(share, size=tuple(shown.shape[-2:]), mode="nearest")
    options = {"concat_latent_image": shown, "concat_mask": small[:, 0], "concat_mask_soft": not rounding}
    return with_options(positive, **options), with_options(negative, **options)
