"""Generate, Stop and Skip; what is told while a job runs; its pictures, their texts, and where they can be sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from hires.errors import HiresError
from hires.jobs.record import State
from hires.ui.events import QUIET
from hires.ui.files import first_pass_of, infotext_of, pictures_of, seed_of
from hires.ui.form import Form
from hires.ui.live import AT_WORK, DOOR, newest_ended, of_page
from hires.ui.markup import live_box
from hires.ui.page import TARGETS, Page


@dataclass
class Pane:
    """The right side of a tab: what the form's button starts and what comes of it."""

    generate: Any
    gallery: Any
    chosen: Any
    """A gr.State: the file of the picture that is shown."""
    message: Any
    collect: Callable[[Any], None]
    """Lets an event show the pictures of the job that ended last."""


def buttons(page: Page, form: Form) -> Any:
    """Generate, Stop, Skip."""
    _ = page._
    with gr.Row(elem_classes="tight go"):
        generate = gr.Button(_("Generate"), variant="primary", elem_id=form.id("generate"), scale=3, min_width=140)
        stop = gr.Button(_("Stop"), variant="stop", elem_id=form.id("stop"), min_width=70)
        skip = gr.Button(_("Skip"), elem_id=form.id("skip"), min_width=70)

    def stopped() -> None:
        for job in of_page(page.server, form.tab, State.RUNNING)[:1] or of_page(page.server, form.tab, *AT_WORK)[-1:]:
            page.desk.cancel(job.id)

    stop.click(stopped, **QUIET)
    skip.click(lambda: page.desk.skip(), **QUIET)
    return generate


def pane(page: Page, form: Form, generate: Any) -> Pane:
    """Progress, pictures and their text."""
    _ = page._
    gr.HTML(live_box(form.tab, _), elem_id=form.id("live"), elem_classes="progress", padding=False)
    message = gr.HTML("", elem_id=form.id("message"), elem_classes="said", padding=False)
    gallery = gr.Gallery(
        label=_("Results"),
        show_label=False,
        columns=2,
        object_fit="contain",
        height="auto",
        elem_id=form.id("gallery"),
        elem_classes="results",
        preview=True,
        buttons=["download", "fullscreen"],
        interactive=False,
    )
    chosen, files = gr.State(None), gr.State([])
    slider = gr.ImageSlider(
        label=_("First pass and result"), visible=False, elem_id=form.id("slider"), interactive=False, type="filepath"
    )
    with gr.Row(elem_classes="tight send"):
        for target in TARGETS:
            button = gr.Button(f"→ {_(target)}", size="sm", min_width=70, elem_id=form.id(f"send_{target}"))
            page.send(button, target, [chosen], _picked)
    text = gr.Textbox(
        label=_("How it was made"), lines=3, max_lines=10, buttons=["copy"], elem_id=form.id("infotext"), visible=False
    )
    collect = gr.Button("", elem_id=form.id("collect"), elem_classes="unseen")
    outputs = [gallery, slider, text, message, chosen, files]

    def collected(event: Any) -> None:
        event(lambda: _collected(page, form.tab), None, outputs, **QUIET)

    collected(collect.click)

    def selected(found: list[str], event: gr.SelectData) -> tuple[Any, Any, str]:
        path = found[event.index] if event.index < len(found) else None
        return path, *_shown(path)

    gallery.select(selected, files, [chosen, slider, text], **QUIET)
    form.reuse.click(_seed, chosen, form.fields["seed"], **QUIET)
    return Pane(generate, gallery, chosen, message, collected)


def start(
    page: Page, form: Form, pane: Pane, bodies: Callable[[Mapping[str, Any]], list[dict[str, Any]]]
) -> Callable[[Any], None]:
    """Let the button hand the form's requests to the desk; the page then follows it by itself. What is returned lets
    another event do so too, once its own function is done."""

    def submitted(given: Mapping[Any, Any]) -> str:
        try:
            for request in bodies(form.values(given)):
                page.desk.submit(form.tab, request, title=request["prompt"][:80], door=DOOR)
        except HiresError as error:
            return problem(error)
        return ""

    def after(event: Any) -> None:
        event(submitted, form.inputs, pane.message, concurrency_limit=4, **QUIET).then(
            None, None, None, js=f"() => window.hires.follow('{form.tab}')"
        )

    after(pane.generate.click)
    return after


def problem(error: Exception | str) -> str:
    """A fault as the page shows it."""
    return f'<p class="problem">{escape(str(error))}</p>'


def _picked(path: str | None) -> tuple[Path | None, str]:
    return (None, "") if not path else (Path(path), infotext_of(Path(path)))


def _seed(path: str | None) -> Any:
    seed = seed_of(Path(path)) if path else None
    return gr.skip() if seed is None else seed


def _shown(path: str | None) -> tuple[Any, Any]:
    """The comparison with the first pass, and the text, of a picture."""
    if path is None:
        return gr.update(visible=False), gr.update(visible=False)
    text = infotext_of(Path(path))
    first = first_pass_of(Path(path))
    both = gr.update(visible=True, value=(str(first), path)) if first is not None else gr.update(visible=False)
    return both, gr.update(visible=bool(text), value=text)


def _collected(page: Page, kind: str) -> list[Any]:
    """The pictures of the job that ended last, and why it gave none."""
    job = newest_ended(page.server, kind)
    if job is None:
        return [gr.skip()] * 6
    files = [str(path) for path in pictures_of(page.server, job)]
    said = problem(job.error) if job.state is State.FAILED else ""
    if not files:
        return [gr.skip(), gr.skip(), gr.skip(), said, gr.skip(), gr.skip()]
    return [gr.update(value=files, selected_index=0), *_shown(files[0]), said, files[0], files]
