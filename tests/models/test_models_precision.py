"""Half-precision weights computing in float32: the very numbers of converting first."""

from __future__ import annotations

import copy
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hires.models.checkpoint import Placement, load_checkpoint
from hires.models.precision import held_dtype, hold


def test_layers_give_the_bits_of_converting_first() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1, stride=2),
        nn.GroupNorm(4, 8),
        nn.Flatten(2),
        nn.LayerNorm(16),
        nn.Linear(16, 5, bias=False),
    )
    x = torch.randn(2, 4, 8, 8)
    for dtype in (torch.float16, torch.bfloat16):
        net.to(dtype)
        converted = [p.detach().float() for p in net.parameters()]
        first = nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1, stride=2),
            nn.GroupNorm(4, 8),
            nn.Flatten(2),
            nn.LayerNorm(16),
            nn.Linear(16, 5, bias=False),
        )
        for parameter, value in zip(first.parameters(), converted, strict=True):
            parameter.data = value
        hold(net, torch.float32)
        assert torch.equal(net(x), first(x)) and net(x).dtype == torch.float32
        assert {p.dtype for p in net.parameters()} == {dtype}


def test_one_scratch_serves_layers_threads_and_modes() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 50), nn.Linear(50, 7), nn.Linear(7, 90)).half()
    expected_of = [(layer.weight.float(), layer.bias.float()) for layer in net]
    hold(net, torch.float32)
    net.requires_grad_(False)

    def expected(x: torch.Tensor) -> torch.Tensor:
        for weight, bias in expected_of:
            x = nn.functional.linear(x, weight, bias)
        return x

    x = torch.randn(3, 6)
    with torch.inference_mode():
        assert torch.equal(net(x), expected(x))
    assert torch.equal(copy.deepcopy(net)(x), expected(x))
    inputs = [torch.randn(3, 6) for _ in range(40)]
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(net, inputs))
    assert all(torch.equal(ours, expected(x)) for ours, x in zip(outputs, inputs, strict=True))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).sum(), x)
    assert torch.equal(gradient, torch.autograd.grad(expected(x).sum(), x)[0])


def test_embeddings_come_out_in_the_computing_precision() -> None:
    table = nn.Embedding(10, 3).half()
    expected = table(torch.tensor([1, 7])).float()
    hold(table, torch.float32)
    assert torch.equal(table(torch.tensor([1, 7])), expected)


def test_unknown_layers_are_not_passed_over() -> None:
    with pytest.raises(TypeError, match="no held form of Conv1d"):
        hold(nn.Conv1d(1, 1, 1).half(), torch.float32)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["thin_sd15", "thin_sdxl_base"])
def test_networks_give_the_bits_of_converting_first(thin_models: Path, name: str, dtype: str) -> None:
    path = thin_models / "checkpoints" / f"{name}.safetensors"
    held = load_checkpoint(path, Placement(weights=dtype)).model
    first = load_checkpoint(path, Placement(weights="float32")).model
    assert held is not None and first is not None
    for parameter in first.unet.parameters():
        parameter.data = parameter.data.to(getattr(torch, dtype)).float()
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(1, 4, 9, 8, generator=generator)
    context = torch.randn(1, 77, held.unet.config.cross_attention_dim, generator=generator)
    vector = torch.randn(1, held.vector_width, generator=generator) if held.vector_width else None
    ours, theirs = (model.predict(x, torch.tensor([499.5]), context, vector) for model in (held, first))
    assert ours.dtype == torch.float32 and torch.equal(ours, theirs)


def test_half_files_of_small_models_are_converted_once(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("shared_conftest", Path(__file__).parents[1] / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = module.make_checkpoint("thin_sd15", tmp_path / "half.safetensors", "float16")
    checkpoint = load_checkpoint(path)
    assert checkpoint.model is not None and checkpoint.dtype == "float16"
    assert {p.dtype for p in checkpoint.model.unet.parameters()} == {torch.float32}


ALL = st.sampled_from([torch.float16, torch.bfloat16, torch.float32])


@settings(deadline=None)
@given(stored=ALL, compute=ALL, numbers=st.integers(1, 10**10), policy=st.sampled_from(["auto", "float32", "float16"]))
def test_policy(stored: torch.dtype, compute: torch.dtype, numbers: int, policy: str) -> None:
    held = held_dtype(policy, stored, numbers, compute)
    if policy != "auto":
        assert held == getattr(torch, policy)
    else:
        assert held in (stored, compute) and held.itemsize <= compute.itemsize
        if numbers < 500_000_000:
            assert held == compute
        elif stored.itemsize < compute.itemsize:
            assert held == stored
