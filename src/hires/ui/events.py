"""Between Gradio's events and the functions that answer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from hires.errors import HiresError

if TYPE_CHECKING:
    from hires.ui.page import Page

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""How an event is wired that shows no bar of Gradio's own and is no route of its API."""


def told(error: HiresError, page: Page) -> gr.Error:
    """A user's mistake as Gradio shows it, without the machine's paths."""
    return gr.Error(page.desk.clean(str(error)), duration=8, title="hires", print_exception=False)
