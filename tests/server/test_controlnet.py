"""ControlNet: the extension's lists, units of requests, and that a picture steers what is drawn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
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
from hires.imaging.preprocessors import PREPROCESSORS, preprocessed
from hires.models.checkpoint import load_checkpoint
from hires.recipes.controlnets import ControlNetUnit, check_units, parse_unit
from hires.recipes.facts import ModelFacts
from hires.recipes.img2img_request import Img2Img
from hires.recipes.infotext import infotext, request_from
from hires.recipes.tiled import TiledDiffusion
from hires.recipes.tiled_img2img import TiledImg2Img
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
    models = client.get("/controlnet/model_list").json()["model_list"]
    assert [name.split(" ")[0] for name in models] == ["hires-pocket-tile", NAME]
    modules = client.get("/controlnet/module_list").json()
    assert modules["module_list"] == list(modules["module_detail"]) == list(PREPROCESSORS)
    canny = [(one["name"], one["value"]) for one in modules["module_detail"]["canny"]["sliders"]]
    assert canny == [("Preprocessor Resolution", 512), ("Canny Low Threshold", 100), ("Canny High Threshold", 200)]
    assert modules["module_detail"]["tile_resample"]["sliders"][0] is None
    titles = client.get("/controlnet/module_list", params={"alias_names": True}).json()["module_list"]
    assert "invert (from white bg & black line)" in titles and len(titles) == len(PREPROCESSORS)
    assert client.get("/controlnet/version").json() == {"version": 3}
    assert client.get("/controlnet/settings").json() == {"control_net_unit_count": 10}
    types = client.get("/controlnet/control_types").json()["control_types"]
    assert types["All"]["module_list"] == list(PREPROCESSORS) and types["All"]["model_list"] == ["None", *models]
    assert types["Tile/Blur"]["model_list"] == ["None", models[0]]
    assert types["Canny"]["module_list"] == ["none", "invert", "canny"]
    assert types["Canny"]["default_option"] == "canny" and types["Canny"]["model_list"] == ["None"]
    assert types["OpenPose"]["module_list"] == ["none"] and types["Recolor"]["default_option"] == "recolor_luminance"


def test_preprocessors_answer(client: TestClient) -> None:
    url, picture = "/controlnet/detect", coded(square_mask(80, 20).convert("RGB"))
    body = {"controlnet_module": "canny", "controlnet_input_images": [picture] * 2, "controlnet_processor_res": 80}
    answer = client.post(url, json=body).json()
    assert answer["info"] == "Success" and answer["images"][0] == answer["images"][1]
    edges = np.asarray(decoded(answer["images"][0]).convert("RGB"))
    assert np.array_equal(edges, preprocessed(np.asarray(square_mask(80, 20).convert("RGB")), "canny", 80))
    assert 0 < edges.mean() < 30
    # numbers that a preprocessor cannot take stand for its own, as in the extension
    usual = {**body, "controlnet_threshold_a": 4000, "controlnet_processor_res": 80}
    assert client.post(url, json=usual).json()["images"] == answer["images"]
    for change, detail in (
        ({"controlnet_module": "openpose"}, "Module not available"),
        ({"controlnet_input_images": []}, "No image selected"),
    ):
        refused = client.post(url, json={**body, **change})
        assert refused.status_code == 422 and refused.json()["detail"] == detail
    assert client.post(url, json={**body, "controlnet_input_images": ["AAAA"]}).status_code == 400


def test_a_preprocessor_makes_the_picture_that_could_be_sent_instead(client: TestClient) -> None:
    sharp = square_mask(96, 20).convert("RGB")
    edges = Image.fromarray(preprocessed(np.asarray(sharp), "canny", 128, 50, 90))
    sent = pixels(client.post(URL, json=with_unit(image=coded(edges))))
    unit = {"image": coded(sharp), "module": "canny", "processor_res": 128, "threshold_a": 50, "threshold_b": 90}
    answer = client.post(URL, json=with_unit(**unit))
    assert np.array_equal(pixels(answer), sent)
    said = "Processor Res: 128, Threshold A: 50, Threshold B: 90, Guidance Start"
    assert "Module: canny, " in (text := told(answer)["infotexts"][0]) and said in text
    perfect = Image.fromarray(preprocessed(np.asarray(sharp), "canny", 64, 50, 90))
    unit |= {"pixel_perfect": True, "processor_res": 512}
    found = pixels(client.post(URL, json=with_unit(**unit)))
    assert np.array_equal(found, pixels(client.post(URL, json=with_unit(image=coded(perfect)))))
    # clients send 64 for numbers that they do not know: a gamma of 64 is none
    recoloured = {"module": "recolor_intensity", "threshold_a": 64, "threshold_b": 64}
    assert np.array_equal(
        pixels(client.post(URL, json=with_unit(**recoloured))),
        pixels(client.post(URL, json=with_unit(module="recolor_intensity"))),
    )


def test_modes_weigh_prompt_and_picture_otherwise(client: TestClient) -> None:
    plain = pixels(client.post(URL, json=SMALL))
    names = ("Balanced", "My prompt is more important", "ControlNet is more important")
    made = [pixels(client.post(URL, json=with_unit(control_mode=name))) for name in names]
    drift = [float(np.abs(one - plain).mean()) for one in made]
    assert drift[1] < drift[0] and len({one.tobytes() for one in made}) == 3
    assert np.array_equal(pixels(client.post(URL, json=with_unit(control_mode=1))), made[1])
    info = told(client.post(URL, json=with_unit(control_mode=2)))["infotexts"][0]
    assert "Control Mode: ControlNet is more important" in info


def test_a_unit_with_a_region_of_nothing_does_nothing(client: TestClient) -> None:
    plain, steered = pixels(client.post(URL, json=SMALL)), pixels(client.post(URL, json=with_unit()))
    black, white = (Image.new("RGB", (64, 64), color) for color in ("black", "white"))
    assert np.abs(pixels(client.post(URL, json=with_unit(effective_region_mask=coded(black)))) - plain).max() <= 1
    assert np.abs(pixels(client.post(URL, json=with_unit(effective_region_mask=coded(white)))) - steered).max() <= 1


def test_only_the_masked_part_of_a_hint_is_seen_where_only_that_is_drawn(client: TestClient) -> None:
    over = {"init_images": [coded(shades())], "mask": coded(square_mask(64, 24)), "denoising_strength": 0.9}
    over |= {"inpaint_full_res": True, "inpaint_full_res_padding": 4, "inpainting_fill": 1, "mask_blur": 0}

    def drawn(hint: Image.Image | None) -> np.ndarray:
        body = SMALL if hint is None else with_unit(image=coded(hint), resize_mode=0)
        return pixels(client.post("/sdapi/v1/img2img", json={**body, **over}))

    hint, within, outside = shades(), shades(), shades()
    within.paste("white", (30, 30, 34, 34))
    outside.paste("white", (0, 0, 64, 12))
    steered = drawn(hint)
    assert not np.array_equal(steered, drawn(None)) and not np.array_equal(steered, drawn(within))
    assert np.array_equal(steered, drawn(outside))


def test_an_inpainting_network_is_told_what_is_repainted(client: TestClient) -> None:
    over = {"init_images": [coded(shades())], "mask": coded(square_mask()), "inpaint_full_res": False}
    over |= {"denoising_strength": 0.9, "inpainting_fill": 1}
    made = []
    for unit in (
        {},
        {"module": "inpaint_global_harmonious"},
        {"module": "inpaint", "mask": coded(square_mask(64, 28))},
    ):
        made.append(pixels(client.post("/sdapi/v1/img2img", json={**with_unit(**unit), **over})).tobytes())
    assert len(set(made)) == 3
    alone = client.post(URL, json=with_unit(module="inpaint"))
    assert alone.status_code == 400 and "no mask that says what is repainted" in alone.json()["detail"]


def test_tiles_see_their_part_of_a_hint(client: TestClient) -> None:
    body = {"init_images": [coded(shades())], "denoising_strength": 0.9, "script_name": "sd upscale"}
    body |= {"script_args": ["", 16, "Lanczos", 1.75], "steps": 1}

    def drawn(unit: dict[str, Any]) -> np.ndarray:
        return pixels(client.post("/sdapi/v1/img2img", json={**unit, **body}))

    plain, steered = drawn(SMALL), drawn(with_unit())
    other = shades()
    other.paste("white", (48, 0, 64, 64))
    changed = drawn(with_unit(image=coded(other)))
    assert plain.shape == (112, 112, 3) and not np.array_equal(plain, steered)
    # tiles of 64 with an overlap of 16: the left ones see nothing of what is right of column 64 of 112
    assert np.array_equal(changed[:, :40], steered[:, :40]) and not np.array_equal(changed[:, 72:], steered[:, 72:])


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


def test_a_net_steers_what_is_drawn_over_a_picture_in_tiles(client: TestClient, home: Path, tmp_path: Path) -> None:
    engine = Engine(settings_in(home, output_dir=tmp_path))
    unit = ControlNetUnit(NAME, str(home / "other.png"))
    base = Txt2Img(prompt=SMALL["prompt"], steps=2, width=64, height=64, seed=7, sampler="Euler a", controlnets=(unit,))
    over = home / "hint.png"
    whole = engine.img2img(over, Img2Img(base=base, denoise=0.7)).pictures[0]
    tiled = replace(base, tiled=TiledDiffusion(tile_width=16, tile_height=16, overlap=8))
    one = engine.tiled(over, TiledImg2Img(base=tiled, denoise=0.7, scale=1.0))
    assert np.array_equal(np.asarray(one.pictures[0]), np.asarray(whole))

    many = replace(base, tiled=TiledDiffusion("MultiDiffusion", tile_width=16, tile_height=16, overlap=8, tile_batch=4))
    request = TiledImg2Img(base=many, denoise=0.7, scale=3.0)
    drawn = [np.asarray(engine.tiled(over, one).pictures[0]) for one in (request, request_without_units(request))]
    assert drawn[0].shape == (192, 192, 3) and not np.array_equal(*drawn)
    args = [True, "MultiDiffusion", False, True, 0, 0, 16, 16, 8, 4, "None", 3.0]
    sent = {"image": coded(Image.open(home / "other.png")), "model": NAME, "module": "none"}
    scripts = {"Tiled Diffusion": {"args": args}, "ControlNet": {"args": [sent]}}
    body = {**SMALL, "init_images": [coded(Image.open(over))], "denoising_strength": 0.7, "alwayson_scripts": scripts}
    answer = client.post("/sdapi/v1/img2img", json=body)
    assert np.array_equal(pixels(answer), drawn[0]) and "ControlNet 0" in told(answer)["infotexts"][0]


def request_without_units(request: TiledImg2Img) -> TiledImg2Img:
    return replace(request, base=replace(request.base, controlnets=()))


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ({"model": "no such"}, "no file 'no such'"),
        ({"module": "openpose_full"}, "no preprocessor 'openpose_full'"),
        ({"control_mode": "Unbalanced"}, "control_mode"),
        ({"control_mode": 3}, "control_mode"),
        ({"mask": coded(square_mask())}, "it is for inpainting"),
        ({"advanced_weighting": [1.0] * 13}, "weighs its layers"),
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
    body = {**with_unit(), "init_images": [coded(shades())], "script_name": "outpainting mk2"}
    answer = client.post("/sdapi/v1/img2img", json=body)
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


def test_what_an_infotext_says_of_another_unit_gives_way() -> None:
    """A picture's text names units whose pictures are not in it; those that steer now are told in their place."""
    facts = {"thin": ModelFacts("thin", "0", "sd1", 512), "controlnet:b": ModelFacts("b", "1", "", 0)}
    told_before = {"ControlNet 0": "Module: none, Model: a", "ControlNet 1": "Module: none, Model: c"}
    request = Txt2Img(prompt="x", checkpoint="thin", width=64, height=64, seed=1, extra_fields=told_before)
    assert request_from(infotext(request, facts)).extra_fields == told_before
    text = infotext(replace(request, controlnets=(ControlNetUnit("b", "x.png"),)), facts)
    assert "Model: b" in text and "Model: a" not in text and "Model: c" in text


def test_units_of_the_command_line() -> None:
    assert parse_unit('"a, b", edges.png') == ControlNetUnit("a, b", "edges.png")
    assert parse_unit("canny,edges.png,0.8,0.1,0.5,Resize and Fill,High res only") == ControlNetUnit(
        "canny", "edges.png", 0.8, 0.1, 0.5, "Resize and Fill", "High res only"
    )
    assert parse_unit("canny,edges.png,,,0.5") == ControlNetUnit("canny", "edges.png", guidance_end=0.5)
    text = "canny,a=b.png,0.5,module=canny,threshold_a=80,processor_res=640,pixel_perfect=yes,control_mode=Balanced"
    made = ControlNetUnit("canny", "a=b.png", 0.5, module="canny", threshold_a=80.0, pixel_perfect=True)
    assert parse_unit(text) == replace(made, processor_res=640)
    for text in ("canny,b.png,processor_res=x", "canny,b.png,pixel_perfect=perhaps", "canny,b.png,threshold_b="):
        with pytest.raises(SettingError, match="cannot be read"):
            parse_unit(text)
    assert parse_unit("canny", own=True) == parse_unit("canny,", own=True) == ControlNetUnit("canny", "")
    assert parse_unit("canny,,0.5,module=canny", own=True) == ControlNetUnit("canny", "", 0.5, module="canny")
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


@pytest.mark.parametrize("command", ["ultimate", "sd-upscale"])
def test_a_picture_that_is_redrawn_in_tiles_steers_itself(home: Path, tmp_path: Path, command: str) -> None:
    shades(96).save(tmp_path / "source.png")
    flags = [str(tmp_path / "source.png"), "--by", "1", "-p", "a castle", "--tile", "64", "--steps", "3", "--seed", "3"]
    flags += ["--models-dir", str(home / "models"), "-m", "thin_sd15", "--denoise", "0.7"]
    drawn = []
    for number, control in enumerate(("", NAME, f"{NAME},{tmp_path / 'source.png'}", f"{NAME},{home / 'hint.png'}")):
        folder = tmp_path / str(number)
        given = ["--control", control] if control else []
        done = CliRunner().invoke(app, [command, *flags, *given, "--output-dir", str(folder)])
        assert done.exit_code == 0, done.output
        drawn.append(np.asarray(Image.open(next(folder.glob("*.png")))).tobytes())
    assert drawn[1] == drawn[2] and len(set(drawn)) == 3
    planned = CliRunner().invoke(app, [command, *flags, "--control", NAME, "--plan"])
    assert planned.exit_code == 0 and "tiles" in planned.output


def test_a_unit_without_a_picture_is_told(home: Path, tmp_path: Path) -> None:
    engine = Engine(settings_in(home, output_dir=tmp_path))
    with pytest.raises(HiresError, match="ControlNet 0 names no picture"):
        engine.txt2img(prompt="x", steps=1, width=64, height=64, controlnets=(ControlNetUnit(NAME, ""),))
