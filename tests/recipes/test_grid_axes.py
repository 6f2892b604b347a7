from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import ModelFileError, SettingError
from hires.imaging.upscalers import LATENT_UPSCALERS
from hires.recipes.controlnets import CONTROL_MODES, ControlNetUnit
from hires.recipes.grids.axes import Known, Request, base_of
from hires.recipes.grids.axis_table import AXES, axes_of, find_axis
from hires.recipes.grids.prompt_axes import reorder, search_and_replace, weigh_loras
from hires.recipes.grids.request import AxisValues, GridRequest, expand
from hires.recipes.img2img_request import Img2Img, Inpaint
from hires.recipes.request import HiresFix, Refiner, Txt2Img
from hires.text.styles import Style

FILES = {
    "checkpoints": ["anime/dream_v2.safetensors", "dream.safetensors", "sea.ckpt"],
    "vae": ["clear.safetensors"],
}


def find(kind: str, name: str) -> str:
    for listed in FILES[kind]:
        if listed.rpartition(".")[0] == name or listed == name:
            return listed
    raise ModelFileError(f"there is no {name!r}")


def upscaler(name: str) -> str:
    found = [known for known in ("Lanczos", *LATENT_UPSCALERS) if known.lower() == name.lower()]
    if not found:
        raise SettingError(f"could not find upscaler named {name!r}")
    return found[0]


STYLES = {"oil": Style("oil", "oil painting of {prompt}", "photo"), "fine": Style("fine", "fine lines")}
KNOWN = Known(lambda kind: FILES[kind], find, upscaler, ("Lanczos",), STYLES)
BASE = Txt2Img(prompt="1girl, smile, beach", negative="blurry", seed=5, variation_seed=1)
HIRES = replace(BASE, hires=HiresFix())


def along(base: Request, label: str, text: str) -> list[Request]:
    """The requests of the cells of one axis."""
    return [cell.request for cell in expand(GridRequest(base, (AxisValues(label, text),)), KNOWN).cells]


# The numbers that the web UI's interface gives the axes of its two tabs.
NUMBERS = [
    (0, 0, "Nothing"),
    (1, 1, "Seed"),
    (2, 2, "Var. seed"),
    (3, 3, "Var. strength"),
    (4, 4, "Steps"),
    (5, None, "Hires steps"),
    (6, 5, "CFG Scale"),
    (None, 6, "Image CFG Scale"),
    (7, 7, "Prompt S/R"),
    (8, 8, "Prompt order"),
    (9, 9, "Sampler"),
    (10, None, "Hires sampler"),
    (11, 10, "Checkpoint name"),
    (12, 11, "Negative Guidance minimum sigma"),
    (13, 12, "Sigma Churn"),
    (16, 15, "Sigma noise"),
    (17, 16, "Schedule type"),
    (20, 19, "Schedule rho"),
    (22, 21, "Beta schedule beta"),
    (23, 22, "Eta"),
    (24, 23, "Clip skip"),
    (25, 24, "Denoising"),
    (26, 25, "Initial noise multiplier"),
    (27, 26, "Extra noise"),
    (28, None, "Hires upscaler"),
    (None, 27, "Cond. Image Mask Weight"),
    (29, 28, "VAE"),
    (30, 29, "Styles"),
    (31, 30, "UniPC Order"),
    (32, 31, "Face restore"),
    (34, 33, "Token merging ratio high-res"),
    (35, 34, "Always discard next-to-last sigma"),
    (36, 35, "SGM noise multiplier"),
    (37, 36, "Refiner checkpoint"),
    (38, 37, "Refiner switch at"),
    (39, 38, "RNG source"),
    (40, 39, "FP8 mode"),
    (41, 40, "Size"),
]


@pytest.mark.parametrize(("txt2img", "img2img", "label"), NUMBERS)
def test_axes_have_the_web_uis_numbers(txt2img: int | None, img2img: int | None, label: str) -> None:
    for number, tab in ((txt2img, "txt2img"), (img2img, "img2img")):
        if number is None:
            assert label not in [axis.label for axis in axes_of(tab)]
        else:
            assert find_axis(number, tab).label == label


def test_labels_are_found_in_any_spelling_and_differ() -> None:
    assert find_axis("cfg scale", "txt2img").label == "CFG Scale"
    assert find_axis("prompt s/r", "txt2img").label == "Prompt S/R"
    assert find_axis("hires_upscaler", "txt2img").label == "Hires upscaler"
    assert len({axis.label for axis in AXES}) == len(AXES)
    with pytest.raises(SettingError, match="Steps"):
        find_axis("Step", "txt2img")
    with pytest.raises(SettingError, match="not for img2img"):
        find_axis("Hires steps", "img2img")
    with pytest.raises(SettingError, match="no axis 99"):
        find_axis(99, "txt2img")


FIELDS: list[tuple[Request, str, str, list[Any]]] = [
    (BASE, "Seed", "1-3", [1, 2, 3]),
    (BASE, "Var. strength", "0, .5", [0, 0.5]),
    (BASE, "Steps", "10-30 (+10)", [10, 20, 30]),
    (BASE, "CFG Scale", "5, 7.5", [5, 7.5]),
    (BASE, "Sampler", "euler a, DPM++ 2M Karras", ["Euler a", "DPM++ 2M Karras"]),
    (BASE, "Schedule type", "karras, Automatic", ["Karras", "Automatic"]),
    (BASE, "Checkpoint name", "dream, DREAM_V2, sea", [FILES["checkpoints"][i] for i in (1, 0, 2)]),
    (BASE, "Eta", "0, 1", [0, 1]),
    (BASE, "Clip skip", "1-2", [1, 2]),
    (BASE, "FP8 mode", "disable, Enable for SDXL, enable", ["Disable", "Enable for SDXL", "Enable"]),
    (BASE, "Face restore", "None, gfpgan, y", ["", "GFPGAN", "CodeFormer"]),
    (BASE, "Token merging ratio", "0-0.6 (+0.3)", [0, 0.3, 0.6]),
    (BASE, "VAE", "Automatic, clear, None", ["Automatic", "clear.safetensors", None]),
    (BASE, "RNG source", "GPU, CPU, nv", ["NV", "CPU", "NV"]),
    (BASE, "Prompt", '"a, b", c', ["a, b", "c"]),
]
NAMES = {
    "Seed": "seed",
    "Var. strength": "variation_strength",
    "Steps": "steps",
    "CFG Scale": "cfg",
    "Sampler": "sampler",
    "Schedule type": "schedule",
    "Checkpoint name": "checkpoint",
    "Eta": "eta",
    "Clip skip": "clip_skip",
    "VAE": "vae",
    "Token merging ratio": "token_merging",
    "FP8 mode": "fp8",
    "Face restore": "face_restoration",
    "RNG source": "rng",
    "Prompt": "prompt",
}


@pytest.mark.parametrize(("base", "label", "text", "values"), FIELDS)
def test_a_field_of_the_request_takes_each_value(base: Request, label: str, text: str, values: list[Any]) -> None:
    name = NAMES[label]
    assert [getattr(base_of(one), name) for one in along(base, label, text)] == values
    over = along(Img2Img(BASE), label, text)
    assert [getattr(base_of(one), name) for one in over] == values


@pytest.mark.parametrize(
    ("label", "text", "name", "values"),
    [
        ("Hires steps", "0, 5", "steps", [0, 5]),
        ("Denoising", "0.2-0.4 (+0.1)", "denoise", [0.2, 0.3, 0.4]),
        ("Hires denoise", "0.5", "denoise", [0.5]),
        ("Hires upscaler", "lanczos, Latent", "upscaler", ["Lanczos", "Latent"]),
        ("Hires sampler", "heun", "sampler", ["Heun"]),
        ("Hires CFG", "3", "cfg", [3]),
        ("Hires scale", "1.5-2 [2]", "scale", [1.5, 2]),
        ("Hires checkpoint", "sea", "checkpoint", ["sea.ckpt"]),
    ],
)
def test_the_hires_pass_takes_each_value_and_must_be_there(label: str, text: str, name: str, values: list[Any]) -> None:
    found = [base_of(one).hires for one in along(HIRES, label, text)]
    assert [getattr(hires, name) for hires in found] == values
    with pytest.raises(SettingError, match=f"X axis, {label}: there is no hires pass"):
        along(BASE, label, text)


def test_img2img_has_axes_of_its_own() -> None:
    over = Img2Img(BASE, inpaint=Inpaint())
    assert [one.denoise for one in along(over, "Denoising", "0.3, 0.5") if isinstance(one, Img2Img)] == [0.3, 0.5]
    (one,) = along(over, "Initial noise multiplier", "1.2")
    assert isinstance(one, Img2Img) and one.noise_multiplier == 1.2
    (one,) = along(over, "Cond. Image Mask Weight", "0.4")
    assert isinstance(one, Img2Img) and one.inpaint is not None and one.inpaint.mask_weight == 0.4
    with pytest.raises(SettingError, match="no mask"):
        along(Img2Img(BASE), "Cond. Image Mask Weight", "0.4")
    with pytest.raises(SettingError, match="belongs to img2img"):
        along(BASE, "Extra noise", "0.1")


@pytest.mark.parametrize(
    ("label", "text", "name", "values"),
    [
        ("Weight", "0.5-1 (+0.25)", "weight", [0.5, 0.75, 1.0]),
        (
            "Control Mode",
            "balanced, controlnet is more important",
            "control_mode",
            [CONTROL_MODES[0], CONTROL_MODES[2]],
        ),
        ("Preprocessor", "Canny, none", "module", ["canny", "none"]),
        ("Pre Threshold A", "50, 100", "threshold_a", [50, 100]),
        ("Pixel Perfect", "yes", "pixel_perfect", [True]),
    ],
)
def test_the_first_controlnet_takes_each_value(label: str, text: str, name: str, values: list[Any]) -> None:
    other = ControlNetUnit("b", "two.png")
    base = replace(BASE, controlnets=(ControlNetUnit("a", "one.png"), other))
    found = [base_of(one).controlnets for one in along(base, f"[ControlNet] {label}", text)]
    assert [getattr(first, name) for first, _ in found] == values
    assert all(second == other for _, second in found)
    with pytest.raises(SettingError, match="there is no ControlNet"):
        along(BASE, f"[ControlNet] {label}", text)
    with pytest.raises(SettingError, match="no preprocessor 'openpose'"):
        along(base, "[ControlNet] Preprocessor", "openpose")


def test_sizes_tiles_and_refiners() -> None:
    sized = [base_of(one) for one in along(BASE, "Size", "512x768, 640 x 640")]
    assert [(one.width, one.height) for one in sized] == [(512, 768), (640, 640)]
    (tiled,) = along(BASE, "Tile size", "64")
    assert base_of(tiled).tiled is not None and base_of(tiled).tiled.tile_width == 64  # type: ignore[union-attr]
    refined = [base_of(one).refiner for one in along(BASE, "Refiner checkpoint", "None, sea")]
    assert refined == [None, Refiner("sea.ckpt")]
    with pytest.raises(SettingError, match="there is no refiner"):
        along(BASE, "Refiner switch at", "0.5")
    both = GridRequest(BASE, (AxisValues("Refiner switch step", "5, 8"), AxisValues("Refiner checkpoint", "sea, None")))
    switched = [base_of(cell.request).refiner for cell in expand(both, KNOWN).cells]
    assert switched == [Refiner("sea.ckpt", switch_step=5), Refiner("sea.ckpt", switch_step=8), None, None]


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("Sampler", "Eular"),
        ("Schedule type", "Karrass"),
        ("Checkpoint name", "mountain"),
        ("VAE", "mud"),
        ("Styles", "oyl"),
        ("Size", "512"),
        ("Size", "0x512"),
        ("RNG source", "TPU"),
        ("Steps", "many"),
        ("Steps", " , "),
        ("Tile method", "Cubist"),
        ("FP8 mode", "Float"),
        ("Token merging ratio", "much"),
        ("Face restore", "Gimp"),
        ("UniPC Order", "two"),
        ("Schedule rho", "much"),
        ("SGM noise multiplier", "perhaps"),
    ],
)
def test_an_unknown_value_is_refused_with_its_axis(label: str, text: str) -> None:
    with pytest.raises(SettingError) as caught:
        along(BASE, label, text)
    assert str(caught.value).startswith(f"X axis, {label}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("label", "text", "name", "value"),
    [
        ("UniPC Order", "2", "unipc_order", 2),
        ("Schedule rho", "5", "schedule_rho", 5.0),
        ("SGM noise multiplier", "True", "sgm_noise", True),
        ("Negative Guidance minimum sigma", "1.5", "ngms", 1.5),
        ("Beta schedule alpha", "0.7", "beta_alpha", 0.7),
    ],
)
def test_an_option_of_sampling_is_an_axis(label: str, text: str, name: str, value: Any) -> None:
    (request,) = along(BASE, label, text)
    assert isinstance(request, Txt2Img) and request.fine.changed() == {name: value}


# --- prompts -------------------------------------------------------------------------------------------------------


def test_search_and_replace_reaches_every_prompt() -> None:
    base = replace(HIRES, prompt="cat, Cat, cat", negative="dog cat", hires=HiresFix(prompt="a cat", negative="cat"))
    first, second = along(base, "Prompt S/R", "cat, bird")
    assert first == base
    found = base_of(second)
    assert (found.prompt, found.negative) == ("bird, Cat, bird", "dog bird")
    assert found.hires is not None and (found.hires.prompt, found.hires.negative) == ("a bird", "bird")


def test_search_and_replace_must_find_its_words() -> None:
    with pytest.raises(SettingError, match="'moon', which is in no prompt"):
        along(BASE, "Prompt S/R", "moon, sun")
    assert [base_of(one).prompt for one in along(BASE, "Prompt S/R", '"smile, beach", city')][1] == "1girl, city"


@given(st.lists(st.text("ab ", min_size=1, max_size=3), min_size=1, max_size=4), st.text("abc ,", max_size=30))
def test_search_and_replace_is_replacement(values: list[str], prompt: str) -> None:
    if values[0] in prompt:
        made = base_of(search_and_replace(Txt2Img(prompt=prompt), values[-1], values))
        assert made.prompt == values[-1].join(prompt.split(values[0]))


def test_prompt_order_puts_words_into_each_others_places() -> None:
    made = [base_of(one).prompt for one in along(BASE, "Prompt order", "smile, 1girl, beach")]
    assert set(made) == {", ".join(order) for order in permutations(["1girl", "smile", "beach"])} and len(made) == 6
    assert made[0] == "smile, 1girl, beach"
    with pytest.raises(SettingError, match="'moon', which is not in the prompt"):
        along(BASE, "Prompt order", "1girl, moon")
    with pytest.raises(SettingError, match="orders"):
        along(BASE, "Prompt order", ",".join("abcdefghij"))


@given(st.permutations(["one", "two", "six", "ten"]), st.permutations(["one", "two", "six", "ten"]))
def test_prompt_order_is_a_permutation(written: list[str], wanted: list[str]) -> None:
    made = base_of(reorder(Txt2Img(prompt=" & ".join(written)), tuple(wanted), []))
    assert made.prompt == " & ".join(wanted)


def test_styles_are_added_and_other_axes_reach_them() -> None:
    plain, both = along(BASE, "Styles", 'None, "oil,fine"')
    assert plain == BASE
    assert base_of(both).prompt == "oil painting of 1girl, smile, beach, fine lines"
    assert base_of(both).negative == "blurry, photo"
    grid = GridRequest(BASE, (AxisValues("Prompt S/R", "painting, drawing"), AxisValues("Styles", "oil")))
    _, drawn = (base_of(cell.request).prompt for cell in expand(grid, KNOWN).cells)
    assert drawn == "oil drawing of 1girl, smile, beach"


def test_the_weight_of_loras() -> None:
    base = replace(BASE, prompt="a <lora:fox:0.8> b <lora:red fox:1:0.5:8:lbw=MIDD> <hypernet:x:1>")
    light, heavy = (base_of(one).prompt for one in along(base, "LoRA weight", "0.5, 1"))
    assert light == "a <lora:fox:0.5> b <lora:red fox:0.5:0.5:8:lbw=MIDD> <hypernet:x:1>"
    assert heavy == "a <lora:fox:1> b <lora:red fox:1:1:8:lbw=MIDD> <hypernet:x:1>"
    assert base_of(weigh_loras(Txt2Img(prompt="<lora:x>"), 0.25, [])).prompt == "<lora:x:0.25>"
    with pytest.raises(SettingError, match="no prompt has a <lora"):
        along(BASE, "LoRA weight", "1")
