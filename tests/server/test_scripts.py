"""Scripts of requests: found by their titles, their arguments read, and what they draw."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import SMALL, decoded, told

from hires.errors import SettingError
from hires.recipes.request import Txt2Img
from hires.server.always import tiled_diffusion, tiled_img2img, with_always_on
from hires.server.bodies import TextToImage
from hires.server.faults import Refused
from hires.server.prompt_lines import fields_of, jobs_of_lines
from hires.server.scripts import SCRIPTS, always_on, named, selected

URL = "/sdapi/v1/txt2img"
LINES = "Prompts from file or textbox"


def test_a_script_is_found_whatever_its_case() -> None:
    assert selected("X/Y/Z Plot", "txt2img") is named("x/y/z plot")
    assert selected(None, "txt2img") is None and selected("None", "img2img") is None
    for name, tab in (("sd upscale", "txt2img"), ("tiled vae", "txt2img"), ("nonsense", "img2img")):
        with pytest.raises(Refused, match=f"Script '{name}' not found"):
            selected(name, tab)


@pytest.mark.parametrize("off", [{"args": []}, {"args": [False]}, {"args": [None, 1]}, {}, {"args": None}, None])
@pytest.mark.parametrize("name", ["ADetailer", "animatediff", "Self Attention Guidance"])
def test_extensions_may_be_switched_off(name: str, off: Any) -> None:
    assert always_on({name: off}, "txt2img") == {}
    with pytest.raises(Refused, match=f"Script '{name}' not found"):
        always_on({name: {"args": [True]}}, "txt2img")


def test_what_is_no_always_on_script_is_refused() -> None:
    with pytest.raises(Refused, match="selectable"):
        always_on({"SD upscale": {"args": []}}, "img2img")
    with pytest.raises(Refused, match="not found"):
        always_on({"Soft inpainting": {"args": [True]}}, "txt2img")
    assert always_on({"Soft inpainting": {"args": [True]}}, "img2img") == {"soft inpainting": [True]}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.title)
def test_arguments_that_are_missing_have_their_defaults(script: Any) -> None:
    assert script.values([]) == {argument.label: argument.default for argument in script.arguments}
    whole = [argument.default for argument in script.arguments]
    assert script.values([*whole, "surplus", 5]) == script.values([])
    if whole and isinstance(whole[-1], int):
        with pytest.raises(SettingError, match=script.title):
            script.values([*whole[:-1], [1]]) if not isinstance(whole[-1], bool) else script.values([{}] * len(whole))


def test_tiled_diffusion_reads_its_sizes_and_regions() -> None:
    region = [True, 0.1, 0.2, 0.3, 0.4, "a cat", "dog", "Foreground", 0.5, 11]
    args = [
        True,
        "Mixture of Diffusers",
        True,
        True,
        512,
        256,
        64,
        48,
        16,
        2,
        "None",
        2.0,
        False,
        10,
        1,
        1,
        64,
        True,
        True,
        True,
        False,
        *region,
    ]
    tiled = with_always_on(Txt2Img(), {"tiled diffusion": args}).tiled
    assert tiled is not None and tiled.method == "Mixture of Diffusers"
    assert (tiled.tile_width, tiled.tile_height, tiled.overlap, tiled.tile_batch) == (64, 48, 16, 2)
    assert (tiled.overwrite_width, tiled.overwrite_height, tiled.background) == (512, 256, "on")
    assert tiled.control_on_cpu and len(tiled.regions) == 1
    found = tiled.regions[0]
    assert (found.x, found.y, found.width, found.height) == (0.1, 0.2, 0.3, 0.4)
    assert (found.prompt, found.negative, found.blend, found.feather, found.seed) == (
        "a cat",
        "dog",
        "Foreground",
        0.5,
        11,
    )
    assert tiled_diffusion({"tiled diffusion": [False]}) is None and tiled_diffusion({}) is None


def test_tiled_diffusion_in_img2img_has_its_own_overlap_and_inversion() -> None:
    plain = tiled_img2img(Txt2Img(), 0.5, {"tiled diffusion": [True]})
    assert plain is not None and plain.tiled.overlap == 8 and plain.inversion is None and plain.scale == 2.0
    args = [True, "MultiDiffusion", False, False, 0, 0, 96, 96, 24, 4, "Lanczos", 3.0, True, 20, 2.0, 0.5, 32]
    full = tiled_img2img(Txt2Img(), 0.5, {"tiled diffusion": args})
    assert full is not None and full.inversion is not None and not full.keep_input_size
    assert (full.tiled.overlap, full.upscaler, full.scale) == (24, "Lanczos", 3.0)
    assert (full.inversion.steps, full.inversion.retouch, full.inversion.renoise, full.inversion.kernel) == (
        20,
        2.0,
        0.5,
        32,
    )


def test_tiled_vae_names_a_mode_and_a_tile() -> None:
    fast = with_always_on(Txt2Img(), {"tiled vae": [True, 960, 64]})
    assert (fast.vae_mode, fast.vae_tile) == ("fast", 512)
    exact = with_always_on(Txt2Img(), {"tiled vae": [True, 960, 512, True, False, False]})
    assert (exact.vae_mode, exact.vae_tile) == ("exact", 4096)
    assert with_always_on(Txt2Img(), {"tiled vae": [False, 960, 64]}) == Txt2Img()


def lines(text: str, **fields: Any) -> list[TextToImage]:
    iterate, same = fields.pop("iterate", False), fields.pop("same", False)
    place = fields.pop("place", "start")
    return jobs_of_lines(TextToImage(**fields), named(LINES.lower()).values([iterate, same, place, text]))


def test_lines_are_jobs_with_their_own_fields() -> None:
    jobs = lines('\n  a cat \n--prompt "a dog" --steps 3 --seed 5 --styles "x, y" --sd_model m\n', seed=9, n_iter=2)
    assert [job.prompt for job in jobs] == ["a cat", "a dog"]
    assert [(job.seed, job.steps, job.n_iter) for job in jobs] == [(9, 50, 2), (5, 3, 2)]
    assert jobs[1].styles == ["x", "y"] and jobs[1].override_settings == {"sd_model_checkpoint": "m"}
    assert [job.seed for job in lines("a\nb\nc", seed=9, n_iter=2, batch_size=2, iterate=True)] == [9, 13, 17]
    random = [job.seed for job in lines("a\nb", same=True)]
    assert random[0] == random[1] >= 0 and [job.seed for job in lines("a\nb")] == [-1, -1]
    assert [job.prompt for job in lines("a", prompt="b")] == ["a b"]
    assert [job.prompt for job in lines("a", prompt="b", place="end")] == ["b a"]


@pytest.mark.parametrize(
    "text", ["", "\n \n", "--steps", "--steps x", "--nope 1", '--prompt "a', "--prompt a b", "--tiling 7"]
)
def test_lines_that_cannot_be_read_are_told_by_number(text: str) -> None:
    with pytest.raises(SettingError, match=r"line"):
        lines(text)
    assert fields_of("--cfg_scale 4.5") == {"cfg_scale": 4.5}


def test_lines_are_drawn(client: TestClient) -> None:
    args = [True, False, "end", "smile\n--prompt grin --width 96 --steps 1"]
    answer = client.post(URL, json={**SMALL, "prompt": "1girl", "script_name": LINES, "script_args": args})
    info = told(answer)
    assert info["all_prompts"] == ["1girl smile", "1girl grin"] and info["all_seeds"] == [7, 8]
    assert [decoded(text).size for text in answer.json()["images"]] == [(64, 64), (96, 64)]


def test_a_plot_of_two_axes(client: TestClient) -> None:
    args = [4, "1,2", [], 9, "", ["Euler", "DDIM"], 0, "", [], True, True]
    answer = client.post(URL, json={**SMALL, "script_name": "x/y/z plot", "script_args": args})
    info = told(answer)
    assert info["index_of_first_image"] == 1 and len(info["infotexts"]) == 5 == len(answer.json()["images"])
    assert info["infotexts"][0].count("X Type: Steps") == 1 and "Script: X/Y/Z plot" in info["infotexts"][0]
    cells = info["infotexts"][1:]
    assert ["Steps: 1" in text for text in cells] == [True, False, True, False]
    assert ["Sampler: DDIM" in text for text in cells] == [False, False, True, True]
    plain = client.post(URL, json={**SMALL, "steps": 1, "sampler_name": "Euler"})
    assert list(decoded(plain.json()["images"][0]).getdata()) == list(decoded(answer.json()["images"][1]).getdata())


def test_a_prompt_matrix(client: TestClient) -> None:
    body = {**SMALL, "prompt": "1girl | smile | beach", "script_name": "prompt matrix"}
    info = told(client.post(URL, json={**body, "script_args": [False, False, "positive", "comma", 0]}))
    prompts = [prompt.replace(" ,", ",").strip() for prompt in info["all_prompts"]]
    assert prompts == ["1girl", "1girl, smile", "1girl, beach", "1girl, smile, beach"]
    assert info["all_seeds"] == [7] * 4


def test_a_plot_that_cannot_be_is_refused_before_it_begins(client: TestClient) -> None:
    for args in ([4, "many", []], [999, "1", []], [9, "", ["No such"]], [1.5, "1", []], [{}, "1", []]):
        answer = client.post(URL, json={**SMALL, "script_name": "x/y/z plot", "script_args": args})
        assert answer.status_code == 400, (args, answer.text[:300])
