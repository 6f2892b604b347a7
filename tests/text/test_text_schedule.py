from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.text.schedule import entry_at, schedule

FIRST = {
    "[red:green:0.5]": [(10, "red"), (20, "green")],
    "[a:[b:c:15]:5]": [(5, "a"), (15, "b"), (20, "c")],
    "[a:b:1.0]": [(20, "a")],
    "[a:b:0]": [(20, "b")],
    "[a:b:-3]": [(20, "b")],
    "[b:5]": [(5, ""), (20, "b")],
    "[:b: .5 ]": [(10, ""), (20, "b")],
    "[a::5] c": [(5, "a c"), (20, " c")],
    "[(a:1.2):(b):5]": [(5, "(a:1.2)"), (20, "(b)")],
    "[a:b:99]": [(20, "a")],
    "(x [a:b:5]": [(5, "(x a"), (20, "(x b")],
    "([a:b:5]:1.2)": [(5, "(a:1.2)"), (20, "(b:1.2)")],
    "x] [a:b:5]": [(5, "x] a"), (20, "x] b")],
    "[x:y [a:b:5]": [(5, "[x:y a"), (20, "[x:y b")],
    "(a:b:[c:d:5])": [(5, "(a:b:c)"), (20, "(a:b:d)")],
    r"\[a:b:5\]": [(20, r"\[a:b:5\]")],
    "[a:b:c:5]": [(20, "[a:b:c:5]")],
    "[a:b:five]": [(20, "[a:b:five]")],
    "[a:1.0]": [(20, "")],
    "plain, (text:1.2) [weak]": [(20, "plain, (text:1.2) [weak]")],
    "": [(20, "")],
}  # fmt: skip


@pytest.mark.parametrize("prompt", FIRST)
def test_first_pass(prompt: str) -> None:
    assert schedule(prompt, 20) == FIRST[prompt]


@pytest.mark.parametrize(
    "prompt", ["[a|b:1.2] x", "a | [b:c:5]", "[a:b:5] \\", "([a|b)]", "(a|b) [c:d:5]", "[a:b:5] \\\nx"]
)
def test_text_that_does_not_parse_is_plain(prompt: str) -> None:
    assert schedule(prompt, 20) == [(20, prompt)]


def test_alternation() -> None:
    assert schedule("[fe|]male", 3) == [(1, "female"), (2, "male"), (3, "female")]
    assert schedule("[a|(b:1.2)]", 2) == [(1, "a"), (2, "(b:1.2)")]
    assert [text for _, text in schedule("[a|b|c]", 5)] == ["a", "b", "c", "a", "b"]
    assert schedule("[a|[x:y:2]]", 4) == [(1, "a"), (2, "x"), (3, "a"), (4, "y")]


def test_second_pass() -> None:
    for prompt in ("[a:b:1.5]", "[a:b:25]"):
        assert schedule(prompt, 20, 10) == [(5, "a"), (10, "b")]
    assert schedule("[a:b:0.5]", 20, 10) == [(10, "b")]
    assert schedule("[a:b:10]", 20, 10) == [(10, "b")]
    assert schedule("[a:b:2.0]", 20, 10) == [(10, "a")]


def test_old_timeline() -> None:
    expected = [(6, "a"), (20, "b")]
    assert schedule("[a:b:.3]", 20, old=True) == schedule("[a:b:.3]", 20, 10, old=True) == expected
    assert schedule("[a:b:6.7]", 20, old=True) == expected
    assert schedule("[a:b:1.0]", 20, old=True) == [(1, "a"), (20, "b")]


def test_an_entry_covers_one_call_more_than_its_number() -> None:
    entries = [(10, "a"), (20, "b")]
    assert [entry_at(entries, call) for call in (0, 10, 11, 20, 21, 500)] == [0, 0, 1, 1, 1, 1]


@given(st.text(alphabet="[]()|:ab.15\\ ", max_size=40), st.integers(1, 12), st.none() | st.integers(1, 12))
def test_entries_cover_the_pass_in_order(prompt: str, steps: int, hires_steps: int | None) -> None:
    entries = schedule(prompt, steps, hires_steps)
    ends = [end for end, _ in entries]
    assert ends == sorted(set(ends))
    assert ends[0] >= 1
    assert ends[-1] == (steps if hires_steps is None else hires_steps)


@given(st.text(alphabet="() ab,1.", max_size=40))
def test_text_without_switches_is_untouched(prompt: str) -> None:
    assert schedule(prompt, 7) == [(7, prompt)]


@pytest.mark.parametrize("prompt", ["(" * 100_000, "[a|" * 5_000 + "]" * 5_000, "[" * 50_000 + "b" + ":5]" * 50_000])
def test_deep_nesting_needs_no_stack(prompt: str) -> None:
    assert schedule(prompt, 3)
