"""The line under the form that says what will happen before it is run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from hires.errors import HiresError
from hires.ui.asking_over import batch
from hires.ui.events import QUIET
from hires.ui.foretold import Foreteller, Given, Told
from hires.ui.form import Form
from hires.ui.page import Page
from hires.ui.painted import EDITORS, Paintings

MINUTE, HOUR = 60, 3600
MEMORY = re.compile(r"memory: (.+?) at most of the (.+?) (free|stated): (.*)")
NEEDED = {"free": "memory: {a} at most of the {b} free", "stated": "memory: {a} at most of the {b} stated"}
STAGES = {
    "First pass": "First pass", "Hires pass": "Second pass", "Img2img": "img2img", "encoding": "encoding",
    "decoding": "decoding", "whole": "whole", "weights in half precision": "weights in half precision",
    "nothing that can be told": "nothing that can be told",
}  # fmt: skip
STAGE = re.compile("|".join(map(re.escape, STAGES)))
"""Words of the engine's line of the memory."""


def line(page: Page, form: Form, body: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Callable[..., None]:
    """The line, under the buttons. Call what it returns once all fields are there, with the names of those that would
    be sent at every key, and other events that it is to be told at."""
    place = gr.HTML("", elem_id=form.id("plan"), elem_classes="plan", padding=False)
    again = gr.Button("", elem_id=form.id("plan_again"), elem_classes="unseen")
    foreteller = Foreteller(page.server, page._)

    def told(given: Mapping[Any, Any]) -> str:
        try:
            values = form.values(given)
            over = given_of(values, page.server.settings.input_dir)
            return shown(foreteller.tell(form.tab, body(values), over), page._)
        except HiresError as error:
            return f'<p class="warning">{escape(str(error))}</p>'

    def connect(without: Sequence[str] = (), on: Sequence[Any] = ()) -> None:
        fields = {name: field for name, field in form.fields.items() if name not in without}
        events = [field.change for field in fields.values() if hasattr(field, "change")]
        # each field of an event costs the browser a search through the whole page: they are read once typing rests
        gr.on([*events, *on], None, None, None, js=f"() => window.hires.foretell('{form.tab}')", **QUIET)
        again.click(
            told,
            set(fields.values()),
            place,
            trigger_mode="always_last",
            concurrency_limit=1,
            concurrency_id="plan",
            **QUIET,
        )
        page.blocks.load(None, None, None, js=f"() => window.hires.begin('{form.tab}')")

    return connect


def seen(mode: str) -> str:
    """The name of the field that holds what was painted in a tab."""
    return f"seen_{mode}"


def follow_paintings(form: Form, on: Sequence[Any]) -> None:
    """Let the line tell by what is painted once the brush rests, from then on by fields of its own. `on`: the events at
    which a picture may have come into an editor otherwise."""
    paintings = Paintings()
    for mode in EDITORS:
        editor, told = form.fields[mode], form.add(seen(mode), gr.State(None))
        look = gr.Button("", elem_id=form.id(f"{mode}_look"), elem_classes="unseen")
        look.click(lambda edited, mode=mode: paintings.given(mode, edited), editor, told, **QUIET)
    gr.on([form.fields["mode"].change, *on], None, None, None, js="() => window.hires.lookAtShown()", **QUIET)


def given_of(values: Mapping[str, Any], input_dir: Path) -> Given:
    """The files that are drawn over in the tab that is shown; none where there are none yet."""
    mode = values.get("mode")
    if mode in EDITORS:
        given = values.get(seen(mode))
        return given if isinstance(given, Given) and given.is_there else Given()
    if mode == "picture" and values.get("picture"):
        return Given((Path(values["picture"]),))
    if mode == "inpaint_upload" and values.get("upload") and values.get("upload_mask"):
        return Given((Path(values["upload"]),), Path(values["upload_mask"]))
    if mode == "batch" and (values.get("files") or (values.get("folder") or "").strip()):
        return Given(tuple(batch(values, input_dir)), is_apart=True)
    return Given()


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
    parts += [escape(memory_told(told.memory, say))] if told.memory else []
    lines = [f"<p>{' · '.join(parts)}</p>"]
    lines += [f"<p>{escape(text)}</p>" for text in told.lines]
    lines += [f'<p class="warning">⚠ {escape(text)}</p>' for text in told.warnings]
    return f'<div class="told"{" data-rough" if told.is_rough else ""}>{"".join(lines)}</div>'


def memory_told(text: str, say: Callable[[str], str]) -> str:
    """The engine's line of the memory in the page's language; English, and what is not known, as it is."""
    found = MEMORY.fullmatch(text)
    if found is None or say(NEEDED[found[3]]) == NEEDED[found[3]]:
        return text
    head = say(NEEDED[found[3]]).replace("{a}", found[1]).replace("{b}", found[2])
    stages = re.sub(r" at (?=\d)", " ", found[4])
    return f"{head}: {STAGE.sub(lambda one: say(STAGES[one[0]]), stages)}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 4 s, 1:05, 1:02:03."""
    whole = max(round(seconds), 1)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE}:{whole % MINUTE:02}"
    return f"{whole // HOUR}:{whole % HOUR // MINUTE:02}:{whole % MINUTE:02}"
