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


def test_the_engines_line_of_the_memory_is_told_in_the_pages_language() -> None:
    pytest.importorskip("gradio", reason="the page needs Gradio (hires[ui])")
    from hires.ui.foretelling import memory_told

    line = "memory: 1.25 GB at most of the 21.1 GB free: First pass at 128x128 whole, decoding 128x128 whole"
    assert memory_told(line, speaker("en")) == line
    assert memory_told(line, speaker("ko")) == (
        "메모리: 남은 21.1 GB 중 최대 1.25 GB: 첫 단계 128x128 통째로, 디코딩 128x128 통째로"
    )
    assert memory_told("of another kind", speaker("ko")) == "of another kind"
