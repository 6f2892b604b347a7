"""Text that the editor replaces when a workflow is queued: `%date:yyyy-MM-dd%` and `%Node.widget%`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

TOKEN = re.compile(r"%([^%]+)%")
DATE_PART = re.compile(r"yyyy|yy|MM|M|dd|d|hh|h|mm|m|ss|s")
NOT_IN_FILE_NAMES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f-\x9f]')


def replace_tokens(text: str, look_up: Callable[[str, str], Any], now: datetime) -> str:
    """Replace dates and the values of other nodes' widgets (`look_up(node, widget)`, None if there is none).

    Tokens without a dot, as `%width%`, are left to the node that writes the file.
    """

    def value_of(token: re.Match[str]) -> str:
        name = token[1]
        if name.startswith("date:"):
            return format_date(name.removeprefix("date:"), now)
        node, dot, widget = name.partition(".")
        value = look_up(node, widget) if dot else None
        return token[0] if value is None else NOT_IN_FILE_NAMES.sub("_", str(value))

    return TOKEN.sub(value_of, text)


def format_date(pattern: str, now: datetime) -> str:
    """A date in the editor's letters: yyyy yy MM M dd d hh h mm m ss s."""
    numbers = {"y": now.year, "M": now.month, "d": now.day, "h": now.hour, "m": now.minute, "s": now.second}

    def part(found: re.Match[str]) -> str:
        letters = found[0]
        if letters == "yyyy":
            return f"{now.year:04d}"
        return f"{numbers[letters[0]] % 100:0{len(letters)}d}"

    return DATE_PART.sub(part, pattern)
