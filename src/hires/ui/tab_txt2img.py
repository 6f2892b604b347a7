"""Drawing from text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from hires.pocket import BUILT_IN_NAME, GUIDANCE
from hires.ui import fields_drawing, fields_more, fresh, results
from hires.ui.asking import txt2img_body
from hires.ui.choices import Choices
from hires.ui.events import QUIET
from hires.ui.fields_scripts import scripts
from hires.ui.filling import values_of
from hires.ui.foretelling import line
from hires.ui.form import Form
from hires.ui.page import Page

FIRST: dict[str, Any] = {
    "prompt": "1girl, pink hair, long hair, smile, beach, ocean, blue sky, upper body",
    "checkpoint": BUILT_IN_NAME,
    "sampler": "DPM++ 2M",
    "scheduler": "Karras",
    "steps": 20,
    "cfg": GUIDANCE,
    "seed": 1,
}
"""What the button of the first start draws."""


def build(page: Page) -> None:
    """The tab: its form on the left and what comes of it on the right."""
    choices, form = Choices(page.server), Form("txt2img")
    page.forms["txt2img"] = form
    with page.tab("txt2img", "txt2img") as tab:
        welcome = _welcome(page, choices)
        with gr.Row(elem_classes="columns"):
            with gr.Column(scale=5, min_width=320, elem_classes="left"):
                with gr.Column(elem_classes="first"):
                    fields_drawing.prompts(page, form, choices)
                    generate = results.buttons(page, form)
                    connect = line(page, form, txt2img_body)
                with gr.Column(elem_classes="rest"):
                    fields_drawing.model(page, form, choices)
                    fields_drawing.sampling(page, form, choices)
                    fields_drawing.size(page, form, choices)
                    fields_drawing.batches(page, form, choices)
                    fields_drawing.seed(page, form)
                    fields_more.hires_fix(page, form, choices)
                    fields_more.refiner(page, form, choices)
                    fields_more.tiles(page, form, choices)
                    fields_more.controlnets(page, form, choices)
                    scripts(page, form, choices)
            with gr.Column(scale=4, min_width=320, elem_classes="pane"):
                pane = results.pane(page, form, generate)
        after = results.start(page, form, pane, lambda values: [txt2img_body(values)])
        side = choices.native_size(BUILT_IN_NAME)
        values = {**FIRST, "width": side, "height": side}
        fields = [form.fields[name] for name in values]
        after(welcome.click(lambda: list(values.values()), None, fields, **QUIET).then)
        connect(on=[tab.select])
    names = tuple(form.fields)

    def take(picture: Path | None, text: str) -> list[Any]:
        return form.updates(values_of(text, choices, "txt2img"), names)

    page.receive("txt2img", [form.fields[name] for name in names], take, [(page.tabs, "txt2img")])


def _welcome(page: Page, choices: Choices) -> Any:
    """What a first start without models says; its button."""
    _ = page._
    with gr.Row(elem_id="welcome", equal_height=True, visible=not choices.has_own()) as row:
        fresh.follow(page, row, lambda: {"visible": not choices.has_own()})
        gr.Markdown(
            f"**{_('There is no model of your own yet.')}** "
            + _("Put checkpoints into the models folder, or fetch one in the Models tab.")
            + " "
            + _("The small built-in model draws one-person cartoons at once, without any download.")
        )
        return gr.Button(_("Draw a first picture"), variant="primary", elem_id="first_picture", scale=0, min_width=220)
