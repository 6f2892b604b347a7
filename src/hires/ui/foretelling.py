"""The line under the form that says what will happen before it is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from hires.errors import HiresError
from hires.ui.foretold import Foreteller, Told
from hires.ui.form import Form
from hires.ui.page import Page

MINUTE, HOUR = 60, 3600


def line(page: Page, form: Form, body: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Callable[..., None]:
    """The line, under the buttons. Call what it returns once all fields are there, with the names of those that say
    nothing to it (pictures, which would be read at every key), and other events that it is to be told at."""
    place = gr.HTML("", elem_id=form.id("plan"), elem_classes="plan", padding=False)
    again = gr.Button("", elem_id=form.id("plan_again"), elem_classes="unseen")
    foreteller = Foreteller(page.server, page._)

    def told(given: Mapping[Any, Any]) -> str:
        try:
            values = form.values(given)
            picture = values.get("picture") if values.get("mode") == "picture" else None
            found = foreteller.tell(form.tab, body(values), Path(picture) if picture else None)
            return shown(found, page._)
        except HiresError as error:
            return f'<p class="warning">{escape(str(error))}</p>'

    def connect(without: Sequence[str] = (), on: Sequence[Any] = ()) -> None:
        fields = {name: field for name, field in form.fields.items() if name not in without}
        events = [field.change for field in fields.values() if hasattr(field, "change")]
        gr.on(
            [*events, again.click, *on],
            told,
            set(fields.values()),
            place,
            trigger_mode="always_last",
            concurrency_limit=1,
            concurrency_id="plan",
            show_progress="hidden",
            api_visibility="private",
        )
        page.blocks.load(None, None, None, js=f"() => window.hires.begin('{form.tab}')")

    return connect


def shown(told: Told, say: Callable[[str], str]) -> str:
    """The line as HTML: what comes out, then what speaks against it."""
    width, height = told.size
    steps = " + ".join(str(taken) if taken == of else f"{taken}/{of}" for taken, of in told.steps)
    pictures = "" if told.pictures == 1 else f"{told.pictures} × "
    parts = [f"<b>{pictures}{width}×{height}</b>"]
    parts += [say("{n} steps").replace("{n}", steps)] if steps else []
    parts += [say("{n} denoiser calls").replace("{n}", str(told.calls))] if told.calls else []
    if told.shared:
        parts.append(
            f'<span class="shared">{say("{n} of them are there already").replace("{n}", str(told.shared))}</span>'
        )
    if told.seconds is not None:
        parts.append(say("about {t}").replace("{t}", duration(told.seconds)))
    parts += [escape(told.memory)] if told.memory else []
    lines = [f"<p>{' · '.join(parts)}</p>"]
    lines += [f"<p>{escape(text)}</p>" for text in told.lines]
    lines += [f'<p class="warning">⚠ {escape(text)}</p>' for text in told.warnings]
    return f'<div class="told"{" data-rough" if told.is_rough else ""}>{"".join(lines)}</div>'


def duration(seconds: float) -> str:
    """Seconds as a person says them: 4 s, 1:05, 1:02:03."""
    whole = max(round(seconds), 1)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE}:{whole % MINUTE:02}"
    return f"{whole // HOUR}:{whole % HOUR // MINUTE:02}:{whole % MINUTE:02}"
