"""What in a prompt will surprise its writer: brackets that do not match, weights that are none, `AND` where it is text.

All of it is legal in the A1111 web UI's dialect and keeps its meaning there; a note says what that meaning is, and
where.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from hires.errors import PromptError
from hires.text.encoder import MAX_WEIGHT
from hires.text.schedule import parse_fault
from hires.text.syntax_webui import PIECE, stated_weight

MOST_NOTES: Final = 20

_AND = re.compile(r"\bAND\b")
_OUTSIDE = re.compile(r":\s*[-+]?\d*\.?\d+")
_COMMA_NUMBER = re.compile(r":\s*[-+]?\d+,\d+\s*\)")
_SQUARE_WEIGHT = re.compile(r"\[([^\[\]():|\\]*[^\[\]():|\\\s][^\[\]():|\\]*):\s*(\d*\.\d+)\s*\]")
_TAG = re.compile(r"<\w+:[^<>]+>")
_COMMENT = re.compile(r"#[^\n]*")


@dataclass(frozen=True, order=True)
class Note:
    """Something worth a look at a character (0-based) of the prompt as it was written."""

    position: int
    text: str

    def __str__(self) -> str:
        return f"character {self.position + 1}: {self.text}"


def prompt_notes(prompt: str, *, negative: bool = False, comments: bool = True) -> list[Note]:
    """Notes on a prompt, in its order, at most 20. PromptError, with its place, for a weight beyond all use."""
    text = _blanked(prompt, _TAG)
    text = _blanked(text, _COMMENT) if comments else text
    notes = _bracket_notes(text) + _schedule_notes(text)
    notes += [
        Note(match.start(), "AND is a word like any other in a negative prompt")
        for match in (_AND.finditer(text) if negative else ())
    ]
    return sorted(notes)[:MOST_NOTES]


def _blanked(text: str, pattern: re.Pattern[str]) -> str:
    """What matches replaced by blanks, so that all else keeps its place."""
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def _bracket_notes(text: str) -> list[Note]:
    notes: list[Note] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for match in PIECE.finditer(text):
        token, at = match[0], match.start()
        if token in opened:
            opened[token].append(at)
        elif match[1] is not None:
            notes += _weight_notes(text, match, opened["("])
        elif token in (")", "]"):
            bracket = "(" if token == ")" else "["
            if not opened[bracket]:
                notes.append(Note(at, f"no {bracket} is open here, so this {token} is drawn as text"))
                continue
            opened[bracket].pop()
            if token == ")":
                notes += _outside_notes(text, match.end())
    for bracket, places in opened.items():
        closing = ")" if bracket == "(" else "]"
        notes += [
            Note(at, f"this {bracket} is never closed and holds to the end of the prompt; for the sign itself write "
                 f"\\{bracket}, else close it with {closing}")
            for at in places
        ]  # fmt: skip
    notes += [
        Note(match.start() + 1, f"{match[0][1:-1]} is no number, so this is text; write it with a dot")
        for match in _COMMA_NUMBER.finditer(text)
    ]
    return notes


def _weight_notes(text: str, match: re.Match[str], opened: list[int]) -> list[Note]:
    """On `:w)`."""
    at = match.start()
    if not opened:
        return [Note(at, f"no ( is open here, so {match[0]} is drawn as text")]
    start = opened.pop()
    factor = stated_weight(match[1])
    if factor is None:
        return [Note(at + 1, f"{match[1]} is no number, so it is drawn as text and the weight is 1.1")]
    if abs(factor) > MAX_WEIGHT:
        raise PromptError(
            f"the weight {match[1]} at character {at + 2} is too large",
            f"Weights up to {MAX_WEIGHT:g} are possible, 0.5 to 1.5 are usual.",
            at + 1,
        )
    if not text[start + 1 : at].strip():
        return [Note(start, "these brackets hold nothing")]
    return _outside_notes(text, match.end())


def _outside_notes(text: str, at: int) -> list[Note]:
    """On `(x):1.1`, the number behind the bracket."""
    number = _OUTSIDE.match(text, at)
    following = text[number.end() : number.end() + 1] if number else ""
    if number is None or following in (")", "]", "|") or (following and (following.isalnum() or following == ":")):
        return []  # `((x):1.1)` and `[(x):0.5]` mean something
    return [Note(at, f"{number[0]} stands outside of the brackets, so it is drawn as text; write (...{number[0]})")]


def _schedule_notes(text: str) -> list[Note]:
    notes = []
    fault = parse_fault(text)
    if fault is not None and "[" in text:
        what = "this backslash" if text[fault] == "\\" else "this bar stands in no [a|b], or in one with a colon, and"
        notes.append(Note(fault, f"{what} makes the whole prompt plain text: no [...] of it changes over the steps"))
    for match in _SQUARE_WEIGHT.finditer(text) if fault is None else ():
        if float(match[2]) >= 1:
            notes.append(
                Note(
                    match.start(),
                    f"{match[0]} is no weight: it shows {match[1].strip()!r} from {match[2]} of the steps on, so never "
                    f"in the first pass; for a weight write ({match[1]}:{match[2]})",
                )
            )
    return notes
