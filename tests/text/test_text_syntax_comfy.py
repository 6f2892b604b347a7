from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.text.syntax_comfy import EmbeddingName, parse_weights, split_embeddings

TABLE = {
    "((x))": [("x", 1.21)],
    "(a (b) c:0.5)": [("a ", 0.5), ("b", 0.55), (" c", 0.5)],
    "(a:x)": [("a:x", 1.1)],
    "((a)": [("(a", 1.1)],
    "()": [],
    "(:2)": [(":2", 1.1)],
    "a)": [("a)", 1.0)],
    "((a) b": [("((a) b", 1.0)],
    "a) (b) ((c))": [("a) (b) (", 1.0), ("c", 1.1), (")", 1.0)],
    "(a:1.2": [("(a:1.2", 1.0)],
    "(a: 1.3 )": [("a", 1.3)],
    "(a:-0.5)": [("a", -0.5)],
    "(a:1.2.3)": [("a:1.2.3", 1.1)],
    "(a:nan)": [("a:nan", 1.1)],
    "(a:b:1.2)": [("a:b", 1.2)],
    "[a] BREAK b AND c": [("[a] BREAK b AND c", 1.0)],
    "smile \\(emoji\\), (hat \\(red\\):1.3)": [("smile (emoji), ", 1.0), ("hat (red)", 1.3)],
    "a ((cat)) and (dog:0.5), [bird], ((tree:1.2) by (lake:1.1):0.9)": [
        ("a ", 1.0), ("cat", 1.21), (" and ", 1.0), ("dog", 0.5), (", [bird], ", 1.0), ("tree", 1.2), (" by ", 0.9),
        ("lake", 1.1),
    ],
    "": [],
}  # fmt: skip


@pytest.mark.parametrize("text", TABLE)
def test_weights_of_the_table(text: str) -> None:
    pieces = parse_weights(text)
    assert [piece for piece, _ in pieces] == [piece for piece, _ in TABLE[text]]
    assert [weight for _, weight in pieces] == pytest.approx([weight for _, weight in TABLE[text]])


def _by_definition(text: str, weight: float) -> list[tuple[str, float]]:
    """The grammar told recursively, level by level."""
    items, item, depth = [], "", 0
    for char in text:
        if char == "(" and depth == 0:
            items.append(item)
            item = ""
        depth += {"(": 1, ")": -1}.get(char, 0)
        item += char
        if char == ")" and depth == 0:
            items.append(item)
            item = ""
    pieces = []
    items.append(item)
    for item in filter(None, items):
        if item[0] != "(" or item[-1] != ")":
            pieces.append((item, weight))
            continue
        inner, inner_weight = item[1:-1], weight * 1.1
        head, colon, tail = inner.rpartition(":")
        if colon and head:
            try:
                inner, inner_weight = head, float(tail)
            except ValueError:
                inner, inner_weight = item[1:-1], weight * 1.1
        pieces += _by_definition(inner, inner_weight)
    return pieces


@given(st.text(alphabet="()ab:1. ", max_size=24))
def test_agrees_with_the_recursive_definition(text: str) -> None:
    assert parse_weights(text) == _by_definition(text, 1.0)


@given(st.text(max_size=60))
def test_any_text_parses_and_all_but_brackets_is_kept(text: str) -> None:
    pieces = parse_weights(text)
    if ":" not in text and "\\" not in text:
        kept = "".join(piece for piece, _ in pieces)
        assert kept.replace("(", "").replace(")", "") == text.replace("(", "").replace(")", "")
        assert all(weight >= 1.0 for _, weight in pieces)


@given(st.integers(1, 40))
def test_nesting_multiplies(depth: int) -> None:
    ((text, weight),) = parse_weights("(" * depth + "a" + ")" * depth)
    assert text == "a"
    assert weight == pytest.approx(1.1**depth)


@pytest.mark.parametrize("text", ["(" * 100_000, "(" * 50_000 + "a" + ")" * 49_000, "(a:b" * 25_000 + ")" * 25_000])
def test_deep_nesting_needs_no_stack(text: str) -> None:
    assert parse_weights(text)


def test_embedding_mentions() -> None:
    assert split_embeddings("a cat embedding:x, night sky") == ["a cat", EmbeddingName("x,", "night sky")]
    assert split_embeddings("embedding:a embedding:b\nembedding:c") == [
        EmbeddingName("a"), EmbeddingName("b"), EmbeddingName("c"),
    ]  # fmt: skip
    assert split_embeddings("an-embedding:x") == ["an-embedding:x"]
    assert split_embeddings("a embedding: ") == ["a"]
    assert split_embeddings("") == []
