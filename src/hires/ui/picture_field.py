"""The field that a picture is dropped or pasted into."""

from __future__ import annotations

from typing import Any

import gradio as gr


def picture_field(label: str, height: int = 320, id: str | None = None) -> Any:
    """A picture's file as it was uploaded, of any mode."""
    return gr.Image(
        label=label, type="filepath", image_mode=None, sources=["upload", "clipboard"], height=height, elem_id=id
    )
