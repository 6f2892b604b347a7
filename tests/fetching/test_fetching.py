"""Fetching from a hub, which here is a server of this test: names, sizes, hashes, stops."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import HiresError, Interrupted, ModelFileError, OutputError, SettingError
from hires.fetching import HubError, HubFile, fetch, hub_file, stated, target_of
from hires.models.files import ModelFiles
from hires.server.fetches import Fetches

CONTENT = bytes(range(256)) * 4096 * 12
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """Files as the hub answers for them: `good`, `wrong` (another hash), `cut` (ends early), `bare` (no sha256)."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        name = self.path.rsplit("/", 1)[-1].removesuffix(".safetensors")
        if name not in ("good", "wrong", "cut", "bare") or "/resolve/main/" not in self.path:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if "/resolve/main/" in self.path else "RevisionNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        digest = {"wrong": "0" * 64, "bare": "0" * 40}.get(name, DIGEST)
        self.send_header("ETag", '"abc"')
        self.send_header("X-Repo-Commit", "f" * 40)
        self.send_header("X-Linked-Etag", f'"{digest}"')
        self.send_header("X-Linked-Size", str(len(CONTENT)))
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if with_body:
            self.wfile.write(CONTENT[: len(CONTENT) // 2] if name == "cut" else CONTENT)
            if name == "cut":
                self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    (tmp_path / "models/Lora").mkdir(parents=True)
    return ModelFiles([tmp_path / "models"])


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_file_comes_whole_with_its_progress(hub: str, files: ModelFiles, tmp_path: Path) -> None:
    file = stated(hub_file("someone/some-models/sub/good.safetensors", hub))
    assert (file.bytes, file.sha256, file.name) == (len(CONTENT), DIGEST, "good.safetensors")
    target = target_of(files, "loras", file)
    assert target == tmp_path / "models/Lora/good.safetensors"
    told: list[tuple[int, int]] = []
    assert fetch(file, target, on_progress=lambda done, whole: told.append((done, whole))) == target
    assert target.read_bytes() == CONTENT and left(tmp_path) == ["good.safetensors"]
    assert told == sorted(told) and told[-1] == (len(CONTENT), len(CONTENT))
    with pytest.raises(OutputError, match="there already"):
        target_of(files, "loras", file)
    with pytest.raises(OutputError, match="there already"):
        fetch(file, target)


def test_a_wrong_hash_leaves_nothing(hub: str, tmp_path: Path) -> None:
    file = stated(hub_file("someone/models/wrong.safetensors", hub))
    with pytest.raises(ModelFileError, match="not what the hub states"):
        fetch(file, tmp_path / "wrong.safetensors")
    assert left(tmp_path) == []


def test_a_stop_leaves_nothing(hub: str, tmp_path: Path) -> None:
    stop = threading.Event()
    file = stated(hub_file("someone/models/good.safetensors", hub))
    with pytest.raises(Interrupted):
        fetch(file, tmp_path / "good.safetensors", stop=stop, on_progress=lambda done, whole: stop.set())
    assert left(tmp_path) == []


def test_what_is_not_there_is_said(hub: str) -> None:
    with pytest.raises(HubError, match="no such file"):
        stated(hub_file("someone/models/none.safetensors", hub))
    with pytest.raises(HubError, match="no such revision"):
        stated(hub_file("someone/models@v2/good.safetensors", hub))
    with pytest.raises(HubError, match="no sha256"):
        stated(hub_file("someone/models/bare.safetensors", hub))


def test_offline_is_said_in_one_line() -> None:
    file = hub_file("someone/models/good.safetensors", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="cannot be reached") as told:
        stated(file)
    assert "\n" not in str(told.value)


def test_downloads_run_beside_and_tell_their_end(hub: str, files: ModelFiles, tmp_path: Path) -> None:
    fetches = Fetches()
    for name in ("good", "wrong"):
        file = stated(hub_file(f"someone/models/{name}.safetensors", hub))
        fetches.begin(file, "loras", target_of(files, "loras", file))
    for thread in threading.enumerate():
        if thread.name == "hires-fetch":
            thread.join(60)
    good, wrong = fetches.all()
    assert (good.state, good.done, good.error) == ("done", len(CONTENT), "")
    assert wrong.state == "failed" and "not what the hub states" in wrong.error
    assert left(tmp_path) == ["good.safetensors"]


@pytest.mark.parametrize(
    ("text", "repository", "revision", "path"),
    [
        ("a/b/c.safetensors", "a/b", "main", "c.safetensors"),
        ("a/b@v1.0/c/d.safetensors", "a/b", "v1.0", "c/d.safetensors"),
        ("https://huggingface.co/a/b/blob/main/c/d%20e.safetensors?download=true", "a/b", "main", "c/d e.safetensors"),
        (" https://huggingface.co/a/b/resolve/abc/d.sft ", "a/b", "abc", "d.sft"),
    ],
)
def test_names_and_addresses_mean_files(text: str, repository: str, revision: str, path: str) -> None:
    file = hub_file(text)
    assert (file.repository, file.revision, file.path) == (repository, revision, path)


@pytest.mark.parametrize(
    "text", ["", "model.safetensors", "a/b", "a/b/c.txt", "a/b/../../c.safetensors", "a/b/.c.safetensors",
             "file:///etc/passwd.safetensors", "http://127.0.0.1/x.safetensors", "a/b/c\\..\\d.safetensors",
             "--/b/c.safetensors", "a/b/c.ckpt"]
)  # fmt: skip
def test_what_names_no_safe_file_is_refused(text: str) -> None:
    with pytest.raises(SettingError):
        hub_file(text)


def test_other_formats_are_taken_when_meant() -> None:
    assert hub_file("a/b/c.ckpt", any_format=True).name == "c.ckpt"


@given(text=st.text(alphabet="ab./@\\:%-_ 0~é", max_size=40).map(lambda text: f"{text}.safetensors"))
def test_every_accepted_name_stays_in_its_folder(text: str) -> None:
    try:
        file = hub_file(text)
    except HiresError as error:
        assert "\n" not in str(error)
        return
    assert isinstance(file, HubFile) and file.name == Path(file.name).name and not file.name.startswith(".")
