"""Weights of UNets in 8 bits: which, how large, and that a call is that of the rounded weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.models.test_models_walk import inputs_for
from torch import nn

from hires.models.checkpoint import load_checkpoint
from hires.models.layers import lay
from hires.models.needs import unet_need
from hires.models.precision import FLOAT8, in_float8
from hires.models.store import ModelStore, held_bytes


@pytest.fixture(scope="module")
def store(thin_models: Path) -> ModelStore:
    return ModelStore([thin_models])


def test_modes() -> None:
    assert [in_float8(mode, "sd1") for mode in ("off", "sdxl", "all")] == [False, False, True]
    assert [in_float8(mode, "sdxl_refiner") for mode in ("off", "sdxl", "all")] == [False, True, True]


def test_layers_and_convolutions_are_held_in_a_byte_a_weight(store: ModelStore) -> None:
    plain, small = store.checkpoint("thin_sd15"), store.checkpoint("thin_sd15", float8="all")
    assert plain.model is not None and small.model is not None
    unet = small.model.unet
    for module in unet.modules():
        for parameter in module.parameters(recurse=False):
            assert (parameter.dtype == FLOAT8) == isinstance(module, nn.Linear | nn.Conv2d)
    whole, held = (sum(p.nbytes for p in one.parameters()) for one in (plain.model.unet, unet))
    assert held < 0.27 * whole, "a quarter, and norms"
    assert held_bytes(plain) - held_bytes(small) == whole - held, "the memory's plan knows it"
    assert small.model.identity != plain.model.identity
    assert small.vae is not None and {p.dtype for p in small.vae.vae.parameters()} == {torch.float32}


def test_only_sdxl_where_only_that_is_asked_for(store: ModelStore) -> None:
    sd1, sdxl = (store.checkpoint(name, float8="sdxl").model for name in ("thin_sd15", "thin_sdxl_base"))
    assert sd1 is not None and sdxl is not None
    assert all(p.dtype != FLOAT8 for p in sd1.unet.parameters())
    assert any(p.dtype == FLOAT8 for p in sdxl.unet.parameters())
    usual = store.checkpoint("thin_sd15").model
    assert usual is not None and sd1.identity == usual.identity, "its pictures are shared with those of plain runs"


def test_a_call_is_that_of_the_rounded_weights(store: ModelStore, thin_models: Path) -> None:
    small = store.checkpoint("thin_sd15", float8="all").model
    rounded = load_checkpoint(thin_models / "checkpoints" / "thin_sd15.safetensors").model
    assert small is not None and rounded is not None
    inputs = inputs_for(small)
    plain = rounded.predict(*inputs)
    with torch.no_grad():
        for module in rounded.unet.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                for parameter in module.parameters(recurse=False):
                    parameter.copy_(parameter.to(FLOAT8).float())
    made = small.predict(*inputs)
    torch.testing.assert_close(made, rounded.predict(*inputs), rtol=0, atol=1e-5)
    assert 1e-3 < float((made - plain).norm() / plain.norm()) < 0.5


def test_changes_are_laid_over_them_and_memory_is_planned(store: ModelStore) -> None:
    model = store.checkpoint("thin_sd15", float8="all").model
    assert model is not None
    name = "conv_in.weight"
    changed, _ = lay(model.unet, None, {name: lambda value: value * 2})
    before, after = (dict(unet.named_parameters())[name] for unet in (model.unet, changed))
    assert after.dtype == FLOAT8 and torch.equal(after.float(), before.float() * 2)
    assert unet_need(model, 32, 32, 2) > 0
