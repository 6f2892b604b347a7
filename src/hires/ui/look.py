"""How the page looks and what it does in the browser: system fonts, room for pictures, one column on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SANS = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans CJK KR", "Noto Sans CJK SC", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
DATA = Path(__file__).parent / "data"


def css() -> str:
    """The page's own rules over Gradio's."""
    return (DATA / "page.css").read_text(encoding="utf-8")


def head() -> str:
    """The page's own scripts, in the page itself."""
    scripts = ((DATA / name).read_text(encoding="utf-8") for name in ("page.js", "uploads.js"))
    return "".join(f"<script>{script}</script>" for script in scripts)


def theme() -> Any:
    """Gradio's plain theme with the fonts that the system has, so that none is fetched."""
    import gradio as gr

    small = {"spacing_size": "sm", "radius_size": "sm", "text_size": "sm"}
    return gr.themes.Default(primary_hue="indigo", neutral_hue="slate", font=SANS, font_mono=MONO, **small)
