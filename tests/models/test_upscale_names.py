"""Upscalers by the names that people know, from either program's folders; halos kept by file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from hires.errors import ModelFileError, SettingError
from hires.models.needs import bytes_per_pixel
from hires.models.store import ModelStore
from hires.models.upscale_names import file_of_title, find_upscaler, upscaler_file, upscaler_names
from hires.models.upscale_reach import CACHE_NAME, HaloCache


@pytest.fixture
def store(thin_models: Path, tmp_path: Path) -> ModelStore:
    compact = thin_models / "upscale_models" / "upscaler_compact_x4.safetensors"
    for place in (
        "RealESRGAN/RealESRGAN_x4plus.safetensors",
        "RealESRGAN/realesr-general-x4v3.safetensors",
        "ESRGAN/4x-UltraSharp.safetensors",
        "SwinIR/003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN.safetensors",
        "upscale_models/anime.safetensors",
    ):
        (tmp_path / "models" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(compact, tmp_path / "models" / place)
    return ModelStore([tmp_path / "models"], cache_dir=tmp_path / "cache")


def test_names_stand_in_the_web_uis_order(store: ModelStore) -> None:
    assert upscaler_names(store) == [
        "None",
        "Lanczos",
        "Nearest",
        "4x-UltraSharp",
        "anime",
        "R-ESRGAN 4x+",
        "R-ESRGAN General 4xV3",
        "SwinIR 4x",
    ]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("swinir_4X", "SwinIR 4x"),
        ("SwinIR 4x", "SwinIR 4x"),
        ("r-esrgan_4x+", "R-ESRGAN 4x+"),
        ("RealESRGAN_x4plus", "R-ESRGAN 4x+"),
        ("realesrgan_x4plus.safetensors", "R-ESRGAN 4x+"),
        ("4x-ultrasharp", "4x-UltraSharp"),
        ("LANCZOS", "Lanczos"),
        ("none", "None"),
    ],
)
def test_variants_of_a_name_are_equal(store: ModelStore, name: str, title: str) -> None:
    assert find_upscaler(store, name) == title


def test_a_file_that_is_missing_is_named(store: ModelStore) -> None:
    with pytest.raises(ModelFileError, match=r"DAT x4 needs the file DAT_x4\.pth.*models/DAT"):
        find_upscaler(store, "dat_x4")
    with pytest.raises(SettingError, match="could not find upscaler named 'x'"):
        find_upscaler(store, "x")
    assert upscaler_file(store, "SwinIR 4x").startswith("003_realSR")
    assert file_of_title(store, "r-esrgan 4X+") == "RealESRGAN_x4plus.safetensors"
    assert file_of_title(store, "Latent") == "Latent"
    with pytest.raises(SettingError, match="Lanczos has no file"):
        upscaler_file(store, "Lanczos")


def test_a_halo_is_measured_once_and_kept_by_file(thin_models: Path, tmp_path: Path) -> None:
    store = ModelStore([thin_models], cache_dir=tmp_path)
    model = store.upscaler("upscaler_esrgan_x4")
    with torch.inference_mode():
        halo = store.halos.of(model)
    assert halo.exact and halo.pixels > 0
    known = HaloCache(tmp_path)
    if (tmp_path / CACHE_NAME).exists():  # only a reach above the one that is used as it is was measured
        model.network.model.forward = None  # type: ignore[assignment]
    assert known.of(model) == halo


def test_memory_grows_with_the_network(thin_models: Path) -> None:
    store = ModelStore([thin_models])
    with torch.inference_mode():
        small, large = (bytes_per_pixel(store.upscaler(f"upscaler_{kind}_x4")) for kind in ("compact", "esrgan"))
    assert small > 4 * 3 * 16, "the enlarged picture alone takes as much"
    assert large > small
