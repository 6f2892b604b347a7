"""POST /sdapi/v1/txt2img: the pixels of `hires txt2img`, and every field of the interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import SMALL, decoded, settings_in, told

from hires.api import Engine, HiresFix
from hires.metadata.infotext import read_infotext
from hires.recipes.infotext import request_from
from hires.server.asking import txt2img_request
from hires.server.bodies import TextToImage
from hires.server.options import Options

URL = "/sdapi/v1/txt2img"


def asked(**fields: Any) -> Any:
    """The request that a body asks for."""
    return txt2img_request(TextToImage(**fields), Options().all())


def test_its_pixels_are_those_of_the_command(client: TestClient, home: Path, tmp_path: Path) -> None:
    before = set(home.rglob("*.png"))
    body = {
        **SMALL,
        "batch_size": 2,
        "n_iter": 2,
        "enable_hr": True,
        "hr_scale": 1.5,
        "denoising_strength": 0.6,
        "hr_upscaler": "Latent (bicubic)",
    }
    answer = client.post(URL, json=body)
    info = told(answer)
    hires = HiresFix(upscaler="Latent (bicubic)", scale=1.5, denoise=0.6)
    fields = {"prompt": SMALL["prompt"], "steps": 2, "width": 64, "height": 64, "seed": 7, "sampler": "Euler a"}
    drawn = Engine(settings_in(tmp_path)).txt2img(**fields, hires=hires, batch_size=2, batch_count=2)
    images = answer.json()["images"]
    assert len(images) == 4
    for text, picture in zip(images, drawn.pictures, strict=True):
        assert np.array_equal(np.asarray(decoded(text)), np.asarray(picture))
    assert info["all_seeds"] == [7, 8, 9, 10] and info["index_of_first_image"] == 0
    assert info["infotexts"] == [decoded(text).info["parameters"] for text in images]
    assert set(home.rglob("*.png")) == before, "nothing is saved unless asked for"


def test_choices_in_a_prompt_follow_the_seed_of_each_picture(client: TestClient) -> None:
    body = {**SMALL, "prompt": "1girl, {red|blue|green|pink} hair", "steps": 1, "batch_size": 2, "n_iter": 3}
    prompts = told(client.post(URL, json=body))["all_prompts"]
    alone = [
        told(client.post(URL, json={**body, "seed": 7 + k, "batch_size": 1, "n_iter": 1}))["prompt"] for k in range(6)
    ]
    assert prompts == alone and len(set(prompts)) > 1


def test_info_and_parameters_are_whole(client: TestClient) -> None:
    answer = client.post(
        URL, json={**SMALL, "negative_prompt": "blurry", "styles": ["sunny"], "subseed": 3, "subseed_strength": 0.25}
    )
    info, parameters = told(answer), answer.json()["parameters"]
    assert set(TextToImage.model_fields) == set(parameters)
    assert parameters["steps"] == 2 and parameters["n_iter"] == 1 and parameters["seed"] == 7
    assert info["prompt"] == "1girl, pink hair, smile, sun" and info["negative_prompt"] == "blurry, rain"
    assert (info["seed"], info["subseed"], info["subseed_strength"]) == (7, 3, 0.25)
    assert (info["width"], info["height"], info["steps"], info["cfg_scale"]) == (64, 64, 2, 7.0)
    assert info["sampler_name"] == "Euler a" and info["extra_generation_params"]["Schedule type"] == "Uniform"
    assert info["sd_model_name"] == "hires-pocket" and len(info["sd_model_hash"]) == 10
    assert info["styles"] == ["sunny"] and info["denoising_strength"] is None
    assert len(info["job_timestamp"]) == 14 and info["version"].startswith("hires")
    assert {
        "all_prompts",
        "all_negative_prompts",
        "all_subseeds",
        "batch_size",
        "restore_faces",
        "clip_skip",
        "face_restoration_model",
        "sd_vae_name",
        "sd_vae_hash",
        "seed_resize_from_w",
        "seed_resize_from_h",
        "is_using_inpainting_conditioning",
    } < set(info)


def test_what_clients_send_by_default_draws_the_same(client: TestClient) -> None:
    usual = {
        "eta": 1.0,
        "s_tmax": 0,
        "s_churn": 0,
        "s_tmin": 0,
        "s_noise": 1,
        "scheduler": "automatic",
        "hr_checkpoint_name": "",
        "seed_resize_from_h": 0,
        "tiling": False,
        "restore_faces": False,
        "styles": None,
        "hr_sampler_name": None,
        "override_settings": {},
        "do_not_save_grid": False,
        "no_such_field": 1,
        "alwayson_scripts": {"ADetailer": {"args": [False]}, "ControlNet": {"args": []}, "Seed": {"args": [1]}},
    }
    plain, full = client.post(URL, json=SMALL), client.post(URL, json={**SMALL, **usual})
    assert told(plain)["infotexts"] == told(full)["infotexts"]
    assert plain.json()["images"] == full.json()["images"]


@pytest.mark.parametrize(
    ("given", "sampler", "schedule"),
    [
        ({}, "Euler", "Automatic"),
        ({"sampler_index": "DPM++ SDE"}, "DPM++ SDE", "Automatic"),
        ({"sampler_name": "k_dpmpp_2m", "sampler_index": "Euler a"}, "k_dpmpp_2m", "Automatic"),
        ({"sampler_name": "dpm++ 2m karras"}, "dpm++ 2m karras", "Automatic"),
        ({"sampler_name": "Euler", "scheduler": "Exponential"}, "Euler", "Exponential"),
        ({"sampler_name": "Euler", "scheduler": ""}, "Euler", "Automatic"),
    ],
)
def test_samplers_by_all_their_names(given: dict[str, Any], sampler: str, schedule: str) -> None:
    request = asked(**given)
    assert (request.sampler, request.schedule) == (sampler, schedule)


def test_the_defaults_are_those_of_the_interface() -> None:
    request = asked()
    assert (request.steps, request.width, request.height, request.cfg, request.seed) == (50, 512, 512, 7.0, -1)
    assert (request.hires, request.refiner, request.eta, request.clip_skip, request.rng) == (None, None, None, 1, "NV")


def test_hires_fix_and_refiner() -> None:
    plain = asked(enable_hr=True).hires
    assert (plain.upscaler, plain.scale, plain.denoise, plain.steps, plain.cfg) == ("Latent", 2.0, 0.7, 0, None)
    full = asked(
        enable_hr=True,
        hr_upscaler="Lanczos",
        hr_resize_x=640,
        hr_resize_y=320,
        hr_second_pass_steps=9,
        denoising_strength=0.3,
        hr_sampler_name="DDIM",
        hr_scheduler="Use same scheduler",
        hr_cfg=4.5,
        hr_prompt="x",
        hr_negative_prompt="y",
        hr_checkpoint_name="other",
    ).hires
    assert (full.width, full.height, full.steps, full.denoise, full.sampler) == (640, 320, 9, 0.3, "DDIM")
    assert (full.schedule, full.cfg, full.prompt, full.negative, full.checkpoint) == (None, 4.5, "x", "y", "other")
    old = asked(enable_hr=True, width=1024, height=768, firstphase_width=512, firstphase_height=384)
    assert (old.width, old.height, old.hires.width, old.hires.height) == (512, 384, 1024, 768)
    refiner = asked(refiner_checkpoint="xl [0123456789]").refiner
    assert (refiner.checkpoint, refiner.switch_at, refiner.passes) == ("xl [0123456789]", 0.8, "second pass")
    assert asked(refiner_checkpoint="None", refiner_switch_at=0.5).refiner is None


@pytest.mark.parametrize(
    ("sampler", "eta", "kept"), [("Euler a", 1.0, None), ("Euler a", 0.5, 0.5), ("DDIM", 1.0, 1.0), ("DDIM", 0.0, None)]
)
def test_the_usual_eta_is_left_unsaid(sampler: str, eta: float, kept: float | None) -> None:
    assert asked(sampler_name=sampler, eta=eta).eta == kept


INFOTEXT = "\n".join(
    (
        "a castle",
        "Negative prompt: fog",
        "Steps: 12, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4.5, Seed: 99, Size: 96x64, Model: gone, "
        "Clip skip: 2, Seed resize from: 32x48, ENSD: 31337, Denoising strength: 0.4, Hires upscale: 1.5, "
        "Hires upscaler: Lanczos, RNG: CPU, Version: v1.10.1",
    )
)


def test_an_infotext_fills_what_the_client_did_not_set() -> None:
    request = asked(infotext=INFOTEXT, steps=3, cfg_scale=None)
    expected = request_from(INFOTEXT)
    assert (request.prompt, request.negative, request.steps) == ("a castle", "fog", 3)
    for name in (
        "cfg",
        "seed",
        "width",
        "height",
        "sampler",
        "schedule",
        "clip_skip",
        "ensd",
        "rng",
        "hires",
        "seed_resize_width",
        "seed_resize_height",
    ):
        assert getattr(request, name) == getattr(expected, name), name
    assert request.checkpoint is None, "the model is only changed where that is wanted"
    other = txt2img_request(TextToImage(infotext=INFOTEXT), Options().all({"disable_weights_auto_swap": False}))
    assert other.checkpoint == "gone"


def test_saved_pictures_stay_in_the_output_folder_with_a_grid(client: TestClient, home: Path) -> None:
    before = set((home / "output").glob("*"))
    answer = client.post(URL, json={**SMALL, "n_iter": 2, "save_images": True})
    info = told(answer)
    new = sorted(path.name for path in set((home / "output").glob("*")) - before)
    assert [name.rsplit("_", 2)[0] for name in new] == ["grid", "txt2img", "txt2img"]
    assert info["index_of_first_image"] == 1 and len(info["infotexts"]) == 3 and info["all_seeds"] == [7, 8]
    assert decoded(answer.json()["images"][0]).size == (128, 64)
    none = client.post(URL, json={**SMALL, "save_images": True, "do_not_save_samples": True, "send_images": False})
    assert none.json()["images"] == [] and len(told(none)["infotexts"]) == 1
    assert sorted(path.name for path in set((home / "output").glob("*")) - before) == new


@pytest.mark.parametrize("kind", ["jpg", "webp"])
def test_pictures_in_the_format_of_the_options_carry_their_infotext(kind: str, client: TestClient) -> None:
    answer = client.post(URL, json={**SMALL, "override_settings": {"samples_format": kind}})
    info = told(answer)
    assert decoded(answer.json()["images"][0]).format == {"jpg": "JPEG", "webp": "WEBP"}[kind]
    assert read_infotext(info["infotexts"][0]).fields["Seed"] == "7"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"sampler_name": "No such"}, 400, "Sampler not found"),
        ({"scheduler": "No such"}, 400, "No such"),
        ({"steps": 0}, 400, "steps"),
        ({"width": 100_000}, 400, "width"),
        ({"width": 16_384, "height": 16_384, "batch_size": 99}, 400, "megapixels"),
        ({"cfg_scale": -1}, 400, "cfg"),
        ({"seed": 10**40}, 400, "seed"),
        ({"n_iter": 10**9}, 400, "batch count"),
        ({"restore_faces": True}, 400, "CodeFormer needs the file"),
        ({"styles": ["no such"]}, 400, "style"),
        ({"prompt": "(a:1.2) [b:c", "enable_hr": True, "hr_upscaler": "No such"}, 400, "could not find upscaler"),
        ({"refiner_checkpoint": "no such"}, 400, "no file 'no such'"),
        ({"override_settings": {"sd_model_checkpoint": "no such"}}, 400, "no file 'no such'"),
        ({"infotext": "a, b"}, 400, "parameters"),
        ({"prompt": "<lora:x:1:lbw=>", "steps": 1, "alwayson_scripts": {"Tiled VAE": {"args": "no"}}}, 422, "list"),
    ],
)
def test_mistakes_are_answered_in_words(body: dict[str, Any], status: int, words: str, client: TestClient) -> None:
    answer = client.post(URL, json={**SMALL, **body})
    assert answer.status_code == status, answer.text[:300]
    assert set(answer.json()) == {"error", "detail", "body", "errors"}
    assert words in answer.json()["detail"] and "/home" not in answer.text and "Traceback" not in answer.text


def test_values_of_the_wrong_kind_are_told_by_their_place(client: TestClient) -> None:
    answer = client.post(URL, json={"steps": "many", "override_settings": []})
    assert answer.status_code == 422
    assert [one["loc"] for one in answer.json()["detail"]] == [["body", "steps"], ["body", "override_settings"]]
    assert all(set(one) == {"loc", "msg", "type"} for one in answer.json()["detail"])


def test_a_fault_of_ours_tells_nothing_and_harms_nobody(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret /etc/passwd")

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "txt2img", broken)
        answer = client.post(URL, json=SMALL)
    assert answer.status_code == 500 and answer.json()["error"] == "RuntimeError"
    assert "secret" not in answer.text and "passwd" not in answer.text and "Traceback" not in answer.text
    assert client.post(URL, json=SMALL).status_code == 200


def test_tiling_and_ngms_are_heard_and_told(client: TestClient) -> None:
    answer = client.post(
        URL, json={"prompt": "a", "steps": 1, "width": 64, "height": 64, "tiling": True, "s_min_uncond": 1.5}
    )
    assert "Tiling: True" in told(answer)["infotexts"][0] and "NGMS: 1.5" in told(answer)["infotexts"][0]
