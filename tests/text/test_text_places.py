"""Parts of prompts, and the positions of their tokens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.text.chunks import Chunk, Segment, chunk_segments, chunk_with_commas
from hires.text.places import Chunks, joined, part_positions, prompt_parts
from hires.text.tokenizer import CHUNK, COMMA, tokenize

WORD = st.sampled_from(("cat", "red hair", "extraordinarily", "oil painting", "4k", "blue sky and sea"))


def comfy(text: str) -> list[Chunk]:
    return chunk_segments([Segment(tokenize(text))], 0)


def webui(text: str) -> list[Chunk]:
    return chunk_with_commas([[Segment(tokenize(text, "webui"))]], 0)[0]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a cat, red hair,sky", ["a cat", "red hair", "sky"]),
        ("(red, blue:1.2), [a, b], {c, d}", ["(red, blue:1.2)", "[a, b]", "{c, d}"]),
        (r"smile \(soft\), sky", [r"smile \(soft\)", "sky"]),
        (", , a,", ["a"]),
        ("", []),
        ("a cat, red AND a dog, blue", ["a cat, red AND a dog, blue"]),
        ("one (two, three", ["one (two, three"]),
        ("one), two", ["one)", "two"]),
    ],
)
def test_parts_lie_between_commas_outside_of_brackets(text: str, parts: list[str]) -> None:
    assert prompt_parts(text) == parts


@settings(max_examples=40, deadline=None)
@given(st.lists(WORD, min_size=1, max_size=60), st.sampled_from((comfy, webui)))
def test_the_positions_hold_the_parts_tokens(parts: list[str], chunks: Chunks) -> None:
    found = part_positions(parts, chunks)
    assert found is not None
    tokens = [token for chunk in chunks(joined(parts)) for token in chunk.tokens]
    assert len(tokens) % CHUNK == 0
    for part, positions in zip(parts, found, strict=True):
        assert [tokens[position] for position in positions] == tokenize(part)
    taken = [position for positions in found for position in positions]
    assert taken == sorted(set(taken)) and all(tokens[position] != COMMA for position in taken)


def test_tokens_that_do_not_add_up_are_not_guessed() -> None:
    def wrong(text: str) -> list[Chunk]:
        return comfy(text if "," in text else text + " more")

    assert part_positions(["a", "b"], wrong) is None
