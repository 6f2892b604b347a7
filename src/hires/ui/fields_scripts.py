"""The scripts of a tab: one is chosen, and its arguments are shown."""

from __future__ import annotations

from typing import Any

import gradio as gr

from hires.server.scripts import Script, named, titles
from hires.ui import fresh
from hires.ui.choices import Choices
from hires.ui.events import QUIET
from hires.ui.fields_more import argument_field
from hires.ui.form import Form
from hires.ui.page import Page

LINES = "prompts from file or textbox"
HIDDEN = ("info", *(f"{letter} values dropdown" for letter in "XYZ"), "Use text inputs instead of dropdowns")
"""Arguments that the page has no field for: what they do, text fields do."""
NAMES = {
    "x/y/z plot": "X/Y/Z plot",
    "prompt matrix": "Prompt matrix",
    LINES: "Prompts from file or textbox",
    "sd upscale": "SD upscale",
    "ultimate sd upscale": "Ultimate SD upscale",
    "loopback": "Loopback",
    "outpainting mk2": "Outpainting mk2",
    "poor man's outpainting": "Poor man's outpainting",
}
NUMBERED = {
    "Type": ("Linear", "Chess", "None"),
    "Seams fix type": ("None", "Band pass", "Half tile offset pass", "Half tile offset pass + intersections"),
    "Target size type": ("From img2img settings", "Custom size", "Scale from image size"),
    "Masked content": ("fill", "original", "latent noise", "latent nothing"),
}
"""What the numbers of arguments stand for."""


def scripts(page: Page, form: Form, choices: Choices) -> None:
    """A choice of scripts, and a group of fields for each."""
    _ = page._
    known = titles(form.tab, always_on=False)
    with gr.Accordion(_("Scripts: grids, upscalers, outpainting …"), open=False, elem_id=form.id("scripts")):
        listed = [(_("None"), "None"), *((_(NAMES.get(title, title)), title) for title in known)]
        chosen = form.add("script", gr.Dropdown(listed, value="None", label=_("Script")))
        groups = []
        for title in known:
            with gr.Group(visible=False) as group:
                _arguments(page, form, choices, named(title))
            groups.append(group)

    def shown(title: str) -> list[Any]:
        return [gr.update(visible=title == one) for one in known]

    chosen.change(shown, chosen, groups, **QUIET)


def _arguments(page: Page, form: Form, choices: Choices, script: Script) -> None:
    arguments = [argument for argument in script.arguments if argument.label not in HIDDEN]
    if script.title == "x/y/z plot":
        for letter in "XYZ":
            with gr.Row(elem_classes="tight"):
                for label in (f"{letter} type", f"{letter} values"):
                    form.add(f"{script.title}/{label}", _axis_field(page, choices, form.tab, label))
        arguments = arguments[6:]
    with gr.Row(elem_classes="tight"):
        for argument in arguments:
            label = argument.label
            if label == "Upscaler":
                how: dict[str, Any] = {"value": "None", "label": page._(label), "min_width": 140}
                field: Any = fresh.dropdown(page, choices.upscalers, **how)
            elif label in NUMBERED:
                names = [(page._(name), number) for number, name in enumerate(NUMBERED[label])]
                field = gr.Dropdown(names, value=argument.default, label=page._(label), min_width=140)
            elif label == "List of prompt inputs":
                field = gr.Textbox("", label=page._(label), lines=4, min_width=300)
            else:
                field = argument_field(page, argument)
            form.add(f"{script.title}/{label}", field)
        if script.title == LINES:
            _lines_of_file(page, field)


def _axis_field(page: Page, choices: Choices, tab: str, label: str) -> Any:
    if label.endswith("type"):
        axes = [(page._(axis), axis) for axis in choices.axes(tab)]
        return gr.Dropdown(axes, value="Nothing", label=page._(label), min_width=140)
    return gr.Textbox("", label=page._(label), placeholder="1, 2, 5-20 (+5), 0.1-0.9 [5]", min_width=220)


def _lines_of_file(page: Page, field: Any) -> None:
    """A file of prompts fills the text field."""
    file = gr.UploadButton(page._("Read from a file"), file_types=[".txt"], size="sm", type="binary")
    file.upload(lambda data: data.decode("utf-8", errors="replace"), file, field, **QUIET)
