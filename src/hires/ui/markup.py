"""Pieces of HTML that several tabs show. Every text from outside is escaped here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.resources import files
from urllib.parse import urlencode

from hires.metadata.infotext import read_infotext

Say = Callable[[str], str]
LONGEST = 200_000
"""Letters of one text that a page shows."""
LIVE_WORDS = ("Waiting, place {n}", "Preparing …", "{n} more wait", "{t} left", "Paused", "Step {a} of {b}",
              "Part {a} of {b}")  # fmt: skip


def packed(name: str) -> str:
    """A script or style of the page."""
    return files("hires.ui").joinpath("data", name).read_text(encoding="utf-8")


def live_box(kind: str, say: Say) -> str:
    """Where the page's script tells of the running job of a kind: its words are numbered as that script knows them."""
    told = " ".join(f'data-w{index}="{escape(say(word))}"' for index, word in enumerate(LIVE_WORDS))
    return f'<div class="live" data-kind="{kind}" {told} hidden></div>'


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values."""
    body = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    return f"<table><tbody>{body}</tbody></table>" if rows else ""


def infotext_table(text: str, say: Say) -> str:
    """What an infotext says, as a table, and the text itself behind it."""
    if not text.strip():
        return ""
    info = read_infotext(text)
    prompts = [(say("Prompt"), info.prompt), (say("Negative prompt"), info.negative)]
    rows = [(name, value) for name, value in prompts if value] + list(info.fields.items())
    return table(rows) + folded(say("As text"), text)


def folded(title: str, text: str) -> str:
    """A text behind its title; JSON is indented."""
    shown = escape(indented(text)[:LONGEST])
    return f"<details><summary>{escape(title)}</summary><pre tabindex='0'>{shown}</pre></details>"


def indented(text: str) -> str:
    """JSON over several lines; any other text as it is."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return json.dumps(json.loads(text), indent=1, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def link(address: str, text: str, *, new: bool = True) -> str:
    """A link, to a page of its own if `new`, else to a file that is kept."""
    how = 'target="_blank" rel="noopener"' if new else "download"
    return f'<a href="{escape(address)}" {how}>{escape(text)}</a>'


def address(place: str, **values: str) -> str:
    """A place of this server with its question."""
    return f"{place}?{urlencode({name: value for name, value in values.items() if value})}"


def when(seconds: float) -> str:
    """A time of this machine's clock: 2026-11-21 23:30."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def size_of(bytes: float) -> str:
    """1.9 GB."""
    for unit, count in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if bytes >= count:
            return f"{bytes / count:.1f} {unit}"
    return f"{bytes:.0f} B"


def duration(seconds: float) -> str:
    """12 s, 3 min, 1.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def attributes(values: Mapping[str, str]) -> str:
    """data-name="value" for each."""
    return " ".join(f'data-{name}="{escape(value)}"' for name, value in values.items())
