"""The node editor in a browser, as a person uses it: start page, a dropped picture, search, a run, a reload."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image
from tests.server.conftest import settings_in

from hires.api import Engine
from hires.recipes.request import Txt2Img
from hires.server.app import create_app
from hires.server.editor import editor_folder
from hires.server.serving import EndingServer, listen

sync_api = pytest.importorskip("playwright.sync_api", reason="the tests of pages need playwright (hires[dev])")

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="the tests of pages need Chromium: apt-get install chromium"),
    pytest.mark.skipif(editor_folder() is None, reason="the editor's files need comfyui-frontend-package"),
]
PATIENCE = 120
SIDE, STEPS, MANY_STEPS = 64, 3, 5000
Page = Any
DROP = """([data, name, x, y]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type: "image/png" }));
  const at = document.elementFromPoint(x, y);
  for (const kind of ["dragenter", "dragover", "drop"])
    at.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer, clientX: x, clientY: y }));
}"""
NODES = "() => window.app.graph._nodes.map((node) => node.type)"
SHOWN = """() => window.app.graph._nodes.filter((node) => node.type === "SaveImage")
  .flatMap((node) => node.imgs ?? []).map((picture) => [picture.naturalWidth, picture.src])"""
IN_VIEW = """() => {
  const [left, top, width, height] = window.app.canvas.visible_area;
  return window.app.graph._nodes.every(({ pos: [x, y], size: [wide, high] }) =>
    x >= left && y >= top && x + wide <= left + width && y + high <= top + height);
}"""
SEARCHES = "() => document.activeElement?.tagName === 'INPUT'"
SET = """(values) => { for (const node of window.app.graph._nodes)
  for (const widget of node.widgets ?? []) if (widget.name in values) widget.value = values[widget.name]; }"""

INTERRUPT = "(prompt_id) => fetch('api/interrupt', { method: 'POST', body: JSON.stringify({ prompt_id }) })"


@dataclass
class Seen:
    """What a page was told by its websocket, and what went wrong in it."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    previews: int = 0
    sockets: int = 0
    wrong: list[str] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [one["data"] for one in self.messages if one["type"] == kind]

    def listen(self, socket: Any) -> None:
        """What an earlier socket told is forgotten."""
        self.sockets += 1
        self.messages.clear()
        self.previews = 0
        socket.on("framereceived", self.hear)

    def hear(self, frame: str | bytes) -> None:
        if isinstance(frame, str):
            self.messages.append(json.loads(frame))
        else:
            self.previews += 1

    def watch(self, page: Page, here: str) -> Page:
        own = (here, here.replace("http", "ws"), "blob:", "data:")
        page.on("websocket", self.listen)
        page.on("pageerror", lambda error: self.wrong.append(f"fault: {error}"))
        page.on("console", lambda said: self.wrong.append(f"said: {said.text}") if said.type == "error" else None)
        page.on("response", lambda got: self.wrong.append(f"{got.status} {got.url}") if got.status >= 400 else None)
        page.on("request", lambda asked: None if asked.url.startswith(own) else self.wrong.append(f"to {asked.url}"))
        return page


@dataclass
class Running:
    """A server, a browser that has been nowhere yet, and a picture that hires drew."""

    address: str
    context: Any
    picture: Path
    home: Path

    def opened(self, seen: Seen) -> Page:
        page = seen.watch(self.context.new_page(), self.address)
        page.goto(f"{self.address}/editor/")
        page.wait_for_function("() => !document.getElementById('splash-loader') && window.app?.graph")
        return page


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("editor")
    request = Txt2Img(prompt="1girl, smile", steps=STEPS, width=SIDE, height=SIDE, seed=7)
    (drawn,) = Engine(settings_in(home / "before")).txt2img(request).paths
    app = create_app(settings_in(home))
    listening = listen("127.0.0.1", 0)
    server = EndingServer(uvicorn.Config(app, log_level="error"), app.state.server.work.close)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(PATIENCE * 1000)
        yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", context, drawn, home)
        browser.close()
    server.handle_exit(2, None)
    thread.join(PATIENCE)


def until(page: Page, condition: Callable[[], Any]) -> Any:
    """What the condition gives once it gives something; the page goes on meanwhile."""
    for _ in range(PATIENCE * 20):
        if found := condition():
            return found
        page.wait_for_timeout(50)
    raise AssertionError("it never came to that")


def again(page: Page, act: Callable[[], None], done: str) -> None:
    """Do what a page does not hear while a workflow still opens, until `done` is true in it."""

    def acted() -> Any:
        act()
        page.wait_for_timeout(1000)
        return page.evaluate(done)

    until(page, acted)


def drop(page: Page, picture: Path) -> None:
    data = base64.b64encode(picture.read_bytes()).decode()
    page.evaluate(DROP, [data, picture.name, 300, 700])


def edits(page: Page, picture: Path) -> None:
    """The start page, then a dropped picture's workflow, in which a node is searched for, added and removed."""
    page.get_by_text("Two passes").first.click()
    until(page, lambda: page.evaluate(NODES).count("KSampler") == 2)
    drop(page, picture)
    until(page, lambda: page.evaluate(NODES).count("KSampler") == 1)
    again(page, lambda: page.mouse.dblclick(100, 740), SEARCHES)  # before, keys are shortcuts
    page.keyboard.type("PreviewImage")
    page.get_by_text("Show pictures without keeping them.").wait_for()
    page.keyboard.press("Enter")
    until(page, lambda: "PreviewImage" in page.evaluate(NODES))
    page.keyboard.press("Delete")  # nothing is linked to it
    until(page, lambda: "PreviewImage" not in page.evaluate(NODES))


def all_into_view(page: Page) -> None:
    """A node's picture is loaded when the node is first seen."""
    page.mouse.click(100, 740)  # what has the focus gets the key
    again(page, lambda: page.keyboard.press("."), IN_VIEW)


def runs(page: Page, seen: Seen, running: Running) -> None:
    """The workflow draws the very picture that it came with, and that is seen: on the way, in its node, in the list."""
    all_into_view(page)
    page.get_by_role("button", name="Run").first.click()
    until(page, lambda: seen.of("execution_success"))
    assert [one["value"] for one in seen.of("progress") if one["max"] == STEPS] and seen.previews
    ((width, source),) = until(page, lambda: [one for one in page.evaluate(SHOWN) if one[0]])
    assert width == SIDE and "/editor/api/view?" in source and "type=output" in source
    (made,) = running.home.glob("output/*.png")
    with Image.open(made) as again, Image.open(running.picture) as first:
        assert np.array_equal(np.asarray(again), np.asarray(first)) and again.info["workflow"]
    page.get_by_text("0 active").click()
    page.get_by_text(made.name).first.wait_for()


def goes_on(page: Page, seen: Seen, running: Running) -> None:
    """A job's progress and previews after the page was loaded anew; another window knows of it too."""
    page.evaluate(SET, {"steps": MANY_STEPS, "width": 4 * SIDE, "height": 4 * SIDE})  # some steps a second
    page.get_by_role("button", name="Run").first.click()
    before = until(page, lambda: [one for one in seen.of("progress") if one["max"] == MANY_STEPS])[-1]
    opened = seen.sockets
    page.reload()
    until(page, lambda: seen.sockets > opened and seen.of("progress") and seen.previews)
    assert seen.messages[0]["type"] == "status"
    state = seen.of("progress_state")[0]  # where the job is, before its next step
    (sampler,) = [node for node in state["nodes"].values() if node["max"] == MANY_STEPS]
    assert sampler["value"] >= before["value"] and sampler["state"] == "running"
    assert {one["prompt_id"] for one in seen.of("progress")} == {before["prompt_id"]}
    page.get_by_text("1 active").wait_for()
    other = Seen()
    second = running.opened(other)
    second.get_by_text("1 active").wait_for()
    second.close()
    seen.wrong += other.wrong
    page.evaluate(INTERRUPT, before["prompt_id"])
    until(page, lambda: seen.of("execution_interrupted"))
    page.get_by_text("0 active").wait_for()


def test_what_a_person_does(running: Running) -> None:
    seen = Seen()
    page = running.opened(seen)
    edits(page, running.picture)
    runs(page, seen, running)
    goes_on(page, seen, running)
    page.close()
    assert not seen.wrong
