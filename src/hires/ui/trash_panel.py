"""The gallery's trash: how much is in it, one picture brought back, all of it deleted once that is confirmed."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from hires.errors import HiresError
from hires.ui.events import QUIET, told
from hires.ui.gallery_view import trash_tiles, trash_total
from hires.ui.markup import packed

if TYPE_CHECKING:
    from hires.ui.page import Page


class TrashPanel:
    """The folding panel below the pictures. `shown` are the components that `told` has values for; `thrown` are the
    tiles, whose select event brings a picture back."""

    def __init__(self, page: Page) -> None:
        _ = self._ = page._
        self.page, self.gallery = page, page.server.gallery
        self._asked = gr.State([])
        with gr.Accordion(_("Trash"), open=False, elem_id="gallery_trash") as self._panel:
            self._empty = gr.Button(
                _("Empty the trash"), size="sm", visible=False, elem_id="trash_empty", min_width=160
            )
            with gr.Row(visible=False, elem_classes="tight", elem_id="trash_sure") as self._sure:
                self._question = gr.HTML("", elem_id="trash_question", padding=False)
                self._yes = gr.Button(
                    _("Delete for good"), size="sm", variant="stop", elem_id="trash_yes", scale=0, min_width=160
                )
                self._no = gr.Button(_("Keep"), size="sm", elem_id="trash_no", scale=0, min_width=120)
            self.thrown = gr.HTML(
                "", css_template=packed("gallery.css"), js_on_load=packed("gallery.js"), elem_id="gallery_thrown"
            )
        self.shown = [self._panel, self.thrown, self._empty, self._sure]

    def connect(self, undo: list[Any]) -> None:
        """Wire it; `undo` are the state and the button that bring back what was thrown away last."""
        asking = [self._asked, self._question, self._empty, self._sure]
        self._panel.expand(self.told, None, self.shown, **QUIET)
        self._empty.click(self.asked, None, asking, **QUIET)
        self._no.click(self.told, None, self.shown, **QUIET)
        self._yes.click(self.emptied, self._asked, [*self.shown, *undo], **QUIET)

    def told(self) -> tuple[Any, ...]:
        """What lies in it now."""
        thrown = self.gallery.trash.listed()
        label = f"{self._('Trash')} · {trash_total(thrown, self._)}" if thrown else self._("Trash")
        return (
            gr.Accordion(label=label),
            trash_tiles(thrown, self._),
            gr.Button(visible=bool(thrown)),
            gr.Row(visible=False),
        )

    def asked(self) -> tuple[Any, ...]:
        """Ask first; what is told in the question is what will be deleted, and nothing that comes after it."""
        thrown = self.gallery.trash.listed()
        question = self._("{what} will be gone for good.").replace("{what}", trash_total(thrown, self._))
        deletions = sorted({one.deletion for one in thrown})
        return deletions, f'<p class="warning">{escape(question)}</p>', gr.Button(visible=False), gr.Row(visible=True)

    def emptied(self, deletions: list[str]) -> tuple[Any, ...]:
        """Delete what the question told of; nothing of it can be undone."""
        try:
            self.gallery.empty(deletions)
        except HiresError as error:
            raise told(error, self.page) from error
        return (*self.told(), "", gr.Button(visible=False))
