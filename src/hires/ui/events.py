"""Between Gradio's events and the functions that answer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from hires.errors import HiresError

if TYPE_CHECKING:
    from hires.ui.page import Page

QUIET: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
"""How an event is wired that shows no bar of Gradio's own and is no route of its API. Of each component that it would
show one on, Gradio searches the whole page at every event from then on: there are none."""


def told(error: HiresError, page: Page) -> gr.Error:
    """A user's mistake as Gradio shows it, without the machine's paths."""
    return gr.Error(page.desk.clean(str(error)), duration=8, title="hires", print_exception=False)
