"""LoRA tags in prompts: the same as a LoraLoader, for the pass whose prompt has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hires.api import Drawn, Engine, HiresFix, Txt2Img
from hires.metadata.files import picture_texts
from hires.settings import Settings

REQUEST = Txt2Img(prompt="a fox", checkpoint="thin_sd15", steps=2, seed=3, width=64, height=64)


@pytest.fixture
def make_engine(thin_models: Path, tmp_path: Path) -> Callable[[], Engine]:
    settings = Settings(models_dir=thin_models, output_dir=tmp_path / "out", cache_dir=tmp_path / "cache", device="cpu")
    return lambda: Engine(settings)


def pixels(drawn: Drawn) -> np.ndarray:
    return np.asarray(drawn.pictures[0])


def test_a_tag_changes_the_picture_and_strength_zero_does_not(make_engine: Callable[[], Engine]) -> None:
    plain, tagged, off = (
        pixels(make_engine().txt2img(REQUEST, prompt=f"a fox{tag}"))
        for tag in ("", "<lora:lora_thin_sd15:0.8>", "<lora:lora_thin_sd15:0>")
    )
    assert not np.array_equal(plain, tagged)
    assert np.array_equal(plain, off)


def test_the_workflow_has_a_loader_and_the_infotext_its_hash(make_engine: Callable[[], Engine]) -> None:
    drawn = make_engine().txt2img(REQUEST, prompt="a fox <lora:lora_thin_sd15:0.5:0.7>")
    texts = picture_texts(drawn.pictures[0])
    assert '"strength_model": 0.7, "strength_clip": 0.5' in texts["prompt"]
    assert 'Lora hashes: "lora_thin_sd15: ' in texts["parameters"]
    again = make_engine().txt2img(make_engine().request_of(drawn.paths[0]))
    assert np.array_equal(pixels(drawn), pixels(again))


def test_the_hires_prompts_own_tags_are_for_the_second_pass(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    engine.txt2img(REQUEST)
    hires = HiresFix(denoise=0.5, steps=2, prompt="a fox <lora:lora_thin_sd15:1>")
    drawn = engine.txt2img(REQUEST, hires=hires)
    assert drawn.counts.denoiser_calls == 2
    plain = engine.txt2img(REQUEST, hires=HiresFix(denoise=0.5, steps=2))
    assert not np.array_equal(pixels(drawn), pixels(plain))


def test_an_unknown_name_draws_without_it(make_engine: Callable[[], Engine]) -> None:
    plain = make_engine().txt2img(REQUEST)
    unknown = make_engine().txt2img(REQUEST, prompt="a fox<lora:gone:1>")
    assert np.array_equal(pixels(plain), pixels(unknown))
