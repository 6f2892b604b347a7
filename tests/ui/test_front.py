"""The door of the page: what answers before it stands, who may come in, and which files it gives."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tests.server.conftest import HERE, settings_in

from hires.server.app import create_app
from hires.server.guard import Rules
from hires.ui import front
from hires.ui.page import mount_page

BROWSER = {"accept": "text/html,application/xhtml+xml"}
PATIENCE = 120


def client_of(folder: Path, **rules: object) -> TestClient:
    app = create_app(settings_in(folder), rules=Rules(**rules))  # type: ignore[arg-type]
    mount_page(app, app.state.server)
    return TestClient(app, base_url=HERE, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("front")


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[TestClient]:
    """Of a server whose page stands."""
    pytest.importorskip("gradio", reason="the page needs Gradio (hires[ui])")
    with client_of(home) as found:
        until = time.monotonic() + PATIENCE
        while found.get("/config").status_code != 200:
            assert time.monotonic() < until, "the page never stood"
            time.sleep(0.1)
        yield found


def test_a_light_page_answers_at_once_and_loads_nothing(tmp_path: Path) -> None:
    """In a process of its own, which neither torch nor Gradio hold up."""
    asked = f"""
import sys
from pathlib import Path
from fastapi.testclient import TestClient
from hires.server.app import create_app
from hires.settings import Settings
from hires.ui import front
from hires.ui.page import mount_page
folder = Path({str(tmp_path)!r})
places = ("models", "input", "output", "cache", "user", "data")
settings = Settings(**{{f"{{name}}_dir": folder / name for name in places}})
front.Front.begin = lambda self, language: None  # the thread that builds the page, which is what is waited for
app = create_app(settings)
mount_page(app, app.state.server)
with TestClient(app, base_url="http://127.0.0.1") as client:
    answer = client.get("/", headers={{"accept": "text/html"}})
    assert answer.status_code == 200 and "refresh" in answer.text, answer.text
    assert client.get("/page/live?kind=txt2img").json()["job"] is None
loaded = {{"torch", "gradio", "diffusers"}} & set(sys.modules)
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]


def test_programs_are_told_who_answers_and_browsers_get_the_page(client: TestClient) -> None:
    assert client.get("/").json()["name"] == "hires"
    page = client.get("/", headers=BROWSER)
    assert page.headers["content-type"].startswith("text/html") and "gradio_config" in page.text
    rules = page.headers["content-security-policy"]
    assert "default-src 'self'" in rules and "http" not in rules


def test_without_gradio_the_page_says_how_to_add_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front.importlib.util, "find_spec", lambda name: None)
    with client_of(tmp_path) as found:
        text = found.get("/", headers=BROWSER).text
    assert "pip install 'hires[ui]'" in text and 'href="docs"' in text and 'href="editor/"' in text


def test_pages_of_other_sites_strange_names_and_large_bodies_are_refused(client: TestClient) -> None:
    join = {"data": [], "fn_index": 0, "session_hash": "abc"}
    other = {"origin": "https://elsewhere.example"}
    assert client.post("/gradio_api/queue/join", json=join, headers=other).status_code == 403
    assert client.get("/", headers={**BROWSER, "host": "rebound.example"}).status_code == 403
    assert client.get("/page/live?kind=txt2img", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    stated = {"content-length": str(10**12)}
    assert client.post("/gradio_api/upload", content=b"", headers=stated).status_code == 413


def test_the_password_guards_every_part_of_the_page(tmp_path: Path) -> None:
    with client_of(tmp_path, passwords=("anna:secret",)) as found:
        for place in ("/", "/config", "/gradio_api/file=x", "/assets/x.js", "/page/live?kind=txt2img"):
            assert found.get(place, headers=BROWSER).status_code == 401, place
        assert found.get("/", headers=BROWSER, auth=("anna", "secret")).status_code == 200


def test_only_results_and_uploads_are_given_as_files(client: TestClient, home: Path) -> None:
    outputs = home / "output"
    outputs.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(outputs / "made.png")
    (home / "secret.txt").write_text("secret")
    (home / "models").mkdir(exist_ok=True)
    (home / "models" / "weights.txt").write_text("secret")
    (outputs / "leading-out").symlink_to(home / "secret.txt")
    assert client.get(f"/gradio_api/file={outputs / 'made.png'}").content[:4] == b"\x89PNG"
    wrong = [
        "/etc/passwd",
        home / "secret.txt",
        home / "models" / "weights.txt",
        outputs / ".." / "secret.txt",
        f"{outputs}/%2e%2e/secret.txt",
        f"{outputs}/leading-out",
        "https://example.org/a.png",
        "http:/example.org/a.png",
        "//example.org/a.png",
        "file:///etc/passwd",
    ]
    for path in wrong:
        answer = client.get(f"/gradio_api/file={path}")
        assert answer.status_code in (403, 404), path
        assert "secret" not in answer.text.replace("secret.txt", "")


@pytest.mark.parametrize("address", ["https://example.org/a.png", "http:/10.0.0.1/a", "//example.org/a", "ftp://a/b"])
def test_an_event_that_names_a_file_of_another_server_is_refused(client: TestClient, address: str) -> None:
    file = {"path": address, "meta": {"_type": "gradio.FileData"}}
    for data in ([file], [{"background": None, "layers": [file]}]):
        answer = client.post("/gradio_api/queue/join", json={"data": data, "fn_index": 0, "session_hash": "abc"})
        assert answer.status_code == 403 and "not fetched" in answer.text
    assert not front.names_elsewhere(
        b'{"data": [{"path": "C:/pictures/a.png", "url": "http://127.0.0.1/x"}, "http://a"]}'
    )
    assert not front.names_elsewhere(b"[" * 100_000) and not front.names_elsewhere(b"\xff")


@pytest.mark.parametrize(
    "place",
    [
        "/gradio_api/proxy=https://example.org/",
        "/gradio_api/run/predict",
        "/gradio_api/call/x",
        "/gradio_api/openapi.json",
        "/gradio_api/runs",
        "/gradio_api/vibe-code",
        "/monitoring/summary",
        "/custom_component/a/b/c/d",
        "/static/../../frame.py",
        "/assets/..%2f..%2froutes.py",
    ],
)
def test_what_the_page_does_not_need_is_not_there(client: TestClient, place: str) -> None:
    for method in ("GET", "POST"):
        answer = client.request(method, place, headers=BROWSER)
        assert answer.status_code in (403, 404, 405), (place, answer.status_code)
        assert "Traceback" not in answer.text


def test_two_languages_asked_for_at_once_are_two_whole_pages(client: TestClient) -> None:
    whole = len(client.get("/config").json()["components"])
    asked = {language: {"accept-language": language} for language in ("ko", "zh")}
    for headers in asked.values():
        assert client.get("/", headers=headers).status_code == 200
    until = time.monotonic() + PATIENCE
    found = {language: client.get("/config", headers=headers) for language, headers in asked.items()}
    while any(answer.status_code != 200 for answer in found.values()):
        assert time.monotonic() < until, "a page never stood"
        time.sleep(0.1)
        found = {language: client.get("/config", headers=headers) for language, headers in asked.items()}
    assert [len(answer.json()["components"]) for answer in found.values()] == [whole, whole]
    assert "프롬프트" in found["ko"].text and "提示词" in found["zh"].text and "提示词" not in found["ko"].text
