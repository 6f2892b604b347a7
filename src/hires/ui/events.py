"""Between Gradio's events and the functions that answer them."""

from __future__ import annotations

import gradio as gr

from hires.errors import HiresError


def told(error: HiresError) -> gr.Error:
    """A user's mistake as Gradio shows it."""
    return gr.Error(str(error), duration=8, title="hires", print_exception=False)
