"""ControlNet: the extension's lists, units of requests, and that a picture steers what is drawn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from safetensors.torch import save_file
from tests.models.test_models_controlnet import random_net
from tests.server.conftest import HERE, SMALL, coded, decoded, settings_in, shades, square_mask, told
from typer.testing import CliRunner

from hires.api import Engine, HiresFix, Txt2Img
from hires.cli import app
from hires.errors import HiresError, SettingError
from hires.models.checkpoint import load_checkpoint
from hires.recipes.controlnets import ControlNetUnit, check_units, parse_unit
from hires.server.app import create_app
from hires.server.controlnet import units_of

URL = "/sdapi/v1/txt2img"
NAME = "steer"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, thin_models: Path) -> Path:
    """Models of thin layers, and a ControlNet of their sizes whose zero convolutions are none."""
    folder = tmp_path_factory.mktemp("steered")
    for kind in ("checkpoints", "controlnet"):
        (folder / "models" / kind).mkdir(parents=True)
    shutil.copy(thin_models / "checkpoints" / "thin_sd15.safetensors", folder / "models" / "checkpoints")
    unet = load_checkpoint(folder / "models" / "checkpoints" / "thin_sd15.safetensors").model.unet
    tensors = {name: value.detach().contiguous() for name, value in random_net(unet).named_parameters()}
    save_file(tensors, folder / "models" / "controlnet" / f"{NAME}.safetensors")
    shades().save(folder / "hint.png")
    square_mask().convert("RGB").save(folder / "other.png")
    return folder


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[TestClient]:
    with TestClient(create_app(settings_in(home)), base_url=HERE) as found:
        yield found


def with_unit(**unit: Any) -> dict[str, Any]:
    full = {"image": coded(shades()), "model": NAME, "module": "none", **unit}
    return {**SMALL, "alwayson_scripts": {"ControlNet": {"args": [full]}}}


def pixels(answer: Any) -> np.ndarray:
    told(answer)
    return np.asarray(decoded(answer.json()["images"][0])).astype(int)


def test_lists_are_what_is_there(client: TestClient) -> None:
    assert [name.split(" ")[0] for name in client.get("/controlnet/model_list").json()["model_list"]] == [NAME]
    assert client.get("/controlnet/module_list").json()["module_list"] == ["none"]
    assert client.get("/controlnet/version").json() == {"version": 3}
    assert client.get("/controlnet/settings").json() == {"control_net_unit_count": 10}
    assert list(client.get("/controlnet/control_types").json()["control_types"]) == ["All"]
    assert client.post("/controlnet/detect", json={}).status_code == 404


def test_a_picture_steers_and_a_weight_of_0_does_not(client: TestClient) -> None:
    plain = pixels(client.post(URL, json=SMALL))
    steered = client.post(URL, json=with_unit())
    assert np.abs(pixels(steered) - plain).max() > 20
    text = told(steered)["infotexts"][0]
    assert f'ControlNet 0: "Module: none, Model: {NAME} [' in text and "Weight: 1.0" in text
    assert np.array_equal(pixels(client.post(URL, json=with_unit(weight=0))), plain)
    assert np.array_equal(pixels(client.post(URL, json=with_unit(enabled=False))), plain)
    assert np.array_equal(pixels(client.post(URL, json=with_unit(model="None"))), plain)
    half = pixels(client.post(URL, json=with_unit(weight=0.3)))
    assert 0 < np.abs(half - plain).mean() < np.abs(pixels(steered) - plain).mean()


def test_the_engine_draws_the_same(client: TestClient, home: Path, tmp_path: Path) -> None:
    engine = Engine(settings_in(home, output_dir=tmp_path))
    unit = ControlNetUnit(NAME, str(home / "hint.png"), weight=0.8, guidance_end=0.5, resize_mode="Just Resize")
    fields = {"prompt": SMALL["prompt"], "steps": 2, "width": 64, "height": 64, "seed": 7, "sampler": "Euler a"}
    drawn = engine.txt2img(controlnets=(unit,), **fields)
    answer = client.post(URL, json=with_unit(weight=0.8, guidance_end=0.5, resize_mode=0))
    assert np.array_equal(pixels(answer), np.asarray(drawn.pictures[0]))
    hires = HiresFix(upscaler="Lanczos", scale=1.5, denoise=0.5)
    sides = [
        np.asarray(
            engine.txt2img(
                controlnets=(ControlNetUnit(NAME, str(home / "hint.png"), passes=passes),), hires=hires, **fields
            ).pictures[0]
        ).tobytes()
        for passes in ("Both", "Low res only", "High res only")
    ]
    assert len(set(sides)) == 3


def test_the_picture_that_is_drawn_over_steers_where_no_other_is_sent(client: TestClient) -> None:
    body = {**with_unit(), "init_images": [coded(shades())], "denoising_strength": 0.7}
    named = pixels(client.post("/sdapi/v1/img2img", json=body))
    body["alwayson_scripts"]["ControlNet"]["args"][0].pop("image")
    assert np.array_equal(pixels(client.post("/sdapi/v1/img2img", json=body)), named)


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ({"model": "no such"}, "no file 'no such'"),
        ({"module": "canny"}, "preprocessor canny"),
        ({"control_mode": "ControlNet is more important"}, "balanced"),
        ({"control_mode": 2}, "balanced"),
        ({"mask": coded(square_mask())}, "mask"),
        ({"image": ""}, "no picture"),
        ({"image": "AAAA"}, "Invalid encoded image"),
        ({"weight": 9}, "weight"),
        ({"weight": "x"}, "weight"),
        ({"guidance_start": 0.8, "guidance_end": 0.2}, "starts after its end"),
        ({"resize_mode": "bent"}, "resize_mode"),
    ],
)
def test_what_a_unit_cannot_is_said(unit: dict[str, Any], words: str, client: TestClient) -> None:
    answer = client.post(URL, json=with_unit(**unit))
    assert answer.status_code == 400 and words in answer.json()["detail"]


def test_what_does_not_go_together_is_said(client: TestClient) -> None:
    body = {**with_unit(), "init_images": [coded(shades())]}
    for more in ({"mask": coded(square_mask())}, {"script_name": "sd upscale", "script_args": ["", 16]}):
        answer = client.post("/sdapi/v1/img2img", json={**body, **more})
        assert answer.status_code == 400 and "ControlNet does not go with" in answer.json()["detail"]


def test_units_are_read_from_lists(tmp_path: Path) -> None:
    assert units_of([False, None, {"enabled": False}, {"model": ""}], tmp_path, 10**6, None) == ()
    with pytest.raises(SettingError, match="no object"):
        units_of([5], tmp_path, 10**6, None)


def test_units_are_checked(home: Path, tmp_path: Path) -> None:
    unit = ControlNetUnit(NAME, "hint.png")
    with pytest.raises(SettingError, match="too many"):
        check_units([unit] * 11)
    engine = Engine(settings_in(home, input_dir=home / "models", output_dir=tmp_path))
    request = Txt2Img(prompt="x", steps=1, width=64, height=64)
    for image in ("hint.png", "../hint.png", "missing.png"):
        with pytest.raises(HiresError, match="there is no picture"):
            engine.txt2img(request, controlnets=(ControlNetUnit(NAME, image),))
    inside = Engine(settings_in(home, input_dir=home, output_dir=tmp_path))
    assert inside.txt2img(request, controlnets=(unit,)).pictures[0].size == (64, 64)


def test_units_of_the_command_line() -> None:
    assert parse_unit('"a, b", edges.png') == ControlNetUnit("a, b", "edges.png")
    assert parse_unit("canny,edges.png,0.8,0.1,0.5,Resize and Fill,High res only") == ControlNetUnit(
        "canny", "edges.png", 0.8, 0.1, 0.5, "Resize and Fill", "High res only"
    )
    assert parse_unit("canny,edges.png,,,0.5") == ControlNetUnit("canny", "edges.png", guidance_end=0.5)
    for text in ("", "canny", "canny,", ",edges.png", "canny,edges.png,much", "a,b,1,0,1,c,d,e"):
        with pytest.raises(SettingError, match="cannot be read"):
            parse_unit(text)


def test_the_command_steers(home: Path, tmp_path: Path) -> None:
    flags = ["--models-dir", str(home / "models"), "--size", "64", "--steps", "2", "--seed", "3", "-m", "thin_sd15"]
    drawn = []
    for number, control in enumerate(([], ["--control", f"{NAME},{home / 'hint.png'},0.7"])):
        folder = tmp_path / str(number)
        done = CliRunner().invoke(app, ["txt2img", "a castle", *flags, *control, "--output-dir", str(folder)])
        assert done.exit_code == 0, done.output
        drawn.append(Image.open(next(folder.glob("*.png"))))
    assert "Weight: 0.7" in drawn[1].info["parameters"]
    assert not np.array_equal(np.asarray(drawn[0]), np.asarray(drawn[1]))
