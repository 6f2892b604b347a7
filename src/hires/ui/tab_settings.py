"""Settings: the server's options in groups, saved as by /sdapi/v1/options; the page's language and colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from hires.errors import HiresError
from hires.server.option_table import CHOICES, OPTIONS
from hires.ui import fresh
from hires.ui.events import QUIET, told
from hires.ui.option_labels import ELSEWHERE, GROUPS
from hires.ui.words import LANGUAGES

if TYPE_CHECKING:
    from hires.ui.page import Page

LANGUAGE = "localization"
THEME = "hires-theme"
KEEP_THEME = f"""(theme) => {{
  if (theme) localStorage.setItem("{THEME}", theme); else localStorage.removeItem("{THEME}");
  const place = new URL(location.href);
  place.searchParams.delete("__theme");
  location.replace(place);
}}"""
KNOWN_THEME = f'() => localStorage.getItem("{THEME}") || ""'
WORDED = ("hires_fix_refiner_pass", "fp8_storage")
"""Options whose choices are words; those of others are names."""


def build(page: Page) -> None:
    """Build the tab."""
    _ = page._
    fields: dict[str, Any] = {}
    with page.tab("settings", "Settings") as tab:
        with gr.Row(elem_classes="tight"):
            languages = [(_("As the browser says"), "None"), *((name, code) for code, name in LANGUAGES.items())]
            language = gr.Radio(languages, value=_language(page), label=_("Language"), elem_id="settings_language")
            themes = [(_("As the system says"), ""), (_("Light"), "light"), (_("Dark"), "dark")]
            theme = gr.Radio(themes, value="", label=_("Colours"), elem_id="settings_theme")
        for title, labels in groups():
            with gr.Accordion(_(title), open=title != ELSEWHERE):
                for keys in rows(list(labels)):
                    with gr.Row(elem_classes="tight own-rows"):
                        for key in keys:
                            fields[key] = field(page, key, _(labels[key]))
        with gr.Row(elem_classes="tight go"):
            save = gr.Button(_("Save"), variant="primary", elem_id="settings_save", min_width=140)
            back = gr.Button(_("Back to the defaults"), elem_id="settings_defaults", min_width=140)

    def saved(*values: Any) -> None:
        changes = {key: coerced(key, value) for key, value in zip(fields, values, strict=True)}
        try:
            page.server.options.apply(changes)
        except HiresError as error:
            raise told(error, page) from error
        gr.Info(_("The settings are saved."), title="hires", duration=3)

    def seen() -> list[Any]:
        known = page.server.options.all()
        return [gr.update(value=known[key]) for key in fields]

    def spoken(code: str) -> None:
        page.server.options.apply({LANGUAGE: code})

    shown = list(fields.values())
    page.on_load(seen, [], shown)
    tab.select(None, None, theme, js=KNOWN_THEME)
    tab.select(lambda: _language(page), None, language, **QUIET)
    save.click(saved, shown, None, **QUIET)
    back.click(lambda: [gr.update(value=OPTIONS[key].default) for key in fields], None, shown, **QUIET)
    language.input(spoken, language, None, **QUIET).then(None, js="() => location.reload()")
    theme.input(None, theme, None, js=KEEP_THEME)


def _language(page: Page) -> str:
    chosen = str(page.server.options.all()[LANGUAGE])
    return chosen if chosen in LANGUAGES else "None"


def groups() -> Iterator[tuple[str, dict[str, str]]]:
    """Each group's title with its options and their labels: every option that acts, once."""
    named = set[str]()
    for title, labels in GROUPS.items():
        found = {key: label for key, label in labels.items() if key in OPTIONS}
        named |= set(found)
        yield title, found
    rest = {key: key.replace("_", " ") for key, option in OPTIONS.items() if option.use == "acts" and key not in named}
    if rest:
        yield ELSEWHERE, rest


def rows(keys: list[str], count: int = 3) -> Iterator[list[str]]:
    """The keys, so many a row."""
    for start in range(0, len(keys), count):
        yield keys[start : start + count]


def field(page: Page, key: str, label: str) -> Any:
    """An option as a field of its kind, with the value it has."""
    from hires.ui.choices import Choices

    value, choices = page.server.options.all()[key], Choices(page.server)
    how: dict[str, Any] = {"label": label, "min_width": 200, "elem_id": f"option_{key}"}
    lists: dict[str, Callable[[], list[Any]]] = {
        "sd_model_checkpoint": lambda: [("", ""), *((name, name) for name in choices.checkpoints())],
        "sd_vae": choices.vaes,
        "upscaler_for_img2img": choices.upscalers,
    }
    if key in lists:
        return fresh.dropdown(page, lists[key], value=value, allow_custom_value=True, **how)
    if key in CHOICES:
        say = page._ if key in WORDED else str
        return gr.Dropdown([(say(choice), choice) for choice in CHOICES[key]], value=value, **how)
    default = OPTIONS[key].default
    if isinstance(default, bool):
        return gr.Checkbox(value, **{**how, "min_width": 290})
    if isinstance(default, int | float):
        return gr.Number(value, precision=0 if isinstance(default, int) else None, **how)
    return gr.Textbox(str(value), **how)


def coerced(key: str, value: Any) -> Any:
    """A field's value as its option takes it: an empty one is the default, a whole number may be written 1.0."""
    default = OPTIONS[key].default
    if value is None:
        return default
    return float(value) if isinstance(default, float) and isinstance(value, int) else value
