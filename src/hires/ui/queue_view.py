"""The queue and its history as HTML: what there is to do first, then what was done."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from hires.jobs.record import Job, State
from hires.server.kind import SAID
from hires.ui.markup import Say, address, attributes, duration, when

if TYPE_CHECKING:
    from hires.server.desk import Live, Standing
    from hires.server.state import Server

PER_PAGE = 20
LONGEST_TITLE = 120
NAMES = {
    State.WAITING: "waiting",
    State.RUNNING: "running",
    State.PAUSED: "paused",
    State.DONE: "done",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}
KINDS = {"grid": "Grids", "merge": "Merge", "verify": "Draw it again and compare", "workflow": "Workflow"}
"""What kinds of jobs are called that are not called by their own names."""
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif")


def queue_html(server: Server, words: str, states: Sequence[State], number: int, say: Say) -> tuple[str, int]:
    """Jobs that have not ended, then a page of the history, counted from 0; and the number of that page."""
    store, desk = server.desk.store, server.desk
    jobs = store.unended()
    running = [job for job in jobs if job.state is State.RUNNING]
    waiting = [job for job in jobs if job.state is not State.RUNNING]
    in_line = [job.id for job in waiting if job.state is State.WAITING]
    parts = [_held(desk.state, say), f"<h3>{escape(say('To do'))} ({len(jobs)})</h3>"]
    parts += [_job(job, desk.live(job.id), in_line, say) for job in [*running, *waiting]]
    if not jobs:
        parts.append(f'<div class="empty">{escape(say("Nothing waits."))}</div>')
    offset = number * PER_PAGE
    found = store.search(words, states=states, limit=PER_PAGE + 1, offset=offset)
    if not found and number:
        return queue_html(server, words, states, 0, say)
    parts.append(f"<h3>{escape(say('History'))}</h3>")
    parts += [_job(job, None, [], say) for job in found[:PER_PAGE]]
    if not found:
        parts.append(f'<div class="empty">{escape(say("No jobs of this kind."))}</div>')
    parts.append(_pages(number, len(found) > PER_PAGE))
    return "".join(parts), number


def _held(state: Standing, say: Say) -> str:
    """Why nothing is begun, and what ends that."""
    if not state.paused:
        return ""
    why = say("The queue is paused.") if state.why == "paused" else state.why
    button = f"<button type='button' data-act='go' data-id=''>{escape(say('Go on'))}</button>"
    return f'<div class="held" role="status">{escape(why)} {button}</div>'


def _job(job: Job, live: Live | None, in_line: Sequence[str], say: Say) -> str:
    picture = next((name for name in job.results if name.lower().endswith(ENDINGS)), "")
    source = escape(address("gallery/thumbnail", name=picture)) if picture else ""
    small = f'<img class="small" loading="lazy" alt="" src="{source}">' if source else '<span class="small"></span>'
    kind = say(KINDS.get(job.kind, job.kind))
    facts = [
        kind,
        *([job.model] if job.model else []),
        when(job.made),
        *_times(job, live, say),
    ]
    if job.priority:
        facts.append(f"{say('priority')} {job.priority:+}")
    if job.results:
        facts.append(f"{len(job.results)} {say('file' if len(job.results) == 1 else 'files')}")
    share = live.share if live is not None else job.share
    bar = "" if job.state.has_ended else f'<div class="bar"><i style="width:{100 * share:.0f}%"></i></div>'
    error = f'<div class="error">{escape(job.error)}</div>' if job.error else ""
    said = "".join(f'<div class="facts">{escape(str(line))}</div>' for line in job.notes.get(SAID, ()))
    title = escape(kind if title_of(job) == job.kind else title_of(job))
    state = f'<span class="state">{escape(say(NAMES[job.state]))}</span>'
    return (
        f'<div class="job {job.state}" {attributes({"job": job.id})}>{small}<div>'
        f'<div class="title" title="{title}">{title}</div>'
        f'<div class="facts">{state} {escape(" · ".join(facts))}</div>{said}{error}{bar}</div>'
        f'<div class="acts">{"".join(_acts(job, in_line, say))}</div></div>'
    )


def title_of(job: Job) -> str:
    """What a person knows a job by: its title, else the beginning of its prompt."""
    if job.title not in ("", job.kind):
        return job.title
    return next((line.strip() for line in job.words.splitlines() if line.strip()), job.kind)[:LONGEST_TITLE]


def _times(job: Job, live: Live | None, say: Say) -> list[str]:
    if live is not None:
        left = f", {duration(live.seconds_left)} {say('left')}" if live.share > 0.02 else ""
        return [f"{100 * live.share:.0f} %{left}"]
    if job.begun is not None and job.ended is not None:
        return [duration(max(job.ended - job.begun, 0.0))]
    return []


def _acts(job: Job, in_line: Sequence[str], say: Say) -> list[str]:
    def button(act: str, sign: str, label: str, on: bool = True) -> str:
        off = "" if on else " disabled"
        told = escape(say(label))
        names = attributes({"act": act, "id": job.id})
        return f'<button type="button" {names} title="{told}" aria-label="{told}"{off}>{sign}</button>'

    if job.state is State.WAITING:
        place = in_line.index(job.id)
        return [
            button("first", "⤒", "To the front", place > 0),
            button("up", "↑", "Earlier", place > 0),
            button("down", "↓", "Later", place < len(in_line) - 1),
            button("more", "+", "Higher priority"),
            button("less", "−", "Lower priority"),
            button("pause", "❚❚", "Pause"),
            button("cancel", "✕", "Cancel"),
        ]
    if job.state is State.RUNNING:
        return [button("pause", "❚❚", "Pause"), button("cancel", "✕", "Cancel")]
    if job.state is State.PAUSED:
        return [button("release", "▶", "Go on"), button("cancel", "✕", "Cancel")]
    if job.state in (State.FAILED, State.CANCELLED):
        return [button("retry", "↻", "Try again"), button("forget", "✕", "Take out of the history")]
    return [button("forget", "✕", "Take out of the history")]


def _pages(number: int, more: bool) -> str:
    if not number and not more:
        return ""

    def button(sign: str, to: int, on: bool) -> str:
        return f'<button type="button" data-act="page" data-id="{to}"{"" if on else " disabled"}>{sign}</button>'

    return f'<div class="pages">{button("◀", number - 1, number > 0)}{number + 1}{button("▶", number + 1, more)}</div>'
