"""What img2img draws over: a picture, a sketch, a masked picture, many pictures; and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from hires.ui.events import QUIET
from hires.ui.form import Form
from hires.ui.page import Page
from hires.ui.picture_field import picture_field

MODES = ("picture", "sketch", "inpaint", "inpaint_sketch", "inpaint_upload", "batch")
LABELS = {
    "picture": "Picture",
    "sketch": "Sketch",
    "inpaint": "Inpaint",
    "inpaint_sketch": "Inpaint sketch",
    "inpaint_upload": "Inpaint upload",
    "batch": "Batch",
}
MASKED = ("inpaint", "inpaint_sketch", "inpaint_upload")
RESIZE_MODES = ("Just resize", "Crop and resize", "Resize and fill", "Just resize (latent upscale)")
FILLS = ("fill", "original", "latent noise", "latent nothing")
COLOURS = ("#ff4b4b", "#ffd24b", "#4bd964", "#4bb3ff", "#b44bff", "#ffffff", "#000000")
EDITOR_HEIGHT = 460


@dataclass
class Over:
    """The pictures' components by mode; `mode` is a gr.State with the one that is shown, `tabs` the gr.Tabs."""

    tabs: Any
    mode: Any
    pictures: dict[str, Any]


def over(page: Page, form: Form) -> Over:
    """A tab for each way to give a picture."""
    _ = page._
    mode = form.add("mode", gr.State("picture"))
    pictures: dict[str, Any] = {}
    with gr.Tabs(elem_id=form.id("modes")) as tabs:
        for name in MODES:
            with gr.Tab(_(LABELS[name]), id=name, elem_id=form.id(f"mode_{name}")) as tab:
                _pictures(page, form, name, pictures)
            tab.select(lambda name=name: name, None, mode, **QUIET)
    for name, field in pictures.items():
        form.add(name, field)
    return Over(tabs, mode, pictures)


def _pictures(page: Page, form: Form, name: str, found: dict[str, Any]) -> None:
    _ = page._
    if name == "picture":
        found["picture"] = picture_field(_("Picture"), id=form.id("picture"))
    elif name == "sketch":
        found["sketch"] = _editor(page, "Paint over the picture; it is drawn from what you painted", form.id("sketch"))
    elif name == "inpaint":
        found["inpaint"] = _editor(page, "Paint over what is to be drawn again", form.id("inpaint"), ("#ffffff",))
    elif name == "inpaint_sketch":
        found["inpaint_sketch"] = _editor(
            page, "Paint in colours: only what you painted is drawn again, from it", form.id("inpaint_sketch")
        )
    elif name == "inpaint_upload":
        with gr.Row(elem_classes="tight"):
            found["upload"] = picture_field(_("Picture"), id=form.id("upload"))
            found["upload_mask"] = picture_field(_("Mask: white is drawn again"), id=form.id("upload_mask"))
    else:
        found["files"] = gr.File(
            label=_("Pictures"), file_count="multiple", file_types=["image"], height=160, elem_id=form.id("files")
        )
        found["folder"] = gr.Textbox(
            label=_("Or all pictures of a folder below the input folder"),
            placeholder="photos",
            elem_id=form.id("folder"),
        )


def _editor(page: Page, label: str, id: str, colours: tuple[str, ...] = COLOURS) -> Any:
    return gr.ImageEditor(
        label=page._(label),
        placeholder=page._("Drop a picture here, or paste it"),
        type="pil",
        image_mode="RGBA",
        sources=["upload", "clipboard"],
        brush=gr.Brush(default_size="auto", colors=list(colours), default_color=colours[0], color_mode="defaults"),
        eraser=gr.Eraser(default_size="auto"),
        layers=False,
        transforms=(),
        height=EDITOR_HEIGHT,
        elem_id=id,
        elem_classes="painting",
    )


def ways(page: Page, form: Form) -> None:
    """Resize mode and denoising strength."""
    _ = page._
    with gr.Row(elem_classes="tight"):
        modes = [(_(mode), number) for number, mode in enumerate(RESIZE_MODES)]
        form.add("resize_mode", gr.Dropdown(modes, value=0, label=_("Resize mode"), min_width=160))
        form.add("denoise", gr.Slider(0, 1, 0.75, step=0.01, label=_("Denoising strength"), min_width=160))


def masks(page: Page, form: Form) -> Any:
    """What is done with a mask; the group is shown where there is one."""
    _ = page._
    with gr.Group(visible=False) as group:
        with gr.Row(elem_classes="tight"):
            form.add("mask_blur", gr.Slider(0, 64, 4, step=1, label=_("Mask blur"), min_width=140))
            form.add("padding", gr.Slider(0, 256, 32, step=4, label=_("Padding of only masked"), min_width=140))
        with gr.Row(elem_classes="tight"):
            sides = [(_("Inpaint masked"), 0), (_("Inpaint not masked"), 1)]
            form.add("invert", gr.Radio(sides, value=0, label=_("Mask mode"), min_width=180))
            areas = [(_("Whole picture"), 0), (_("Only masked"), 1)]
            form.add("only_masked", gr.Radio(areas, value=0, label=_("Inpaint area"), min_width=180))
        fills = [(_(fill), number) for number, fill in enumerate(FILLS)]
        form.add("fill", gr.Radio(fills, value=1, label=_("Masked content")))
    form.fields["mode"].change(lambda mode: gr.update(visible=mode in MASKED), form.fields["mode"], group, **QUIET)
    return group


def size_of_picture(page: Page, form: Form, sources: Over) -> None:
    """A button that takes the size of the picture that is shown."""
    button = gr.Button(page._("Take the picture's size"), size="sm", elem_id=form.id("take_size"))
    names = [name for name in sources.pictures if name not in ("files", "folder", "upload_mask")]

    def taken(mode: str, *given: Any) -> tuple[Any, Any]:
        from PIL import Image

        value = dict(zip(names, given, strict=True)).get("upload" if mode == "inpaint_upload" else mode)
        value = value["background"] if isinstance(value, dict) else value
        if value is None:
            return gr.skip(), gr.skip()
        if isinstance(value, str | Path):
            with Image.open(value) as opened:
                width, height = opened.size
        else:
            width, height = value.size
        return max(width // 8 * 8, 64), max(height // 8 * 8, 64)

    button.click(
        taken,
        [sources.mode, *(sources.pictures[name] for name in names)],
        [form.fields["width"], form.fields["height"]],
        **QUIET,
    )
