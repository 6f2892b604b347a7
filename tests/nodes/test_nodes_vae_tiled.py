"""The VAE's modes as nodes: exact ones give the whole, approximate ones come near, foreign layouts are blended."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hires.models.handles import VaeModel
from hires.nodes import vae as comfy
from hires.nodes import vae_tiled as nodes
from hires.nodes.context import RunContext
from hires.nodes.registry import node_registry
from hires.nodes.vae_modes import MODES

BOUND = 2e-5
NAMES = ("HiresVAEDecode", "HiresVAEEncode", "VAEDecodeTiled_TiledDiffusion", "VAEEncodeTiled_TiledDiffusion")


@pytest.fixture
def vae(context: RunContext) -> VaeModel:
    return context.store.vae("thin_sd15")


def latent(height: int = 24, width: int = 33) -> torch.Tensor:
    return torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(3)) + torch.linspace(-2, 2, width)


def picture(height: int = 200, width: int = 264) -> torch.Tensor:
    noise = torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(4))
    return noise * 0.5 + torch.linspace(0.0, 0.5, width)[None, None, :, None]


def worst(result: torch.Tensor, whole: torch.Tensor) -> float:
    return float((result - whole).abs().max() / whole.std())


def test_the_nodes_are_known() -> None:
    registry = node_registry()
    assert all(name in registry for name in NAMES)


@pytest.mark.parametrize("mode", MODES)
def test_modes(vae: VaeModel, context: RunContext, mode: str) -> None:
    samples = {"samples": latent()}
    decoded = nodes.hires_vae_decode(samples=samples, vae=vae, mode=mode, tile_size=128, context=context)
    whole = comfy.vae_decode(samples=samples, vae=vae, context=context)
    encoded = nodes.hires_vae_encode(pixels=picture(), vae=vae, mode=mode, tile_size=128, context=context)["samples"]
    mean = comfy.vae_encode(pixels=picture(), vae=vae, context=context)["samples"]
    assert decoded.shape == whole.shape and encoded.shape == mean.shape == (1, 4, 25, 33)
    assert torch.isfinite(decoded).all() and torch.isfinite(encoded).all()
    if mode == "blend":
        assert worst(decoded, whole) > 100 * BOUND and worst(encoded, mean) > 100 * BOUND
    else:  # of so small a picture the sample of the fast mode holds every tile
        assert worst(decoded, whole) <= BOUND and worst(encoded, mean) <= BOUND


def test_fast_modes_differ_where_the_sample_is_not_all(
    vae: VaeModel, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hires.tiling import vae_tiled as tiling

    monkeypatch.setattr(tiling, "SAMPLE_TILES", 1)
    samples = {"samples": latent()}
    found = {}
    for fast in (True, False):
        found[fast] = nodes.tiled_vae_decode(samples=samples, vae=vae, tile_size=128, fast=fast, context=context)
    whole = comfy.vae_decode(samples=samples, vae=vae, context=context)
    assert worst(found[False], whole) <= BOUND < worst(found[True], whole) < 5
    mean = comfy.vae_encode(pixels=picture(), vae=vae, context=context)["samples"]
    errors = []
    for fast, colour in ((False, False), (True, True), (True, False)):
        node = nodes.tiled_vae_encode
        result = node(pixels=picture(), vae=vae, tile_size=128, fast=fast, color_fix=colour, context=context)
        errors.append(worst(result["samples"], mean))
    assert errors[0] <= BOUND < min(errors[1:]) and max(errors) < 5


def test_a_foreign_layout_is_blended_and_said(
    vae: VaeModel, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(context, "note", notes.append)
    vae.vae.register_to_config(act_fn="gelu")  # what the configuration says decides; the network is the same
    try:
        samples = {"samples": latent()}
        arguments = {"samples": samples, "vae": vae, "tile_size": 128, "context": context}
        exact = nodes.hires_vae_decode(mode="exact", **arguments)
        assert torch.equal(exact, nodes.hires_vae_decode(mode="blend", **arguments))
    finally:
        vae.vae.register_to_config(act_fn="silu")
    assert len(notes) == 1 and "blended instead of exact" in notes[0]


def overflowing(vae: VaeModel) -> VaeModel:
    """In half precision, with blocks whose numbers go beyond it and come back by the next norm."""
    from copy import deepcopy

    network = deepcopy(vae.vae)
    with torch.no_grad():
        for block in (network.decoder.up_blocks[-1].resnets[0], network.encoder.down_blocks[0].resnets[0]):
            block.conv1.weight.mul_(5e4)
    return replace(vae, vae=network)


@pytest.mark.parametrize("mode", ["untiled", "exact", "fast", "blend"])
def test_overflow_is_mended_and_said(
    vae: VaeModel, context: RunContext, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(context, "note", notes.append)
    wide = overflowing(vae)
    half = replace(wide, compute_dtype=torch.float16)
    half.vae.half()
    samples, pixels = {"samples": latent(4, 5)}, picture(32, 40)
    whole = overflowing(vae).decode(samples["samples"]), overflowing(vae).encode(pixels)
    assert not torch.isfinite(half.decode_raw(samples["samples"])).all()
    decoded = nodes.hires_vae_decode(samples=samples, vae=half, mode=mode, context=context)
    encoded = nodes.hires_vae_encode(pixels=pixels, vae=half, mode=mode, context=context)["samples"]
    assert torch.isfinite(decoded).all() and torch.isfinite(encoded).all()
    assert worst(decoded, whole[0]) < 0.05 and worst(encoded, whole[1]) < 0.05
    assert any("overflowed" in note and "decoder" in note for note in notes)
    assert any("overflowed" in note and "encoder" in note for note in notes)


def test_overflow_in_a_foreign_layout_is_mended_in_bfloat16(
    vae: VaeModel, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(context, "note", notes.append)
    monkeypatch.setattr("hires.nodes.vae_modes.is_known_layout", lambda network: False)
    half = replace(overflowing(vae), compute_dtype=torch.float16)
    half.vae.half()
    decoded = comfy.vae_decode(samples={"samples": latent(4, 5)}, vae=half, context=context)
    whole = overflowing(vae).decode(latent(4, 5))
    assert float((decoded - whole).pow(2).mean().sqrt() / whole.std()) < 0.1
    assert notes == ["half precision overflowed in the decoder: done again in bfloat16"]
