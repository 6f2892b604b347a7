"""The queue: what runs, waits and was done; moved, paused, cancelled, tried again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from hires.errors import HiresError
from hires.jobs.record import ENDED, State
from hires.ui.markup import packed
from hires.ui.queue_view import NAMES, queue_html

if TYPE_CHECKING:
    from hires.server.desk import Desk
    from hires.ui.page import Page

MOST_WORDS = 500
HELD = "paused"
"""Why nothing is begun when a person wanted it so."""


def build(page: Page) -> None:
    """Build the tab. Its list asks the server once a second while it is seen."""

    def listing(asked: Any) -> dict[str, Any]:
        """Do what was asked, and tell the list."""
        return listed(page, asked if isinstance(asked, dict) else {})

    with page.tab("queue", "Queue"):
        gr.HTML(
            _frame(page),
            css_template=packed("queue.css"),
            js_on_load=packed("queue.js"),
            server_functions=[listing],
            elem_id="queue_list",
            padding=False,
        )


def listed(page: Page, asked: Mapping[str, Any]) -> dict[str, Any]:
    """{"html", "page", "error"}: the list after an `act` on the job of an `id`, as far as one was asked for."""
    error = ""
    if asked.get("act"):
        try:
            act(page.desk, str(asked["act"]), str(asked.get("id", "")))
        except HiresError as problem:
            error = page.desk.clean(str(problem))
    states = tuple(state for state in ENDED if asked.get("state") in ("", None, str(state)))
    number = asked.get("page")
    number = max(number, 0) if isinstance(number, int) else 0
    html, number = queue_html(page.server, str(asked.get("words", ""))[:MOST_WORDS], states, number, page._)
    return {"html": html, "page": number, "error": error}


def act(desk: Desk, name: str, id: str) -> None:
    """Do one thing to a job, or to the queue. HiresError; nothing for a name that is none."""
    acts: Mapping[str, Callable[[], None]] = {
        "pause": lambda: desk.pause(id),
        "release": lambda: desk.release(id),
        "cancel": lambda: desk.cancel(id),
        "retry": lambda: desk.retry(id),
        "forget": lambda: desk.store.forget(id),
        "first": lambda: _moved(desk, id, -len(desk.store.waiting())),
        "up": lambda: _moved(desk, id, -1),
        "down": lambda: _moved(desk, id, 1),
        "more": lambda: desk.prioritise(id, desk.store.get(id).priority + 1),
        "less": lambda: desk.prioritise(id, desk.store.get(id).priority - 1),
        "hold": lambda: desk.hold(HELD),
        "go": desk.go_on,
    }
    if name in acts:
        acts[name]()


def _moved(desk: Desk, id: str, places: int) -> None:
    """Move a waiting job so many places, over others of whatever priority: it takes that of its new neighbour."""
    order = [job.id for job in desk.store.waiting()]
    if id not in order:
        return
    rest = [other for other in order if other != id]
    place = max(order.index(id) + places, 0)
    if place < len(rest):
        desk.move(id, rest[place])
    else:
        desk.prioritise(id, desk.store.get(rest[-1]).priority if rest else desk.store.get(id).priority)
        desk.move(id, None)


def _frame(page: Page) -> str:
    """The fields above the list, which stay while the list changes."""
    _ = page._
    ended = [state for state in State if state in ENDED]
    options = "".join(f'<option value="{state}">{escape(_(NAMES[state]))}</option>' for state in ended)
    return (
        f'<div class="top"><input class="words" type="search" placeholder="{escape(_("Search the history"))}" '
        f'aria-label="{escape(_("Search the history"))}"><select class="state" aria-label="{escape(_("State"))}">'
        f'<option value="">{escape(_("All"))}</option>{options}</select>'
        f'<button type="button" data-act="hold" data-id="">❚❚ {escape(_("Pause the queue"))}</button></div>'
        '<div class="problem" role="alert" hidden></div><div class="list" aria-live="off"></div>'
    )
