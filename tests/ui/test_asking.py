"""From the form's values to requests that the routes take, and back from an infotext."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from tests.server.conftest import decoded, settings_in

from hires.errors import SettingError
from hires.pocket import BUILT_IN_NAME
from hires.recipes.facts import ModelFacts
from hires.recipes.grids.axis_table import find_axis
from hires.recipes.grids.script_args import grid_from_script_args
from hires.recipes.infotext import infotext
from hires.recipes.request import Txt2Img
from hires.recipes.tiled import DeepShrink
from hires.server.always import with_always_on
from hires.server.asking import txt2img_request
from hires.server.asking_over import img2img_request
from hires.server.bodies import ImageToImage, TextToImage
from hires.server.options import Options
from hires.server.scripts import SCRIPTS, always_on, named, selected, titles
from hires.server.state import Server
from hires.tiling.joint import METHODS as KNOWN_METHODS
from hires.ui.asking import arguments, txt2img_body
from hires.ui.asking_over import img2img_bodies, img2img_body
from hires.ui.choices import AXES, OF_SECOND_PASS, Choices
from hires.ui.filling import values_of
from hires.ui.page import Page

Values = dict[str, Any]
SIDES = st.integers(8, 128).map(lambda cells: cells * 8)
TEXT = st.text("abc (:,)", max_size=20).map(lambda text: " ".join(text.split()))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    gradio = pytest.importorskip("gradio", reason="the page needs Gradio (hires[ui])")
    from hires.ui import tab_img2img, tab_txt2img

    page = Page(Server(settings_in(tmp_path_factory.mktemp("asking")), Options(None)))
    with gradio.Blocks() as page.blocks, gradio.Tabs() as page.tabs:
        tab_txt2img.build(page)
        tab_img2img.build(page)
    yield page


def fresh(page: Page, tab: str) -> Values:
    """The values that a form begins with, as Gradio hands them over."""
    return {name: getattr(field, "value", None) for name, field in page.forms[tab].fields.items()}


def request_of(body: Values) -> Txt2Img:
    parsed = TextToImage(**body)
    selected(parsed.script_name, "txt2img")
    given = always_on(parsed.alwayson_scripts, "txt2img")
    return with_always_on(txt2img_request(parsed, Options(None).all(parsed.override_settings)), given)


def test_a_fresh_form_is_the_web_uis_and_draws_with_the_built_in_model(page: Page) -> None:
    request = request_of(txt2img_body(fresh(page, "txt2img")))
    plain = Txt2Img()
    assert request.checkpoint == BUILT_IN_NAME and (request.width, request.height) == (160, 160)
    for name in ("sampler", "schedule", "steps", "cfg", "seed", "clip_skip", "hires", "refiner", "tiled"):
        assert getattr(request, name) == getattr(plain, name), name


def test_what_is_switched_on_comes_through(page: Page) -> None:
    values = fresh(page, "txt2img") | {"hr": True, "hr_upscaler": "Lanczos", "hr_scale": 1.5, "hr_denoise": 0.4}
    values |= {"hr_sampler": "Euler a", "hr_cfg": 5, "refiner": BUILT_IN_NAME, "refiner_at": 0.6}
    values |= {"tiled": True, "tiled/Method": "Cosine", "tiled/Jitter": True, "tiled_regions": True}
    values |= {"regions": [[0, 0.1, 0.5, 0.9, "a cat", "", "Foreground", 0.3, 7], ["", "", "", "", "", "", "", "", ""]]}
    values |= {"shrink": True, "shrink_factor": 3.0, "vae_tiled": True, "vae_tiled/Decoder Tile Size": 96}
    request = request_of(txt2img_body(values))
    assert request.hires is not None and request.refiner is not None and request.tiled is not None
    assert (request.hires.upscaler, request.hires.scale, request.hires.denoise) == ("Lanczos", 1.5, 0.4)
    assert (request.hires.sampler, request.hires.cfg, request.hires.checkpoint) == ("Euler a", 5.0, None)
    assert (request.refiner.checkpoint, request.refiner.switch_at) == (BUILT_IN_NAME, 0.6)
    assert (request.tiled.method, request.tiled.jitter, len(request.tiled.regions)) == ("Cosine", True, 1)
    assert request.tiled.regions[0].prompt == "a cat" and request.tiled.regions[0].seed == 7
    assert request.deep_shrink == DeepShrink(3, 3.0, 0.35)
    assert (request.vae_mode, request.vae_tile) == ("fast", 768)
    assert request.save_first_pass


def test_a_region_that_is_no_place_is_told_by_its_number(page: Page) -> None:
    values = fresh(page, "txt2img") | {"tiled": True, "tiled_regions": True}
    values |= {"regions": [["left", 0, 0.5, 1, "", "", "", 0.2, -1]]}
    with pytest.raises(SettingError, match="region 1: x"):
        txt2img_body(values)


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_every_script_of_the_tab_is_asked_for_with_all_its_arguments(page: Page, tab: str) -> None:
    values = fresh(page, tab)
    for title in titles(tab, always_on=False):
        args = arguments(title, values, title)
        kinds = [type(argument.default) for argument in named(title).arguments]
        assert len(args) == len(kinds)
        if title == "x/y/z plot":  # axes by their labels, which stand for the numbers
            assert [axis.label for axis in grid_from_script_args(args, tab).axes] == ["Nothing"] * 3
            continue
        told = named(title).values(args)
        assert told == {argument.label: argument.default for argument in named(title).arguments}, title


@pytest.mark.parametrize("tab", ["txt2img", "img2img"])
def test_every_axis_that_is_offered_is_there(page: Page, tab: str) -> None:
    offered = Choices(page.server).axes(tab)
    assert [find_axis(name, tab).label for name in offered] == list(offered)
    assert set(OF_SECOND_PASS) < set(AXES)


def test_the_ways_to_tile_are_those_there_are(page: Page) -> None:
    offered = [value for _, value in page.forms["txt2img"].fields["tiled/Method"].choices]
    assert sorted(offered) == sorted(KNOWN_METHODS)
    assert {script.title for script in SCRIPTS if script.always_on} >= {"tiled diffusion", "kohya hrfix integrated"}


@given(
    steps=st.integers(1, 150),
    cfg=st.integers(2, 60).map(lambda halves: halves / 2),
    seed=st.integers(0, 2**53),
    size=st.tuples(SIDES, SIDES),
    prompt=TEXT,
    hires=st.none() | st.tuples(st.sampled_from(["Latent", "Lanczos"]), st.integers(2, 8), st.integers(0, 20)),
    sampler=st.sampled_from(["DPM++ 2M", "Euler a", "DDIM", "UniPC"]),
)
def test_an_infotext_fills_the_form_with_what_made_it(
    page: Page, steps: int, cfg: float, seed: int, size: tuple[int, int], prompt: str, hires: Any, sampler: str
) -> None:
    values = fresh(page, "txt2img") | {"prompt": prompt, "steps": steps, "cfg": cfg, "seed": seed, "sampler": sampler}
    values |= {"width": size[0], "height": size[1], "hr": hires is not None}
    if hires is not None:
        values |= {"hr_upscaler": hires[0], "hr_scale": hires[1] / 2, "hr_steps": hires[2], "hr_denoise": 0.55}
    request = replace(request_of(txt2img_body(values)), vae=None)  # no file of the checkpoint's name
    told = infotext(request, {BUILT_IN_NAME: ModelFacts(BUILT_IN_NAME, "0" * 10, "sd1", 128)})
    filled = values_of(told, Choices(page.server), "txt2img")
    for name in ("steps", "cfg", "seed", "width", "height", "prompt", "hr", "sampler", "checkpoint"):
        assert filled[name] == values[name], name
    for name in ("hr_upscaler", "hr_scale", "hr_steps", "hr_denoise") if hires is not None else ():
        assert filled[name] == values[name], name


def test_a_text_that_is_no_infotext_fills_nothing_and_strange_names_are_left_out(page: Page) -> None:
    choices = Choices(page.server)
    assert values_of("", choices, "txt2img") == {}
    text = "a cat\nSteps: x, Sampler: Nobody, Seed: 5, Size: 64x64, Model: nobody, Hires upscaler: nobody"
    filled = values_of(text, choices, "txt2img")
    assert filled["seed"] == 5 and filled["hr"] and not {"steps", "sampler", "checkpoint", "hr_upscaler"} & set(filled)


# --- img2img -------------------------------------------------------------------------------------------------------


def edited(size: int = 64) -> Values:
    """A picture with a square painted over it, as the editor hands it over."""
    background = Image.new("RGBA", (size, size), "navy")
    layer = Image.new("RGBA", (size, size))
    ImageDraw.Draw(layer).rectangle((16, 16, 31, 31), fill="red")
    composite = background.copy()
    composite.alpha_composite(layer)
    return {"background": background, "layers": [layer], "composite": composite}


def test_what_is_painted_is_the_mask_and_the_picture_under_it_stays(page: Page, tmp_path: Path) -> None:
    values = fresh(page, "img2img") | {"mode": "inpaint", "inpaint": edited(), "mask_blur": 2, "only_masked": 1}
    [body] = img2img_bodies(values, tmp_path)
    mask, picture = decoded(body["mask"]), decoded(body["init_images"][0])
    assert mask.getbbox() == (16, 16, 32, 32) and picture.convert("RGB").getpixel((20, 20)) == (0, 0, 128)
    parsed = ImageToImage(**body)
    request = img2img_request(parsed, Options(None).all(parsed.override_settings), {})
    assert request.inpaint is not None
    assert (request.inpaint.blur_x, request.inpaint.area, request.inpaint.padding) == (2, "only masked", 32)
    assert (request.inpaint.fill, request.inpaint.invert, request.denoise) == ("original", False, 0.75)


def test_a_sketch_is_drawn_over_and_an_inpaint_sketch_has_a_mask_too(page: Page, tmp_path: Path) -> None:
    values = fresh(page, "img2img") | {"sketch": edited(), "inpaint_sketch": edited()}
    [sketch] = img2img_bodies(values | {"mode": "sketch"}, tmp_path)
    [both] = img2img_bodies(values | {"mode": "inpaint_sketch"}, tmp_path)
    for body in (sketch, both):
        assert decoded(body["init_images"][0]).convert("RGB").getpixel((20, 20)) == (255, 0, 0)
    assert "mask" not in sketch and decoded(both["mask"]).getbbox() == (16, 16, 32, 32)


def test_a_missing_picture_and_an_empty_mask_are_told(page: Page, tmp_path: Path) -> None:
    values = fresh(page, "img2img")
    for mode in ("picture", "sketch", "inpaint", "inpaint_sketch", "inpaint_upload", "batch"):
        with pytest.raises(SettingError, match="no picture"):
            img2img_bodies(values | {"mode": mode}, tmp_path)
    empty = edited() | {"layers": []}
    with pytest.raises(SettingError, match="nothing is painted"):
        img2img_bodies(values | {"mode": "inpaint", "inpaint": empty}, tmp_path)
    assert "init_images" not in img2img_body(values)


def test_a_batch_takes_files_and_a_folder_but_none_outside(page: Page, tmp_path: Path) -> None:
    root = tmp_path / "input"
    (root / "photos").mkdir(parents=True)
    for place in (root / "photos" / "b.png", root / "photos" / "a.png", tmp_path / "outside.png"):
        Image.new("RGB", (8, 8), "green").save(place)
    (root / "photos" / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "photos" / "notes.txt").write_text("no picture")
    values = fresh(page, "img2img") | {"mode": "batch", "files": [str(tmp_path / "outside.png")], "folder": "photos"}
    assert len(img2img_bodies(values, root)) == 3
    for folder in ("..", "../input/../..", str(tmp_path), "photos/../..", "nothing"):
        with pytest.raises(SettingError, match="no folder"):
            img2img_bodies(values | {"folder": folder}, root)
