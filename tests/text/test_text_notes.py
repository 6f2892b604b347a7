from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import PromptError
from hires.text.notes import MOST_NOTES, prompt_notes

SURPRISES = {
    "(a, b": (0, "never closed"),
    "x [a": (2, "never closed"),
    "a) b": (1, r"no \( is open"),
    "a] b": (1, r"no \[ is open"),
    "a:1.2) b": (1, r"no \( is open"),
    "(a:1.2.3)": (3, "1.2.3 is no number"),
    "(a:1,2)": (3, "1,2 is no number"),
    "(flowers):1.1, x": (9, "outside of the brackets"),
    "((x:1.2)):1.1": (9, "outside of the brackets"),
    "see [x:1.2]": (4, "is no weight"),
    "[a|b:1.2] c": (2, "this bar"),
    "[a:b:2] | c": (8, "this bar"),
    "[a:b:2] \\": (8, "backslash"),
    "(:1.2)": (0, "hold nothing"),
}


@pytest.mark.parametrize("prompt", SURPRISES)
def test_what_surprises_is_noted_at_its_place(prompt: str) -> None:
    position, words = SURPRISES[prompt]
    (note,) = prompt_notes(prompt)
    assert note.position == position
    assert re.search(words, note.text)
    assert str(note).startswith(f"character {position + 1}: ")


@pytest.mark.parametrize(
    "prompt",
    [
        "a, (b:1.2), [c], ((d)), [e:f:0.5], [g:5], [h|i], \\(x\\), (j:1.1) AND k :0.5, l BREAK m",
        "[(x):0.5]", "((x):1.1)", "(a)(b)", "a:b, 16:9", "plain | text", "<lora:x:1> (a)", "a # (never closed\nb",
        "(artist: name)", "[x:.5]", "[x:12]", "",
    ],
)  # fmt: skip
def test_what_means_what_it_says_is_not(prompt: str) -> None:
    assert prompt_notes(prompt) == []


def test_and_is_a_word_in_a_negative_prompt() -> None:
    assert [note.position for note in prompt_notes("a AND b", negative=True)] == [2]
    assert prompt_notes("a AND b") == prompt_notes("a and b", negative=True) == []


def test_a_comment_counts_where_comments_are_off() -> None:
    assert len(prompt_notes("a # (b", comments=False)) == 1


def test_a_weight_beyond_all_use_is_refused_at_its_place() -> None:
    with pytest.raises(PromptError, match="character 7 is too large") as caught:
        prompt_notes("ab (c:9999999)")
    assert caught.value.position == 6


@given(st.text(alphabet="()[]|:\\.1 aAND#<>\n", max_size=60), st.booleans())
def test_notes_stand_in_the_prompt_in_order(prompt: str, negative: bool) -> None:
    try:
        notes = prompt_notes(prompt, negative=negative)
    except PromptError as error:
        assert error.position is not None
        assert prompt[error.position] in "+-.0123456789 "
        return
    positions = [note.position for note in notes]
    assert positions == sorted(positions)
    assert all(0 <= position < len(prompt) for position in positions)
    assert len(notes) <= MOST_NOTES
