"""The prompt grammar against a second parser, over prompts that hypothesis makes.

The parser here is written for reading: character by character, by plain recursion, in quadratic time. It shares no
code with `hires.text`.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hires.text.schedule import schedule
from hires.text.syntax_webui import parse_attention, split_and

NUMBER_SIGNS = "0123456789."


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not any(word in text.lower() for word in ("inf", "nan", "_"))


# --- attention -----------------------------------------------------------------------------------------------------


def attention(text: str) -> list[list[tuple[str, float]]]:
    """(text, weight) pieces between BREAKs: each character first gets its own weight, equal neighbours are joined."""
    weighted: list[tuple[str | None, float]] = []  # one character each; None for BREAK
    rounds: list[int] = []  # where in `weighted` each open bracket stands
    squares: list[int] = []

    def multiply(start: int, factor: float) -> None:
        for index in range(start, len(weighted)):
            weighted[index] = (weighted[index][0], weighted[index][1] * factor)

    at = 0
    while at < len(text):
        char = text[at]
        after = weight_after(text, at) if char == ":" else None
        if char == "\\":
            if at + 1 < len(text) and text[at + 1] in "()[]\\":
                weighted.append((text[at + 1], 1.0))
                at += 2
            else:
                at += 1
        elif char == "(":
            rounds.append(len(weighted))
            at += 1
        elif char == "[":
            squares.append(len(weighted))
            at += 1
        elif char == ":" and after is not None:
            stated, end = after
            written = text[at:end]  # with its closing bracket
            if not rounds:
                weighted += [(letter, 1.0) for letter in written]
            elif is_number(stated):
                multiply(rounds.pop(), float(stated))
            else:
                weighted += [(letter, 1.0) for letter in written[:-1]]
                multiply(rounds.pop(), 1.1)
            at = end
        elif char == ")" and rounds:
            multiply(rounds.pop(), 1.1)
            at += 1
        elif char == "]" and squares:
            multiply(squares.pop(), 1 / 1.1)
            at += 1
        elif char in ")]:":
            weighted.append((char, 1.0))
            at += 1
        else:
            end = at
            while end < len(text) and text[end] not in "\\()[]:":
                end += 1
            weighted += with_breaks(text[at:end])
            at = end
    for start in rounds:
        multiply(start, 1.1)
    for start in squares:
        multiply(start, 1 / 1.1)

    sections: list[list[tuple[str, float]]] = [[]]
    for letter, weight in weighted:
        if letter is None:
            sections.append([])
        elif sections[-1] and abs(sections[-1][-1][1] - weight) < 1e-9 * max(1.0, abs(weight)):
            sections[-1][-1] = (sections[-1][-1][0] + letter, weight)
        else:
            sections[-1].append((letter, weight))
    return sections


def weight_after(text: str, at: int) -> tuple[str, int] | None:
    """For a colon at `at` that begins `: 1.2 )`: the number as written, and where the text goes on."""
    end = at + 1
    while end < len(text) and text[end].isspace():
        end += 1
    start = end
    if end < len(text) and text[end] in "+-":
        end += 1
    digits = end
    while end < len(text) and text[end] in NUMBER_SIGNS:
        end += 1
    if end == digits:
        return None
    stated = text[start:end]
    while end < len(text) and text[end].isspace():
        end += 1
    return (stated, end + 1) if end < len(text) and text[end] == ")" else None


def with_breaks(run: str) -> list[tuple[str | None, float]]:
    """The letters of a run without special signs; BREAK, with the blanks around it, is None."""
    words, at = [""], 0
    while at < len(run):
        alone = run.startswith("BREAK", at)
        alone = alone and not (at > 0 and (run[at - 1].isalnum() or run[at - 1] == "_"))
        alone = alone and not (at + 5 < len(run) and (run[at + 5].isalnum() or run[at + 5] == "_"))
        if alone:
            words.append("")
            at += 5
        else:
            words[-1] += run[at]
            at += 1
    found: list[tuple[str | None, float]] = []
    for number, word in enumerate(words):
        if number > 0:
            found.append((None, 1.0))
            word = word.lstrip()
        if number < len(words) - 1:
            word = word.rstrip()
        found += [(letter, 1.0) for letter in word]
    return found


# --- AND -----------------------------------------------------------------------------------------------------------


def and_parts(text: str) -> list[tuple[str, float]]:
    """The parts between upper-case ANDs that are words, with the numbers behind their last colons."""
    parts, begin, at = [], 0, 0
    while at < len(text):
        before = at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_")
        after = at + 3 < len(text) and (text[at + 3].isalnum() or text[at + 3] == "_")
        if text.startswith("AND", at) and not before and not after:
            parts.append(text[begin:at])
            at += 3
            begin = at
        else:
            at += 1
    parts.append(text[begin:])
    weighed = []
    for part in parts:
        head, colon, tail = part.rpartition(":")
        good = colon and is_number(tail) and "e" not in tail.lower()
        weighed.append((head.rstrip(), float(tail)) if good else (part, 1.0))
    return weighed


# --- schedules -----------------------------------------------------------------------------------------------------

Tree = list["str | Switch"]


class Switch:
    """`[a:b:when]` (when is a text) or `[a|b]` (when is None)."""

    def __init__(self, options: list[Tree], when: str | None) -> None:
        self.options, self.when = options, when


class NoParse(Exception):  # noqa: N818
    """The text is plain as a whole."""


def variants(text: str, steps: int, first_steps: int | None = None) -> list[str]:
    """The text at each step 1..steps; of the second pass where `first_steps` says how many the first had."""
    try:
        tree = parse_all(text)
    except NoParse:
        return [text] * steps
    return [shown(tree, step, steps, first_steps) for step in range(1, steps + 1)]


def shown(tree: Tree, step: int, steps: int, first_steps: int | None) -> str:
    out = ""
    for node in tree:
        if isinstance(node, str):
            out += node
        elif node.when is None:
            out += shown(node.options[(step - 1) % len(node.options)], step, steps, first_steps)
        else:
            if "." in node.when:
                until = (float(node.when) - (first_steps is not None)) * steps
            else:
                until = float(node.when) - (first_steps or 0)
            until = int(min(until, steps)) if until > -1 else -1
            before, after = ([[], *node.options])[-2:]
            out += shown(before if step <= until else after, step, steps, first_steps)
    return out


def parse_all(text: str) -> Tree:
    """Read plain stretches and groups; a bracket that opens no group is text, a bar outside of [a|b] is fatal."""
    tree: Tree = []
    at = 0
    while at < len(text):
        if text[at] == "\\":
            if at + 1 >= len(text):
                raise NoParse
            tree.append(text[at : at + 2])
            at += 2
        elif text[at] == "|":
            raise NoParse
        elif text[at] in "([":
            group = parse_group(text, at)
            if group is None:
                tree.append(text[at])
                at += 1
            else:
                tree += group[0]
                at = group[1]
        else:
            tree.append(text[at])
            at += 1
    return tree


def parse_group(text: str, start: int) -> tuple[Tree, int] | None:
    """The group that opens at `start` and where it ends; None where there is none."""
    opener, closer = text[start], {"(": ")", "[": "]"}[text[start]]
    parts: list[Tree] = [[]]
    marks: list[str] = []
    begin, at = start + 1, start + 1  # begin: of the last part
    while True:
        if at >= len(text):
            return None
        char = text[at]
        if char == closer:
            break
        if char in ")]":
            return None
        if char == "\\":
            if at + 1 >= len(text):
                return None
            parts[-1].append(text[at : at + 2])
            at += 2
        elif char in "([":
            inner = parse_group(text, at)
            if inner is None:
                return None
            parts[-1] += inner[0]
            at = inner[1]
        elif char in ":|":
            marks.append(char)
            parts.append([])
            at += 1
            begin = at
        else:
            parts[-1].append(char)
            at += 1
    end = at + 1
    if opener == "(":
        if marks not in ([], [":"]):
            return None
        inside: Tree = [*parts[0], *([":", *parts[1]] if marks else [])]
        return ["(", *inside, ")"], end
    if not marks:
        return ["[", *parts[0], "]"], end
    if set(marks) == {"|"}:
        return [Switch(parts, None)], end
    when = text[begin:at].strip()
    if set(marks) == {":"} and len(marks) <= 2 and is_number(when) and not when.endswith(("e", "E")):
        return [Switch(parts[:-1], when)], end
    return None


# --- the two compared -----------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["a", "b c", "x,", " ", "BREAK", " BREAK ", "OUTBREAK", "AND", " AND ", "BAND", "\\(", "\\", "é_"]
)
WEIGHTS = st.sampled_from([":1.2", ": .5 ", ":-1", ":1.2.3", ":", ":x", ":0", ":+2", ":5", ":0.5", ":1.5", "::3"])
SIGNS = st.sampled_from(list("()[]|:\\"))


def _nest(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        several.map("".join),
        st.builds("({}{})".format, inner, WEIGHTS | st.just("")),
        st.builds("[{}]".format, inner),
        st.builds("[{}:{}{}]".format, inner, inner, WEIGHTS),
        st.builds("[{}{}]".format, inner, WEIGHTS),
        several.map(lambda parts: f"[{'|'.join(parts)}]"),
    )


PROMPTS = st.one_of(
    st.recursive(WORDS, _nest, max_leaves=12),
    st.lists(WORDS | WEIGHTS | SIGNS, max_size=14).map("".join),
    st.text(alphabet="()[]\\:|.15 aB", max_size=30),
)


@given(PROMPTS)
@example("(a [b) c]")
@example("((a:1.2) BREAK [b:0.5])")
def test_attention_agrees_with_the_slow_parser(prompt: str) -> None:
    fast, slow = parse_attention(prompt), attention(prompt)
    assert [[piece for piece, _ in section] for section in _merged(fast)] == [
        [piece for piece, _ in section] for section in _merged(slow)
    ]
    for ours, theirs in zip(_merged(fast), _merged(slow), strict=True):
        assert [weight for _, weight in ours] == pytest.approx([weight for _, weight in theirs])


def _merged(sections: list[list[tuple[str, float]]]) -> list[list[tuple[str, float]]]:
    """Weights that differ by rounding only joined: 1.1 / 1.1 and 1."""
    found = []
    for section in sections:
        joined: list[tuple[str, float]] = []
        for piece, weight in section:
            if not piece:
                continue
            if joined and joined[-1][1] == pytest.approx(weight, rel=1e-6, abs=1e-9):
                joined[-1] = (joined[-1][0] + piece, weight)
            else:
                joined.append((piece, weight))
        found.append(joined)
    return found


@given(PROMPTS, st.integers(1, 8), st.none() | st.integers(1, 8))
@example("[a|b:1.2] [c:d:2]", 4, None)
@example("x] [a:[b|c]:2]", 5, None)
@example("([a:b:1.5]", 4, 4)
def test_schedules_agree_with_the_slow_parser(prompt: str, steps: int, first_steps: int | None) -> None:
    entries = schedule(prompt, steps) if first_steps is None else schedule(prompt, first_steps, steps)
    fast = [next(text for end, text in entries if step <= end) for step in range(1, steps + 1)]
    assert fast == variants(prompt, steps, first_steps)


@given(PROMPTS)
@example("a AND b :0.5 AND c: -1")
def test_and_agrees_with_the_slow_parser(prompt: str) -> None:
    assert split_and(prompt) == and_parts(prompt)
