"""Upscaler files: recognised by their tensors, nested or prefixed as trainers write them, and refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from spandrel import ModelLoader

from hires.errors import ModelFileError
from hires.models.checkpoint import Placement
from hires.models.inspection import inspect
from hires.models.store import ModelStore
from hires.models.upscale import load_upscaler


@pytest.mark.parametrize(
    ("name", "architecture"), [("upscaler_compact_x4", "RealESRGAN Compact"), ("upscaler_esrgan_x4", "ESRGAN")]
)
def test_a_network_is_known_by_its_tensors(thin_models: Path, name: str, architecture: str) -> None:
    path = thin_models / "upscale_models" / f"{name}.safetensors"
    model = load_upscaler(path)
    assert (model.architecture, model.scale) == (architecture, 4)
    pixels = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(1))
    expected = ModelLoader().load_from_state_dict(load_file(path))(pixels)
    result = model.upscale(pixels)
    assert result.shape == (1, 3, 48, 40) and result.dtype == torch.float32
    assert torch.allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("nest", ["params_ema", "params", "state_dict"])
def test_torch_files_are_unwrapped_and_lose_their_prefix(thin_models: Path, tmp_path: Path, nest: str) -> None:
    plain = thin_models / "upscale_models" / "upscaler_compact_x4.safetensors"
    state = {f"module.{key}": value for key, value in load_file(plain).items()}
    path = tmp_path / "wrapped.pth"
    torch.save({nest: state}, path)
    pixels = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    assert torch.equal(load_upscaler(path).upscale(pixels), load_upscaler(plain).upscale(pixels))
    assert not inspect(path).problem


def test_the_averaged_weights_win(thin_models: Path, tmp_path: Path) -> None:
    state = load_file(thin_models / "upscale_models" / "upscaler_compact_x4.safetensors")
    path = tmp_path / "both.pth"
    torch.save({"params": {key: value * 0 for key, value in state.items()}, "params_ema": state}, path)
    assert load_upscaler(path).upscale(torch.rand(1, 3, 8, 8)).std() > 0


def test_half_precision_only_where_it_holds(thin_models: Path) -> None:
    path = thin_models / "upscale_models" / "upscaler_compact_x4.safetensors"
    half = load_upscaler(path, Placement(compute_dtype=torch.float16))
    wide = load_upscaler(path, Placement(compute_dtype=torch.bfloat16))
    assert (half.compute_dtype, wide.compute_dtype) == (torch.float16, torch.float32)
    assert half.identity != wide.identity


def test_what_overflows_in_half_precision_is_done_again_in_full(thin_models: Path, tmp_path: Path) -> None:
    state = load_file(thin_models / "upscale_models" / "upscaler_compact_x4.safetensors")
    last = max((key for key in state if key.endswith("weight")), key=lambda key: int(key.split(".")[1]))
    first = min((key for key in state if key.endswith("weight")), key=lambda key: int(key.split(".")[1]))
    state[first], state[last] = state[first] * 60_000, state[last] / 60_000
    path = tmp_path / "steep.safetensors"
    save_file(state, path)
    pixels = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    half = load_upscaler(path, Placement(compute_dtype=torch.float16)).upscale(pixels)
    assert torch.isfinite(half).all()
    assert torch.allclose(half, load_upscaler(path).upscale(pixels), atol=0.05)


def test_a_checkpoint_is_no_upscaler(thin_models: Path) -> None:
    path = thin_models / "loras" / "lora_thin_sd15.safetensors"
    with pytest.raises(ModelFileError, match=r"lora_thin_sd15\.safetensors: this is a LoRA, not an upscaler"):
        load_upscaler(path)


def test_unknown_and_broken_files_are_named(thin_models: Path, tmp_path: Path) -> None:
    unknown = tmp_path / "odd.safetensors"
    save_file({"something": torch.zeros(2)}, unknown)
    with pytest.raises(ModelFileError, match="no upscaler of a known architecture"):
        load_upscaler(unknown)
    state = load_file(thin_models / "upscale_models" / "upscaler_esrgan_x4.safetensors")
    state.pop("conv_body.weight", None)
    state.pop(next(key for key in state if "body.0" in key and key.endswith("weight")))
    short = tmp_path / "short.safetensors"
    save_file(state, short)
    with pytest.raises(ModelFileError, match=r"short\.safetensors: "):
        load_upscaler(short)


def test_the_store_keeps_upscalers(thin_models: Path, tmp_path: Path) -> None:
    store = ModelStore([thin_models], cache_dir=tmp_path)
    model = store.upscaler("upscaler_compact_x4")
    assert store.upscaler("upscaler_compact_x4.safetensors") is model
    with pytest.raises(ModelFileError, match="no file 'nothing'"):
        store.upscaler("nothing")
