"""Drawing over pictures: img2img, sketches, inpainting, batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from hires.ui import fields_drawing, fields_more, fields_over, results
from hires.ui.asking_over import img2img_bodies, img2img_body
from hires.ui.choices import Choices
from hires.ui.fields_scripts import scripts
from hires.ui.filling import values_of
from hires.ui.foretelling import follow_paintings, line
from hires.ui.form import Form
from hires.ui.page import Page
from hires.ui.painted import EDITORS


def build(page: Page) -> None:
    """The tab: its form on the left and what comes of it on the right."""
    choices, form = Choices(page.server), Form("img2img")
    page.forms["img2img"] = form
    with page.tab("img2img", "img2img") as tab, gr.Row(elem_classes="columns"):
        with gr.Column(scale=5, min_width=320, elem_classes="left"):
            with gr.Column(elem_classes="first"):
                fields_drawing.prompts(page, form, choices)
                generate = results.buttons(page, form)
                connect = line(page, form, img2img_body)
                sources = fields_over.over(page, form)
            with gr.Column(elem_classes="rest"):
                fields_over.masks(page, form)
                fields_over.ways(page, form)
                fields_drawing.size(page, form, choices)
                fields_over.size_of_picture(page, form, sources)
                fields_drawing.model(page, form, choices)
                fields_drawing.sampling(page, form, choices)
                fields_drawing.batches(page, form, choices)
                fields_drawing.seed(page, form)
                fields_more.soft_inpainting(page, form)
                fields_more.refiner(page, form, choices)
                fields_more.tiles(page, form, choices)
                fields_more.controlnets(page, form, choices)
                scripts(page, form, choices)
                names = tuple(name for name in form.fields if name not in sources.pictures and name != "mode")
                follow_paintings(form, [tab.select])
        with gr.Column(scale=4, min_width=320, elem_classes="pane"):
            pane = results.pane(page, form, generate)
    results.start(page, form, pane, lambda values: img2img_bodies(values, page.server.settings.input_dir))
    connect(without=EDITORS, on=[tab.select])
    pane.collect(tab.select)
    _receive(page, form, choices, sources, names)


def _receive(page: Page, form: Form, choices: Choices, sources: fields_over.Over, names: tuple[str, ...]) -> None:
    """Pictures that are sent here, with the values of the fields of these names: to the picture's tab, or to the one
    of the mask."""
    fields = [form.fields[name] for name in names]

    def values(picture: Path | None, text: str) -> list[Any]:
        return form.updates(values_of(text, choices, "img2img") | _size(picture), names)

    def to_picture(picture: Path | None, text: str) -> list[Any]:
        shown = gr.skip() if picture is None else str(picture)
        return [*values(picture, text), shown, "picture"]

    def to_mask(picture: Path | None, text: str) -> list[Any]:
        edited = {"background": str(picture), "layers": [], "composite": str(picture)}
        return [*values(picture, text), gr.skip() if picture is None else edited, "inpaint"]

    for target, name, take in (("img2img", "picture", to_picture), ("inpaint", "inpaint", to_mask)):
        tabs = [(page.tabs, "img2img"), (sources.tabs, name)]
        page.receive(target, [*fields, sources.pictures[name], sources.mode], take, tabs)


def _size(picture: Path | None) -> dict[str, Any]:
    """The picture's own size, where it is there."""
    from PIL import Image

    if picture is None or not picture.is_file():
        return {}
    with Image.open(picture) as opened:
        return {"width": max(opened.width // 8 * 8, 64), "height": max(opened.height // 8 * 8, 64)}
