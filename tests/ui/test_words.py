"""Every word of the page in all of its languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.conftest import settings_in

import hires.ui
from hires.server.options import Options
from hires.server.state import Server
from hires.ui.page import Page, build_tabs
from hires.ui.words import LANGUAGES, WORDS, language_of, speaker

SAID = re.compile(r"""\b(?:say|_)\(\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')""")
"""A text that is said where the page runs, not only where it is built."""


def said_in_sources() -> set[str]:
    texts = (path.read_text(encoding="utf-8") for path in Path(hires.ui.__file__).parent.glob("*.py"))
    return {double or single for text in texts for double, single in SAID.findall(text)}


def said_when_built(folder: Path) -> set[str]:
    gradio = pytest.importorskip("gradio", reason="the page needs Gradio (hires[ui])")
    said: set[str] = set()

    def note(text: str) -> str:
        said.add(text)
        return text

    page = Page(Server(settings_in(folder), Options(None)))
    page._ = note
    with gradio.Blocks() as page.blocks:
        with gradio.Tabs() as page.tabs:
            build_tabs(page)
        page.join()
    return said


def test_every_label_that_the_page_uses_is_there_in_korean_and_chinese(tmp_path: Path) -> None:
    said = said_when_built(tmp_path) | said_in_sources()
    assert {"Generate", "Negative prompt", "Soft inpainting"} <= said
    assert sorted(text for text in said if any(not WORDS.get(text, {}).get(other) for other in ("ko", "zh"))) == []


def test_places_for_numbers_and_names_are_the_same_in_every_language() -> None:
    places = {text: set(re.findall(r"\{\w+\}", text)) for text in WORDS}
    for text, others in WORDS.items():
        for language, other in others.items():
            assert set(re.findall(r"\{\w+\}", other)) == places[text], (text, language)


@pytest.mark.parametrize(
    ("chosen", "accepted", "language"),
    [
        ("", "ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("None", "fr, zh-CN;q=0.5, en;q=0.4", "zh"),
        ("zh_CN", "ko", "zh"),
        ("", "en;q=0.3,zh;q=0.7", "zh"),
        ("", "fr", "en"),
        ("", "", "en"),
        ("xx", "ko;q=x", "ko"),
    ],
)
def test_the_language_is_the_chosen_one_else_what_the_browser_asks_for(
    chosen: str, accepted: str, language: str
) -> None:
    assert language_of(chosen, accepted) == language


@given(st.text(max_size=40), st.text(max_size=80))
def test_any_header_gives_a_language(chosen: str, accepted: str) -> None:
    assert language_of(chosen, accepted) in LANGUAGES


def test_what_no_table_has_stays_as_it_is() -> None:
    assert speaker("ko")("no such text") == "no such text"
    assert speaker("zh")("Generate") == "生成" and speaker("en")("Generate") == "Generate"
