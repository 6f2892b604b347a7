"""The fields that every drawing has: prompts, model, sampling, size, seed."""

from __future__ import annotations

from typing import Any

import gradio as gr

from hires.ui import fresh
from hires.ui.choices import AUTOMATIC, Choices
from hires.ui.events import QUIET
from hires.ui.form import Form
from hires.ui.page import Page

SIZES = ("512 × 512", "512 × 768", "768 × 512", "768 × 768", "1024 × 1024", "832 × 1216", "1216 × 832", "1344 × 768")
LARGEST_SIDE = 4096


def prompts(page: Page, form: Form, choices: Choices) -> None:
    """Prompt, negative prompt, styles, and what can be named in a prompt."""
    _ = page._
    hint = _("What to draw. Ctrl+Enter generates, Ctrl+Up/Down weighs the tag under the cursor.")
    form.add("prompt", _prompt_box(_("Prompt"), hint, (3, 12), form.id("prompt")))
    form.add("negative_prompt", _prompt_box(_("Negative prompt"), _("What to keep out"), (2, 8), form.id("negative")))
    with gr.Row(elem_classes="tight"):
        form.add("styles", fresh.dropdown(page, choices.styles, label=_("Styles"), multiselect=True, value=[]))
        label = _("Add to the prompt: LoRA, embedding")
        networks = fresh.dropdown(page, choices.networks, label=label, value=None, elem_id=form.id("networks"))

    def added(name: str | None, prompt: str) -> tuple[str, Any]:
        return (f"{prompt.rstrip(', ')}, {name}".lstrip(", ") if name else prompt), None

    networks.input(added, [networks, form.fields["prompt"]], [form.fields["prompt"], networks], **QUIET)


def _prompt_box(label: str, hint: str, lines: tuple[int, int], id: str) -> Any:
    least, most = lines
    return gr.Textbox(label=label, placeholder=hint, lines=least, max_lines=most, elem_id=id, elem_classes="prompt")


def model(page: Page, form: Form, choices: Choices) -> None:
    """Checkpoint, VAE and clip skip."""
    _ = page._
    with gr.Row(elem_classes="tight"):
        here = {"label": _("Checkpoint"), "min_width": 220, "scale": 2, "elem_id": form.id("checkpoint")}
        form.add("checkpoint", fresh.dropdown(page, choices.checkpoints, first=choices.checkpoint, **here))
        form.add("vae", fresh.dropdown(page, choices.vaes, value=AUTOMATIC, label=_("VAE"), min_width=120))
        form.add("clip_skip", gr.Slider(1, 12, 1, step=1, label=_("Clip skip"), min_width=180))
        fresh.button(page, form.tab)


def sampling(page: Page, form: Form, choices: Choices) -> None:
    """Sampler, schedule, steps and guidance."""
    _ = page._
    with gr.Row(elem_classes="tight"):
        form.add("sampler", gr.Dropdown(choices.samplers(), value="DPM++ 2M", label=_("Sampler"), min_width=140))
        form.add(
            "scheduler", gr.Dropdown(choices.schedulers(), value=AUTOMATIC, label=_("Schedule type"), min_width=140)
        )
        form.add("steps", gr.Slider(1, 150, 20, step=1, label=_("Steps"), min_width=140))
    form.add("cfg", gr.Slider(1, 30, 7.0, step=0.5, label=_("CFG scale")))


def size(page: Page, form: Form, choices: Choices) -> None:
    """Width and height, and a button that exchanges them."""
    _ = page._
    side = choices.native_size(choices.checkpoint())
    with gr.Row(elem_classes="tight size"):
        width = gr.Slider(64, LARGEST_SIDE, side, step=8, label=_("Width"), min_width=140, elem_id=form.id("width"))
        swap = fresh.tool(page, "⇅", form.id("swap"), "Exchange width and height")
        height = gr.Slider(64, LARGEST_SIDE, side, step=8, label=_("Height"), min_width=140, elem_id=form.id("height"))
    for name, slider in (("width", width), ("height", height)):
        form.add(name, fresh.follow(page, slider, lambda: {"value": choices.native_size(choices.checkpoint())}))
    swap.click(lambda a, b: (b, a), [width, height], [width, height], **QUIET)


def batches(page: Page, form: Form, choices: Choices) -> None:
    """How many pictures, and sizes that are often used."""
    _ = page._
    side = choices.native_size(choices.checkpoint())
    with gr.Row(elem_classes="tight"):
        form.add("batch_count", gr.Slider(1, 100, 1, step=1, label=_("Batch count"), min_width=120))
        form.add("batch_size", gr.Slider(1, 16, 1, step=1, label=_("Batch size"), min_width=120))
        known = list(dict.fromkeys([f"{side} × {side}", *SIZES]))
        preset = gr.Dropdown(known, value=None, label=_("Usual sizes"), min_width=130)

    def chosen(text: str | None) -> tuple[Any, Any]:
        if not text:
            return gr.skip(), gr.skip()
        wide, _, high = text.partition(" × ")
        return int(wide), int(high)

    sides = [form.fields["width"], form.fields["height"]]
    preset.input(chosen, [preset], sides, **QUIET)


def seed(page: Page, form: Form) -> None:
    """Seed, random or that of the last picture; variation seed behind a fold."""
    _ = page._
    with gr.Row(elem_classes="tight seed"):
        number = gr.Number(-1, precision=0, label=_("Seed (-1: random)"), min_width=140, elem_id=form.id("seed"))
        random = fresh.tool(page, "⚄", form.id("random_seed"), "A random seed")
        reuse = fresh.tool(page, "♻\ufe0e", form.id("reuse_seed"), "The seed of the picture shown")
    form.add("seed", number)
    random.click(lambda: -1, None, number, **QUIET)
    form.reuse = reuse
    with gr.Accordion(_("Variation seed"), open=False), gr.Row(elem_classes="tight"):
        form.add("subseed", gr.Number(-1, precision=0, label=_("Variation seed"), min_width=120))
        form.add("subseed_strength", gr.Slider(0, 1, 0, step=0.01, label=_("Variation strength"), min_width=120))
        form.add("seed_resize_from_w", gr.Number(0, precision=0, label=_("Resize seed from width"), min_width=120))
        form.add("seed_resize_from_h", gr.Number(0, precision=0, label=_("Resize seed from height"), min_width=120))
