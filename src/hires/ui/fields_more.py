"""The folding panels: hires fix, refiner, tiles, ControlNet, soft inpainting."""

from __future__ import annotations

from typing import Any, Literal

import gradio as gr

from hires.server.scripts import Argument, named
from hires.ui import fresh
from hires.ui.choices import SAME, Choices
from hires.ui.form import Form
from hires.ui.page import Page
from hires.ui.picture_field import picture_field

UNITS = 3
RESIZES = ("Just Resize", "Crop and Resize", "Resize and Fill")
PASSES = ("Both", "Low res only", "High res only")
REGION_COLUMNS = ("x", "y", "w", "h", "prompt", "negative", "blend", "feather", "seed")
REGION_KINDS: list[Literal["number", "str"]] = [*["number"] * 4, *["str"] * 3, *["number"] * 2]  # type: ignore[list-item]
METHODS = ("MultiDiffusion", "Mixture of Diffusers", "Cosine", "SpotDiffusion")
TILED = ("Latent tile width", "Latent tile height", "Latent tile overlap", "Latent tile batch size")
"""Arguments of Tiled Diffusion that both tabs have, and those of img2img."""
TILED_OVER = ("Keep input image size", "Upscaler", "Scale Factor", "Enable Noise Inversion", "Inversion steps",
              "Retouch", "Renoise strength", "Renoise kernel size")  # fmt: skip


def hires_fix(page: Page, form: Form, choices: Choices) -> None:
    """The second, larger pass."""
    _ = page._
    with gr.Accordion(_("Hires fix: a second, larger pass"), open=False, elem_id=form.id("hires")):
        with gr.Row(elem_classes="tight"):
            form.add("hr", gr.Checkbox(False, label=_("Use hires fix"), elem_id=form.id("hr")))
            form.add("hr_compare", gr.Checkbox(True, label=_("Keep the first pass to compare")))
        with gr.Row(elem_classes="tight"):
            upscalers = fresh.dropdown(page, choices.hires_upscalers, value="Latent", label=_("Upscaler"))
            form.add("hr_upscaler", upscalers)
            form.add("hr_steps", gr.Slider(0, 150, 0, step=1, label=_("Hires steps")))
            form.add("hr_denoise", gr.Slider(0, 1, 0.7, step=0.01, label=_("Denoising strength")))
        with gr.Row(elem_classes="tight"):
            form.add("hr_scale", gr.Slider(1, 8, 2.0, step=0.05, label=_("Upscale by")))
            form.add("hr_width", gr.Slider(0, 8192, 0, step=8, label=_("To width")))
            form.add("hr_height", gr.Slider(0, 8192, 0, step=8, label=_("To height")))
        with gr.Accordion(_("Own prompts, sampler and model of the second pass"), open=False):
            with gr.Row(elem_classes="tight"):
                same = (_("As in the first pass"), SAME)
                how: dict[str, Any] = {"value": SAME, "min_width": 140}
                models = fresh.dropdown(page, lambda: [same, *choices.checkpoints()], label=_("Checkpoint"), **how)
                form.add("hr_checkpoint", models)
                for name, key, known in (
                    ("hr_sampler", "Sampler", choices.samplers()),
                    ("hr_scheduler", "Schedule type", choices.schedulers()),
                ):
                    form.add(name, gr.Dropdown([same, *known], label=_(key), **how))
                form.add("hr_cfg", gr.Slider(0, 30, 0, step=0.5, label=_("CFG (0: same)"), min_width=140))
            form.add("hr_prompt", gr.Textbox(label=_("Prompt"), lines=2, elem_classes="prompt"))
            form.add("hr_negative", gr.Textbox(label=_("Negative prompt"), lines=1, elem_classes="prompt"))


def refiner(page: Page, form: Form, choices: Choices) -> None:
    """A model that takes over."""
    _ = page._
    with gr.Accordion(_("Refiner: another model takes over"), open=False), gr.Row(elem_classes="tight"):
        models = fresh.dropdown(page, lambda: ["None", *choices.checkpoints()], value="None", label=_("Checkpoint"))
        form.add("refiner", models)
        form.add("refiner_at", gr.Slider(0.01, 1, 0.8, step=0.01, label=_("Switch at")))


def tiles(page: Page, form: Form, choices: Choices) -> None:
    """Tiled Diffusion, Deep Shrink, Tiled VAE."""
    _ = page._
    with gr.Accordion(_("Tiles: larger than the model or the memory"), open=False):
        _tiled_diffusion(page, form, choices)
        with gr.Row(elem_classes="tight"):
            form.add("shrink", gr.Checkbox(False, label=_("Kohya's Deep Shrink"), min_width=140))
            form.add("shrink_block", gr.Slider(1, 32, 3, step=1, label=_("Block"), min_width=120))
            form.add("shrink_factor", gr.Slider(1, 9, 2.0, step=0.1, label=_("Factor"), min_width=120))
            form.add("shrink_end", gr.Slider(0, 1, 0.35, step=0.01, label=_("End at (share)"), min_width=120))
        script = named("tiled vae")
        with gr.Row(elem_classes="tight"):
            form.add("vae_tiled", gr.Checkbox(False, label=_("Tiled VAE")))
            for argument in script.arguments[1:3]:
                _argument(page, form, f"vae_tiled/{argument.label}", argument)
            form.add("vae_fast", gr.Checkbox(True, label=_("Fast, by a small picture's statistics")))


def _tiled_diffusion(page: Page, form: Form, choices: Choices) -> None:
    _ = page._
    known = {argument.label: argument for argument in named("tiled diffusion").arguments}
    with gr.Row(elem_classes="tight"):
        form.add("tiled", gr.Checkbox(False, label=_("Tiled Diffusion")))
        form.add("tiled/Method", gr.Dropdown(list(METHODS), value="MultiDiffusion", label=_("Method"), min_width=140))
        form.add("tiled/Jitter", gr.Checkbox(False, label=_("Jitter the tiles' grid"), min_width=140))
    with gr.Row(elem_classes="tight"):
        for label in TILED:
            _argument(page, form, f"tiled/{label}", known[label])
    if form.tab == "img2img":
        with gr.Row(elem_classes="tight"):
            for label in TILED_OVER:
                if label == "Upscaler":
                    upscalers = fresh.dropdown(page, choices.upscalers, value="None", label=_(label))
                    form.add(f"tiled/{label}", upscalers)
                else:
                    _argument(page, form, f"tiled/{label}", known[label])
    with gr.Accordion(_("Regions with prompts of their own"), open=False):
        form.add("tiled_regions", gr.Checkbox(False, label=_("Use regions")))
        form.add("tiled_background", gr.Checkbox(False, label=_("Draw the whole picture behind them")))
        form.add(
            "regions",
            gr.Dataframe(
                [[0.0, 0.0, 0.5, 1.0, "", "", "Background", 0.2, -1]],
                headers=[_(column) for column in REGION_COLUMNS],
                datatype=REGION_KINDS,
                row_count=1,
                column_count=len(REGION_COLUMNS),
                type="array",
                label=_("Places in shares of the picture; blend is Background or Foreground"),
            ),
        )


def _argument(page: Page, form: Form, name: str, argument: Argument) -> None:
    form.add(name, argument_field(page, argument))


def argument_field(page: Page, argument: Argument) -> gr.components.Component:
    """An argument of a script as a field of its kind."""
    label, default = page._(argument.label), argument.default
    if isinstance(default, bool):
        return gr.Checkbox(default, label=label, min_width=140)
    if argument.choices is not None:
        choices = [(page._(choice), choice) for choice in argument.choices]
        return gr.Dropdown(choices, value=default, label=label, multiselect=isinstance(default, list), min_width=140)
    if isinstance(default, int | float):
        low, high = argument.minimum, argument.maximum
        if low is None or high is None:
            return gr.Number(default, label=label, min_width=120)
        return gr.Slider(low, high, default, step=argument.step, label=label, min_width=140)
    return gr.Textbox(str(default), label=label, min_width=140)


def controlnets(page: Page, form: Form, choices: Choices) -> None:
    """ControlNet units, each with a picture as the network is to see it."""
    _ = page._
    with gr.Accordion("ControlNet", open=False), gr.Tabs():
        for number in range(UNITS):
            with gr.Tab(f"{_('Unit')} {number + 1}"), gr.Row(elem_classes="tight"):
                unit = f"control{number}"
                form.add(
                    f"{unit}/image",
                    picture_field(_("Picture as the network is to see it"), height=200),
                )
                with gr.Column():
                    models = fresh.dropdown(page, choices.controlnets, value="None", label=_("Model"))
                    form.add(f"{unit}/model", models)
                    form.add(f"{unit}/weight", gr.Slider(0, 2, 1, step=0.05, label=_("Weight")))
                    form.add(f"{unit}/start", gr.Slider(0, 1, 0, step=0.01, label=_("Starting step (share)")))
                    form.add(f"{unit}/end", gr.Slider(0, 1, 1, step=0.01, label=_("Ending step (share)")))
                    modes = [(_(mode), mode) for mode in RESIZES]
                    form.add(f"{unit}/resize", gr.Dropdown(modes, value=RESIZES[1], label=_("Resize mode")))
                    passes = [(_(one), one) for one in PASSES]
                    form.add(f"{unit}/passes", gr.Dropdown(passes, value="Both", label=_("Passes of hires fix")))


def soft_inpainting(page: Page, form: Form) -> None:
    """Soft inpainting's sliders."""
    first, *rest = named("soft inpainting").arguments
    with gr.Accordion(page._("Soft inpainting"), open=False), gr.Row(elem_classes="tight"):
        form.add("soft", gr.Checkbox(False, label=page._(first.label)))
        for argument in rest:
            _argument(page, form, f"soft/{argument.label}", argument)
