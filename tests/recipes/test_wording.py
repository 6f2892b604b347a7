"""Styles, comments and choices of requests, and what infotext keeps of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import PromptError, SettingError
from hires.recipes.describe import notices
from hires.recipes.draft import Draft
from hires.recipes.facts import ModelFacts
from hires.recipes.infotext import infotext, request_from
from hires.recipes.networks import HYPERNET, fact_key, lay_over
from hires.recipes.request import HiresFix, Templates, Txt2Img, check_request
from hires.recipes.wording import Phrasebook, per_picture, with_prompts_of, worded
from hires.text.styles import Style

STYLES = {"Oil": Style("Oil", "oil of {prompt}", "photo"), "Fine": Style("Fine", "{sharp|crisp}")}
FACTS = {
    "m": ModelFacts("m.safetensors", "0123456789", "sd1", 512),
    fact_key("x"): ModelFacts("sub/x.safetensors", "a" * 12, "sd1", 512),
    fact_key("h", HYPERNET): ModelFacts("h.pt", "b" * 10, "", 512),
}
BASE = Txt2Img(prompt="cat", checkpoint="m", width=512, height=512, seed=5, variation_seed=0)


@pytest.fixture
def book(tmp_path: Path) -> Phrasebook:
    (tmp_path / "colour.txt").write_text("red\nblue\ngreen\nwhite\nblack\n")
    return Phrasebook(STYLES, (tmp_path,))


def test_styles_are_laid_over_all_prompts(book: Phrasebook) -> None:
    hires = HiresFix(prompt="big cat")
    made = worded(replace(BASE, styles=("oil",), negative="blurry", hires=hires), book)
    assert (made.prompt, made.negative, made.styles) == ("oil of cat", "blurry, photo", ())
    assert made.hires is not None
    assert (made.hires.prompt, made.hires.negative) == ("oil of big cat", "")
    assert infotext(made, FACTS).startswith("oil of cat\nNegative prompt: blurry, photo\n")
    with pytest.raises(SettingError, match="no style 'ink'"):
        worded(replace(BASE, styles=("ink",)), book)


def test_comments_go_before_infotext_unless_they_are_off(book: Phrasebook) -> None:
    request = replace(BASE, prompt="cat # not a dog", hires=HiresFix(prompt="# all\nbig"))
    made = worded(request, book)
    assert made.prompt == "cat "
    assert made.hires is not None
    assert made.hires.prompt == "big"
    for kept in (replace(request, comments=False), replace(request, dialect="comfyui")):
        assert worded(kept, book).prompt == "cat # not a dog"


def test_each_picture_chooses_by_its_own_seed(book: Phrasebook) -> None:
    request = worded(replace(BASE, prompt="{a|b|c|d} __colour__", styles=("Fine",), batch_size=3, batch_count=4), book)
    parts = per_picture(request, book)
    assert [part.seed for part in parts] == list(range(5, 17))
    assert len({part.prompt for part in parts}) > 6
    assert parts[0].prompt == request.prompt
    for part in parts:
        alone = worded(replace(BASE, prompt="{a|b|c|d} __colour__", styles=("Fine",), seed=part.seed), book)
        assert (alone.prompt, alone.templates) == (part.prompt, part.templates)
    assert worded(request, book) == request


def test_the_prompts_of_one_picture_of_a_job(book: Phrasebook) -> None:
    request = worded(replace(BASE, prompt="{a|b|c|d} __colour__", batch_count=5), book)
    for number, part in enumerate(per_picture(request, book)):
        own = with_prompts_of(request, number, book)
        assert own == replace(request, prompt=part.prompt)
        assert with_prompts_of(own, number, book) == own


def test_variations_of_one_picture_share_its_prompt(book: Phrasebook) -> None:
    request = worded(replace(BASE, prompt="{a|b|c}", batch_size=4, variation_strength=0.1), book)
    assert per_picture(request, book) == [request]


def test_both_passes_choose_alike(book: Phrasebook) -> None:
    for seed in range(8):
        made = worded(replace(BASE, prompt="{a|b|c}", hires=HiresFix(prompt="{a|b|c}"), seed=seed), book)
        assert made.hires is not None
        assert made.hires.prompt == made.prompt


def test_the_template_is_kept_beside_what_was_drawn(book: Phrasebook) -> None:
    request = worded(replace(BASE, prompt="a {cat|dog}, 5", negative="{x|y}"), book)
    text = infotext(request, FACTS)
    assert text.split("\n")[0] in ("a cat, 5", "a dog, 5")
    assert 'Template: "a {cat|dog}, 5", Negative Template: {x|y}' in text
    again = request_from(text)
    assert again.templates == Templates("a {cat|dog}, 5", "{x|y}")
    assert worded(again, book).prompt == request.prompt


def test_a_picture_of_other_programs_is_drawn_as_it_says(book: Phrasebook) -> None:
    text = "a {cat|dog} __colour__\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512"
    assert worded(request_from(text), book).prompt == "a {cat|dog} __colour__"


def test_wildcards_that_are_not_there_are_known(book: Phrasebook) -> None:
    request = worded(replace(BASE, prompt="__colour__ __gone__"), book)
    assert request.prompt.endswith(" __gone__")
    (note,) = notices(request, FACTS)
    assert f"prompt, character {len(request.prompt) - 7}: there is no wildcard file gone.txt" in note
    assert notices(replace(BASE, prompt="__gone__", wildcards=False), FACTS) == []
    with pytest.raises(PromptError, match="leads out"):
        worded(replace(BASE, prompt="__../colour__"), book)


@given(
    st.builds(
        replace,
        st.just(replace(BASE, prompt="(cat)")),
        comments=st.booleans(),
        comma_backtrack=st.integers(0, 75),
        old_scheduling=st.booleans(),
        emphasis=st.sampled_from(["Original", "No norm", "Ignore", "None", "ComfyUI"]),
        clip_skip=st.integers(1, 12),
        ensd=st.just(31337),
        sampler=st.just("Euler a"),
        schedule=st.just("Uniform"),
        rng=st.sampled_from(["CPU", "NV"]),
        variation_seed=st.integers(0, 2**32),
        variation_strength=st.sampled_from([0.1, 0.5, 1.0]),
        seed_resize_width=st.just(256),
        seed_resize_height=st.integers(8, 512),
    )
)
def test_how_prompts_and_seeds_are_read_comes_back(request_made: Txt2Img) -> None:
    again = request_from(infotext(request_made, FACTS))
    for name in (
        "comments", "comma_backtrack", "old_scheduling", "emphasis", "clip_skip", "ensd", "rng", "variation_seed",
        "variation_strength", "seed_resize_width", "seed_resize_height", "seed",
    ):  # fmt: skip
        assert getattr(again, name) == getattr(request_made, name)


def test_emphasis_is_told_where_it_makes_a_difference() -> None:
    for prompt, written in (("(cat)", True), ("[cat]", True), ("cat BREAK dog", True), ("cat", False)):
        assert ("Emphasis: No norm" in infotext(replace(BASE, prompt=prompt, emphasis="No norm"), FACTS)) == written


def test_old_pictures_keep_their_timeline() -> None:
    line = "\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 512x512, Version: "
    assert request_from("[a:b:0.5]" + line + "v1.5.2").old_scheduling
    assert not request_from("a" + line + "v1.5.2").old_scheduling
    assert not request_from("[a:b:0.5]" + line + "v1.10.1").old_scheduling


@pytest.mark.parametrize(
    "wrong", [{"emphasis": "Loud"}, {"comma_backtrack": 76}, {"seed_resize_width": -8}, {"clip_skip": 0}, {"rng": "x"}]
)
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        check_request(replace(BASE, **wrong), 200)  # type: ignore[arg-type]


def loaders(prompt: str, family: str = "sd1") -> list[dict[str, object]]:
    draft = Draft()
    lay_over(draft, draft.add("X").out(0), draft.add("Y").out(0), prompt, family, FACTS)
    return [{"class": node["class_type"], **node["inputs"]} for node in list(draft.graph().values())[2:]]


def test_tags_become_loaders() -> None:
    (node,) = loaders("<lora:x:0.5:0.7:dyn=4:lbw=MIDD>")
    assert (node["strength_clip"], node["strength_model"], node["rank"], node["block_weights"]) == (0.5, 0.7, 4, "MIDD")
    (node,) = loaders("<lyco:x:0.5:OUTALL>")
    assert (node["strength_clip"], node["strength_model"], node["block_weights"]) == (0.5, 0.5, "OUTALL")
    (node,) = loaders("<lora:x:te=0.1:unet=0.2:" + ",".join("1" * 17) + ">")
    assert (node["strength_clip"], node["strength_model"]) == (0.1, 0.2)
    (node,) = loaders("<hypernet:h:0.3>")
    assert (node["class"], node["hypernetwork_name"], node["strength"]) == ("HypernetworkLoader", "h.pt", 0.3)
    assert loaders("<hypernet:gone:1> <other:h:1>") == []


def test_block_weights_that_do_not_fit_point_at_their_tag() -> None:
    with pytest.raises(PromptError, match="character 3: there are no block weights 'LOUD'") as caught:
        loaders("a <lora:x:1:loud>")
    assert caught.value.position == 2


def test_what_does_nothing_is_said() -> None:
    prompt = "(a <lora:x:1:step=5> <hypernet:gone:1> <lora:none:1> <other:y:1>"
    told = notices(replace(BASE, prompt=prompt, negative="a AND b"), FACTS)
    for words in (
        "prompt, character 1: this ( is never closed",
        "negative prompt, character 3: AND is a word",
        "step of <lora:x> means nothing here",
        "no hypernetwork 'gone'",
        "no LoRA 'none'",
        "tags of the kind other are left out",
    ):
        assert any(words in line for line in told), (words, told)
