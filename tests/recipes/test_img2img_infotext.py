"""img2img requests and infotext: written and read back they are the same; A1111's own texts are understood."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import SettingError
from hires.metadata.infotext import read_infotext
from hires.recipes.facts import ModelFacts
from hires.recipes.img2img_infotext import img2img_from, img2img_infotext, is_img2img
from hires.recipes.img2img_request import (
    AREAS,
    DIRECTIONS,
    FILLS,
    OUTPAINTING,
    RESIZE_MODES,
    Img2Img,
    Inpaint,
    Outpaint,
    SoftInpainting,
    check_img2img,
)
from hires.recipes.request import Txt2Img

FACTS = {"thin.safetensors": ModelFacts("thin.safetensors", "0123456789", "sd1", 64)}


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False).map(lambda value: round(value, 3))


SOFT = st.builds(
    SoftInpainting, numbers(0, 8), numbers(0, 8), numbers(1, 32), numbers(0, 1), numbers(0, 8), numbers(2, 8)
)
INPAINTS = st.builds(
    Inpaint,
    blur_x=st.integers(0, 64),
    blur_y=st.integers(0, 64),
    invert=st.booleans(),
    fill=st.sampled_from(FILLS),
    area=st.sampled_from(AREAS),
    padding=st.integers(0, 256),
    rounded=st.booleans(),
    mask_weight=numbers(0, 1),
    overlay=st.booleans(),
    soft=st.none() | SOFT,
    transparency=numbers(0, 100),
)
OUTPAINTS = st.builds(
    Outpaint,
    st.lists(st.sampled_from(DIRECTIONS), min_size=1, unique=True).map(tuple),
    st.integers(1, 512),
    st.sampled_from(OUTPAINTING),
    numbers(0, 4),
    numbers(0, 1),
)
REQUESTS = st.builds(
    Img2Img,
    base=st.builds(
        Txt2Img,
        prompt=st.sampled_from(["", "a castle", "a (tower:1.2)\nby night"]),
        negative=st.sampled_from(["", "fog"]),
        checkpoint=st.just("thin.safetensors"),
        sampler=st.sampled_from(["Euler", "DDIM"]),
        schedule=st.just("Uniform"),
        steps=st.integers(1, 150),
        width=st.just(64),
        height=st.just(72),
        seed=st.integers(0, 2**32),
        clip_skip=st.integers(1, 3),
        rng=st.sampled_from(["NV", "CPU"]),
        wildcards=st.just(False),
        extra_fields=st.dictionaries(st.just("Final denoising strength"), st.just("0.5")),
    ),
    denoise=numbers(0, 1),
    resize_mode=st.sampled_from(RESIZE_MODES),
    upscaler=st.sampled_from(["None", "Nearest", "a, b: c"]),
    noise_multiplier=numbers(0, 1.5),
    extra_noise=numbers(0, 1),
    fix_steps=st.booleans(),
    color_correction=st.booleans(),
    background=st.sampled_from(["#ffffff", "red"]),
    inpaint=st.none() | INPAINTS,
    outpaint=st.none() | OUTPAINTS,
)


@given(REQUESTS)
def test_what_is_written_is_read_back(request: Img2Img) -> None:
    text = img2img_infotext(request, FACTS, digest="ab12")
    read = img2img_from(text)
    assert read == dataclasses.replace(request, base=dataclasses.replace(request.base, checkpoint=read.base.checkpoint))
    assert read.base.checkpoint == "thin [0123456789]"
    assert is_img2img(read_infotext(text))


def test_the_fields_stand_where_the_web_ui_writes_them() -> None:
    inpaint = Inpaint(fill="latent noise", area="only masked", padding=16, invert=True)
    base = Txt2Img(prompt="a", checkpoint="thin.safetensors", width=64, height=64, seed=1, clip_skip=2, wildcards=False)
    text = img2img_infotext(Img2Img(base, denoise=0.5, inpaint=inpaint, noise_multiplier=0.9), FACTS, digest="ff")
    keys = list(read_infotext(text).fields)
    assert keys[:8] == ["Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model hash", "Model"]
    assert keys[8:12] == ["Denoising strength", "Clip skip", "Init image hash", "RNG"]
    inpainting = ["Mask mode", "Mask blur", "Inpaint area", "Masked area padding", "Masked content"]
    assert keys[12:] == [*inpainting, "Noise multiplier", "Version"]


def test_a_text_by_the_web_ui_is_understood() -> None:
    text = (
        "a portrait\nNegative prompt: blurry\nSteps: 30, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, "
        "Seed: 5, Size: 512x512, Model hash: aaaaaaaaaa, Model: some, Denoising strength: 0.6, "
        "Conditional mask weight: 0.8, Soft inpainting enabled: True, Soft inpainting schedule bias: 2, "
        "Soft inpainting preservation strength: 0.5, Soft inpainting transition contrast boost: 4, "
        "Soft inpainting mask influence: 0, Soft inpainting difference threshold: 0.5, "
        "Soft inpainting difference contrast: 2, Mask mode: Inpaint not masked, Mask blur: 12, "
        "Inpaint area: Only masked, Masked area padding: 64, Masked content: latent nothing, Extra noise: 0.1, "
        "Version: v1.10.1"
    )
    read = img2img_from(text)
    soft = SoftInpainting(bias=2)
    assert read.inpaint == Inpaint(12, 12, True, "latent nothing", "only masked", 64, mask_weight=0.8, soft=soft)
    assert (read.denoise, read.extra_noise, read.base.seed, read.base.extra_fields) == (0.6, 0.1, 5, {})
    plain = "a\nSteps: 20, Sampler: Euler, Seed: 1, Size: 64x64, Denoising strength: 0.4"
    assert img2img_from(plain).inpaint is None


@pytest.mark.parametrize("field", ["Mask blur: much", "Denoising strength: half", "Outpaint: left, Outpaint pixels: x"])
def test_a_field_that_is_no_number_is_named(field: str) -> None:
    with pytest.raises(SettingError, match=field.split(":")[0].split(",")[0]):
        img2img_from(f"a\nSteps: 20, Sampler: Euler, Seed: 1, {field}, Size: 64x64")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"denoise": 1.5}, "denoising strength"),
        ({"resize_mode": "squeeze"}, "resize mode"),
        ({"background": "#zz"}, "colour"),
        ({"inpaint": Inpaint(blur_x=-1)}, "mask blur"),
        ({"inpaint": Inpaint(fill="paint")}, "masked content"),
        ({"inpaint": Inpaint(area="left half")}, "inpaint area"),
        ({"inpaint": Inpaint(soft=SoftInpainting(contrast=0))}, "contrast boost"),
        ({"outpaint": Outpaint(("north",))}, "direction"),
        ({"outpaint": Outpaint(())}, "direction"),
        ({"outpaint": Outpaint(pixels=0)}, "pixels"),
        ({"outpaint": Outpaint(), "inpaint": Inpaint(area="only masked")}, "whole canvas"),
        ({"scale": 0.1}, "16"),
        ({"scale": 15.0}, "megapixels"),
    ],
)
def test_values_out_of_range_are_named(changes: dict[str, object], fault: str) -> None:
    with pytest.raises(SettingError, match=fault):
        check_img2img(dataclasses.replace(Img2Img(), **changes), (100, 100), 2.0)  # type: ignore[arg-type]


def test_the_frame() -> None:
    assert Img2Img().frame(500, 750) == (496, 744)
    assert Img2Img(scale=1.5).frame(101, 64) == (144, 96)
    assert Img2Img(Txt2Img(width=512)).frame(500, 750) == (512, 744)
    assert Img2Img(outpaint=Outpaint(("left", "right"), 128)).frame(512, 500) == (768, 496)
