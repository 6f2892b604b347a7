"""Grids: those that were drawn, opened in their viewer, gone on with, given more values; and new ones."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from hires.errors import HiresError, SettingError
from hires.jobs.record import Job, State
from hires.metadata.infotext import read_infotext
from hires.server.finished import FOLDERS, OUTPUT
from hires.server.scripts import named
from hires.ui import fresh
from hires.ui.choices import Choices
from hires.ui.events import QUIET, told
from hires.ui.grids_view import axes_of_grid, grids_html
from hires.ui.live import AT_WORK, GRID, GRIDS_DOOR, of_page
from hires.ui.markup import live_box, packed

if TYPE_CHECKING:
    from hires.ui.page import Page

SCRIPT = "x/y/z plot"
NOTHING = "Nothing"
EXAMPLE = "1, 2, 5-20 (+5), 0.1-0.9 [5]"
OPENED = """() => document.getElementById('grids_form')?.scrollIntoView({ block: 'start', behavior: 'smooth' })"""
FOLLOW = "() => window.hires && window.hires.follow('grid')"
FIELDS = {"Steps": "steps", "Sampler": "sampler", "CFG scale": "cfg", "Seed": "seed"}
"""Fields of infotext, and those of the form that they fill."""


def build(page: Page) -> None:
    """Build the tab."""
    _GridsTab(page).build()


class _GridsTab:
    """The tab of one page."""

    def __init__(self, page: Page) -> None:
        self.page, self._, self.server = page, page._, page.server
        self.choices = Choices(page.server)
        self.fields: dict[str, Any] = {}
        self.axes: list[Any] = []

    def build(self) -> None:
        _ = self._
        with self.page.tab("grids", "Grids") as tab:
            self.listed = gr.HTML(
                "", css_template=packed("grids.css"), js_on_load=packed("grids.js"), elem_id="grids_list", padding=False
            )
            with gr.Row(elem_classes="tight"):
                again = gr.Button(_("Look again"), size="sm", elem_id="grids_again", scale=0, min_width=160)
            stop = self._live()
            with gr.Group(elem_id="grids_form"):
                self.of = gr.State("")
                self.title = gr.Markdown(f"### {_('A new grid')}", elem_id="grids_title", padding=True)
                self._axes()
                with gr.Column(elem_classes="form") as self.base:
                    self._base()
            with gr.Row(elem_classes="tight go"):
                start = gr.Button(_("Draw the grid"), variant="primary", elem_id="grids_start", scale=3, min_width=140)
                anew = gr.Button(_("A new grid"), elem_id="grids_new", min_width=120, visible=False)
        form = [self.of, self.title, self.base, anew, *self.axes]
        self.listed.select(self.pressed, None, [*form, self.listed], **QUIET).then(None, js=OPENED)
        anew.click(lambda: self.filled("", []), None, form, **QUIET)
        tab.select(self.seen, None, self.listed, **QUIET)
        again.click(self.seen, None, self.listed, **QUIET)
        given = [self.of, *self.axes, *self.fields.values()]
        start.click(self.started, given, [self.listed, self.message], **QUIET).then(None, js=FOLLOW)
        stop.click(self.stopped, None, self.listed, **QUIET)

    def _live(self) -> Any:
        """What is told while a grid is drawn; its button that stops it."""
        with gr.Column(elem_classes="while_grid"):
            gr.HTML(
                live_box(GRID, self._),
                elem_id="grid_live",
                elem_classes="progress",
                padding=False,
                js_on_load="window.hires && window.hires.follow('grid');",
            )
            stop = gr.Button(self._("Stop"), variant="stop", elem_id="grids_stop")
        self.message = gr.HTML("", elem_id="grids_message", padding=False)
        collect = gr.Button("", elem_id="grid_collect", elem_classes="unseen")
        collect.click(self.seen, None, self.listed, **QUIET)
        return stop

    def _axes(self) -> None:
        names = [(self._(axis), axis) for axis in self.choices.axes("txt2img")]
        for letter in "XYZ":
            with gr.Row(elem_classes="tight"):
                self.axes += [
                    gr.Dropdown(
                        names,
                        value=NOTHING,
                        label=f"{letter}: {self._('what changes')}",
                        min_width=160,
                        scale=1,
                        elem_id=f"grids_{letter.lower()}",
                        allow_custom_value=True,
                    ),
                    gr.Textbox(
                        "",
                        label=self._("Values"),
                        placeholder=EXAMPLE,
                        min_width=220,
                        scale=3,
                        elem_id=f"grids_{letter.lower()}_values",
                    ),
                ]

    def _base(self) -> None:
        _, add = self._, self.fields
        add["prompt"] = gr.Textbox("", label=_("Prompt"), lines=2, elem_id="grids_prompt", elem_classes="prompt")
        add["negative"] = gr.Textbox("", label=_("Negative prompt"), lines=1, elem_classes="prompt")
        size = self.choices.native_size(self.choices.checkpoint())
        with gr.Row(elem_classes="tight"):
            here = {"label": _("Checkpoint"), "min_width": 220, "scale": 2}
            choices = self.choices
            add["checkpoint"] = fresh.dropdown(self.page, choices.checkpoints, first=choices.checkpoint, **here)
            add["sampler"] = gr.Dropdown(
                self.choices.samplers(), value="DPM++ 2M", label=_("Sampler"), min_width=150, allow_custom_value=True
            )
            add["steps"] = gr.Number(20, label=_("Steps"), precision=0, minimum=1, maximum=150, min_width=80)
            add["cfg"] = gr.Number(7, label=_("CFG scale"), minimum=1, maximum=30, min_width=80)
            add["width"] = gr.Number(size, label=_("Width"), precision=0, minimum=64, maximum=8192, min_width=80)
            add["height"] = gr.Number(size, label=_("Height"), precision=0, minimum=64, maximum=8192, min_width=80)
            add["seed"] = gr.Number(-1, label=_("Seed"), precision=0, minimum=-1, min_width=110)
            fresh.button(self.page, "grids")
        with gr.Accordion(_("Take the settings of a picture"), open=False):
            text = gr.Textbox("", label=_("Its text, as PNG info shows it"), lines=3, elem_id="grids_infotext")
            read = gr.Button(_("Fill the form with it"), size="sm", elem_id="grids_read")
        read.click(self.read, text, list(add.values()), **QUIET)

    def seen(self) -> str:
        """The grids there are."""
        jobs = self.server.desk.store.search(states=AT_WORK, limit=1000)
        busy = {name for job in jobs for name in folders_of(job)}
        return grids_html(self.server.gallery.grids(), busy, self._)

    def stopped(self) -> str:
        """Cancel the grid that is drawn, else the one of this tab that was asked for last."""
        jobs = of_page(self.server, GRID, *AT_WORK)
        for job in [job for job in jobs if job.state is State.RUNNING][:1] or jobs[:1]:
            self.page.desk.cancel(job.id)
        return self.seen()

    def pressed(self, event: gr.EventData) -> tuple[Any, ...]:
        """A button of a grid's card: draw what is missing, or show its axes in the form."""
        name = str(event.name)
        try:
            if event.act == "resume":
                self.page.desk.submit("grid", {"folder": name, "axes": []}, title=name, door=GRIDS_DOOR)
                return (*[gr.skip()] * (4 + len(self.axes)), self.seen())
            from hires.recipes.grids.record import read_data

            data = read_data(self.server.gallery.grid(name))
        except HiresError as error:
            raise told(error, self.page) from error
        return (*self.filled(name, axes_of_grid(data)), gr.skip())

    def filled(self, name: str, axes: list[tuple[str, str]]) -> tuple[Any, ...]:
        """The form for a grid that is there, or for a new one."""
        title = f"{self._('More values for')} {name}" if name else self._("A new grid")
        values: list[Any] = []
        for place in range(3):
            label, text = axes[place] if axes else (NOTHING, "")
            values += [gr.update(value=label, interactive=not name), text]
        return name, f"### {title}", gr.Column(visible=not name), gr.Button(visible=bool(name)), *values

    def started(self, of: str, *values: Any) -> tuple[str, str]:
        """Put the grid into the queue."""
        axes = [(values[place] or NOTHING, values[place + 1] or "") for place in (0, 2, 4)]
        given = dict(zip(self.fields, values[6:], strict=True))
        try:
            if of:
                request = {"folder": of, "axes": [None if axis[0] == NOTHING else list(axis) for axis in axes]}
                self.page.desk.submit("grid", request, title=of, door=GRIDS_DOOR)
            else:
                self.page.desk.submit("txt2img", body(axes, given), title=title_of(axes), door=GRIDS_DOOR)
        except HiresError as error:
            raise told(error, self.page) from error
        return self.seen(), f"<p>{escape(self._('The grid is in the queue.'))}</p>"

    def read(self, text: str) -> list[Any]:
        """The form filled by an infotext; what it does not say stays."""
        info = read_infotext(text or "")
        found: dict[str, Any] = {"prompt": info.prompt, "negative": info.negative} if info.prompt else {}
        for key, name in FIELDS.items():
            value = info.fields.get(key)
            if value is not None:
                found[name] = value if name == "sampler" else _number(value)
        if (size := info.size("Size")) is not None:
            found["width"], found["height"] = size
        return [gr.skip() if found.get(name) is None else found[name] for name in self.fields]


def _number(text: str) -> float | int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else value


def folders_of(job: Job) -> list[str]:
    """The grids that a job draws, by their names below the outputs."""
    if job.kind == GRID:
        return [str(job.request.get("folder"))]
    return [name for root, name in job.notes.get(FOLDERS, {}).values() if root == OUTPUT]


def title_of(axes: list[tuple[str, str]]) -> str:
    """What a grid compares."""
    return " x ".join(label for label, _ in axes if label != NOTHING)


def body(axes: list[tuple[str, str]], given: dict[str, Any]) -> dict[str, Any]:
    """What a program would send to /sdapi/v1/txt2img for this grid. SettingError where nothing changes."""
    if all(label == NOTHING for label, _ in axes):
        raise SettingError("the grid has no axes", "Choose what changes along X.")
    args: dict[str, Any] = {}
    for letter, (label, text) in zip("XYZ", axes, strict=True):
        args |= {f"{letter} type": label, f"{letter} values": text}
    return {
        "prompt": given["prompt"] or "",
        "negative_prompt": given["negative"] or "",
        "sampler_name": given["sampler"],
        "steps": int(given["steps"] or 20),
        "cfg_scale": float(given["cfg"] or 7),
        "width": int(given["width"] or 512),
        "height": int(given["height"] or 512),
        "seed": int(-1 if given["seed"] is None else given["seed"]),
        "override_settings": {"sd_model_checkpoint": given["checkpoint"]},
        "script_name": SCRIPT,
        "script_args": [args.get(argument.label, argument.default) for argument in named(SCRIPT).arguments],
        "save_images": True,
        "send_images": False,
    }
