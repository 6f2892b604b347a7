"""Requests as infotext: read back as they were, and those that people's guides show."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.errors import SettingError
from hires.metadata.infotext import read_infotext
from hires.recipes.facts import ModelFacts
from hires.recipes.infotext import KNOWN, infotext, is_emphasized, request_from
from hires.recipes.named_files import named_in_request
from hires.recipes.networks import embedding_key, fact_key, stated_hashes
from hires.recipes.request import REFINER_PASSES, HiresFix, Refiner, Txt2Img
from hires.recipes.samplers import chosen, infotext_names
from hires.recipes.tiled import DeepShrink, TiledDiffusion
from hires.sampling.schedules_webui import SCHEDULES
from hires.sampling.webui import SAMPLERS
from hires.tiling.joint import METHODS

FACTS = {
    f"{name}.safetensors": ModelFacts(f"{name}.safetensors", hash_, "sd1", 512)
    for name, hash_ in (("base", "0123456789"), ("真实系: lofi, v2", "abcdef0123"), ('"q"', "00ff00ff00"))
}
TITLES = {fact.name: fact.title for fact in FACTS.values()}


def is_plain(text: str) -> bool:
    """Whether the format can hold a prompt: its lines have no spaces around them and begin no negative prompt."""
    lines = text.split("\n")
    return text == text.strip() and not any(x != x.strip() or x.startswith("Negative prompt:") for x in lines)


WORDS = st.sampled_from(
    ['"a, b"', "x: y, z: w, v: u", "(a:1.2)", "[[pants]]", "{", "<lora:x:1>", "猫", "\\(", "\n", "b "]
)
TEXTS = st.one_of(st.text(st.characters(codec="utf-8"), max_size=40), st.lists(WORDS, max_size=6).map("".join))
PROMPTS = TEXTS.filter(is_plain).filter(lambda text: "{" not in text or "|" not in text)
MODELS = st.sampled_from(sorted(FACTS))
NUMBERS = st.floats(0.01, 30, allow_nan=False).map(lambda value: round(value, 6))
SHARES = st.floats(0, 1, allow_nan=False)
SIZES = st.integers(64, 4096)
SAMPLER_NAMES = st.sampled_from([entry.label for entry in SAMPLERS])
SCHEDULE_NAMES = st.sampled_from([entry.label for entry in SCHEDULES if entry.label != "Automatic"])


@st.composite
def hires_fixes(draw: st.DrawFn) -> HiresFix:
    by_size = draw(st.booleans())
    return HiresFix(
        upscaler=draw(st.sampled_from(["Latent", "Latent (bicubic)", "R-ESRGAN 4x+ Anime6B", "4x: mine, v2"])),
        scale=2.0 if by_size else draw(NUMBERS),
        width=draw(SIZES) if by_size else 0,
        height=draw(SIZES) if by_size else 0,
        steps=draw(st.integers(0, 150)),
        denoise=draw(SHARES),
        sampler=draw(st.none() | SAMPLER_NAMES),
        schedule=draw(st.none() | SCHEDULE_NAMES),
        prompt=draw(TEXTS),
        negative=draw(TEXTS),
        cfg=draw(st.none() | NUMBERS),
        checkpoint=draw(st.none() | MODELS),
    )


REFINERS = st.builds(
    Refiner,
    MODELS,
    switch_at=NUMBERS,
    by_steps=st.booleans(),
    switch_step=st.none() | st.integers(0, 50),
    passes=st.sampled_from(REFINER_PASSES),
)
TILES = st.builds(
    TiledDiffusion, method=st.sampled_from(list(METHODS)), overlap=st.integers(0, 64), jitter=st.booleans()
)
REQUESTS = st.builds(
    Txt2Img,
    prompt=PROMPTS,
    negative=PROMPTS,
    checkpoint=MODELS,
    vae=st.none() | MODELS,
    vae_mode=st.sampled_from(["auto", "exact", "fast"]),
    vae_tile=st.integers(128, 4096),
    sampler=SAMPLER_NAMES,
    schedule=SCHEDULE_NAMES,
    steps=st.integers(1, 10_000),
    cfg=NUMBERS,
    width=SIZES,
    height=SIZES,
    seed=st.integers(0, 2**64 - 1),
    clip_skip=st.integers(1, 12),
    hires=st.none() | hires_fixes(),
    refiner=st.none() | REFINERS,
    tiled=st.none() | TILES,
    deep_shrink=st.none() | st.builds(DeepShrink, st.integers(1, 32), st.sampled_from([1.5, 2.0]), st.just(0.35)),
    rng=st.sampled_from(["NV", "CPU"]),
    emphasis=st.sampled_from(["Original", "No norm", "Ignore"]),
    eta=st.none() | SHARES,
    s_churn=NUMBERS,
    s_noise=NUMBERS,
    dialect=st.sampled_from(["webui", "comfyui"]),
    original_quirks=st.booleans(),
    extra_fields=st.dictionaries(st.sampled_from(["Mask blur", "X values", "Style-name"]), TEXTS.filter(bool)),
)


def as_read(request: Txt2Img) -> Txt2Img:
    """A request as its infotext says it: files by their titles, what is the same as elsewhere or does nothing left
    out."""
    hires, refiner = request.hires, request.refiner
    if hires is not None:
        names = infotext_names(hires.sampler or request.sampler, hires.schedule or request.schedule)
        own = infotext_names(request.sampler, request.schedule)
        hires = replace(
            hires,
            sampler=names[0] if names[0] != own[0] else None,
            schedule=names[1] if names[1] != own[1] else None,
            prompt=hires.prompt if hires.prompt != request.prompt else "",
            negative=hires.negative if hires.negative != request.negative else "",
            cfg=hires.cfg if hires.cfg != request.cfg else None,
            checkpoint=TITLES[hires.checkpoint] if hires.checkpoint else None,
        )
    if refiner is not None:
        refiner = replace(refiner, checkpoint=TITLES[refiner.checkpoint])
        if refiner.switch_step is not None:
            refiner = replace(refiner, switch_at=0.8, by_steps=False)
    sampler, schedule = infotext_names(request.sampler, request.schedule)
    return replace(
        request,
        checkpoint=TITLES[request.checkpoint or ""],
        vae=f"{request.vae} [{FACTS[request.vae].hash}]" if request.vae else None,
        sampler=sampler,
        schedule=schedule,
        hires=hires,
        refiner=refiner,
        emphasis=request.emphasis if is_emphasized(request) else "Original",
        wildcards=False,
    )


@settings(max_examples=60)
@given(REQUESTS)
def test_what_is_written_is_read_back(request: Txt2Img) -> None:
    text = infotext(request, FACTS)
    assert request_from(text) == as_read(request)
    again = request_from(text)
    assert chosen(again.sampler, again.schedule) == chosen(request.sampler, request.schedule)
    assert read_infotext(text).fields["Version"].startswith("hires ")


def test_unknown_fields_are_written_again_in_their_order() -> None:
    text = 'a\nSteps: 3, Sampler: Euler, Seed: 1, Mask blur: 4, Module 1: x, Script: "a, b", Postprocess upscale by: 2'
    request = request_from(text)
    assert request.extra_fields == {"Mask blur": "4", "Module 1": "x", "Script": "a, b"}
    written = infotext(replace(request, checkpoint="base.safetensors", width=64, height=64), FACTS)
    assert 'Mask blur: 4, Module 1: x, Script: "a, b", Version: hires' in written
    assert "Postprocess" not in written


def test_hashes_of_networks_are_read_and_written() -> None:
    stated = stated_hashes("a b: 0123456789ab, c: x, : 00", "easy: abcdef012345")
    assert stated == {fact_key("a b"): "0123456789ab", embedding_key("easy"): "abcdef012345"}
    facts = FACTS | {
        fact_key("a b"): ModelFacts("other.safetensors", "0123456789ab", "sd1", 512),
        embedding_key("easy"): ModelFacts("easy.pt", "abcdef012345", "sd1", 512),
    }
    text = infotext(Txt2Img("easy <lora:a b:1>", checkpoint="base.safetensors", width=64, height=64), facts)
    assert 'Lora hashes: "a b: 0123456789ab", TI hashes: "easy: abcdef012345"' in text
    assert request_from(text).hashes == stated


@pytest.mark.parametrize("field", ["Steps: many", "CFG scale: x", "Seed: ?", "Hires steps: x, Hires upscaler: Latent"])
def test_a_field_that_is_no_number_is_one_line(field: str) -> None:
    with pytest.raises(SettingError, match="should be a number"):
        request_from(f"a\n{field}, Sampler: Euler, Denoising strength: 0.5, Size: 64x64")


STRANGE = [
    "",
    "-1",
    "nan",
    "1e999",
    "9" * 5000,
    "9" * 5000 + "x1",
    "{}",
    '{"Passes": [1]}',
    '"',
    "²",
    "x [deadbeef]",
    "\0",
]


@given(st.dictionaries(st.sampled_from(sorted(KNOWN)), st.sampled_from(STRANGE) | st.text(max_size=12)))
def test_strange_values_are_read_or_refused_in_one_line(fields: dict[str, str]) -> None:
    text = "a\nSteps: 3, " + ", ".join(f"{key}: {value}" for key, value in fields.items())
    try:
        named_in_request(request_from(text))
    except SettingError as error:
        assert "\n" not in str(error)


def test_a_number_that_is_none_is_read_and_refused_when_it_is_checked() -> None:
    assert math.isnan(request_from("a\nSteps: 1, Sampler: Euler, CFG scale: nan").cfg)


# What people's guides show

LATENT_256 = (
    "masterpiece, best quality, 1girl, (sailor collar:1.1), (bored:0), [[pants]], (quality:0)\n"
    "Negative prompt: (worst quality:1.4), (low quality:1.4), [[blurry]]\n"
    "Steps: 256, Sampler: Euler a, CFG scale: 4.8, Seed: 3190768820, Size: 1024x576, Model hash: 7f96a1a9ca, "
    "Model: anything-v4.5, Denoising strength: 0.707, Clip skip: 2, Hires upscale: 2, Hires upscaler: Latent"
)
ANIME6B = (
    "1girl, white hair, golden eyes\nNegative prompt: lowres, bad anatomy\n"
    "Steps: 25, Sampler: DPM++ 2M Karras, CFG scale: 10, Seed: 2311942344, Size: 1024x512, Model hash: 89d59c3dde, "
    "Model: animefull, Denoising strength: 0.45, Clip skip: 2, ENSD: 31337,\n"
    "Hires upscale: 2, Hires upscaler: R-ESRGAN 4x+ Anime6B"
)
INPAINTED = (
    "closed eyes\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1694284519, Size: 496x744, Model hash: e3edb8a26f, "
    "Model: 真实系: lofi_v2, Denoising strength: 0.75, Conditional mask weight: 1.0, Mask blur: 4, Version: V1.2.1"
)
GUIDES = {"latent": LATENT_256, "anime6b": ANIME6B, "inpainted": INPAINTED}


def test_the_guide_with_weights_of_zero() -> None:
    request = request_from(LATENT_256)
    assert request.prompt.endswith("[[pants]], (quality:0)")
    assert (request.steps, request.cfg, request.clip_skip, request.seed) == (256, 4.8, 2, 3190768820)
    assert (request.width, request.height, request.sampler) == (1024, 576, "Euler a")
    assert request.hires == HiresFix("Latent", 2.0, denoise=0.707)
    assert request.checkpoint == "anything-v4.5 [7f96a1a9ca]"
    assert request.original_quirks and request.rng == "NV"


def test_the_guide_with_ensd_and_an_upscaler() -> None:
    request = request_from(ANIME6B)
    assert (request.ensd, request.sampler, request.cfg) == (31337, "DPM++ 2M Karras", 10)
    assert infotext_names(request.sampler, request.schedule) == ("DPM++ 2M", "Karras")
    assert request.hires == HiresFix("R-ESRGAN 4x+ Anime6B", 2.0, denoise=0.45)
    assert [one.title for one in named_in_request(request)] == ["animefull [89d59c3dde]", "R-ESRGAN 4x+ Anime6B"]


def test_the_guide_with_a_mask() -> None:
    request = request_from(INPAINTED)
    assert (request.width, request.height, request.hires) == (496, 744, None)
    assert request.checkpoint == "真实系: lofi_v2 [e3edb8a26f]"
    assert request.extra_fields["Mask blur"] == "4"


def test_the_first_size_of_old_writers_is_the_first_passs() -> None:
    request = request_from(
        "a\nSteps: 20, Sampler: Euler, Seed: 1, Size: 1024x768, First pass size: 512x384, Denoising strength: 0.7"
    )
    assert (request.width, request.height) == (512, 384)
    assert request.hires is not None and (request.hires.width, request.hires.height) == (1024, 768)
