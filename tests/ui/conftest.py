"""A server with the form page over the built-in model, and a browser, for the tests of a module."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from tests.server.conftest import settings_in

from hires.server.app import create_app
from hires.server.serving import listen
from hires.server.state import Server
from hires.ui.page import mount_page

CHROMIUM = shutil.which("chromium")
PATIENCE_MS = 120_000
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@dataclass(frozen=True)
class Served:
    """A running server: where browsers find it, and what is behind it."""

    address: str
    server: Server
    home: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    pytest.importorskip("gradio", reason="the tests of the page need Gradio (hires[ui])")
    home = tmp_path_factory.mktemp("page")
    app = create_app(settings_in(home), options_file=home / "options.json")
    mount_page(app, app.state.server)
    listening = listen("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}/", app.state.server, home)
    running.should_exit = True
    thread.join(60)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the tests of pages need playwright (hires[dev])")
    if CHROMIUM is None:
        pytest.skip("the tests of pages need Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def opened(served: Served, browser: Any) -> Iterator[Callable[..., Any]]:
    """opened(**options of a browser's context): the page, once it stands."""
    contexts: list[Any] = []

    def open_page(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": DESK, "locale": "en-US", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.asked, page.wrong = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.goto(served.address)
        page.wait_for_selector("#txt2img_generate")
        return page

    yield open_page
    for context in contexts:
        context.close()
