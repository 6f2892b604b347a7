"""Pictures to latents and back: tiles, what happens when memory runs out, and the inputs of inpainting."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hires.errors import ModelFileError
from hires.models.handles import VaeModel, as_image
from hires.nodes import vae as nodes
from hires.nodes.context import RunContext
from hires.nodes.types import LatentDict


@pytest.fixture
def vae(context: RunContext) -> VaeModel:
    return context.store.vae("thin_sd15")


def picture(height: int, width: int, batch: int = 1, seed: int = 1) -> torch.Tensor:
    return torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(seed))


class Cramped(VaeModel):
    """A VAE on a machine whose memory holds pictures of up to 256 pixels a side, in a network that is cheap to run."""

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        self._fit(image.shape[1], image.shape[2])
        return image.movedim(-1, 1)[:, [0, 1, 2, 0], ::8, ::8]

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return as_image(self.decode_raw(latent))

    def decode_raw(self, latent: torch.Tensor) -> torch.Tensor:
        self._fit(latent.shape[2] * 8, latent.shape[3] * 8)
        return latent[:, :3].repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)

    def _fit(self, height: int, width: int) -> None:
        if height * width > 256 * 256:
            raise torch.OutOfMemoryError("CUDA out of memory")


def cramped(vae: VaeModel) -> Cramped:
    return Cramped(vae.vae, vae.identity, vae.device, vae.compute_dtype, vae.latent_scale)


def test_one_tile_is_the_whole(vae: VaeModel, context: RunContext) -> None:
    latent = {"samples": vae.encode(picture(64, 48))}
    whole = nodes.vae_decode(samples=latent, vae=vae, context=context)
    tiled = nodes.vae_decode_tiled(samples=latent, vae=vae, tile_size=512, context=context)
    assert torch.allclose(tiled, whole, atol=1e-5)
    pixels = picture(70, 50)
    encoded = nodes.vae_encode_tiled(pixels=pixels, vae=vae, context=context)["samples"]
    assert encoded.shape == (1, 4, 8, 6)
    assert torch.allclose(encoded, nodes.vae_encode(pixels=pixels, vae=vae, context=context)["samples"], atol=1e-4)


def test_tiles_are_the_mean_of_three_tilings(vae: VaeModel, context: RunContext) -> None:
    """By hand for tiles of 64 pixels with overlap 16 over a latent of 8 x 20 cells, from the network's own output."""
    latent = torch.randn(1, 4, 8, 20, generator=torch.Generator().manual_seed(4))
    tiled = nodes.vae_decode_tiled(samples={"samples": latent}, vae=vae, tile_size=64, overlap=64, context=context)

    def tiling(height: int, width: int) -> torch.Tensor:
        overlap = 2
        total, weight = torch.zeros(1, 3, 64, 160), torch.zeros(1, 1, 64, 160)
        starts = [[0] if size <= tile else range(0, size - overlap, tile - overlap)
                  for size, tile in ((8, height), (20, width))]  # fmt: skip
        if len(starts[0]) * len(starts[1]) == 1:
            return vae.decode_raw(latent)
        for y in starts[0]:
            for x in starts[1]:
                part = vae.decode_raw(latent[:, :, y : y + height, x : x + width])
                h, w = part.shape[2:]
                ramps = [torch.ones(h), torch.ones(w)]
                for ramp in ramps:
                    for t in range(16 if len(ramp) > 16 else 0):
                        ramp[t] *= (t + 1) / 16
                        ramp[len(ramp) - 1 - t] *= (t + 1) / 16
                mask = ramps[0][:, None] * ramps[1]
                total[..., y * 8 : y * 8 + h, x * 8 : x * 8 + w] += part * mask
                weight[..., y * 8 : y * 8 + h, x * 8 : x * 8 + w] += mask
        return total / weight

    expected = as_image((tiling(16, 4) + tiling(4, 16) + tiling(8, 8)) / 3)
    assert torch.allclose(tiled, expected, atol=1e-5)


def test_too_little_memory_means_exact_tiles(vae: VaeModel, context: RunContext) -> None:
    small, pixels = cramped(vae), picture(264, 328)
    encoded = nodes.vae_encode(pixels=pixels, vae=small, context=context)["samples"]
    whole = vae.encode(pixels)
    assert (encoded - whole).abs().max() <= 2e-5 * whole.std()
    decoded = nodes.vae_decode(samples={"samples": encoded}, vae=small, context=context)
    assert (decoded - vae.decode(encoded)).abs().max() <= 2e-5
    assert any("did not fit the memory" in note for note in context.notes)


def test_other_failures_are_not_hidden(vae: VaeModel, context: RunContext) -> None:
    wrong = {"samples": torch.zeros(1, 5, 8, 8)}
    with pytest.raises(RuntimeError, match="channels"):
        nodes.vae_decode(samples=wrong, vae=vae, context=context)


def test_a_checkpoint_without_vae_is_said(context: RunContext) -> None:
    with pytest.raises(ModelFileError, match="holds no VAE"):
        nodes.vae_encode(pixels=picture(16, 16), vae=None, context=context)  # type: ignore[arg-type]


@pytest.mark.parametrize("overlap", [0, 32, 64, 4096])
def test_any_overlap_that_can_be_chosen_works(vae: VaeModel, context: RunContext, overlap: int) -> None:
    small, pixels = cramped(vae), picture(136, 264)
    for size in (64, 128):
        encoded = nodes.vae_encode_tiled(pixels=pixels, vae=small, tile_size=size, overlap=overlap, context=context)
        assert torch.allclose(encoded["samples"][:, :3], pixels.movedim(-1, 1)[..., ::8, ::8], atol=1e-6)
        decoded = nodes.vae_decode_tiled(samples=encoded, vae=small, tile_size=size, overlap=overlap, context=context)
        assert decoded.shape == pixels.shape and torch.isfinite(decoded).all()


def test_inpainting_shows_grey_under_the_mask_and_grows_the_noise_mask(vae: VaeModel, context: RunContext) -> None:
    pixels = picture(37, 48, batch=2)  # 37: a rest of 5 above 32, cut by 2 at the top
    mask = torch.zeros(37, 48)
    mask[10:20, 20:30] = 0.8
    latent = nodes.vae_encode_for_inpaint(pixels=pixels, vae=vae, mask=mask, grow_mask_by=5, context=context)
    grown = torch.zeros(32, 48)
    grown[6:20, 18:32] = 1  # rows 10 - 2 (the cut) - 2 (the growth) to 20 - 2 + 2
    assert torch.equal(latent["noise_mask"], grown[None, None])
    shown = pixels.clone()
    shown[:, 10:20, 20:30] = 0.5
    assert torch.allclose(latent["samples"], vae.encode(shown), atol=1e-5)


def test_conditioning_for_an_inpainting_network(vae: VaeModel, context: RunContext) -> None:
    pixels, mask = picture(32, 32), torch.zeros(1, 16, 16)
    mask[:, 8:] = 1
    prompt = [(torch.ones(1, 77, 8), {"pooled_output": None})]
    positive, negative, latent = nodes.inpaint_model_conditioning(
        positive=prompt, negative=prompt, vae=vae, pixels=pixels, mask=mask, context=context
    )
    assert torch.equal(latent["samples"], vae.encode(pixels))
    assert latent["noise_mask"].shape == (1, 1, 32, 32)
    shown = pixels.clone()
    shown[:, 16:] = 0.5
    for tensor, options in (*positive, *negative):
        assert torch.equal(tensor, prompt[0][0])
        assert torch.allclose(options["concat_latent_image"], vae.encode(shown), atol=1e-5)
        assert torch.equal(options["concat_mask"], latent["noise_mask"])
    assert "concat_mask" not in prompt[0][1]
    *_, free = nodes.inpaint_model_conditioning(
        positive=prompt, negative=prompt, vae=vae, pixels=pixels, mask=mask, noise_mask=False, context=context
    )
    assert "noise_mask" not in free


def test_setting_a_noise_mask_changes_a_copy() -> None:
    latent: LatentDict = {"samples": torch.zeros(1, 4, 2, 2)}
    masked = nodes.set_latent_noise_mask(samples=latent, mask=torch.ones(5, 7))
    assert masked["noise_mask"].shape == (1, 1, 5, 7) and "noise_mask" not in latent


def test_pix2pix_shows_the_picture_and_starts_empty(vae: VaeModel, context: RunContext) -> None:
    prompt = [(torch.ones(1, 77, 8), {})]
    pixels = picture(16, 24)
    positive, negative, latent = nodes.instruct_pix2pix_conditioning(
        positive=prompt, negative=prompt, vae=vae, pixels=pixels, context=context
    )
    assert float(latent["samples"].abs().max()) == 0.0 and latent["samples"].shape == (1, 4, 2, 3)
    assert torch.equal(positive[0][1]["concat_latent_image"], vae.encode(pixels))
    assert torch.equal(negative[0][1]["concat_latent_image"], vae.encode(pixels))


def test_a_precision_of_its_own_does_not_change_the_class(vae: VaeModel) -> None:
    assert replace(cramped(vae), identity="x").identity == "x"
