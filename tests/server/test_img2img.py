"""POST /sdapi/v1/img2img: over one picture and several, under a mask, and by the scripts of that tab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import SMALL, coded, decoded, settings_in, shades, square_mask, told

from hires.api import Engine
from hires.recipes.img2img_request import Img2Img, Inpaint
from hires.server.asking_over import img2img_request
from hires.server.bodies import ImageToImage
from hires.server.options import Options

URL = "/sdapi/v1/img2img"
OVER: dict[str, Any] = {**SMALL, "init_images": [coded(shades())], "denoising_strength": 0.6}


def asked(always_on: dict[str, Any] | None = None, **fields: Any) -> Img2Img:
    return img2img_request(ImageToImage(**fields), Options().all(), always_on or {})


def test_its_pixels_are_those_of_the_engine(client: TestClient, tmp_path: Path) -> None:
    shades().save(tmp_path / "in.png")
    square_mask().save(tmp_path / "mask.png")
    engine = Engine(settings_in(tmp_path))
    fields = {"prompt": SMALL["prompt"], "steps": 2, "width": 64, "height": 64, "seed": 7, "sampler": "Euler a"}
    plain = engine.img2img(tmp_path / "in.png", denoise=0.6, **fields)
    inpaint = Inpaint(blur_x=3, blur_y=3, fill="original", padding=8, area="only masked")
    masked = engine.img2img(tmp_path / "in.png", denoise=0.6, inpaint=inpaint, mask=tmp_path / "mask.png", **fields)
    first = client.post(URL, json=OVER)
    mask = {"mask": "data:image/png;base64," + coded(square_mask()), "mask_blur": 3, "inpainting_fill": 1}
    second = client.post(URL, json={**OVER, **mask, "inpaint_full_res_padding": 8})
    for answer, drawn in ((first, plain), (second, masked)):
        assert told(answer)["denoising_strength"] == 0.6
        found = np.asarray(decoded(answer.json()["images"][0]))
        assert np.array_equal(found, np.asarray(drawn.pictures[0]))
    kept = np.asarray(square_mask(edge=2)) == 0
    assert np.array_equal(np.asarray(decoded(second.json()["images"][0]))[kept], np.asarray(shades())[kept])


def test_the_defaults_are_those_of_the_interface() -> None:
    request = asked(init_images=["x"], mask="y")
    assert request.denoise == 0.75 and request.resize_mode == "just resize" and request.base.steps == 50
    expected = Inpaint(fill="fill", area="only masked", padding=0)
    assert request.inpaint == expected and asked(init_images=["x"]).inpaint is None
    other = asked(
        init_images=["x"],
        mask="y",
        inpaint_full_res=False,
        inpainting_mask_invert=1,
        mask_blur_x=9,
        inpainting_fill=3,
        mask_round=False,
        resize_mode=2,
        initial_noise_multiplier=0.5,
    )
    assert other.inpaint == Inpaint(
        blur_x=9, invert=True, fill="latent nothing", area="whole picture", padding=0, rounded=False
    )
    assert (other.resize_mode, other.noise_multiplier) == ("resize and fill", 0.5)


def test_image_cfg_is_that_of_the_request_or_none() -> None:
    told = {"infotext": "a house\nSteps: 5, Sampler: Euler, CFG scale: 7, Image CFG scale: 2.5, Seed: 1, Size: 64x64"}
    assert [asked(init_images=["x"], **more).image_cfg_scale for more in ({}, {"image_cfg_scale": 1.5}, told)] == [
        1.0, 1.5, 2.5,
    ]  # fmt: skip


def test_options_of_img2img() -> None:
    overrides = {
        "img2img_color_correction": True,
        "img2img_fix_steps": True,
        "img2img_extra_noise": 0.1,
        "upscaler_for_img2img": "Nearest",
        "img2img_background_color": "#000000",
        "overlay_inpaint": False,
        "initial_noise_multiplier": 0.9,
        "inpainting_mask_weight": 0.5,
    }
    request = img2img_request(ImageToImage(init_images=["x"], mask="y"), Options().all(overrides), {})
    assert request.color_correction and request.fix_steps and request.extra_noise == 0.1
    assert (request.upscaler, request.background, request.noise_multiplier) == ("Nearest", "#000000", 0.9)
    assert request.inpaint is not None and not request.inpaint.overlay and request.inpaint.mask_weight == 0.5


def test_masks_are_answered_with_or_saved_as_asked(client: TestClient, home: Path) -> None:
    under = {**OVER, "mask": coded(square_mask()), "mask_blur": 0}
    options = {"return_mask": True, "save_mask_composite": True}
    before = set((home / "output").glob("*"))
    answer = client.post(URL, json={**under, "override_settings": options, "save_images": True})
    info = told(answer)
    pictures = [decoded(text) for text in answer.json()["images"]][info["index_of_first_image"] :]
    assert [picture.mode for picture in pictures] == ["RGB", "RGB"]
    assert np.array_equal(np.asarray(pictures[1])[..., 0], np.asarray(square_mask()))
    names = {path.name.split("_")[0] for path in set((home / "output").glob("*")) - before}
    assert {"img2img", "img2img-mask-composite"} <= names and "img2img-mask" not in names
    unsaved = client.post(URL, json={**under, "override_settings": {"return_mask_composite": True}})
    assert [decoded(text).mode for text in unsaved.json()["images"]] == ["RGB", "RGBA"]
    assert len(client.post(URL, json=under).json()["images"]) == 1


def test_several_pictures_are_a_batch(client: TestClient) -> None:
    answer = client.post(URL, json={**OVER, "init_images": [coded(shades()), coded(square_mask().convert("RGB"))]})
    assert told(answer)["all_seeds"] == [7, 8]
    assert len(set(answer.json()["images"])) == 2


def test_pictures_come_back_only_where_asked_for(client: TestClient) -> None:
    plain = client.post(URL, json=OVER).json()["parameters"]
    assert plain["init_images"] is None and plain["mask"] is None
    full = client.post(URL, json={**OVER, "include_init_images": True}).json()["parameters"]
    assert full["init_images"] == OVER["init_images"]


def test_soft_inpainting(client: TestClient) -> None:
    soft = {"Soft inpainting": {"args": [True, 1.5, 0.25]}}
    answer = client.post(URL, json={**OVER, "mask": coded(square_mask()), "alwayson_scripts": soft})
    extra = told(answer)["extra_generation_params"]
    assert extra["Soft inpainting enabled"] == "True" and extra["Soft inpainting schedule bias"] == "1.5"
    assert extra["Soft inpainting difference contrast"] == "2", "what was not sent has its default"


@pytest.mark.parametrize(
    ("script", "args", "size", "field", "value"),
    [
        ("SD upscale", [None, 16, "Lanczos", 2.0], (128, 128), "SD upscale overlap", "16"),
        ("sd upscale", ["", 16, 2, 1.5], (96, 96), "SD upscale upscaler", "Nearest"),
        (
            "Ultimate SD Upscale",
            ["", 64, 0, 4, 8, 64, 0.35, 16, 1, True, 1, False, 4, 0, 1, 128, 64],
            (128, 64),
            "Ultimate SD upscale mode",
            "Chess",
        ),
        ("Outpainting mk2", ["", 16, 2, ["left"], 1.0, 0.05], (128, 64), "Outpaint method", "noise"),
        ("Poor man's outpainting", [16, 2, 0, ["down"]], (64, 128), "Outpaint", "down"),
    ],
)
def test_scripts_of_the_tab(
    script: str, args: list[Any], size: tuple[int, int], field: str, value: str, client: TestClient
) -> None:
    answer = client.post(URL, json={**OVER, "steps": 1, "script_name": script, "script_args": args})
    assert told(answer)["extra_generation_params"][field] == value
    assert decoded(answer.json()["images"][0]).size == size


def test_loopback_returns_every_loop(client: TestClient) -> None:
    answer = client.post(URL, json={**OVER, "script_name": "loopback", "script_args": [3, 0.3, "Linear", "None"]})
    info = told(answer)
    assert info["all_seeds"] == [7, 8, 9] and info["extra_generation_params"]["Denoising curve"] == "Linear"
    assert len(set(answer.json()["images"])) == 3


def test_tiled_diffusion_enlarges_the_picture(client: TestClient) -> None:
    tiled = [True, "MultiDiffusion", False, True, 0, 0, 16, 16, 4, 4, "Lanczos", 2.0, True, 3, 1, 0.5, 16]
    answer = client.post(URL, json={**OVER, "alwayson_scripts": {"Tiled Diffusion": {"args": tiled}}})
    assert decoded(answer.json()["images"][0]).size == (128, 128)
    assert '"NoiseInv": true' in told(answer)["infotexts"][0]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"init_images": None}, 404, "Init image not found"),
        ({"init_images": []}, 404, "Init image not found"),
        ({"init_images": [""]}, 400, "Invalid encoded image"),
        ({"resize_mode": 7}, 400, "resize_mode"),
        ({"inpainting_fill": -1, "mask": coded(square_mask())}, 400, "inpainting_fill"),
        ({"mask": "AAAA"}, 400, "Invalid encoded image"),
        ({"latent_mask": "AAAA"}, 400, "latent_mask"),
        ({"denoising_strength": 2}, 400, "denoising"),
        ({"init_images": [coded(shades())] * 3, "batch_size": 2}, 400, "batch"),
        ({"script_name": "sd upscale", "mask": coded(square_mask())}, 400, "mask"),
        ({"script_name": "sd upscale", "script_args": ["", 64, 99]}, 400, "upscaler"),
        ({"script_name": "loopback", "script_args": [4, 0.5, "Linear", "CLIP"]}, 400, "Put a BLIP folder"),
        ({"script_name": "loopback", "script_args": [4, 0.5, "Linear", "Me"]}, 400, "interrogation"),
        ({"script_name": "loopback", "script_args": [4, 0.5, "Round"]}, 400, "Round"),
        ({"script_name": "outpainting mk2", "script_args": ["", 16, 2, []]}, 400, "direction"),
    ],
)
def test_mistakes_are_answered_in_words(body: dict[str, Any], status: int, words: str, client: TestClient) -> None:
    answer = client.post(URL, json={**OVER, **body})
    assert answer.status_code == status, answer.text[:300]
    assert words in answer.json()["detail"] and "/" + "tmp" not in answer.text
