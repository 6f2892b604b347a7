"""What the tiled VAE holds at one time: set by the tile, and not above what is predicted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiling.autoencoders import SMALL, autoencoder, decoded_whole, encoded_whole, slope_latent, slope_picture
from torch import Tensor

from hires.models.peak import LiveBytes
from hires.tiling import vae_tiled
from hires.tiling.grid import Box
from hires.tiling.parked import DiskParking
from hires.tiling.vae_peak import OVERHEAD, predicted_decode_peak, predicted_encode_peak
from hires.tiling.vae_tasks import Program, decoder_programs, encoder_programs
from hires.tiling.vae_tiled import decode_tiled, encode_tiled

TILE = 8


def tiled_peak(program: Program, channels: int, side: int, mode: str) -> int:
    """Live bytes of the tiled part alone: what goes in is there before, results are dropped, parked tiles lie on disk
    (on a device they lie in the host's memory)."""
    factor = program.factors[0]
    given = torch.randn(1, channels, side * factor, side * factor)

    def load(box: Box) -> Tensor:
        return given[(..., *box.slices)]

    run = vae_tiled._Run(TILE, mode, torch.device("cpu"), program, "VAE", None, None)
    with torch.no_grad(), LiveBytes() as live:
        live.not_counting(given)
        run((side, side), load, lambda core, result: None, lambda: None)
    return live.peak


@pytest.mark.parametrize("mode", ["exact", "exact-lowram", "exact-disk"])
def test_four_times_the_picture_takes_no_more(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae_tiled, "MemoryParking", DiskParking)
    vae = autoencoder(SMALL)
    for program, channels in ((decoder_programs(vae)[1], SMALL[-1]), (encoder_programs(vae)[0], 3)):
        small, large = (tiled_peak(program, channels, side, mode) for side in (4 * TILE, 8 * TILE))
        assert large < 1.05 * small


MODES: list[tuple[Any, int | None]] = [
    ("exact", None),
    ("exact", TILE),
    ("exact-lowram", TILE),
    ("exact-disk", TILE),
    ("fast", TILE),
]


@pytest.mark.parametrize(("mode", "tile"), MODES)
def test_predicted_peaks_are_not_exceeded(mode: Any, tile: int | None) -> None:
    vae = autoencoder((32, 32, 64, 64), groups=32)
    latent, picture = slope_latent(24, 28), slope_picture(192, 224)
    with LiveBytes() as live:
        live.not_counting([latent, *vae.parameters()])
        decoded_whole(vae, latent) if tile is None else decode_tiled(vae, latent, tile, mode)
    predicted = predicted_decode_peak(vae, 24, 28, tile, mode=mode)
    assert live.peak <= predicted and predicted - OVERHEAD < 1.5 * live.peak
    with LiveBytes() as live:
        live.not_counting([picture, *vae.parameters()])
        encoded_whole(vae, picture) if tile is None else encode_tiled(vae, picture, tile, mode)
    predicted = predicted_encode_peak(vae, 24, 28, tile, mode=mode)
    assert live.peak <= predicted and predicted - OVERHEAD < 1.5 * live.peak
