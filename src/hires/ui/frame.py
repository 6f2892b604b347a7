"""The whole page: its tabs in one gr.Blocks, and the application that Gradio makes of it."""

from __future__ import annotations

import os

from fastapi import FastAPI

from hires.ui.look import css, head, theme
from hires.ui.page import Page, build_tabs

LARGEST_UPLOAD = "200mb"


def gradio_app(page: Page) -> FastAPI:
    """The page as an application. Results are read where they lie; what is uploaded goes to a folder of its own in the
    cache, which is the only other one that is served."""
    settings = page.server.settings
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio has no other way to be told before it is imported
    os.environ["GRADIO_TEMP_DIR"] = str((settings.cache_dir / "page").absolute())
    import gradio as gr

    with gr.Blocks(title="hires", analytics_enabled=False, fill_width=True) as blocks:
        page.blocks = blocks
        with gr.Tabs(elem_id="tabs") as page.tabs:
            build_tabs(page)
        page.join()
    blocks.queue(default_concurrency_limit=4)
    holder = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        holder,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        show_error=True,
        max_file_size=LARGEST_UPLOAD,
        allowed_paths=[str(settings.output_dir.absolute())],
        theme=theme(),
        css=css(),
        head=head(),
    )
    return holder
