"""Prompts through the engine and the command: styles, choices, networks, and the flags about seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from hires.api import Drawn, Engine, Txt2Img
from hires.cli import app
from hires.errors import PromptError
from hires.imaging.pictures import open_picture
from hires.metadata.files import picture_texts
from hires.metadata.infotext import read_infotext
from hires.recipes.describe import notices
from hires.settings import Settings

REQUEST = Txt2Img(prompt="a fox", checkpoint="thin_sd15", steps=2, seed=3, width=64, height=64)
LORA = "<lora:lora_thin_sd15:1:lbw={}>"


@pytest.fixture
def make_engine(thin_models: Path, tmp_path: Path) -> Callable[[], Engine]:
    (tmp_path / "wildcards").mkdir()
    (tmp_path / "wildcards" / "animal.txt").write_text("".join(f"animal {number}\n" for number in range(50)))
    (tmp_path / "styles.csv").write_text('name,prompt,negative_prompt\nOil,"oil, {prompt}",photo\n')
    settings = Settings(
        models_dir=thin_models,
        output_dir=tmp_path / "out",
        cache_dir=tmp_path / "cache",
        device="cpu",
        styles_files=(str(tmp_path / "styles*.csv"),),
        wildcards_dir=tmp_path / "wildcards",
    )
    return lambda: Engine(settings)


def pixels(drawn: Drawn, index: int = 0) -> np.ndarray:
    return np.asarray(drawn.pictures[index])


def told(drawn: Drawn, index: int = 0) -> str:
    return picture_texts(drawn.pictures[index])["parameters"]


def test_each_picture_of_a_batch_has_its_own_choice_and_is_the_same_alone(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    drawn = engine.txt2img(REQUEST, prompt="__animal__", styles=("oil",), batch_size=2, batch_count=2)
    prompts = [read_infotext(told(drawn, index)).prompt for index in range(4)]
    assert len(set(prompts)) > 1
    assert all(prompt.startswith("oil, animal ") for prompt in prompts)
    assert "Template: " in told(drawn)
    assert [read_infotext(told(drawn, index)).fields["Seed"] for index in range(4)] == ["3", "4", "5", "6"]
    alone = make_engine().txt2img(REQUEST, prompt="__animal__", styles=("oil",), seed=5)
    assert np.array_equal(pixels(drawn, 2), pixels(alone))
    written = make_engine().txt2img(REQUEST, prompt=prompts[2], negative="photo", seed=5)
    assert np.array_equal(pixels(alone), pixels(written))
    again = make_engine()
    assert np.array_equal(pixels(again.txt2img(again.request_of(drawn.paths[2]))), pixels(alone))


def test_a_prompt_that_changes_runs_the_encoder_once_a_text(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    for step in (1, 2, 3):
        engine.txt2img(REQUEST, prompt=f"[cat:dog:{step}]", steps=4)
    assert engine.texts.encoded == 3  # cat, dog and the empty negative prompt


def test_block_weights_choose_what_a_lora_changes(make_engine: Callable[[], Engine]) -> None:
    engine = make_engine()
    plain, none, every, base, numbers = (
        pixels(engine.txt2img(REQUEST, prompt=f"a fox{tag}"))
        for tag in (
            "",
            LORA.format("NONE"),
            LORA.format("ALL"),
            LORA.format("BASE"),
            LORA.format("1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0"),
        )
    )
    assert np.array_equal(plain, none)
    assert not np.array_equal(plain, every)
    assert not np.array_equal(base, every)
    assert np.array_equal(base, numbers)
    full = pixels(engine.txt2img(REQUEST, prompt="a fox<lora:lora_thin_sd15:1>"))
    assert np.array_equal(every, full)
    with pytest.raises(PromptError, match="12 block weights do not fit this model"):
        engine.txt2img(REQUEST, prompt="a fox" + LORA.format(",".join("1" * 12)))


def test_a_lora_goes_by_the_name_its_trainer_gave(make_engine: Callable[[], Engine], thin_models: Path) -> None:
    folder = thin_models / "loras"
    tensors = load_file(folder / "lora_thin_sd15.safetensors")
    try:
        save_file(tensors, folder / "called_one.safetensors", {"ss_output_name": "Watercolour"})
        _, facts = make_engine().prepare(Txt2Img(prompt="<lora:Watercolour:1>", checkpoint="thin_sd15"))
        assert facts["lora:Watercolour"].name == "called_one.safetensors"
        save_file(tensors, folder / "called_two.safetensors", {"ss_output_name": "Watercolour"})
        _, facts = make_engine().prepare(Txt2Img(prompt="<lora:Watercolour:1>", checkpoint="thin_sd15"))
        assert "lora:Watercolour" not in facts
    finally:
        for name in ("called_one", "called_two"):
            (folder / f"{name}.safetensors").unlink(missing_ok=True)


def test_a_hypernetwork_tag_is_its_loader(make_engine: Callable[[], Engine], thin_models: Path) -> None:
    engine = make_engine()
    folder = thin_models / "hypernetworks"
    folder.mkdir(exist_ok=True)
    clip = engine.store.checkpoint("thin_sd15").clip
    assert clip is not None
    width = clip.clips[0].width
    generator = torch.Generator().manual_seed(0)
    layers = {
        f"linear.0.{part}": torch.randn(shape, generator=generator)
        for part, shape in (("weight", (width, width)), ("bias", (width,)))
    }
    torch.save({width: (layers, layers), "layer_structure": [1, 1]}, folder / "wild.pt")
    try:
        plain, on, off = (
            engine.txt2img(REQUEST, prompt=f"a fox{tag}") for tag in ("", "<hypernet:wild:1>", "<hypernet:wild:0>")
        )
        assert '"HypernetworkLoader"' in picture_texts(on.pictures[0])["prompt"]
        assert np.array_equal(pixels(plain), pixels(off))
        assert not np.array_equal(pixels(plain), pixels(on))
        request, facts = engine.prepare(Txt2Img(prompt="<hypernet:wild:1>", checkpoint="thin_sd15"))
        assert notices(request, facts) == []
    finally:
        (folder / "wild.pt").unlink()


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        (["--emphasis", "No norm"], "Emphasis", "No norm"),
        (["--comma-backtrack", "0"], "Comma backtrack", "0"),
        (["--no-comments"], "Prompt comments", "False"),
        (["--clip-skip", "2"], "Clip skip", "2"),
        (["--rng", "CPU"], "RNG", "CPU"),
        (["--ensd", "31337", "--sampler", "Euler a"], "ENSD", "31337"),
        (["--variation-seed", "9", "--variation-strength", "0.2"], "Variation seed strength", "0.2"),
        (["--seed-resize-from", "128x64"], "Seed resize from", "128x64"),
    ],
)
def test_flags_change_the_picture_and_are_told(
    flags: list[str], field: str, value: str, thin_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIRES_CACHE_DIR", str(tmp_path / "cache"))
    prompt = ", ".join(["(red:1.4) fox cub tail # old\n"] + ["word word word"] * 26)
    common = ["txt2img", prompt, "-m", "thin_sd15", "--steps", "2", "--size", "64", "--seed", "3", "--device", "cpu"]
    common += ["--models-dir", str(thin_models), "--output-dir", str(tmp_path)]
    if "--sampler" in flags:
        common += ["--sampler", "Euler a"]
    for more in ([], flags):
        result = CliRunner().invoke(app, [*common, *more])
        assert result.exit_code == 0, result.output
    plain, changed = (open_picture(tmp_path / f"txt2img_0000{number}_.png") for number in (1, 2))
    assert read_infotext(picture_texts(changed)["parameters"]).fields[field] == value
    assert field != "RNG" or read_infotext(picture_texts(plain)["parameters"]).fields[field] == "NV"
    assert not np.array_equal(np.asarray(plain), np.asarray(changed))


def test_styles_by_the_command(thin_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIRES_CACHE_DIR", str(tmp_path / "cache"))
    runner = CliRunner()
    assert runner.invoke(app, ["styles", "save", "Oil", "-p", "oil of {prompt}", "-n", "photo"]).exit_code == 0
    listed = runner.invoke(app, ["styles", "list"])
    assert listed.output == "Oil: oil of {prompt} | not: photo\n"
    words = ["txt2img", "a fox", "-m", "thin_sd15", "--steps", "1", "--size", "64", "--seed", "3", "--device", "cpu"]
    words += ["--models-dir", str(thin_models), "--output-dir", "out"]
    drawn = runner.invoke(app, [*words, "--style", "Oil"])
    assert drawn.exit_code == 0, drawn.output
    found = runner.invoke(app, ["styles", "find", "out/txt2img_00001_.png"])
    assert found.output == "styles: Oil\nprompt: a fox\nnegative prompt: \n"
    refused = runner.invoke(app, [*words, "--style", "Ink"])
    assert refused.exit_code == 2
    assert "there is no style 'Ink'. There are: Oil." in refused.output
    noted = runner.invoke(app, [*words, "--no-wildcards", "-n", "(bad"])
    assert "note: negative prompt, character 1: this ( is never closed" in noted.output
