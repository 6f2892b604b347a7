"""Extras, PNG info and interrogate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, PngImagePlugin
from tests.models.captioner_files import write_blip
from tests.server.conftest import HERE, SMALL, coded, decoded, settings_in, shades, square_mask, told

from hires.metadata.infotext import read_infotext
from hires.server.app import create_app
from hires.server.parsed import parsed

API = "/sdapi/v1"


def single(client: TestClient, **fields: Any) -> Any:
    """The answer to one picture."""
    return client.post(f"{API}/extra-single-image", json={"image": coded(shades()), **fields})


def test_one_picture_by_a_factor_and_to_a_size(client: TestClient) -> None:
    larger = single(client, upscaler_1="Lanczos", upscaling_resize=1.5)
    assert larger.status_code == 200
    picture = decoded(larger.json()["image"])
    expected = np.asarray(shades().resize((96, 96), Image.Resampling.LANCZOS)).astype(int)
    assert picture.size == (96, 96) and np.abs(np.asarray(picture).astype(int) - expected).max() <= 1
    assert larger.json()["html_info"] == "<p>Postprocess upscale by: 1.5, Postprocess upscaler: Lanczos</p>"
    assert picture.info["postprocessing"] == "Postprocess upscale by: 1.5, Postprocess upscaler: Lanczos"
    to = {"upscaler_1": "Nearest", "resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 60}
    assert decoded(single(client, **to).json()["image"]).size == (100, 60)
    assert decoded(single(client, **to, upscaling_crop=False).json()["image"]).size == (100, 100)


def test_no_upscaler_changes_nothing(client: TestClient) -> None:
    answer = single(client)
    assert np.array_equal(np.asarray(decoded(answer.json()["image"])), np.asarray(shades()))


def test_two_upscalers_are_mixed(client: TestClient) -> None:
    edges = {"image": coded(square_mask().convert("RGB"))}
    both = {"upscaler_1": "Lanczos", "upscaler_2": "Nearest", "extras_upscaler_2_visibility": 0.5}
    mixed, first, second = (
        np.asarray(decoded(single(client, **edges, **fields).json()["image"])).astype(float)
        for fields in (both, {"upscaler_1": "Lanczos"}, {"upscaler_1": "Nearest"})
    )
    assert np.abs(mixed - (first + second) / 2).max() <= 1 and np.abs(first - second).max() > 2


def test_a_batch_is_done_in_its_order(client: TestClient) -> None:
    pictures = [shades(), square_mask().convert("RGB")]
    body = {
        "imageList": [{"data": coded(one), "name": f"../{number}"} for number, one in enumerate(pictures)],
        "upscaler_1": "Nearest",
        "upscaling_resize": 2,
    }
    answer = client.post(f"{API}/extra-batch-images", json=body)
    found = [np.asarray(decoded(text)) for text in answer.json()["images"]]
    assert [
        np.array_equal(one[::2, ::2], np.asarray(picture)) for one, picture in zip(found, pictures, strict=True)
    ] == [True] * 2


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"upscaler_1": "No such"}, 400),
        ({"upscaling_resize": 0}, 422),
        ({"resize_mode": 2}, 422),
        ({"upscaling_resize": 1e9, "upscaler_1": "Lanczos"}, 400),
        ({"codeformer_weight": 2}, 422),
        ({"gfpgan_visibility": 1.0}, 400),
        ({"image": None}, 400),
        ({"resize_mode": 1, "upscaling_resize_w": 10**6, "upscaler_1": "Lanczos"}, 400),
    ],
)
def test_mistakes_are_answered_in_words(fields: dict[str, Any], status: int, client: TestClient) -> None:
    answer = single(client, **fields)
    assert answer.status_code == status, answer.text[:300]
    assert client.post(f"{API}/extra-batch-images", json={"imageList": []}).status_code == 404


def test_info_of_a_picture_that_was_drawn_here(client: TestClient) -> None:
    drawn = client.post(f"{API}/txt2img", json={**SMALL, "prompt": "(a:1.2), b", "negative_prompt": "c"})
    answer = client.post(f"{API}/png-info", json={"image": drawn.json()["images"][0]}).json()
    assert answer["info"] == told(drawn)["infotexts"][0]
    fields = answer["parameters"]
    assert (fields["Prompt"], fields["Negative prompt"], fields["Seed"]) == ("(a:1.2), b", "c", "7")
    assert (fields["Size-1"], fields["Size-2"], fields["Emphasis"]) == ("64", "64", "Original")
    assert {"prompt", "workflow"} <= set(answer["items"])


def test_info_of_other_pictures(client: TestClient) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "mine")
    assert client.post(f"{API}/png-info", json={"image": coded(shades())}).json() == {
        "info": "",
        "items": {},
        "parameters": {},
    }
    picture = shades()
    picture.info["Title"] = "mine"
    from base64 import b64encode
    from io import BytesIO

    out = BytesIO()
    picture.save(out, "PNG", pnginfo=info)
    answer = client.post(f"{API}/png-info", json={"image": b64encode(out.getvalue()).decode()}).json()
    assert answer["items"] == {"Title": "mine"} and answer["info"] == ""


def test_what_is_missing_in_an_infotext_is_at_its_default() -> None:
    fields = parsed("x\nSteps: 1, Sampler: Euler, Size: 8x8, RNG: CPU")
    assert (fields["RNG"], fields["Clip skip"], fields["Hires resize-2"]) == ("CPU", "1", "0")
    assert "Emphasis" not in fields and parsed(" \n") == {}
    text = 'x\nSteps: 1, Sampler: Euler, Size: 8x8, Odd field: "a, b: c"'
    assert parsed(text)["Odd field"] == "a, b: c" == read_infotext(text).fields["Odd field"]


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [({"image": None}, 404, "Image not found"), ({"image": coded(shades()), "model": "blip9"}, 404, "Model not found")],
)
def test_interrogating_what_is_not_there(body: dict[str, Any], status: int, detail: str, client: TestClient) -> None:
    answer = client.post(f"{API}/interrogate", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (status, detail)


@pytest.mark.parametrize("model", ["clip", "deepdanbooru"])
def test_without_a_captioning_model_it_says_how_to_add_one(model: str, client: TestClient) -> None:
    answer = client.post(f"{API}/interrogate", json={"image": coded(shades()), "model": model})
    assert answer.status_code == 400 and "models" in answer.json()["detail"]


def test_a_captioning_model_gives_words(tmp_path: Path) -> None:
    write_blip(tmp_path / "models" / "BLIP", always="castle")
    with TestClient(create_app(settings_in(tmp_path)), base_url=HERE) as client:
        answer = client.post(f"{API}/interrogate", json={"image": coded(shades())})
    assert answer.status_code == 200 and "castle" in answer.json()["caption"]
