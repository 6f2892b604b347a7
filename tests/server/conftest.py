"""A server over the built-in model for the tests of a module, and small requests."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw

from hires.api import Engine
from hires.server.app import create_app
from hires.server.guard import Rules
from hires.server.work import Job
from hires.settings import Settings

HERE = "http://127.0.0.1"
PATIENCE = 60
SMALL: dict[str, Any] = {
    "prompt": "1girl, pink hair, smile",
    "steps": 2,
    "width": 64,
    "height": 64,
    "seed": 7,
    "sampler_name": "Euler a",
}


def settings_in(folder: Path, **changes: Any) -> Settings:
    """Folders of its own, on the CPU."""
    places = {f"{name}_dir": folder / name for name in ("models", "input", "output", "cache", "user")}
    styles = (str(folder / "styles*.csv"),)
    return Settings(**{**places, "device": "cpu", "styles_files": styles, "keep_megabytes": 0, **changes})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    (folder / "styles.csv").write_text('name,prompt,negative_prompt\nsunny,"{prompt}, sun",rain\n')
    return folder


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[TestClient]:
    """A client of a server without a password."""
    app = create_app(settings_in(home), options_file=home / "options.json", flags={"api": True})
    with TestClient(app, base_url=HERE, raise_server_exceptions=False) as found:
        yield found


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """guarded(**rules): a client of a server with other rules, which draws nothing."""
    open_clients: list[TestClient] = []

    def make(**rules: Any) -> TestClient:
        found = TestClient(create_app(settings_in(tmp_path), rules=Rules(**rules)), base_url=HERE)
        found.__enter__()
        open_clients.append(found)
        return found

    yield make
    for one in open_clients:
        one.__exit__(None, None, None)


def coded(picture: Image.Image, kind: str = "PNG") -> str:
    """A picture as clients send it."""
    out = BytesIO()
    picture.save(out, format=kind)
    return base64.b64encode(out.getvalue()).decode()


def decoded(text: str) -> Image.Image:
    """A picture of an answer."""
    return Image.open(BytesIO(base64.b64decode(text)))


def told(answer: Any) -> dict[str, Any]:
    """`info` of an answer that drew something."""
    assert answer.status_code == 200, answer.text[:600]
    found: dict[str, Any] = json.loads(answer.json()["info"])
    return found


def square_mask(size: int = 64, edge: int = 16) -> Image.Image:
    """White in the middle."""
    mask = Image.new("L", (size, size), 0)
    ImageDraw.Draw(mask).rectangle((edge, edge, size - edge - 1, size - edge - 1), fill=255)
    return mask


def shades(size: int = 64) -> Image.Image:
    """A picture with something in it: red grows to the right, green downwards."""
    picture = Image.new("RGB", (size, size))
    picture.putdata([(x * 255 // size, y * 255 // size, 90) for y in range(size) for x in range(size)])
    return picture


def picture(color: int = 0x336699, size: int = 16, batch: int = 1) -> dict[str, Any]:
    """A prompt of ComfyUI's clients that needs no model."""
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": size, "height": size, "batch_size": batch, "color": color},
        },
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "sub/one"}},
    }


def over(client: TestClient, prompt_id: str) -> dict[str, Any]:
    """The history's entry, once there is one."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = client.get(f"/history/{prompt_id}").json()
        if found:
            entry: dict[str, Any] = found[prompt_id]
            return entry
        time.sleep(0.01)
    raise AssertionError("the prompt never came to its end")


@pytest.fixture
def held(client: TestClient) -> Iterator[threading.Event]:
    """Nothing of the queue is begun before this is set."""
    release, begun = threading.Event(), threading.Event()

    def wait(engine: Engine, job: Job) -> None:
        begun.set()
        release.wait(PATIENCE)

    client.app.state.server.work.submit("hold", wait)  # type: ignore[attr-defined]
    assert begun.wait(PATIENCE)
    yield release
    release.set()
