"""Records of other programs are told as infotext."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from hires.metadata.files import save_png
from hires.metadata.foreign import with_infotext
from hires.metadata.infotext import read_infotext
from hires.metadata.workflows import file_texts

RECORD = {"steps": 28, "sampler": "k_euler_ancestral", "scale": 11.0, "seed": 42, "uc": "lowres"}


def test_novelai(tmp_path: Path) -> None:
    texts = {"Software": "NovelAI", "Description": "1girl, {smile}", "Comment": json.dumps(RECORD)}
    save_png(Image.new("RGB", (64, 96)), tmp_path / "x.png", texts)
    info = read_infotext(file_texts(tmp_path / "x.png")["parameters"])
    assert (info.prompt, info.negative, info.size("Size")) == ("1girl, {smile}", "lowres", (64, 96))
    assert info.fields["Sampler"] == "k_euler_ancestral"
    assert (info.fields["Clip skip"], info.fields["ENSD"]) == ("2", "31337")


def test_a_broken_record_is_left_as_it_is() -> None:
    for comment in ("", "[1]", "{", "[" * 100_000):
        texts = {"Software": "NovelAI", "Comment": comment}
        assert with_infotext(texts, 8, 8) == texts


def test_infotext_goes_before_other_records() -> None:
    texts = {"Software": "NovelAI", "Comment": json.dumps(RECORD), "parameters": "mine"}
    assert with_infotext(texts, 8, 8) == texts


def test_a_gifs_comment_is_infotext(tmp_path: Path) -> None:
    Image.new("P", (4, 4)).save(tmp_path / "x.gif", comment="café\nSteps: 1, Sampler: Euler, Seed: 2".encode())
    assert read_infotext(file_texts(tmp_path / "x.gif")["parameters"]).prompt == "café"
