"""A VAE of the checkpoint's own name: which file that is, and who asks for it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from hires.api import Engine, Txt2Img
from hires.models.store import ModelStore
from hires.server.asking import txt2img_request
from hires.server.bodies import TextToImage
from hires.server.options import Options
from hires.settings import Settings

NAMES = ("paint.safetensors", "paint v2.ckpt", "sd.safetensors", "deep/mud.safetensors")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], None),
        (["checkpoints/paint.vae.pt"], "paint.vae.pt"),
        (["vae/paint.safetensors", "vae/paint-aa.pt"], "paint.safetensors"),
        (["vae/paint.safetensors"], "paint.safetensors"),
        (["vae/paint.vae.safetensors", "checkpoints/paint.vae.pt"], "paint.vae.pt"),
        (["vae/paint.safetensors", "vae/paint-aa.pt"], "paint.safetensors"),
        (["vae/paint-ema.pt", "checkpoints/Paint.vae.ckpt"], "Paint.vae.ckpt"),
        (["vae/paintings.safetensors", "vae/other.pt"], None),
        (["vae/sub/PAINT_ft.safetensors"], "sub/PAINT_ft.safetensors"),
    ],
)
def test_the_vae_of_a_name(files: list[str], found: str | None, tmp_path: Path) -> None:
    for name in (*(f"checkpoints/{one}" for one in NAMES), *files):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    store = ModelStore([tmp_path])
    assert store.own_vae("paint.safetensors") == found
    assert store.own_vae("deep/mud.safetensors") is None
    assert sorted(store.names("checkpoints")) == sorted(NAMES), "a VAE is no checkpoint"
    assert found is None or (store.find("vae", found).is_file() and found in store.names("vae"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, thin_models: Path) -> Engine:
    """Over a checkpoint beside which lies a VAE that draws brighter."""
    root = tmp_path_factory.mktemp("own_vae")
    folder = root / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    checkpoint = thin_models / "checkpoints" / "thin_sd15.safetensors"
    os.link(checkpoint, folder / "thin.safetensors")
    prefix = "first_stage_model."
    with safe_open(checkpoint, "pt") as file:
        tensors = {key.removeprefix(prefix): file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118
    tensors["decoder.conv_out.bias"] = tensors["decoder.conv_out.bias"] + 0.5
    save_file(tensors, folder / "thin.vae.safetensors")
    settings = Settings(models_dir=root / "models", output_dir=root / "o", cache_dir=root / "c", device="cpu")
    return Engine(settings)


def test_automatic_takes_it_and_says_so(engine: Engine) -> None:
    base = Txt2Img(prompt="x", checkpoint="thin", steps=1, width=64, height=64, seed=3)
    ways = {way: engine.txt2img(base, vae=way) for way in (None, "None", "Automatic", "thin.vae.safetensors")}
    light = {way: float(np.asarray(made.pictures[0]).mean()) for way, made in ways.items()}
    assert light["Automatic"] == light["thin.vae.safetensors"] > light[None] + 20
    assert light["None"] == light[None]
    texts = {way: made.pictures[0].info["parameters"] for way, made in ways.items()}
    assert ", VAE: thin.vae.safetensors" in texts["Automatic"] and ", VAE: " not in texts["None"]


def test_the_server_takes_it_unless_it_is_told_otherwise() -> None:
    def vae(options: dict[str, str], **fields: str) -> str | None:
        return txt2img_request(TextToImage(prompt="x", **fields), Options().all(options)).vae  # type: ignore[arg-type]

    assert vae({}) == "Automatic"
    assert vae({"sd_vae": "None"}) is None and vae({"sd_vae": "clear.pt"}) == "clear.pt"
    drawn = "x\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64"
    assert vae({}, infotext=drawn) is None, "an infotext says where a VAE was loaded"
    assert vae({}, infotext=f"{drawn}, VAE: clear.pt") == "clear.pt"
