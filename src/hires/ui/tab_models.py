"""Models: what is there, checkpoints merged, files fetched from a hub."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from hires.errors import HiresError
from hires.server.kind import SAID
from hires.ui import fresh
from hires.ui.events import QUIET, told
from hires.ui.live import DOOR
from hires.ui.markup import live_box, packed
from hires.ui.models_view import KINDS, Inspected, fetches_html, models_html, stated_html

if TYPE_CHECKING:
    from hires.server.state import Server
    from hires.ui.page import Page

METHODS = ("weighted sum", "add difference", "no interpolation")
MULTIPLIER_STEP = 0.05
FOLLOW = "window.hires && window.hires.follow('merge');"


def build(page: Page) -> None:
    """Build the tab."""
    _ = page._
    with page.tab("models", "Models") as tab, gr.Tabs():
        with gr.Tab(_("What is there")):
            inspected = Inspected(page.server)
            with gr.Row(elem_classes="tight"):
                hashed = gr.Button(
                    _("Compute missing hashes"), size="sm", elem_id="models_hash", scale=0, min_width=220
                )
            there = gr.HTML(
                f'<p class="hint">{escape(_("Reading the files …"))}</p>',
                css_template=packed("models.css"),
                elem_id="models_list",
                padding=False,
            )
        with gr.Tab(_("Merge")):
            _merge(page)
        with gr.Tab(_("Fetch from a hub")):
            _fetch(page)

    tab.select(lambda: models_html(page.server, inspected, _), None, there, **QUIET)
    page.refreshers.append(tab.select)
    hashed.click(
        lambda: models_html(page.server, inspected, _, with_hash=True),
        None,
        there,
        show_progress="full",
        api_visibility="private",
    )


def vaes(server: Server) -> list[str]:
    """What can be baked in: files of their own."""
    return ["", *server.files.names("vae")]


def _merge(page: Page) -> None:
    """The form of the merger."""
    _ = page._

    def checkpoints() -> list[str]:
        return page.server.files.names("checkpoints")

    def any_or_none() -> list[str]:
        return ["", *checkpoints()]

    with gr.Row(elem_classes="tight"):
        how: dict[str, Any] = {"min_width": 180}
        first = fresh.dropdown(page, checkpoints, value=None, label=_("A: first model"), elem_id="merge_a", **how)
        second = fresh.dropdown(page, any_or_none, value="", label=_("B: second model"), elem_id="merge_b", **how)
        label = _("C: what B was made from")
        third = fresh.dropdown(page, any_or_none, value="", label=label, elem_id="merge_c", **how)
        fresh.button(page, "merge")
    titles = ("A * (1 - M) + B * M", "A + (B - C) * M", _("A alone"))
    with gr.Row(elem_classes="tight"):
        method = gr.Radio(list(zip(titles, METHODS, strict=True)), value=METHODS[0], label=_("Method"), min_width=260)
        multiplier = gr.Slider(0, 1, value=0.3, step=MULTIPLIER_STEP, label=_("Multiplier (M)"), min_width=200)
    with gr.Row(elem_classes="tight"):
        vae = fresh.dropdown(page, lambda: vaes(page.server), value="", label=_("Bake in a VAE"), min_width=180)
        half = gr.Checkbox(False, label=_("Save as float16"), min_width=140)
        discard = gr.Textbox("", label=_("Leave out tensors (regular expression)"), min_width=220)
        name = gr.Textbox("", label=_("Name of the new file (empty: made of its parts)"), min_width=240)
    button = gr.Button(_("Merge"), variant="primary", elem_id="merge_start")
    gr.HTML(live_box("merge", _), elem_classes="progress", padding=False, js_on_load=FOLLOW)
    said = gr.HTML("", css_template=packed("models.css"), elem_id="merge_said", padding=False)

    async def merged(*values: Any) -> str:
        return await _merged(page, *values)

    given = [first, second, third, method, multiplier, half, vae, discard, name]
    waits = _("It waits for its turn in the queue, and is then merged …")
    begun = button.click(lambda: f'<p class="hint">{escape(waits)}</p>', None, said, **QUIET)
    page.refreshers.append(begun.then(merged, given, said, **QUIET).then)
    button.click(None, None, None, js=f"() => {{ setTimeout(() => {{ {FOLLOW} }}, 500); }}")


async def _merged(
    page: Page, first: str, second: str, third: str, method: Any, multiplier: float, half: bool, vae: str, discard: str,
    name: str,
) -> str:  # fmt: skip
    """Merge as a job of the queue; one line of what came of it."""
    models = {"first": first or "", "second": second or "", "third": third or "", "vae": vae or ""}
    how = {"method": method, "multiplier": float(multiplier), "half": half, "discard": discard or ""}
    title = name or " + ".join(filter(None, (first, second, third)))
    try:
        request = {**models, **how, "name": name or ""}
        merged = await page.server.asked("merge", request, title=title[:80], door=DOOR)
    except HiresError as error:
        return f'<p class="error">{escape(page.desk.clean(str(error)))}</p>'
    return "".join(f"<p>{escape(line)}</p>" for line in merged[SAID])


def _fetch(page: Page) -> None:
    """Look a file up, see its size, fetch it."""
    from hires.fetching import KINDS as FETCHED

    _ = page._
    with gr.Row(equal_height=True, elem_classes="tight"):
        name = gr.Textbox(
            label=_("File on the hub"),
            placeholder="owner/repository/file.safetensors",
            scale=4,
            min_width=260,
            elem_id="fetch_name",
        )
        kind = gr.Dropdown(
            [(_(KINDS.get(one, one)), one) for one in FETCHED],
            value=FETCHED[0],
            label=_("Kind"),
            min_width=150,
            elem_id="fetch_kind",
        )
    any_format = gr.Checkbox(
        False, label=_("Also formats that can hold programs (.ckpt, .pt): they are read without running any")
    )
    look = gr.Button(_("Look it up"), variant="primary", elem_id="fetch_look")
    stated = gr.HTML("", css_template=packed("models.css"), elem_id="fetch_stated", padding=False)
    start = gr.Button(_("Fetch"), variant="primary", visible=False, elem_id="fetch_start")
    file = gr.State(None)

    def downloads(asked: Any) -> str:
        """The downloads, after one was stopped as far as that is asked."""
        number = asked.get("stop", "") if isinstance(asked, dict) else ""
        found = page.server.fetches.all()
        if isinstance(number, str) and number.isdecimal() and int(number) < len(found):
            found[int(number)].stop.set()
        return fetches_html(found, page.desk.clean, _)

    gr.HTML(
        '<div class="list"></div>',
        css_template=packed("models.css"),
        js_on_load=packed("fetches.js"),
        server_functions=[downloads],
        elem_id="fetch_list",
        padding=False,
    )

    def looked(text: str, wanted: str, insisted: bool) -> tuple[Any, ...]:
        from hires.fetching import hub_file, target_of
        from hires.fetching import stated as stated_file

        try:
            found = stated_file(hub_file(text or "", any_format=insisted))
            target_of(page.server.files, wanted, found)
        except HiresError as error:
            raise told(error, page) from error
        return stated_html(found, wanted, _), gr.Button(visible=True), found

    def started(found: Any, wanted: str) -> tuple[Any, ...]:
        from hires.fetching import target_of

        if found is None:
            return "", gr.Button(visible=False), None
        try:
            page.server.fetches.begin(found, wanted, target_of(page.server.files, wanted, found))
        except HiresError as error:
            raise told(error, page) from error
        return "", gr.Button(visible=False), None

    gr.on(
        [look.click, name.submit],
        looked,
        [name, kind, any_format],
        [stated, start, file],
        show_progress="minimal",
        api_visibility="private",
    )
    start.click(started, [file, kind], [stated, start, file], **QUIET)
