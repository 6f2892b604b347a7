"""A network whose numbers do not fit half precision: what overflows is done again, wider, and said."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL
from tests.tiling.autoencoders import (
    THIN,
    autoencoder,
    decoded_whole,
    encoded_whole,
    slope_latent,
    slope_picture,
    worst,
)

from hires.tiling.vae_tasks import decoder_programs, encoder_programs
from hires.tiling.vae_tiled import decode_tiled, encode_tiled

HALF = 2e-2
"""Error of half precision, in deviations of the whole."""


def overflowing(vae: AutoencoderKL, trunk: bool) -> AutoencoderKL:
    """With a block whose numbers go beyond 65504, and come back by the next norm."""
    if trunk:
        blocks = vae.decoder.mid_block.resnets[0], vae.encoder.mid_block.resnets[0]
    else:
        blocks = vae.decoder.up_blocks[-1].resnets[0], vae.encoder.down_blocks[0].resnets[0]
    for block in blocks:
        block.conv1.weight.mul_(5e4)
    return vae


@pytest.mark.parametrize("trunk", [True, False])
def test_what_overflows_is_done_again(trunk: bool) -> None:
    vae = overflowing(autoencoder(THIN), trunk)
    latent, picture = slope_latent(8, 12), slope_picture(64, 96)
    half = autoencoder(THIN)
    half.load_state_dict(vae.state_dict())
    notes: list[str] = []
    decoded = decode_tiled(half, latent, 6, dtype=torch.float16, note=notes.append)
    encoded = encode_tiled(half, picture, 6, dtype=torch.float16, note=notes.append)
    assert worst(decoded, decoded_whole(vae, latent)) < HALF
    assert worst(encoded, encoded_whole(vae, picture)) < HALF
    assert len(notes) == 2 and all("overflowed" in note and "float32" in note for note in notes)
    assert "decoder" in notes[0] and "encoder" in notes[1]


def test_without_the_second_try_it_is_not_finite() -> None:
    vae = overflowing(autoencoder(THIN), trunk=False).half()
    assert not torch.isfinite(decoded_whole(vae, slope_latent(8, 12))).all()
    assert not torch.isfinite(encoded_whole(vae, slope_picture(64, 96))).all()


def test_nothing_is_said_where_nothing_overflows() -> None:
    vae = autoencoder(THIN)
    notes: list[str] = []
    latent = slope_latent(8, 12)
    decoded = decode_tiled(vae, latent, 6, dtype=torch.float16, note=notes.append)
    assert worst(decoded, decoded_whole(vae, latent)) < HALF
    assert notes == []


def test_the_block_lies_where_the_test_means() -> None:
    vae = autoencoder(THIN)
    tiled = [task for part in (decoder_programs(vae)[1], encoder_programs(vae)[0]) for task in part.tasks]
    convolutions = {id(getattr(task, "conv", None)) for task in tiled}
    assert id(vae.decoder.up_blocks[-1].resnets[0].conv1) in convolutions
    assert id(vae.decoder.mid_block.resnets[0].conv1) not in convolutions
