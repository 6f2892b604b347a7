"""Merges and verifications as jobs: rows of the queue that outlive the process, and write nothing twice."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.dying import die
from tests.server.conftest import HERE, PATIENCE, coded, settings_in, shades

from hires.models.hashes import safetensors_header
from hires.server.app import create_app

DRAWN = {"prompt": "a cat", "steps": 1, "width": 64, "height": 64, "seed": 3, "save_images": True,
         "override_settings": {"sd_model_checkpoint": "a.safetensors"}}  # fmt: skip
MERGE = {"first": "a.safetensors", "second": "b.safetensors", "multiplier": 0.25}
LEFT = ".both.safetensors.0123abcd.tmp"


def furnished(home: Path, thin_models: Path) -> Path:
    """A home with two checkpoints of one family."""
    folder = home / "models" / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        shutil.copyfile(thin_models / "checkpoints" / "thin_sd15.safetensors", folder / f"{name}.safetensors")
    return home


def client_of(home: Path) -> TestClient:
    return TestClient(create_app(settings_in(home)), base_url=HERE, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def home(thin_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnished(tmp_path_factory.mktemp("model_jobs"), thin_models)


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[TestClient]:
    with client_of(home) as found:
        yield found


def asked(client: TestClient, kind: str, request: dict[str, Any]) -> Any:
    return client.post("/hires/v1/jobs", json={"kind": kind, "request": request})


def ended(client: TestClient, id: str) -> dict[str, Any]:
    """A job as it is told of once it has ended."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        job: dict[str, Any] = client.get(f"/hires/v1/jobs/{id}").json()
        if job["state"] in ("done", "failed", "cancelled"):
            return job
        time.sleep(0.02)
    raise AssertionError("the job never came to its end")


def checkpoints(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "models" / "checkpoints").iterdir())


def test_a_merge_is_a_row_of_the_queue_and_overwrites_nothing(client: TestClient, home: Path) -> None:
    client.post("/hires/v1/queue/pause")
    first, second = (asked(client, "merge", {**MERGE, "name": "mixed"}).json() for _ in range(2))
    assert [job["state"] for job in (first, second)] == ["waiting", "waiting"] and first["words"]
    assert client.get("/hires/v1/queue").json()["jobs"]["waiting"] == [first["id"], second["id"]]
    client.post("/hires/v1/queue/resume")
    done, taken = ended(client, first["id"]), ended(client, second["id"])
    assert (done["state"], done["share"], done["results"]) == ("done", 1.0, [])
    assert done["said"][0].startswith("mixed.safetensors: ")
    assert taken["state"] == "failed" and "is there already" in taken["error"] and str(home) not in taken["error"]
    assert checkpoints(home) == ["a.safetensors", "b.safetensors", "mixed.safetensors"]
    recipe = json.loads(safetensors_header(home / "models/checkpoints/mixed.safetensors")[1]["sd_merge_recipe"])
    assert recipe["multiplier"] == 0.25


@pytest.mark.parametrize(
    "change", [{"first": ""}, {"first": "none"}, {"second": "../a"}, {"multiplier": 2}, {"method": "no"},
               {"discard": "("}, {"name": "../out"}, {"name": "a"}, {"name": ".hidden"}]
)  # fmt: skip
def test_a_merge_that_cannot_be_is_refused_at_the_door(client: TestClient, home: Path, change: dict[str, Any]) -> None:
    before = checkpoints(home)
    answer = asked(client, "merge", {**MERGE, **change})
    assert answer.status_code == 400 and str(home) not in answer.text
    assert checkpoints(home) == before


def test_a_picture_is_drawn_again_as_a_job(client: TestClient, home: Path) -> None:
    drawn = ended(client, asked(client, "txt2img", DRAWN).json()["id"])
    [name] = drawn["results"]
    written = sorted((home / "output").rglob("*.*"))
    data = base64.b64encode((home / "output" / name).read_bytes()).decode()
    job = ended(client, asked(client, "verify", {"image": data, "name": "../mine.png"}).json()["id"])
    assert job["state"] == "done" and job["said"] == ["mine.png: equal"]
    silent = ended(client, asked(client, "verify", {"image": coded(shades()), "name": "silent.png"}).json()["id"])
    assert silent["state"] == "done" and silent["said"][0].startswith("silent.png: cannot be drawn: it carries no")
    assert asked(client, "verify", {"image": "bm8="}).status_code == 400
    assert sorted((home / "output").rglob("*.*")) == written


def dying(home: Path) -> None:
    """Be killed when a merge has just got its name, before anybody was told."""
    from hires.server.finished import Finished

    Finished.written = lambda self, path: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    with client_of(home) as client:
        client.post("/hires/v1/queue/pause")
        for kind, request in (
            ("merge", {**MERGE, "name": "both"}),
            ("verify", {"image": coded(shades()), "name": "v.png"}),
        ):
            assert asked(client, kind, request).status_code == 200
        client.post("/hires/v1/queue/resume")
        time.sleep(PATIENCE)


def test_after_a_kill_they_begin_again_and_nothing_is_written_twice(thin_models: Path, tmp_path: Path) -> None:
    furnished(tmp_path, thin_models)
    folder = tmp_path / "models" / "checkpoints"
    left = folder / LEFT
    left.write_bytes(b"of a kill before")
    os.utime(left, (1e9, 1e9))
    die(dying, tmp_path)
    merged = folder / "both.safetensors"
    before = merged.stat()
    with client_of(tmp_path) as client:
        jobs = client.get("/hires/v1/jobs").json()["jobs"]
        found = {job["kind"]: ended(client, job["id"]) for job in jobs}
    assert {kind: job["state"] for kind, job in found.items()} == {"merge": "done", "verify": "done"}
    assert found["merge"]["said"][0].startswith("both.safetensors: ")
    assert (merged.stat().st_ino, merged.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    visible = [name for name in checkpoints(tmp_path) if not name.startswith(".")]
    assert visible == ["a.safetensors", "b.safetensors", "both.safetensors"] and not left.exists()
