"""txt2img through the engine, by the built-in model: the same pixels alone, in a batch, shared, from its own file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hires.api import Drawn, Engine, HiresFix, Txt2Img
from hires.errors import SettingError
from hires.imaging.pictures import open_picture
from hires.metadata.files import picture_texts
from hires.recipes.request import Refiner
from hires.recipes.samplers import sampler_rows
from hires.settings import Settings

PROMPT = "1girl, pink hair, smile, beach"
SMALL: dict[str, Any] = {"prompt": PROMPT, "steps": 3, "width": 64, "height": 64, "seed": 7}


@pytest.fixture
def make_engine(tmp_path: Path) -> Callable[..., Engine]:
    def make(**changes: Any) -> Engine:
        folders = {"models_dir": tmp_path / "models", "output_dir": tmp_path / "out", "cache_dir": tmp_path / "cache"}
        return Engine(Settings(**{**folders, "device": "cpu", **changes}))

    return make


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine()


def pixels(drawn: Drawn, index: int = 0) -> np.ndarray:
    return np.asarray(drawn.pictures[index])


def test_without_a_models_folder_the_built_in_model_draws_at_its_own_size(engine: Engine) -> None:
    drawn = engine.txt2img(prompt=PROMPT, steps=2, seed=1)
    assert drawn.request.checkpoint == "hires-pocket.safetensors"
    assert drawn.pictures[0].size == (160, 160)
    assert pixels(drawn).std() > 10


@pytest.mark.parametrize(
    ("sampler", "batches"),
    # the adaptive one takes a hundred denoiser calls a picture, whatever the steps
    [("DPM++ 2M", 2), ("Euler a", 2), ("DPM++ SDE", 2), ("DPM adaptive", 1), ("UniPC", 2)],
)
def test_a_picture_is_the_same_alone_and_in_any_batch(
    sampler: str, batches: int, make_engine: Callable[..., Engine]
) -> None:
    fields = {**SMALL, "cfg": 1.0} if sampler == "DPM adaptive" else SMALL
    batch = make_engine().txt2img(**fields, sampler=sampler, batch_size=2, batch_count=batches)
    assert len(batch.paths) == 2 * batches
    for index in range(2 * batches):
        alone = make_engine().txt2img(**{**fields, "seed": 7 + index}, sampler=sampler)
        assert np.array_equal(pixels(batch, index), pixels(alone)), index


def test_a_variation_changes_the_variation_seed_only(make_engine: Callable[..., Engine]) -> None:
    fields = {**SMALL, "variation_seed": 3, "variation_strength": 0.4}
    batch = make_engine().txt2img(**fields, batch_size=2)
    alone = make_engine().txt2img(**{**fields, "variation_seed": 4})
    assert np.array_equal(pixels(batch, 1), pixels(alone))
    assert not np.array_equal(pixels(batch, 0), pixels(batch, 1))


@pytest.mark.parametrize(
    "hires",
    [
        HiresFix(upscaler="Latent", denoise=0.7, scale=2.0),
        HiresFix(upscaler="Lanczos", denoise=0.4, scale=1.5, steps=2, sampler="Euler a", prompt="1boy", cfg=3.0),
        HiresFix(upscaler="Latent (bicubic antialiased)", denoise=1.0, width=128, height=96),
        HiresFix(upscaler="None", denoise=0.0),
    ],
)
def test_a_picture_drawn_from_its_own_file_has_the_same_pixels(
    hires: HiresFix, make_engine: Callable[..., Engine]
) -> None:
    first = make_engine().txt2img(**SMALL, hires=hires, negative="blurry, (bad:1.3)", batch_size=2)
    assert first.pictures[0].size == ((128, 128) if not hires.width else (128, 96)) or hires.scale == 1.5
    engine = make_engine()
    for index, path in enumerate(first.paths):
        again = engine.txt2img(engine.request_of(path))
        assert np.array_equal(pixels(first, index), pixels(again))
        assert again.request.hires is not None and again.request.hires.upscaler == hires.upscaler


def test_a_picture_run_as_a_workflow_has_the_same_pixels(make_engine: Callable[..., Engine]) -> None:
    first = make_engine().txt2img(**SMALL, hires=HiresFix(denoise=0.6, steps=2))
    engine = make_engine()
    report = engine.run(first.paths[0])
    assert np.array_equal(np.asarray(open_picture(engine.saved(report)[0])), pixels(first))


def test_the_first_pass_is_computed_once_and_shared(engine: Engine) -> None:
    plain = engine.txt2img(**SMALL)
    calls = [engine.txt2img(**SMALL, hires=HiresFix(denoise=d, steps=2)).counts.denoiser_calls for d in (0.4, 0.7)]
    assert plain.counts.denoiser_calls == 3
    assert calls == [2, 2]


def test_the_first_pass_is_saved_when_asked(engine: Engine) -> None:
    drawn = engine.txt2img(**SMALL, hires=HiresFix(denoise=0.5, steps=2), save_first_pass=True)
    plain = engine.txt2img(**SMALL)
    names = sorted(path.name for path in drawn.paths)
    assert names == ["txt2img-before-highres-fix_00001_.png", "txt2img_00001_.png"]
    first = open_picture(next(path for path in drawn.paths if "before" in path.name))
    assert np.array_equal(np.asarray(first), pixels(plain))
    assert "Hires upscale" not in picture_texts(first)["parameters"]


def test_the_infotext_says_what_was_done(engine: Engine) -> None:
    drawn = engine.txt2img(**SMALL, negative="bad", hires=HiresFix(denoise=0.45, upscaler="Lanczos"), clip_skip=2)
    text = picture_texts(drawn.pictures[0])["parameters"]
    lines = text.split("\n")
    assert lines[0] == PROMPT
    assert lines[1] == "Negative prompt: bad"
    assert lines[2].startswith(
        "Steps: 3, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 7, Size: 64x64, "
    )
    assert "Model: hires-pocket" in lines[2]
    assert "Denoising strength: 0.45, Clip skip: 2, RNG: NV, Hires upscale: 2, Hires upscaler: Lanczos" in lines[2]


def test_a_prompt_schedule_switches_where_it_says(make_engine: Callable[..., Engine]) -> None:
    """[a:b:2] is a for the web UI's calls 0 to 2 and b after, so its first steps are those of "a" alone."""
    fields = {**SMALL, "steps": 4, "sampler": "Euler"}
    engine = make_engine()
    engine.txt2img(**{**fields, "prompt": "1girl"})
    switched = engine.txt2img(**{**fields, "prompt": "[1girl:1boy:2]"})
    assert switched.counts.reused_steps == 3
    assert switched.counts.denoiser_calls == 1
    late = make_engine().txt2img(**{**fields, "prompt": "[1girl:1boy:1.0]"})
    plain = make_engine().txt2img(**{**fields, "prompt": "1girl"})
    assert np.array_equal(pixels(late), pixels(plain))


def test_and_parts_of_one_prompt_with_weight_one_half_each_are_that_prompt(make_engine: Callable[..., Engine]) -> None:
    whole = make_engine().txt2img(**SMALL)
    halves = make_engine().txt2img(**{**SMALL, "prompt": f"{PROMPT} :0.5 AND {PROMPT} :0.5"})
    difference = np.abs(pixels(whole).astype(int) - pixels(halves).astype(int))
    assert difference.max() <= 2


def test_cfg_one_makes_no_unconditional_call_and_cfg_above_one_batched_call(engine: Engine, monkeypatch: Any) -> None:
    from hires.models.handles import DiffusionModel

    batches: list[int] = []
    predict = DiffusionModel.predict

    def counted(self: Any, x: Any, *rest: Any, **named: Any) -> Any:
        batches.append(len(x))
        return predict(self, x, *rest, **named)

    monkeypatch.setattr(DiffusionModel, "predict", counted)
    engine.txt2img(**SMALL, cfg=1.0)
    engine.txt2img(**SMALL, cfg=5.0)
    assert batches == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("label", [row[0] for row in sampler_rows()])
def test_every_sampler_draws(label: str, engine: Engine) -> None:
    drawn = engine.txt2img(**SMALL, sampler=label)
    assert pixels(drawn).std() > 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "DPM++ 2N"}, "Sampler not found: 'DPM\\+\\+ 2N'.*DPM\\+\\+ 2M"),
        ({"schedule": "karas"}, "karas.*Karras"),
        ({"checkpoint": "nothing.safetensors"}, "nothing.safetensors"),
        ({"width": 8}, "width must be from 16 to 16384"),
        ({"width": 1_000_000}, "16384"),
        ({"steps": 0}, "steps must be from 1"),
        ({"batch_size": 0}, "batch size must be"),
        ({"hires": HiresFix(upscaler="4x-Foo")}, "could not find upscaler named '4x-Foo'"),
        ({"hires": HiresFix(denoise=1.5)}, "denoising strength must be from 0 to 1"),
        ({"hires": HiresFix(scale=1e6)}, "hires scale must be"),
        ({"hires": HiresFix(scale=60), "width": 512, "height": 512}, "the hires pass cannot be 30720x30720"),
        ({"refiner": Refiner("gone.safetensors")}, "gone.safetensors"),
        ({"rng": "TRNG"}, "unknown random source"),
        ({"emphasis": "Loud"}, "emphasis"),
    ],
)
def test_wrong_values_are_one_line_before_anything_is_drawn(
    changes: dict[str, Any], message: str, engine: Engine
) -> None:
    with pytest.raises(Exception, match=message) as caught:
        engine.txt2img(**{**SMALL, **changes})
    assert "\n" not in str(caught.value)
    assert not list(engine.settings.output_dir.glob("*.png"))


def test_twenty_thousand_characters_are_drawn(engine: Engine) -> None:
    drawn = engine.txt2img(**{**SMALL, "steps": 1, "prompt": "pink hair, " * 1818})
    assert drawn.pictures[0].size == (64, 64)
    with pytest.raises(SettingError, match="cfg must be from 0"):
        engine.txt2img(**{**SMALL, "cfg": -1})


def test_request_defaults_are_the_web_uis() -> None:
    request = Txt2Img()
    assert (request.steps, request.cfg, request.sampler, request.schedule) == (20, 7.0, "DPM++ 2M", "Automatic")
    assert (HiresFix().upscaler, HiresFix().scale, HiresFix().denoise) == ("Latent", 2.0, 0.7)
