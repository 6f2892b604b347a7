"""What tabs show of texts from outside, and the words that they are shown in."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hires
from hires.gallery.index import Entry
from hires.gallery.trash import Thrown
from hires.jobs.record import Job, State
from hires.server.gallery import name_of, token
from hires.ui.gallery_view import marked_bar, texts_of, tiles, trash_tiles
from hires.ui.markup import infotext_table, table
from hires.ui.option_labels import ELSEWHERE, GROUPS
from hires.ui.queue_view import NAMES, title_of
from hires.ui.words import WORDS

UI = Path(hires.__file__).parent / "ui"
MODULES = ("tab_gallery", "tab_png_info", "tab_extras", "tab_models", "tab_queue", "tab_settings", "tab_grids",
           "gallery_view", "models_view", "queue_view", "grids_view", "markup")  # fmt: skip
KNOWN_TAGS = {"table", "tbody", "tr", "th", "td", "details", "summary", "pre", "div", "button", "img", "span", "a"}
HOSTILE = """<script>harm()</script> "' onerror=harm() & <img src=x>"""
TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=60) | st.just(HOSTILE)


class Tags(HTMLParser):
    """The elements of a piece of HTML, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@given(text=TEXT, key=TEXT)
def test_no_text_from_outside_becomes_markup(text: str, key: str) -> None:
    pieces = (
        table([(key, text)]),
        infotext_table(f"{text}\nSteps: 1, Sampler: {key}, Seed: 1", str),
        texts_of({"parameters": text, key: text}, str),
        tiles([Entry(f"{key}/{text}.png", 1, 1.0, 1, 1)], [text], text, str),
        trash_tiles([Thrown("x", text, 1, 1.0)], str),
        marked_bar([text, key], str),
    )
    for piece in pieces:
        found = Tags(piece)
        assert found.tags <= KNOWN_TAGS and not any(name.startswith("on") for name in found.names)


@given(name=TEXT)
def test_a_token_means_its_name(name: str) -> None:
    assert name_of(token(name)) == name and set(token(name)) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )


def said(tree: ast.AST) -> Iterator[str]:
    """Every text that is said in the page's language."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in ("_", "say"):
            parts = node.args[:1]
        elif name == "tab" and len(node.args) == 2:
            parts = node.args[1:]
        elif name == "button" and len(node.args) >= 3:
            parts = node.args[2:3]
        else:
            continue
        for part in parts:
            yield from (
                one.value for one in ast.walk(part) if isinstance(one, ast.Constant) and isinstance(one.value, str)
            )


@pytest.mark.parametrize("module", MODULES)
def test_every_text_has_its_words(module: str) -> None:
    texts = set(said(ast.parse((UI / f"{module}.py").read_text(encoding="utf-8"))))
    assert not {text for text in texts if set(WORDS.get(text, {})) != {"ko", "zh"}}


def test_every_option_and_state_has_its_words() -> None:
    labels = [ELSEWHERE, *GROUPS, *NAMES.values(), *(label for group in GROUPS.values() for label in group.values())]
    assert not [label for label in labels if label not in WORDS]
    assert set(NAMES) == set(State)


def test_a_job_without_a_title_is_known_by_its_prompt() -> None:
    job = Job("1", 1, "txt2img", "txt2img", {}, words="\n a red lighthouse\nblurry")
    assert title_of(job) == "a red lighthouse"
    assert title_of(Job("1", 1, "txt2img", "mine", {}, words="x")) == "mine"
    assert title_of(Job("1", 1, "extras", "extras", {})) == "extras"
