"""The gallery: every picture of the outputs, searched, looked at, sent on, compared, thrown away and taken back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from hires.errors import HiresError, SettingError
from hires.ui.events import QUIET, told
from hires.ui.gallery_view import details, marked_bar, tiles
from hires.ui.markup import packed
from hires.ui.trash_panel import TrashPanel

if TYPE_CHECKING:
    from hires.gallery.index import Found
    from hires.ui.page import Page

PER_PAGE = 60
SIZES = {"Any size": 0, "1 MP and more": 1_000_000, "4 MP and more": 4_000_000, "16 MP and more": 16_000_000}
ORDERS = {"Newest first": "newest", "Oldest first": "oldest", "By name": "name", "Largest first": "largest"}
DAY = 86_400.0
SENDS = ("txt2img", "img2img", "inpaint", "extras")
COUNT = "display: flex; align-items: center; min-height: 40px;"
SHOW_DETAILS = """() => { if (innerWidth < 900) document.getElementById('gallery_details')
?.scrollIntoView({ block: 'start', behavior: 'smooth' }); }"""


def build(page: Page) -> None:
    """Build the tab."""
    _GalleryTab(page).build()


class _GalleryTab:
    """The tab of one page; the state of a browser's search is in gr.State."""

    def __init__(self, page: Page) -> None:
        from hires.server.editor import editor_folder

        self.page, self._ = page, page._
        self.gallery = page.server.gallery
        self.has_editor = editor_folder() is not None

    def build(self) -> None:
        _ = self._
        with self.page.tab("gallery", "Gallery") as tab:
            self.number, self.marked, self.chosen, self.undo = gr.State(0), gr.State([]), gr.State(""), gr.State("")
            self._filters()
            with gr.Row():
                with gr.Column(scale=3, min_width=320):
                    with gr.Row(elem_id="gallery_pages"):
                        before = gr.Button("◀", scale=0, min_width=56, elem_id="gallery_before")
                        self.count = gr.HTML("", css_template=COUNT, elem_id="gallery_count", padding=False)
                        after = gr.Button("▶", scale=0, min_width=56, elem_id="gallery_after")
                    self.grid = gr.HTML(
                        "", css_template=packed("gallery.css"), js_on_load=packed("gallery.js"), elem_id="gallery_grid"
                    )
                with gr.Column(scale=2, min_width=320, elem_id="gallery_details"):
                    self.bar = gr.HTML(
                        "", css_template=packed("details.css"), elem_id="gallery_marked", padding=False, visible=False
                    )
                    with gr.Row(visible=False, elem_classes="tight send") as self.sends:
                        buttons = [
                            gr.Button(f"→ {_(target)}", size="sm", min_width=70, elem_id=f"gallery_{target}")
                            for target in SENDS
                        ]
                    with gr.Row(elem_classes="tight"):
                        self.delete = gr.Button(
                            _("Move to the trash"), size="sm", visible=False, elem_id="gallery_delete"
                        )
                        self.back = gr.Button(_("Undo"), size="sm", visible=False, elem_id="gallery_undo")
                    self.about = gr.HTML(self._details(""), css_template=packed("details.css"), elem_id="gallery_about")
            self.trash = TrashPanel(self.page)
        self._connect(tab, before, after)
        for button, target in zip(buttons, SENDS, strict=True):
            self.page.send(button, target, [self.chosen], self.pick)

    def _filters(self) -> None:
        _ = self._
        with gr.Row(equal_height=True):
            self.words = gr.Textbox(
                show_label=False,
                placeholder=_("Search prompts, settings and file names"),
                scale=4,
                min_width=220,
                elem_id="gallery_words",
                container=False,
            )
            self.search = gr.Button(_("Search"), variant="primary", scale=0, min_width=96, elem_id="gallery_search")
        with gr.Accordion(_("More to search by"), open=False), gr.Row():
            self.model = gr.Dropdown(
                [(_("Any model"), "")], value="", label=_("Model"), min_width=150, elem_id="gallery_model"
            )
            self.since = gr.DateTime(label=_("From"), include_time=False, type="timestamp", min_width=150)
            self.until = gr.DateTime(label=_("To"), include_time=False, type="timestamp", min_width=150)
            self.size = gr.Dropdown(
                [(_(name), name) for name in SIZES], value="Any size", label=_("Size"), min_width=130
            )
            self.order = gr.Dropdown(
                [(_(name), name) for name in ORDERS], value="Newest first", label=_("Order"), min_width=130
            )
            self.cells = gr.Checkbox(True, label=_("Cells of grids, too"), min_width=130, elem_id="gallery_cells")

    def _connect(self, tab: Any, before: Any, after: Any) -> None:
        asked = [self.words, self.model, self.since, self.until, self.size, self.order, self.cells]
        shown = [self.grid, self.count, self.number]
        looked = [*asked, self.marked, self.chosen]
        tab.select(self.opened, looked, [*shown, self.model, *self.trash.shown], **QUIET)
        gr.on(
            [self.search.click, self.words.submit, self.model.input, self.since.change, self.until.change,
             self.size.input, self.order.input, self.cells.input],
            lambda *given: self.listed(0, *given),
            looked,
            shown,
            **QUIET,
        )  # fmt: skip
        before.click(lambda number, *given: self.listed(number - 1, *given), [self.number, *looked], shown, **QUIET)
        after.click(lambda number, *given: self.listed(number + 1, *given), [self.number, *looked], shown, **QUIET)
        # every click counts, in its order
        each: dict[str, Any] = {"trigger_mode": "multiple", "concurrency_limit": 1}
        picked = [self.chosen, self.marked, self.about, self.bar, self.sends, self.delete]
        self.grid.select(self.picked, [self.chosen, self.marked], picked, **QUIET, **each).then(None, js=SHOW_DETAILS)
        moved = [*picked, self.undo, self.back, *shown, *self.trash.shown]
        self.delete.click(self.thrown_away, [self.number, self.undo, *looked], moved, **QUIET)
        self.back.click(self.undone, [self.number, self.undo, *looked], moved, **QUIET)
        self.trash.thrown.select(self.restored, [self.number, *looked], [*shown, *self.trash.shown], **QUIET, **each)
        self.trash.connect([self.undo, self.back])

    def opened(self, *given: Any) -> tuple[Any, ...]:
        """The first page of what there is now, and the models there are."""
        found = self.listed(0, *given)
        models = [(self._("Any model"), ""), *((name, name) for name in self.gallery.index.models())]
        return (*found, gr.Dropdown(choices=models), *self.trash.told())

    def listed(
        self,
        number: int,
        words: str,
        model: str,
        since: float | None,
        until: float | None,
        size: str,
        order: str,
        cells: bool,
        marked: list[str],
        chosen: str,
    ) -> tuple[str, str, int]:
        """A page of the search, counted from 0: its tiles, the line that counts, its number."""
        whole = self.gallery.look()

        def found(number: int) -> Found:
            return self.gallery.index.search(
                (words or "")[:1000],
                model=model or "",
                since=since or 0.0,
                until=until + DAY if until else float("inf"),
                least_pixels=SIZES[size],
                with_cells=bool(cells),
                order=ORDERS[order],
                limit=PER_PAGE,
                offset=number * PER_PAGE,
            )

        number = max(number, 0)
        page = found(number)
        if not page.entries and page.total:  # behind the end: the last page there is
            number = (page.total - 1) // PER_PAGE
            page = found(number)
        first = number * PER_PAGE
        told = f"{first + 1}-{first + len(page.entries)} / {page.total}" if page.total else "0"
        told += "" if whole else f" · {self._('still reading the folder')}"
        broken = len(self.gallery.index.problems())
        told += f" · {broken} {self._('files cannot be read')}" if broken else ""
        return tiles(page.entries, marked, chosen, self._), told, number

    def picked(self, event: gr.EventData, chosen: str, marked: list[str]) -> tuple[Any, ...]:
        """A tile was clicked: show its picture, or choose it."""
        name = str(event.name)
        if event.mark:
            marked = [one for one in marked if one != name] if name in marked else [*marked, name]
        else:
            chosen = name
        return self._shown(chosen, marked)

    def _shown(self, chosen: str, marked: list[str]) -> tuple[Any, ...]:
        return (
            chosen,
            marked,
            self._details(chosen),
            gr.HTML(marked_bar(marked, self._), visible=bool(marked)),
            gr.Row(visible=bool(chosen)),
            gr.Button(visible=bool(chosen or marked)),
        )

    def _details(self, name: str) -> str:
        return details(self.gallery, name, self.has_editor, self._)

    def thrown_away(self, number: int, undo: str, *given: Any) -> tuple[Any, ...]:
        """Move the chosen pictures to the trash; where none is chosen, the one that is shown."""
        marked, chosen = list(given[-2]), str(given[-1])
        names = marked or ([chosen] if chosen else [])
        try:
            undo = self.gallery.throw(names)
        except HiresError as error:
            raise told(error, self.page) from error
        return self._after_move(number, undo, given[:-2])

    def undone(self, number: int, undo: str, *given: Any) -> tuple[Any, ...]:
        """Bring back what was thrown away last."""
        try:
            for one in self.gallery.trash.listed():
                if one.deletion == undo:
                    self.gallery.trash.restore(one.deletion, one.name)
        except HiresError as error:
            raise told(error, self.page) from error
        return self._after_move(number, "", given[:-2])

    def _after_move(self, number: int, undo: str, asked: tuple[Any, ...]) -> tuple[Any, ...]:
        given: tuple[Any, ...] = (*asked, [], "")
        moved = (*self._shown("", []), undo, gr.Button(visible=bool(undo)))
        return *moved, *self.listed(number, *given), *self.trash.told()

    def restored(self, event: gr.EventData, number: int, *given: Any) -> tuple[Any, ...]:
        """A tile of the trash was clicked: bring its picture back."""
        try:
            self.gallery.restore(str(event.deletion), str(event.name))
        except HiresError as error:
            raise told(error, self.page) from error
        return (*self.listed(number, *given), *self.trash.told())

    def pick(self, name: str) -> tuple[Path | None, str]:
        """The picture that is shown and its infotext."""
        try:
            path = self.gallery.trash.picture(name)
        except SettingError:
            return None, ""
        return path, self.gallery.texts(name).get("parameters", "")
