"""The editor's files: what is served, how long it may be kept, what it may do, and that nothing else is reached."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from tests.server.conftest import HERE, over, picture

from hires.errors import HiresError
from hires.server.comfy.starters import STARTERS
from hires.server.editor import content_security, editor_folder, mount_editor

INLINE = "\n  start('here')\n"
PAGE = f'<!doctype html><script>{INLINE}</script><script type="module" src="./assets/a.js"></script>'
FILES = {
    "index.html": (PAGE, "text/html"),
    "assets/main-B2rHQ9Sn.js": ("let a", "/javascript"),  # text or, once Gradio is loaded, application
    "assets/main-CM1DJQSe.css": ("a {}", "text/css"),
    "assets/plain.svg": ("<svg/>", "image/svg+xml"),
    "assets/images/favicon_progress_16x16/frame_3.png": ("png", "image/png"),
    "fonts/inter.woff2": ("font", "font/woff2"),
}


@pytest.fixture
def editor(tmp_path: Path) -> TestClient:
    """A client of the files of a folder beside which a secret lies."""
    (tmp_path / "secret.txt").write_text("secret")
    for name, (text, _) in FILES.items():
        path = tmp_path / "static" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "static" / "assets" / "out.js").symlink_to(tmp_path / "secret.txt")
    app = FastAPI()
    mount_editor(app, tmp_path / "static")
    return TestClient(app, base_url=HERE)


@pytest.mark.parametrize("name", FILES)
def test_files_and_how_long_they_may_be_kept(editor: TestClient, name: str) -> None:
    text, kind = FILES[name]
    found = editor.get(f"/editor/{name}")
    assert found.status_code == 200 and found.text == text and kind in found.headers["content-type"]
    for_good = name.startswith("assets/main-")
    assert found.headers["cache-control"] == ("max-age=31536000, immutable" if for_good else "no-cache")
    again = editor.get(f"/editor/{name}", headers={"If-None-Match": found.headers["etag"]})
    assert again.status_code == 304 and again.headers["cache-control"] == found.headers["cache-control"]


def test_the_page_and_its_place(editor: TestClient) -> None:
    assert editor.get("/editor/").text == PAGE
    moved = editor.get("/editor", follow_redirects=False)
    assert moved.status_code in (307, 308) and moved.headers["location"] == "/editor/"
    assert editor.get("/assets/images/favicon_progress_16x16/frame_3.png").text == "png"
    assert editor.get("/assets/images/favicon_progress_16x16/secret.txt").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "assets/../../secret.txt",
        "assets/..%2f..%2fsecret.txt",
        "..\\secret.txt", "..%5csecret.txt", "/etc/passwd", "%2fetc%2fpasswd", "assets/out.js", "a%00.js", "assets",
        "x" * 5000, "assets//..//..//secret.txt", "C:%5cWindows", "%ff%fe", ".",
    ],
)  # fmt: skip
def test_nothing_outside_of_the_folder_is_reached(editor: TestClient, path: str) -> None:
    for place in ("/editor/", "/assets/images/favicon_progress_16x16/"):
        found = editor.get(HERE + place + path)
        assert found.status_code in (404, 405) or found.text == PAGE
        assert "secret" not in found.text and "root:" not in found.text


def test_the_page_may_speak_to_this_server_only() -> None:
    rules = dict(rule.split(" ", 1) for rule in content_security(PAGE.encode()).split("; "))
    digest = base64.b64encode(hashlib.sha256(INLINE.encode()).digest()).decode()
    assert rules["script-src"] == f"'self' 'wasm-unsafe-eval' 'sha256-{digest}'"
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    places = {word for rule in rules.values() for word in rule.split()}
    assert {place for place in places if not place.startswith("'")} == {"data:", "blob:"}
    assert not places & {"*", "https:", "http:", "'unsafe-eval'"}
    assert [name for name, rule in rules.items() if "'unsafe-inline'" in rule] == ["style-src"]


def test_without_the_package_a_page_says_how_to_add_it() -> None:
    app = FastAPI()
    mount_editor(app, None)
    client = TestClient(app, base_url=HERE)
    found = client.get("/editor")  # follows to /editor/
    assert found.status_code == 200 and "pip install 'hires[editor]'" in found.text
    assert "default-src 'none'" in found.headers["content-security-policy"]


def test_the_package_is_served_as_it_is(client: TestClient) -> None:
    folder = editor_folder()
    if folder is None:
        pytest.skip("the editor's files need comfyui-frontend-package (hires[editor])")
    page = client.get("/editor/")
    assert page.content == (folder / "index.html").read_bytes()
    assert "connect-src 'self' data: blob:" in page.headers["content-security-policy"]
    assert client.get("/editor/api/users").json()["storage"] == "server"  # the routes stand in front of the files


def test_every_file_of_the_editor_needs_the_password(guarded: Callable[..., TestClient]) -> None:
    client = guarded(passwords=("anna:secret",))
    for place in ("/editor/", "/editor/assets/favicon.ico", "/editor/templates/index.json", "/internal/logs"):
        assert client.get(place).status_code == 401
    assert client.get("/editor/", auth=("anna", "secret")).status_code == 200


def test_workflows_to_start_from(client: TestClient) -> None:
    (module,) = client.get("/editor/templates/index.json").json()
    assert module["moduleName"] == "default" and [one["name"] for one in module["templates"]] == list(STARTERS)
    assert client.get("/editor/templates/index_logo.json").json() == {}
    for name in STARTERS:
        graph = client.get(f"/editor/templates/{name}.json").json()
        (saver,) = [node for node in graph["nodes"] if node["type"] == "SaveImage"]
        assert saver["widgets_values"] == ["txt2img"]  # no infotext, which would grow stale
        shown = client.get(f"/editor/templates/{name}-1.webp")
        assert Image.open(BytesIO(shown.content)).size == (256, 256)
    for missing in ("none.json", "none-1.webp", "..%2fone_pass.json"):
        assert client.get(f"/editor/templates/{missing}").status_code == 404


def test_the_log_is_told_without_paths_and_traces(client: TestClient) -> None:
    log = logging.getLogger("hires.server")
    with client.websocket_connect("ws://127.0.0.1/ws?clientId=reader") as socket:
        socket.receive_json()
        asked = {"clientId": "reader", "enabled": True}
        assert client.patch("/editor/internal/logs/subscribe", json=asked).status_code == 200
        try:
            raise HiresError("in /home/anna/secret.txt")
        except HiresError as error:
            log.error("could not read /home/anna/pictures/a.png", exc_info=error)
        message = socket.receive_json()
        assert message["type"] == "logs"
        (line,) = message["data"]["entries"]
        assert line["m"].endswith("could not read a.png: HiresError\r\n") and "anna" not in line["m"]
        assert client.patch("/internal/logs/subscribe", json=asked | {"enabled": False}).status_code == 200
        log.warning("unheard")
        prompt_id = client.post("/prompt", json={"prompt": picture(color=77)}).json()["prompt_id"]
        over(client, prompt_id)
        assert socket.receive_json()["type"] == "status"
    told = client.get("/internal/logs/raw").json()
    assert line in told["entries"] and set(told["size"]) == {"cols", "rows"}
    text = client.get("/internal/logs").json()
    assert f"prompt {prompt_id} begins" in text and f"prompt {prompt_id} is done" in text and "unheard" in text
    assert client.patch("/internal/logs/subscribe", json={"clientId": 3}).status_code == 400


def test_models_with_their_sizes(client: TestClient, home: Path) -> None:
    folder = home / "models" / "loras" / "sub"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fine.safetensors").write_bytes(b"12345")
    kinds = {one["name"]: one["folders"] for one in client.get("/editor/api/experiment/models").json()}
    assert kinds["loras"] == ["loras", "loras"] and kinds["style_models"] == [], "the user's and the built-in one"
    found, built_in = sorted(client.get("/api/experiment/models/loras").json(), key=lambda one: int(one["pathIndex"]))
    assert (built_in["name"], built_in["pathIndex"]) == ("hires-pocket-woodcut.safetensors", 1)
    assert found.pop("modified") > 0 and found.pop("created") > 0
    assert found == {"name": "sub/fine.safetensors", "pathIndex": 0, "size": 5}
    assert client.get("/api/experiment/models/secrets").status_code == 404
    paths = client.get("/internal/folder_paths").json()
    assert paths["loras"][0] == "models/loras" and str(home) not in json.dumps(paths)
