"""Options: all of a change or nothing, kept in a file, and what they change in a request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import SMALL, told

from hires.errors import SettingError
from hires.server.option_table import OPTIONS
from hires.server.options import Options, UnknownOption, checked

URL = "/sdapi/v1/options"
NAME = "hires-pocket.safetensors"


def test_every_option_is_told_with_its_default(client: TestClient) -> None:
    values = client.get(URL).json()
    assert set(OPTIONS) < set(values)
    assert values["sd_model_checkpoint"].startswith(NAME) and values["samples_format"] == "png"


@pytest.mark.parametrize(
    "change",
    [
        {"no_such_option": 1},
        {"CLIP_stop_at_last_layers": "two"},
        {"samples_format": "gif"},
        {"samples_format": 3},
        {"tiling": "both"},
        {"save_txt": True},
        {"uni_pc_variant": "bh9"},
        {"s_churn": "a"},
        {"img2img_fix_steps": 1},
        {"sdxl_crop_top": 5},
        {"sd_noise_schedule": "Zero"},
    ],
)
def test_a_change_that_cannot_be_changes_nothing(change: dict[str, Any], client: TestClient) -> None:
    before = client.get(URL).json()
    answer = client.post(URL, json={"jpeg_quality": 33, **change})
    assert answer.status_code == 422 and next(iter(change)) in answer.json()["detail"]
    assert client.get(URL).json() == before
    drawn = client.post("/sdapi/v1/txt2img", json={**SMALL, "override_settings": change})
    assert drawn.status_code == 422, "an override is no different"


def test_changes_are_kept_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "sub" / "options.json"
    Options(file).apply({"jpeg_quality": 55, "s_churn": 1, "CLIP_stop_at_last_layers": 2.0})
    assert json.loads(file.read_text()) == {"jpeg_quality": 55, "s_churn": 1.0, "CLIP_stop_at_last_layers": 2}
    found = Options(file)
    assert found.all()["jpeg_quality"] == 55
    found.apply({"jpeg_quality": None})
    assert "jpeg_quality" not in json.loads(file.read_text())


@pytest.mark.parametrize("text", ["[1]", "{", '{"jpeg_quality": "x"}'])
def test_a_file_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "o.json").write_text(text)
    with pytest.raises(SettingError):
        Options(tmp_path / "o.json")


def test_overrides_do_not_change_the_options() -> None:
    options = Options()
    assert options.all({"eta_noise_seed_delta": 31337})["eta_noise_seed_delta"] == 31337
    assert options.all()["eta_noise_seed_delta"] == 0
    with pytest.raises(UnknownOption):
        options.all({"x": 1})


def test_what_a_client_got_it_may_send_back(client: TestClient) -> None:
    values = client.get(URL).json()
    assert checked(values)
    assert client.post(URL, json=values).status_code == 200


def test_a_checkpoint_is_found_by_a_part_of_its_name_and_loaded(client: TestClient) -> None:
    assert client.post(URL, json={"sd_model_checkpoint": "pocket"}).json() is None
    assert client.get(URL).json()["sd_model_checkpoint"].startswith(NAME)
    refused = client.post(URL, json={"sd_model_checkpoint": "nothing like it", "jpeg_quality": 5})
    assert refused.status_code == 400 and refused.json()["detail"] == "model 'nothing like it' not found"
    assert client.get(URL).json()["jpeg_quality"] != 5


def test_options_reach_the_picture_and_overrides_end_with_it(client: TestClient) -> None:
    overrides = {"CLIP_stop_at_last_layers": 2, "eta_noise_seed_delta": 31337, "randn_source": "CPU"}
    info = told(client.post("/sdapi/v1/txt2img", json={**SMALL, "override_settings": overrides}))
    assert info["clip_skip"] == 2 and "ENSD: 31337" in info["infotexts"][0] and "RNG: CPU" in info["infotexts"][0]
    assert told(client.post("/sdapi/v1/txt2img", json=SMALL))["clip_skip"] == 1
    stay = {
        **SMALL,
        "override_settings": {"CLIP_stop_at_last_layers": 3},
        "override_settings_restore_afterwards": False,
    }
    client.post("/sdapi/v1/txt2img", json=stay)
    assert client.get(URL).json()["CLIP_stop_at_last_layers"] == 3
    assert client.post(URL, json={"CLIP_stop_at_last_layers": 1}).status_code == 200
