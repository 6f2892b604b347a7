"""Sampling under a mask: what is outside stays, batches of masks and pictures go with their images."""

from __future__ import annotations

import pytest
import torch

from hires.models.checkpoint import Checkpoint
from hires.nodes.conditioning import text_encode
from hires.nodes.context import RunContext
from hires.nodes.sampling import ksampler
from hires.nodes.types import ConditioningList, LatentDict
from hires.nodes.vae import inpaint_model_conditioning, set_latent_noise_mask, vae_encode_for_inpaint

SIDE = 64


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(5))


def half_mask() -> torch.Tensor:
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, :, SIDE // 2 :] = 1.0
    return mask


def prompts(checkpoint: Checkpoint) -> tuple[ConditioningList, ConditioningList]:
    assert checkpoint.clip is not None
    positive, negative = (text_encode(text=text, clip=checkpoint.clip) for text in ("a house", "blurry"))
    return positive, negative


def draw(
    checkpoint: Checkpoint,
    latent: LatentDict,
    context: RunContext,
    conditioning: tuple[ConditioningList, ConditioningList] | None = None,
    **options: object,
) -> torch.Tensor:
    positive, negative = conditioning or prompts(checkpoint)
    given = {"seed": 3, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"} | options
    result = ksampler(
        model=checkpoint.model,  # type: ignore[arg-type]
        positive=positive,
        negative=negative,
        latent_image=latent,
        context=context,
        **given,  # type: ignore[arg-type]
    )
    return result["samples"]


def test_what_lies_outside_the_mask_stays(context: RunContext) -> None:
    checkpoint = context.store.checkpoint("thin_sd15")
    samples = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    masked = set_latent_noise_mask(samples={"samples": samples}, mask=half_mask())
    drawn = draw(checkpoint, masked, context)
    assert torch.allclose(drawn[..., :4], samples[..., :4], atol=1e-5)
    assert not torch.isclose(drawn[..., 4:], samples[..., 4:], atol=1e-3).all()


@pytest.mark.parametrize(("masks", "images"), [(3, 2), (2, 3)])
def test_more_or_fewer_masks_than_images(context: RunContext, masks: int, images: int) -> None:
    checkpoint = context.store.checkpoint("thin_sd15")
    samples = torch.randn(images, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    stack = half_mask().repeat(masks, 1, 1)
    stack[1] = 1 - stack[1]
    drawn = draw(checkpoint, set_latent_noise_mask(samples={"samples": samples}, mask=stack), context)
    assert torch.allclose(drawn[0, ..., :4], samples[0, ..., :4], atol=1e-5)
    assert torch.allclose(drawn[1, ..., 4:], samples[1, ..., 4:], atol=1e-5)
    if images == 3:  # the masks begin again
        assert torch.allclose(drawn[2, ..., :4], samples[2, ..., :4], atol=1e-5)


def test_an_inpainting_network_sees_the_noise_mask_of_the_latent(context: RunContext) -> None:
    """Without InpaintModelConditioning the network is shown the latent itself and its mask (ComfyUI)."""
    checkpoint = context.store.checkpoint("thin_sd15_inpainting")
    assert checkpoint.vae is not None
    latent = vae_encode_for_inpaint(
        pixels=pictures(1), vae=checkpoint.vae, mask=half_mask(), grow_mask_by=0, context=context
    )
    plain = draw(checkpoint, latent, context)
    positive, negative = prompts(checkpoint)
    shown = {"concat_latent_image": latent["samples"], "concat_mask": latent["noise_mask"]}
    told = (
        [(tensor, {**options, **shown}) for tensor, options in positive],
        [(tensor, {**options, **shown}) for tensor, options in negative],
    )
    assert torch.allclose(plain, draw(checkpoint, latent, context, told), atol=1e-5)
    unmasked: LatentDict = {"samples": latent["samples"]}
    assert not torch.allclose(plain[..., 4:], draw(checkpoint, unmasked, context)[..., 4:], atol=1e-2)


def test_in_the_web_uis_way_every_image_has_its_own_picture_and_mask(context: RunContext) -> None:
    checkpoint = context.store.checkpoint("thin_sd15_inpainting")
    assert checkpoint.vae is not None
    positive, negative = prompts(checkpoint)
    masks = torch.cat([half_mask(), 1 - half_mask()])

    def drawn(chosen: slice, seed: int) -> torch.Tensor:
        pos, neg, latent = inpaint_model_conditioning(
            positive=positive,
            negative=negative,
            vae=checkpoint.vae,  # type: ignore[arg-type]
            pixels=pictures(2)[chosen],
            mask=masks[chosen],
            context=context,
        )
        return draw(checkpoint, latent, context, (pos, neg), dialect="webui", seed=seed)

    both = drawn(slice(0, 2), 3)
    assert torch.equal(both[1:], drawn(slice(1, 2), 4))
    assert torch.equal(both[:1], drawn(slice(0, 1), 3))
