"""The value syntax of an axis: one line of CSV, in which numbers may be ranges.

1-5             1 2 3 4 5 (5-1 counts down)
1-5 (+2)        1 3 5: steps of a sign and a number, never beyond the end
20-50 [4]       20 30 40 50: so many, evenly spaced, both ends included; whole numbers are truncated

The forms are the A1111 web UI's. Its ranges that go down lose their end, and those with decimals may overshoot; here
ranges include an end that they meet and never pass it.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from fractions import Fraction

from hires.errors import SettingError

MOST_VALUES = 1000
"""Of one axis."""
MOST_TEXT = 100_000
WHOLE = r"[+-]?\s*\d{1,20}"
DECIMAL = r"[+-]?\s*(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})"


def split_values(text: str) -> list[str]:
    """The items of a line of CSV, trimmed; empty ones are left out. Items with commas stand in double quotes."""
    if len(text) > MOST_TEXT:
        raise SettingError(f"the values of an axis may have {MOST_TEXT} characters, not {len(text)}")
    try:
        rows = list(csv.reader(io.StringIO(text), skipinitialspace=True))
    except csv.Error as error:
        raise SettingError(f"the values {text[:60]!r} are no line of CSV: {error}") from error
    items = [item.strip() for row in rows for item in row]
    return _few([item for item in items if item], text)


def join_values(items: Sequence[str]) -> str:
    """The line of CSV that `split_values` reads as these items."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(items)
    return line.getvalue().replace(",", ", ") if not any(_awkward(item) for item in items) else line.getvalue()


def _awkward(item: str) -> bool:
    return any(mark in item for mark in ',"\n')


def whole_numbers(text: str) -> list[int]:
    """The whole numbers of a line, ranges counted out. SettingError names the item that is none."""
    return [int(number) for item in split_values(text) for number in _numbers(item, WHOLE, "whole number")]


def decimal_numbers(text: str) -> list[float]:
    """The numbers of a line, ranges counted out. SettingError names the item that is none."""
    return [float(number) for item in split_values(text) for number in _numbers(item, DECIMAL, "number")]


def _numbers(item: str, number: str, kind: str) -> list[Fraction]:
    """What an item stands for: one number, or a range of them. Whole numbers of a count are truncated by int()."""
    if re.fullmatch(number, item):
        return [_fraction(item)]
    match = re.fullmatch(
        rf"({number})\s*-\s*({number})\s*(?:\(\s*([+-]\s*{number.removeprefix('[+-]?')})\s*\)|\[\s*(\d{{1,9}})\s*\])?",
        item,
    )
    if match is None:
        raise SettingError(f"{item!r} is no {kind} and no range of them", "Write 20, 10-30, 10-30 (+5) or 10-30 [3].")
    low, high = _fraction(match[1]), _fraction(match[2])
    if match[4] is not None:
        return _counted(low, high, int(match[4]), item)
    step = Fraction(1 if high >= low else -1) if match[3] is None else _fraction(match[3])
    return _stepped(low, high, step, item)


def _stepped(low: Fraction, high: Fraction, step: Fraction, item: str) -> list[Fraction]:
    if step == 0 or (high - low) / step < 0:
        raise SettingError(f"the range {item!r} never gets to its end", "Mind the sign of its step.")
    count = math.floor((high - low) / step) + 1
    _check_count(count, item)
    return [low + index * step for index in range(count)]


def _counted(low: Fraction, high: Fraction, count: int, item: str) -> list[Fraction]:
    if count < 1:
        raise SettingError(f"the range {item!r} has no values")
    _check_count(count, item)
    return [low + (high - low) * index / max(count - 1, 1) for index in range(count)]


def _fraction(text: str) -> Fraction:
    return Fraction("".join(text.split()))


def _check_count(count: int, item: str) -> None:
    if count > MOST_VALUES:
        raise SettingError(f"the range {item!r} has {count} values, more than the {MOST_VALUES} that an axis may have")


def _few(items: list[str], text: str) -> list[str]:
    if len(items) > MOST_VALUES:
        raise SettingError(f"{text[:40]!r}... has {len(items)} values, more than the {MOST_VALUES} of an axis")
    return items
