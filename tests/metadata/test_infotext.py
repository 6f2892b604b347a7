"""Infotext: byte for byte as A1111 writes it, and read back whatever it holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.metadata.infotext import for_image, quote, read_infotext, write_infotext

SAMPLE = (
    "a castle, (intricate:1.2)\nsecond line\nNegative prompt: blurry, low quality\n"
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 3565566140, Size: 768x768, "
    "Model hash: abcdef0123, Model: some_model, Denoising strength: 0.7, Hires upscale: 1.5, Hires steps: 12, "
    'Hires upscaler: Latent, Hires prompt: "a castle, detailed: very", Version: v1.10.1'
)


def test_a_web_ui_paragraph_is_read() -> None:
    info = read_infotext(SAMPLE)
    assert info.prompt == "a castle, (intricate:1.2)\nsecond line"
    assert info.negative == "blurry, low quality"
    assert info.fields["Sampler"] == "DPM++ 2M"
    assert info.fields["Hires prompt"] == "a castle, detailed: very"
    assert info.size("Size") == (768, 768)
    assert info.size("Seed") is None


def test_a_web_ui_paragraph_is_written_byte_for_byte() -> None:
    info = read_infotext(SAMPLE)
    assert write_infotext(info.prompt, info.negative, info.fields) == SAMPLE


def test_less_than_three_fields_are_prompt() -> None:
    info = read_infotext("a dog\nSteps: 20, Seed: 1")
    assert info.fields == {}
    assert info.prompt == "a dog\nSteps: 20, Seed: 1"


def test_old_writers_are_forgiven() -> None:
    info = read_infotext("x\nSteps: 30, Sampler: Euler, ENSD: 31337,\nSeed: 5, Size: 500x750, Model: lofi_v2")
    assert info.fields["ENSD"] == "31337"
    assert info.fields["Steps"] == "30"
    assert info.prompt == "x"


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), ("a, b", '"a, b"'), ("a:b", '"a:b"'), ("a\nb", '"a\\nb"'), ("café, x", '"café, x"'), ('"q', '"\\"q"')],
)
def test_values_are_quoted_when_they_must_be(value: object, text: str) -> None:
    assert quote(value) == text


PROMPTS = st.text(st.characters(codec="utf-8"), max_size=60)
VALUES = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=20)


@given(prompt=PROMPTS, values=st.lists(VALUES, max_size=4))
def test_fields_come_back(prompt: str, values: list[str]) -> None:
    fields = {"Steps": "20", "Sampler": "Euler", "Seed": "1"}
    fields |= {f"Field {chr(97 + i)}": value for i, value in enumerate(values)}
    read = read_infotext(write_infotext(prompt, "", fields)).fields
    for key, value in fields.items():
        assert read[key].strip() == value.strip()


def test_the_seed_counts_on_in_a_batch() -> None:
    assert "Seed: 3565566142," in for_image(SAMPLE, 2)
    varied = "x\nSteps: 1, Seed: 5, Variation seed: 9, Variation seed strength: 0.3, Size: 8x8"
    assert for_image(varied, 2) == varied.replace("Variation seed: 9", "Variation seed: 11")
