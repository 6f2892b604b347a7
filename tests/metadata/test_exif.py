"""Texts in EXIF: each where its readers look for it, and back from every format whatever they hold."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hires.metadata.carrying import save_raster, why_not
from hires.metadata.exif import EXIF_IFD, JPEG_LIMIT, USER_COMMENT, comment_text, put_texts, user_comment
from hires.metadata.files import picture_texts
from hires.metadata.infotext import read_infotext, write_infotext
from hires.metadata.workflows import file_texts

PIXELS = np.zeros((4, 4, 3), np.uint8)
PROMPT = '{"1": {"class_type": "SaveImage", "inputs": {}}}'
FIELDS = {"Steps": "20", "Sampler": "Euler", "Seed": "1"}
LOSSY = ("jpg", "webp", "avif")


def written(kind: str, texts: dict[str, str], folder: Path, exif: Image.Exif | None = None) -> Path:
    path = folder / f"x.{kind}"
    path.unlink(missing_ok=True)
    save_raster(PIXELS, path, kind, texts, exif=exif)
    return path


@pytest.mark.parametrize("kind", LOSSY)
def test_the_comment_holds_the_infotext_alone_and_the_tags_comfyuis_json(kind: str, tmp_path: Path) -> None:
    text = write_infotext("猫 café", "bad", FIELDS)
    path = written(kind, {"parameters": text, "prompt": PROMPT, "hires": "{}", "workflow": '{"nodes": []}'}, tmp_path)
    with Image.open(path) as picture:
        exif = picture.getexif()
        assert exif.get_ifd(EXIF_IFD)[USER_COMMENT] == b"UNICODE\0" + text.encode("utf-16-be")
        assert exif[0x0110] == f"prompt:{PROMPT}"
        assert exif[0x010F] == 'workflow:{"nodes": []}'
        assert exif[0x010E] == "hires:{}"


def test_a_cameras_own_tags_stay(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110], exif[0x010F] = "EOS 5D", "Canon"
    texts = {"parameters": write_infotext("a", "", FIELDS), "prompt": PROMPT, "workflow": '{"nodes": []}'}
    path = written("jpg", texts, tmp_path, exif)
    with Image.open(path) as picture:
        assert (picture.getexif()[0x0110], picture.getexif()[0x010F]) == ("EOS 5D", "Canon")
        assert picture_texts(picture).items() >= texts.items()


def test_texts_of_an_earlier_run_are_replaced(tmp_path: Path) -> None:
    exif = Image.Exif()
    put_texts(exif, {"parameters": "old", "prompt": '{"old": {}}', "memory": "{}"})
    put_texts(exif, {"prompt": PROMPT})
    assert file_texts(written("webp", {"prompt": PROMPT}, tmp_path, exif)) == {"prompt": PROMPT}


def test_a_workflow_in_any_script_is_the_same_json(tmp_path: Path) -> None:
    flow = {"1": {"class_type": "Älpha 猫 \U0001f984", "inputs": {}}}
    path = written("webp", {"prompt": json.dumps(flow, ensure_ascii=False)}, tmp_path)
    assert json.loads(file_texts(path)["prompt"]) == flow


@pytest.mark.parametrize("order", ["utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("text", ["a fox\nSteps: 1", "猫", "猫猫猫 a: {b|c}\nNegative prompt: x"])
def test_both_byte_orders_are_read(order: str, text: str) -> None:
    if text != "猫" or order == "utf-16-be":  # with no Latin character nothing says which; the web UI's is taken
        assert comment_text(b"UNICODE\0" + text.encode(order)) == text


def test_lines_of_json_behind_the_infotext_are_read_and_those_of_a_prompt_are_not() -> None:
    lines = ['prompt:{"a": "b"}', "x:{}", "Steps: 1, Sampler: Euler, Seed: 2", f"prompt:{PROMPT}", 'Workflow: {"n": 1}']
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[USER_COMMENT] = user_comment(lines)
    buffer = BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, format="JPEG", exif=exif)
    texts = picture_texts(Image.open(buffer))
    assert texts["parameters"] == "\n".join(lines[:3])
    assert (texts["prompt"], texts["workflow"]) == (PROMPT, '{"n": 1}')


def test_a_jpeg_leaves_out_what_it_cannot_hold_and_says_when_that_is_the_infotext(tmp_path: Path) -> None:
    text = write_infotext("a", "", FIELDS)
    long = json.dumps({"x": "y" * JPEG_LIMIT})
    path = written("jpg", {"parameters": text, "prompt": PROMPT, "workflow": long}, tmp_path)
    assert file_texts(path) == {"parameters": text, "prompt": PROMPT}
    assert why_not("jpg", 64, 64, {"parameters": text, "workflow": long}) is None
    assert "longer than" in (why_not("jpg", 64, 64, {"parameters": "a" * JPEG_LIMIT}) or "")
    assert why_not("webp", 64, 64, {"parameters": "a" * JPEG_LIMIT}) is None
    assert "16383" in (why_not("webp", 64, 20_000, {}) or "")


@pytest.mark.parametrize("kind", ["png", "webp", "avif"])
def test_a_very_long_prompt_comes_back(kind: str, tmp_path: Path) -> None:
    text = write_infotext("猫, (very:1.2) " * 20_000, "", FIELDS)
    assert file_texts(written(kind, {"parameters": text}, tmp_path))["parameters"] == text


PROMPTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80)
LINES = st.lists(st.sampled_from(['"quoted, text"', "a: b, c: d, e: f", "prompt:{}", "x{1}", "<lora:a:1>", "é\\n", ""]))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=PROMPTS, lines=LINES, negative=PROMPTS, kind=st.sampled_from(["png", *LOSSY]))
def test_what_is_written_comes_back(prompt: str, lines: list[str], negative: str, kind: str, tmp_path: Path) -> None:
    text = write_infotext("\n".join([prompt, *lines]), negative, FIELDS | {"Model": prompt[:9] or "m"})
    found = file_texts(written(kind, {"parameters": text, "prompt": PROMPT}, tmp_path))
    assert found["prompt"] == PROMPT
    assert read_infotext(found["parameters"]) == read_infotext(text)


@settings(max_examples=60)
@given(raw=st.binary(max_size=60), offset=st.integers(0, 60))
def test_broken_exif_raises_nothing(raw: bytes, offset: int) -> None:
    exif = Image.Exif()
    put_texts(exif, {"parameters": "a\nSteps: 1, Sampler: b, Seed: 2", "prompt": PROMPT})
    whole = exif.tobytes()
    buffer = BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, format="JPEG", exif=whole[:offset] + raw + whole[offset + len(raw) :])
    texts = picture_texts(Image.open(buffer))
    assert all(isinstance(text, str) for text in texts.values())
