"""What there is to choose from, without loading torch; and that folders are looked into anew each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import save_file

from hires.sampling.schedules_webui import SCHEDULES
from hires.sampling.webui import SAMPLERS
from hires.server.lists import factor_in
from hires.server.scripts import SCRIPTS

API = "/sdapi/v1"


def got(client: TestClient, route: str) -> Any:
    answer = client.get(f"{API}/{route}")
    assert answer.status_code == 200
    return answer.json()


def test_models_by_title_and_place(client: TestClient) -> None:
    model, inpainting = got(client, "sd-models")
    assert set(model) == {"title", "model_name", "hash", "sha256", "filename", "config"}
    assert model["model_name"] == "hires-pocket" and model["filename"] == "models/checkpoints/hires-pocket.safetensors"
    assert model["hash"] is None or model["title"] == f"hires-pocket.safetensors [{model['hash']}]"
    assert inpainting["model_name"] == "hires-pocket-inpainting"


def test_new_files_are_seen_at_once(client: TestClient, home: Path) -> None:
    models = home / "models"
    for kind in ("Lora", "VAE", "embeddings", "hypernetworks", "ESRGAN"):
        (models / kind).mkdir(parents=True, exist_ok=True)
    save_file({"x": torch.zeros(1)}, models / "Lora" / "fine.safetensors", {"ss_output_name": "finer"})
    for name in (
        "VAE/warm.safetensors",
        "embeddings/good.pt",
        "hypernetworks/h.pt",
        "ESRGAN/RealESRGAN_x4plus.pth",
        "ESRGAN/2x-Own.pth",
    ):
        (models / name).write_bytes(b"x")
    own, built_in = got(client, "loras")
    assert built_in["name"] == "hires-pocket-woodcut"
    assert [own] == [
        {
            "name": "fine",
            "alias": "finer",
            "path": "models/Lora/fine.safetensors",
            "metadata": {"ss_output_name": "finer"},
        }
    ]
    assert got(client, "sd-vae") == [{"model_name": "warm.safetensors", "filename": "models/VAE/warm.safetensors"}]
    assert got(client, "sd-modules") == got(client, "sd-vae")
    assert list(got(client, "embeddings")["loaded"]) == ["good", "hires-pocket-mika"]
    assert got(client, "embeddings")["skipped"] == {}
    assert got(client, "hypernetworks") == [{"name": "h", "path": "models/hypernetworks/h.pt"}]
    upscalers = got(client, "upscalers")
    assert [(one["name"], one["scale"]) for one in upscalers] == [
        ("None", 4),
        ("Lanczos", 4),
        ("Nearest", 4),
        ("2x-Own", 2),
        ("hires-pocket-x4", 4),
        ("R-ESRGAN 4x+", 4),
    ]
    assert got(client, "realesrgan-models") == [
        {"name": "R-ESRGAN 4x+", "path": "models/ESRGAN/RealESRGAN_x4plus.pth", "scale": 4}
    ]
    for route in ("refresh-checkpoints", "refresh-vae", "refresh-loras", "refresh-embeddings"):
        assert client.post(f"{API}/{route}").json() is None
    for name in ("Lora/fine.safetensors", "VAE/warm.safetensors"):
        (models / name).unlink()
    assert [one["name"] for one in got(client, "loras")] == ["hires-pocket-woodcut"], "the built-in one is left"


def test_samplers_and_schedules_are_those_that_draw(client: TestClient) -> None:
    samplers = {one["name"]: one for one in got(client, "samplers")}
    assert list(samplers) == [entry.label for entry in SAMPLERS]
    assert samplers["DPM++ 2M"]["options"] == {"scheduler": "karras"}
    assert samplers["DPM++ SDE"]["options"] == {"scheduler": "karras", "second_order": "True", "brownian_noise": "True"}
    assert samplers["Euler a"]["aliases"] == ["k_euler_a", "k_euler_ancestral"]
    schedules = got(client, "schedulers")
    assert [one["label"] for one in schedules] == ["Automatic", *(entry.label for entry in SCHEDULES)]
    assert {one["name"]: one["default_rho"] for one in schedules}["karras"] == 7.0


def test_latent_modes_styles_restorers_and_nothing(client: TestClient) -> None:
    assert [one["name"] for one in got(client, "latent-upscale-modes")][::5] == ["Latent", "Latent (nearest-exact)"]
    assert got(client, "prompt-styles") == [{"name": "sunny", "prompt": "{prompt}, sun", "negative_prompt": "rain"}]
    assert [one["name"] for one in got(client, "face-restorers")] == ["CodeFormer", "GFPGAN"]
    assert got(client, "extensions") == []


def test_scripts_are_told_with_their_arguments(client: TestClient) -> None:
    titles = got(client, "scripts")
    assert "x/y/z plot" in titles["txt2img"] and "sd upscale" not in titles["txt2img"]
    assert {"sd upscale", "loopback", "soft inpainting"} < set(titles["img2img"])
    told = {(one["name"], one["is_img2img"]): one for one in got(client, "script-info")}
    assert len(told) == sum(len(script.tabs) for script in SCRIPTS)
    overlap = told["sd upscale", True]["args"][1]
    assert overlap == {"label": "Tile overlap", "value": 64, "minimum": 0, "maximum": 256, "step": 16, "choices": None}


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("4x-UltraSharp", 4),
        ("RealESRGAN_x2plus", 2),
        ("DAT x3", 3),
        ("R-ESRGAN 4x+ Anime6B", 4),
        ("ESRGAN", None),
        ("realesr-general-x4v3", 4),
        ("1x-ITF", 1),
        ("SwinIR_4x", 4),
        ("ScuNET", None),
    ],
)
def test_a_factor_is_read_from_a_name(name: str, factor: int | None) -> None:
    assert factor_in(name) == factor


def test_memory_flags_and_the_server_itself(client: TestClient) -> None:
    memory = got(client, "memory")
    assert memory["ram"]["used"] < memory["ram"]["total"] and memory["cuda"] == {"error": "unavailable"}
    assert got(client, "cmd-flags") == {"api": True}
    assert client.get("/").json()["name"] == "hires"
    assert client.get("/internal/ping").json() == {}
    assert isinstance(client.get("/app_id").json()["app_id"], int)
    assert "Version" in client.get("/internal/sysinfo").json()
    for route in ("server-kill", "server-stop", "server-restart"):
        assert client.post(f"{API}/{route}").status_code == 404
    for route in ("create/embedding", "train/hypernetwork"):
        assert client.post(f"{API}/{route}").status_code == 404
    for route in ("artists", "artist-categories"):
        assert client.get(f"{API}/{route}").json()["detail"] == "Not Found"


def test_answers_say_how_long_they_took_and_are_packed(client: TestClient) -> None:
    answer = client.get(f"{API}/script-info", headers={"Accept-Encoding": "gzip"})
    assert float(answer.headers["x-process-time"]) >= 0 and answer.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in client.get(f"{API}/extensions").headers


LIGHT = """
import sys
from pathlib import Path
from fastapi.testclient import TestClient
from hires.server.app import create_app
from hires.settings import Settings
app = create_app(Settings(models_dir=Path("models"), cache_dir=Path("cache"), device="cpu"))
with TestClient(app, base_url="http://127.0.0.1") as client:
    for route in {routes}:
        assert client.get(route).status_code == 200, route
assert "torch" not in sys.modules, "torch was loaded"
"""
LISTS = (
    "sd-models",
    "sd-vae",
    "loras",
    "embeddings",
    "hypernetworks",
    "upscalers",
    "samplers",
    "schedulers",
    "options",
    "latent-upscale-modes",
    "prompt-styles",
    "scripts",
    "script-info",
    "face-restorers",
    "memory",
    "progress",
    "cmd-flags",
)


def test_nothing_of_it_loads_torch(tmp_path: Path) -> None:
    routes = ["/", "/docs", "/openapi.json", *(f"{API}/{name}" for name in LISTS)]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(routes=routes)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
