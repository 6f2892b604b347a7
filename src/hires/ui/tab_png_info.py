"""PNG info: what a picture says of itself, where that can be sent, and whether it can be drawn again."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from hires.errors import HiresError
from hires.metadata.workflows import file_texts
from hires.server.kind import SAID
from hires.ui.asking import coded
from hires.ui.events import QUIET, told
from hires.ui.gallery_view import texts_of
from hires.ui.live import DOOR
from hires.ui.markup import live_box, packed
from hires.ui.picture_field import picture_field

if TYPE_CHECKING:
    from hires.ui.page import Page

FOLLOW = "window.hires && window.hires.follow('verify');"
SENDS = ("txt2img", "img2img", "inpaint", "extras")


def build(page: Page) -> None:
    """Build the tab."""
    _ = page._
    with page.tab("png_info", "PNG info"), gr.Row(elem_classes="columns"):
        with gr.Column(scale=2, min_width=300):
            picture = picture_field(_("Drop a picture here"), height=360, id="png_info_picture")
            with gr.Row(visible=False, elem_classes="tight send") as sends:
                buttons = [
                    gr.Button(f"→ {_(target)}", size="sm", min_width=70, elem_id=f"png_info_{target}")
                    for target in SENDS
                ]
            verify = gr.Button(_("Draw it again and compare"), size="sm", visible=False, elem_id="png_info_verify")
            gr.HTML(live_box("verify", _), elem_classes="progress", padding=False, js_on_load=FOLLOW)
            verdict = gr.HTML("", css_template=packed("details.css"), elem_id="png_info_verdict", padding=False)
        with gr.Column(scale=3, min_width=300):
            about = gr.HTML(_hint(page), css_template=packed("details.css"), elem_id="png_info_about", padding=False)

    def shown(path: str | None) -> tuple[Any, ...]:
        is_there = path is not None
        return _about(page, path), gr.Row(visible=is_there), gr.Button(visible=is_there), ""

    picture.change(shown, picture, [about, sends, verify, verdict], **QUIET)

    async def verified(path: str | None) -> str:
        return "" if path is None else await _verified(page, Path(path))

    verify.click(
        lambda: f'<p class="hint">{escape(_("It waits for its turn in the queue, and is then drawn again …"))}</p>',
        None,
        verdict,
        **QUIET,
    ).then(verified, picture, verdict, **QUIET)
    verify.click(None, None, None, js=f"() => {{ setTimeout(() => {{ {FOLLOW} }}, 500); }}")
    for button, target in zip(buttons, SENDS, strict=True):
        page.send(button, target, [picture], pick)


def pick(path: str | None) -> tuple[Path | None, str]:
    """The picture and its infotext."""
    if path is None:
        return None, ""
    try:
        return Path(path), file_texts(Path(path)).get("parameters", "")
    except HiresError:
        return Path(path), ""


def _hint(page: Page) -> str:
    text = page._("A picture that was drawn here, or by another program of this field, tells its settings.")
    return f'<p class="hint">{escape(text)}</p>'


def _about(page: Page, path: str | None) -> str:
    if path is None:
        return _hint(page)
    try:
        texts = file_texts(Path(path))
    except HiresError as error:
        raise told(error, page) from error
    found = texts_of(texts, page._)
    return found or f'<p class="hint">{escape(page._("Nothing found in the picture."))}</p>'


async def _verified(page: Page, path: Path) -> str:
    """The picture drawn again, as a job of the queue; what came of it, in lines."""
    try:
        request = {"image": coded(path), "name": path.name}
        verdict = await page.server.asked("verify", request, title=path.name[:80], door=DOOR)
    except HiresError as error:
        return f'<p class="bad">{escape(page.desk.clean(str(error)))}</p>'
    first, *rest = verdict[SAID]
    classes = {0: "good", 1: "hint"}.get(verdict["code"], "bad")
    lines = "".join(f"<div>{escape(line)}</div>" for line in rest)
    return f'<p class="{classes}">{escape(first)}</p>{lines}'
