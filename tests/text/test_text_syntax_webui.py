from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import PromptError
from hires.text.syntax_webui import (
    parse_attention,
    split_and,
    split_networks,
    strip_comments,
    strip_negative_networks,
)

TABLE = {
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).": [
        ("a ", 1.0), ("house", 1.573), (" ", 1.1), ("on", 1.0), (" a ", 1.1), ("hill", 0.55), (", sun, ", 1.1),
        ("sky", 1.4641), (".", 1.1),
    ],
    "(a, (b:1.5), c:0.5)": [("a, ", 0.5), ("b", 0.75), (", c", 0.5)],
    "(flowers):1.1": [("flowers", 1.1), (":1.1", 1.0)],
    "(cat: 1.3 )": [("cat", 1.3)],
    "(cat:-1)": [("cat", -1.0)],
    "a:1.2) b": [("a:1.2) b", 1.0)],
    "(a:1.2.3)": [("a:1.2.3", 1.1)],
    "(a:.)": [("a:.", 1.1)],
    "[x:1.2]": [("x:1.2", 1 / 1.1)],
    "[x]": [("x", 1 / 1.1)],
    "\\(a\\) \\b \\\\ \\[c\\]": [("(a) b \\ [c]", 1.0)],
    "(a [b": [("a ", 1.1), ("b", 1.0)],
    "a) b] c": [("a) b] c", 1.0)],
    "(a)(b)": [("ab", 1.1)],
    "([a)b]": [("a", 1.0), ("b", 1 / 1.1)],
    "": [],
}  # fmt: skip


@pytest.mark.parametrize("text", TABLE)
def test_weights_of_the_table(text: str) -> None:
    (pieces,) = parse_attention(text)
    assert [piece for piece, _ in pieces] == [piece for piece, _ in TABLE[text]]
    assert [weight for _, weight in pieces] == pytest.approx([weight for _, weight in TABLE[text]])


def test_break_splits_everywhere() -> None:
    assert parse_attention("a BREAK b") == [[("a", 1.0)], [("b", 1.0)]]
    assert parse_attention("(a BREAK b:1.2)") == [[("a", 1.2)], [("b", 1.2)]]
    assert parse_attention("BREAK BREAK a") == [[], [], [("a", 1.0)]]
    assert parse_attention("a BREAK") == [[("a", 1.0)], []]
    assert parse_attention("OUTBREAK break") == [[("OUTBREAK break", 1.0)]]


@given(st.text(alphabet="()[]\\:.1 aB", max_size=40))
def test_any_text_parses_and_no_letter_is_lost(text: str) -> None:
    pieces = [piece for section in parse_attention(text) for piece in section]
    letters = [char for char in text if char in "aB"]
    assert [char for piece, _ in pieces for char in piece if char in "aB"] == letters
    for before, after in pairwise(pieces):
        assert before[1] != after[1]


@given(st.integers(1, 30), st.integers(0, 30))
def test_nesting_multiplies(rounds: int, squares: int) -> None:
    text = "(" * rounds + "[" * squares + "a" + "]" * squares + ")" * rounds
    (((piece, weight),),) = parse_attention(text)
    assert piece == "a"
    assert weight == pytest.approx(1.1 ** (rounds - squares))


@pytest.mark.parametrize("text", ["(" * 100_000, "[(" * 50_000, "(a" * 30_000 + ")" * 30_000, " " * 100_000 + "x"])
def test_deep_nesting_needs_no_stack(text: str) -> None:
    assert parse_attention(text)


def test_comments() -> None:
    assert strip_comments("a # b\nc") == "a \nc"
    assert strip_comments("a\n# b\nc") == "a\nc"
    assert strip_comments("# only") == ""
    assert strip_comments("a\n#b") == "a\n"


def test_and_with_weights() -> None:
    assert split_and("a cat AND a dog :0.5 AND x: -1.2") == [("a cat ", 1.0), (" a dog", 0.5), (" x", -1.2)]
    assert split_and("sand AND and") == [("sand ", 1.0), (" and", 1.0)]
    assert split_and("one: 0.5") == [("one", 0.5)]
    assert split_and("(a:1.2)") == [("(a:1.2)", 1.0)]
    assert split_and("a AND") == [("a ", 1.0), ("", 1.0)]


def test_network_tags() -> None:
    text, tags = split_networks("a <lora:flat colour:0.8> b<lyco:x:0.5:0.7:4><lora:y:unet=0.3:te=0.2><hypernet:z:1>")
    assert text == "a  b"
    assert [(tag.kind, tag.name) for tag in tags] == [
        ("lora", "flat colour"), ("lyco", "x"), ("lora", "y"), ("hypernet", "z"),
    ]  # fmt: skip
    assert [tag.strengths() for tag in tags] == [(0.8, 0.8, None), (0.5, 0.7, 4), (0.2, 0.3, None), (1.0, 1.0, None)]
    assert tags[0].position == 2
    assert split_networks("<lora:a>")[1][0].strengths() == (1.0, 1.0, None)
    assert split_networks("1 < 2 : 3 > 2")[1] == []


def test_a_strength_that_is_no_number_points_at_its_tag() -> None:
    tag = split_networks("hi <lora:x:much>")[1][0]
    with pytest.raises(PromptError, match="'much' is not a number") as caught:
        tag.strengths()
    assert caught.value.position == 3


def test_tags_in_a_negative_prompt_are_removed_with_a_warning() -> None:
    text, warnings = strip_negative_networks("bad <lora:x:1>")
    assert text == "bad "
    assert len(warnings) == 1
    assert "<lora:x>" in warnings[0]
