"""`hires interrogate` and `hires tokens`."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tests.models.captioner_files import write_tagger
from typer.testing import CliRunner

from hires.api import Engine
from hires.cli import app
from hires.models.captioners.tags import TagRules
from hires.settings import Settings


def invoke(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output.strip()


def test_what_a_picture_shows(tmp_path: Path) -> None:
    models = tmp_path / "models"
    blue, red = tmp_path / "blue.png", tmp_path / "red.png"
    Image.new("RGB", (20, 30), (0, 0, 255)).save(blue)
    Image.new("RGB", (20, 20), (255, 0, 0)).save(red)
    code, said = invoke("interrogate", str(blue), "--models-dir", str(models))
    assert code == 2 and "there is no model that tells what a picture shows. Put a BLIP folder" in said
    write_tagger(models / "captioners" / "wd")
    given = ["--models-dir", str(models)]
    # the white of the square that the picture is laid in counts as well: two thirds of it are blue
    assert invoke("interrogate", str(blue), *given) == (0, "blue sky")
    code, said = invoke("interrogate", str(blue), str(tmp_path / "none.png"), str(red), "--model", "wd", *given)
    assert code == 2
    assert f"{blue}: blue sky" in said and rf"{red}: red \(colour\)" in said and "none.png" in said
    assert invoke("interrogate", str(red), "--discard", "red (colour)", *given) == (0, "")
    engine = Engine(
        Settings(models_dir=models, output_dir=tmp_path / "out", cache_dir=tmp_path / "cache", device="cpu")
    )
    assert engine.interrogate(red, "deepbooru", TagRules(escape=False)) == "red (colour)"
    assert engine.interrogate(red, "wd", TagRules(0.999)) == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["1girl, smile"], "4/75"),
        (["a BREAK b b"], "77/150 (1 + 2)"),
        (["a AND b b"], "2/75"),
        (["a AND b b", "--negative"], "4/75"),
        (["[a:a a a:3]", "--steps", "2"], "1/75"),
        (["[a:a a a:3]", "--steps", "8"], "3/75"),
        ([""], "0/75"),
    ],
)
def test_tokens_are_counted(tmp_path: Path, words: list[str], told: str) -> None:
    assert invoke("tokens", *words, "--models-dir", str(tmp_path)) == (0, told)


def test_styles_count(tmp_path: Path) -> None:
    file = tmp_path / "styles.csv"
    file.write_text('name,prompt,negative_prompt\nfine,"{prompt}, sharp",blurry\n', encoding="utf-8-sig")
    given = ["--style", "fine", "--styles", str(file), "--models-dir", str(tmp_path)]
    assert invoke("tokens", "a", *given) == (0, "3/75")
    assert invoke("tokens", "a", "--negative", *given) == (0, "3/75")
