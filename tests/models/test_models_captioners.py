"""Captions and tags: the rules of tags, a small BLIP and a small tagger that are loaded from files and run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.models.captioner_files import WORDS, write_blip, write_tagger

from hires.errors import ModelFileError, SettingError
from hires.models.captioners.blip import LONGEST, SHORTEST, BlipCaptioner
from hires.models.captioners.finding import captioner_folders, captioner_for, find_captioner
from hires.models.captioners.tagger import Tagger, squared
from hires.models.captioners.tags import TagRules, told_tags
from hires.models.inspection import inspect
from hires.models.store import ModelStore

FOUND = {"smile": 0.9, "1girl": 0.99, "rating:safe": 1.0, "blue_eyes": 0.5, "hat": 0.4999, "saber_(fate)": 0.7}


def test_sure_tags_in_alphabetical_order_without_ratings() -> None:
    assert told_tags(FOUND) == r"1girl, blue eyes, saber \(fate\), smile"
    assert told_tags({"hat": 0.1}) == ""


def test_the_rules_of_tags() -> None:
    assert told_tags(FOUND, TagRules(alphabetical=False)) == r"1girl, smile, saber \(fate\), blue eyes"
    assert told_tags(FOUND, TagRules(0.7, escape=False, spaces=False)) == "1girl, saber_(fate), smile"
    assert told_tags(FOUND, TagRules(0.9, ranks=True)) == "(1girl:0.990), (smile:0.900)"
    assert told_tags(FOUND, TagRules(discard=(" blue eyes", "1girl"))) == r"saber \(fate\), smile"
    with pytest.raises(SettingError, match="threshold of tags must be from 0 to 1"):
        TagRules(1.5)


@given(st.dictionaries(st.text(st.characters(codec="ascii", exclude_characters=", "), min_size=1), st.floats(0, 1)))
def test_brackets_never_weigh(found: dict[str, float]) -> None:
    """Every bracket and backslash of a tag stands behind a backslash, and taking these away gives the tags back."""
    told = told_tags(found, TagRules(spaces=False))
    sure = sorted(tag for tag, probability in found.items() if probability >= 0.5 and not tag.startswith("rating:"))
    plain, place = "", 0
    while place < len(told):
        if told[place] == "\\":
            place += 1
        else:
            assert told[place] not in "()"
        plain += told[place]
        place += 1
    assert plain == ", ".join(sure)


def test_without_a_captioner_it_is_said_how_to_add_one(tmp_path: Path) -> None:
    store = ModelStore([tmp_path / "models"])
    with pytest.raises(ModelFileError, match=r"no model that tells .*BLIP folder .* or a WD tagger's .*captioners"):
        find_captioner(store)
    with pytest.raises(ModelFileError, match=r"Put a WD tagger's \(model\.onnx, selected_tags\.csv\) into"):
        find_captioner(store, "deepdanbooru")
    with pytest.raises(ModelFileError, match="Put a BLIP folder"):
        find_captioner(store, "clip")


def test_a_blip_is_loaded_from_its_folder_and_says_words(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "BLIP" / "small"
    write_blip(folder)
    store = ModelStore([tmp_path / "models"])
    captioner = captioner_for(store, "CLIP")
    assert isinstance(captioner, BlipCaptioner) and captioner.side == 32
    assert captioner_for(store, "small") is captioner, "it is kept"
    assert store.held_bytes() > 0
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    text = captioner.caption(picture)
    assert text == captioner.caption(picture)
    assert set(text.split()) <= set(WORDS) and SHORTEST - 5 <= len(text.split()) <= LONGEST - 4
    assert inspect(folder / "model.safetensors").kind == "captioner"
    with pytest.raises(SettingError, match=r"no captioner 'large'\. There are: small; or clip, deepbooru"):
        find_captioner(store, "large")


def test_the_caption_is_what_the_weights_say(tmp_path: Path) -> None:
    """A text decoder whose last layer prefers one word, whatever it sees."""
    folder = tmp_path / "models" / "BLIP" / "small"
    write_blip(folder, always="castle")
    store = ModelStore([tmp_path / "models"])
    text = captioner_for(store).caption(Image.new("RGBA", (8, 8)))
    assert text.split() == ["castle"] * (LONGEST - 4), "the beginning and its first token count"


def test_a_broken_blip_is_told_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "BLIP"
    write_blip(folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelFileError, match="BLIP cannot be loaded as BLIP"):
        captioner_for(ModelStore([tmp_path / "models"]))
    (folder / "config.json").write_text("[]")
    with pytest.raises(ModelFileError, match="no model that tells"):
        captioner_for(ModelStore([tmp_path / "models"]))


def test_a_tagger_is_loaded_and_tells_what_its_numbers_say(tmp_path: Path) -> None:
    """The small network's probabilities are the sigmoids of mean blue, green and red."""
    folder = tmp_path / "models" / "captioners" / "wd"
    write_tagger(folder)
    store = ModelStore([tmp_path / "models"])
    tagger = captioner_for(store, "deepbooru")
    assert isinstance(tagger, Tagger) and tagger.side == 16
    assert tagger.tags == ("blue_sky", None, "red_(colour)")
    blue = Image.new("RGB", (20, 20), (0, 0, 255))
    found = tagger.probabilities(blue)
    assert found == pytest.approx({"blue_sky": 1 / (1 + np.exp(-5.0)), "red_(colour)": 1 / (1 + np.exp(5.0))}, abs=1e-4)
    assert tagger.caption(blue) == "blue sky"
    assert tagger.caption(Image.new("RGB", (20, 20), (255, 0, 0))) == r"red \(colour\)"
    write_blip(tmp_path / "models" / "BLIP")
    assert list(captioner_folders(store)) == ["BLIP", "wd"] and find_captioner(store).name == "BLIP"


def test_a_taggers_table_must_fit(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "captioners" / "wd"
    write_tagger(folder)
    (folder / "selected_tags.csv").write_text("tag_id,name,category,count\n1,a,0,1\n")
    with pytest.raises(ModelFileError, match="wd has 1 tags for 3 numbers"):
        captioner_for(ModelStore([tmp_path / "models"]))
    (folder / "selected_tags.csv").write_text("x\n1\n")
    with pytest.raises(ModelFileError, match="cannot be read as a table of tags"):
        captioner_for(ModelStore([tmp_path / "models"]))
    (folder / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match=r"model\.onnx cannot be loaded"):
        captioner_for(ModelStore([tmp_path / "models"]))


def test_a_picture_lies_in_a_white_square() -> None:
    made = squared(Image.new("RGB", (40, 20), "black"), 20)
    assert made.shape == (20, 20, 3)
    assert made[0].min() == 255 and made[-1].min() == 255 and made[9:11].max() == 0
    clear = squared(Image.new("RGBA", (8, 8)), 8)
    assert clear.min() == 255, "what is transparent is white"


def test_configs_are_told_by_what_they_hold(tmp_path: Path) -> None:
    other = tmp_path / "models" / "BLIP" / "bert"
    other.mkdir(parents=True)
    (other / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert captioner_folders(ModelStore([tmp_path / "models"])) == {}
    assert torch.get_default_dtype() == torch.float32
