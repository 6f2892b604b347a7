"""Extras: finished pictures enlarged, one, several, or those of a folder; each a job of its own, or, where there are
workers, some together, which these share out among them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from hires.errors import HiresError, SettingError
from hires.gallery.index import pictures_below
from hires.jobs.record import State
from hires.ui import fresh
from hires.ui.events import QUIET, told
from hires.ui.files import pictures_of
from hires.ui.live import DOOR, of_page
from hires.ui.markup import live_box
from hires.ui.picture_field import picture_field

if TYPE_CHECKING:
    from hires.server.state import Server
    from hires.ui.page import Page

MOST_AT_ONCE = 200
TOGETHER = 16
"""Pictures of one job, where there are workers."""
MOST_SHOWN = 24
BY, TO = "by", "to"
FOLLOW = "window.hires && window.hires.follow('extras');"


def build(page: Page) -> None:
    """Build the tab."""
    _ExtrasTab(page).build()


class _ExtrasTab:
    """The tab of one page."""

    def __init__(self, page: Page) -> None:
        from hires.ui.choices import Choices

        self.page, self._, self.server = page, page._, page.server
        self.choices = Choices(page.server)

    def build(self) -> None:
        with self.page.tab("extras", "Extras") as tab, gr.Row(elem_classes="columns"):
            with gr.Column(scale=3, min_width=320, elem_classes="form"):
                self._sources()
                self._fields()
            with gr.Column(scale=2, min_width=320, elem_classes="pane"):
                self._results()
        tab.select(lambda: gr.Dropdown(choices=folders(self.server)), None, self.folder, **QUIET)
        given = [self.where, self.picture, self.pictures, self.folder, *self.fields.values()]
        self.start.click(self.started, given, self.message, **QUIET).then(None, js=f"() => {{ {FOLLOW} }}")
        self.stop.click(self.stopped, **QUIET)
        outputs = [self.picture, self.where]
        self.page.receive("extras", outputs, self.take, [(self.page.tabs, "extras"), (self.where_tabs, "single")])

    def _sources(self) -> None:
        _ = self._
        self.where = gr.State("single")
        with gr.Tabs() as self.where_tabs:
            with gr.Tab(_("Single picture"), id="single") as single:
                self.picture = picture_field(_("Picture"), id="extras_picture")
            with gr.Tab(_("Several pictures"), id="several") as several:
                self.pictures = gr.File(
                    file_count="multiple", file_types=["image"], label=_("Pictures"), elem_id="extras_pictures"
                )
            with gr.Tab(_("Folder"), id="folder") as folder:
                self.folder = gr.Dropdown(
                    folders(self.server), label=_("Folder below the input folder"), elem_id="extras_folder"
                )
        for name, chosen in (("single", single), ("several", several), ("folder", folder)):
            chosen.select(lambda name=name: name, None, self.where, **QUIET)

    def _fields(self) -> None:
        _ = self._
        add: dict[str, Any] = {}
        names = self.choices.upscalers()
        best = next((name for name in names if name not in ("None", "Lanczos", "Nearest")), "Lanczos")
        with gr.Row(elem_classes="tight"):
            how: dict[str, Any] = {
                "value": best,
                "label": _("Upscaler"),
                "min_width": 160,
                "elem_id": "extras_upscaler",
            }
            add["upscaler_1"] = fresh.dropdown(self.page, self.choices.upscalers, **how)
            add["mode"] = gr.Radio(
                [(_("Resize by"), BY), (_("Resize to"), TO)], value=BY, label=_("Size"), min_width=160
            )
            fresh.button(self.page, "extras")
        with gr.Row(elem_classes="tight") as by:
            add["scale"] = gr.Slider(1, 8, value=2, step=0.05, label=_("Resize by"), elem_id="extras_scale")
        with gr.Row(elem_classes="tight", visible=False) as to:
            add["width"] = gr.Number(1024, label=_("Width"), precision=0, minimum=8, maximum=32768, min_width=90)
            add["height"] = gr.Number(1024, label=_("Height"), precision=0, minimum=8, maximum=32768, min_width=90)
            add["crop"] = gr.Checkbox(True, label=_("Crop to fit"), min_width=120)

        def sized(mode: str) -> tuple[Any, Any]:
            return gr.Row(visible=mode == BY), gr.Row(visible=mode == TO)

        add["mode"].change(sized, add["mode"], [by, to], **QUIET)
        with gr.Accordion(_("Second upscaler"), open=False), gr.Row(elem_classes="tight"):
            how = {"value": "None", "label": _("Second upscaler"), "min_width": 160}
            add["upscaler_2"] = fresh.dropdown(self.page, self.choices.upscalers, **how)
            add["visibility"] = gr.Slider(0, 1, value=0, step=0.01, label=_("Its visibility"), min_width=160)
        found = restorers(self.server)
        with gr.Accordion(_("Faces"), open=False, visible=bool(found)), gr.Row(elem_classes="tight"):
            add["gfpgan"] = gr.Slider(
                0, 1, value=0, step=0.01, label=_("GFPGAN visibility"), visible="gfpgan" in found, min_width=160
            )
            add["codeformer"] = gr.Slider(
                0, 1, value=0, step=0.01, label=_("CodeFormer visibility"), visible="codeformer" in found, min_width=160
            )
            add["weight"] = gr.Slider(
                0, 1, value=0.5, step=0.01, label=_("CodeFormer weight (0: strongest)"), visible="codeformer" in found
            )
        self.fields = add

    def _results(self) -> None:
        _ = self._
        with gr.Row(elem_classes="tight go"):
            self.start = gr.Button(_("Enlarge"), variant="primary", elem_id="extras_start", scale=3, min_width=140)
            self.stop = gr.Button(_("Stop"), variant="stop", elem_id="extras_stop", min_width=70)
        gr.HTML(live_box("extras", _), elem_id="extras_live", padding=False, js_on_load=FOLLOW)
        self.message = gr.HTML("", elem_id="extras_message", padding=False)
        gallery = gr.Gallery(
            show_label=False,
            columns=2,
            object_fit="contain",
            height="auto",
            elem_id="extras_gallery",
            elem_classes="results",
            preview=True,
            buttons=["download", "fullscreen"],
            interactive=False,
        )
        collect = gr.Button("", elem_id="extras_collect", elem_classes="unseen")
        collect.click(self.collected, None, [gallery, self.message], **QUIET)

    def take(self, picture: Path | None, text: str) -> Sequence[Any]:
        """A picture that another tab sends."""
        return (gr.skip() if picture is None else str(picture)), "single"

    def started(
        self, where: str, picture: str | None, pictures: list[str] | None, folder: str | None, *values: Any
    ) -> str:
        """Put the pictures into the queue."""
        given = dict(zip(self.fields, values, strict=True))
        try:
            files = self._chosen(where, picture, pictures, folder)
            together = TOGETHER if self.server.settings.workers else 1
            for some in (files[start : start + together] for start in range(0, len(files), together)):
                more = f" + {len(some) - 1}" if len(some) > 1 else ""
                self.page.desk.submit(
                    "extras", body(some, given), title=some[0].name[: 80 - len(more)] + more, door=DOOR
                )
        except HiresError as error:
            raise told(error, self.page) from error
        return f"<p>{len(files)} {escape(self._('pictures are in the queue'))}</p>" if len(files) > 1 else ""

    def _chosen(self, where: str, picture: str | None, pictures: list[str] | None, folder: str | None) -> list[Path]:
        if where == "folder":
            files = [] if not folder else pictures_in(self.server, folder)
        else:
            files = [Path(one) for one in (pictures or [] if where == "several" else [picture] if picture else [])]
        if not files:
            raise SettingError("there is no picture to enlarge", "Drop one first.")
        if len(files) > MOST_AT_ONCE:
            raise SettingError(f"{len(files)} pictures are more than {MOST_AT_ONCE} at once", "Choose fewer.")
        return files

    def stopped(self) -> None:
        """Cancel what of this tab runs and waits."""
        for job in of_page(self.server, "extras", State.RUNNING, State.WAITING):
            self.page.desk.cancel(job.id)

    def collected(self) -> tuple[Any, str]:
        """The pictures of the jobs that ended last, and why the last one gave none."""
        ended = of_page(self.server, "extras", *(state for state in State if state.has_ended))
        jobs = sorted(ended, key=lambda job: -(job.ended or 0.0))[:MOST_SHOWN]
        files = [str(path) for job in jobs for path in pictures_of(self.server, job)][:MOST_SHOWN]
        failed = jobs[0].error if jobs and jobs[0].state is State.FAILED else ""
        said = f'<p class="problem">{escape(failed)}</p>' if failed else ""
        return gr.Gallery(value=files, selected_index=0 if files else None), said


def body(files: Sequence[Path], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a program would send to /sdapi/v1/extra-batch-images for these."""
    return {
        "imageList": [
            {"data": base64.b64encode(file.read_bytes()).decode("ascii"), "name": file.name} for file in files
        ],
        "save_images": True,
        "resize_mode": 1 if given["mode"] == TO else 0,
        "upscaling_resize": float(given["scale"] or 1),
        "upscaling_resize_w": int(given["width"] or 0),
        "upscaling_resize_h": int(given["height"] or 0),
        "upscaling_crop": bool(given["crop"]),
        "upscaler_1": given["upscaler_1"] or "None",
        "upscaler_2": given["upscaler_2"] or "None",
        "extras_upscaler_2_visibility": float(given["visibility"] or 0),
        "gfpgan_visibility": float(given["gfpgan"] or 0),
        "codeformer_visibility": float(given["codeformer"] or 0),
        "codeformer_weight": float(given["weight"] or 0),
    }


def folders(server: Server) -> list[str]:
    """The folders of the input folder in which pictures lie; "." for itself."""
    names = {str(Path(name).parent.as_posix()) for name, _, _ in pictures_below(server.settings.input_dir)}
    return sorted(names)


def pictures_in(server: Server, folder: str) -> list[Path]:
    """The pictures that lie right in one of those folders, by name."""
    found = pictures_below(server.settings.input_dir)
    return sorted(path for name, path, _ in found if Path(name).parent.as_posix() == folder)


def restorers(server: Server) -> set[str]:
    """Which face restorers have their files here: "gfpgan", "codeformer"."""
    names = [entry.name.lower().replace("-", "") for entry in server.files.entries("face_restorers")]
    return {kind for kind in ("gfpgan", "codeformer") if any(kind in name for name in names)}
