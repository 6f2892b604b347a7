"""Prompts as newer editors list them; and both kinds of clients in one queue."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import PATIENCE, SMALL, over, picture, told


def test_jobs_in_every_state(client: TestClient, held: threading.Event) -> None:
    graph = {"id": "mine", "nodes": []}
    body = {"prompt": picture(90), "extra_data": {"extra_pnginfo": {"workflow": graph}}}
    first = client.post("/prompt", json=body).json()["prompt_id"]
    second = client.post("/prompt", json={"prompt": picture(91)}).json()["prompt_id"]
    pending = client.get("/api/jobs?status=pending").json()["jobs"]
    assert {one["id"] for one in pending} == {first, second}
    assert client.get(f"/jobs/{first}").json()["workflow_id"] == "mine"
    assert client.post(f"/jobs/{second}/cancel").json() == {"cancelled": True}
    assert client.post("/jobs/cancel", json={"job_ids": [second, "none"]}).json() == {"cancelled": []}
    held.set()
    over(client, first)
    until = time.monotonic() + PATIENCE
    while (one := client.get(f"/jobs/{first}").json())["status"] != "completed" and time.monotonic() < until:
        time.sleep(0.01)
    assert one["outputs_count"] == 1 and one["preview_output"]["nodeId"] == "2"
    assert one["create_time"] <= one["execution_start_time"] <= one["execution_end_time"]
    assert one["workflow"]["extra_data"]["extra_pnginfo"]["workflow"] == graph
    assert client.get("/view", params=one["preview_output"]).status_code == 200
    pages = client.get("/jobs?status=completed&limit=1").json()
    assert len(pages["jobs"]) == 1 and pages["pagination"]["total"] >= 1
    for query in ("status=unknown", "sort_by=size", "sort_order=up"):
        assert client.get(f"/jobs?{query}").status_code == 400
    assert client.get(f"/jobs/{second}").status_code == 404


def test_both_dialects_share_the_queue(client: TestClient, held: threading.Event) -> None:
    drawn: list[Any] = []
    before = client.post("/prompt", json={"prompt": picture(95)}).json()["prompt_id"]
    asked = threading.Thread(target=lambda: drawn.append(client.post("/sdapi/v1/txt2img", json=SMALL)))
    asked.start()
    work = client.app.state.server.work  # type: ignore[attr-defined]
    until = time.monotonic() + PATIENCE
    while work.remaining < 3 and time.monotonic() < until:
        time.sleep(0.01)
    after = client.post("/prompt", json={"prompt": picture(96)}).json()["prompt_id"]
    assert client.get("/prompt").json()["exec_info"]["queue_remaining"] == 4
    assert [job.title for job in work.waiting()] == ["prompt", "txt2img", "prompt"]
    held.set()
    assert over(client, before)["status"]["completed"] and over(client, after)["status"]["completed"]
    asked.join(PATIENCE)
    assert told(drawn[0])["all_seeds"] == [7]


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "..\\secret.png", "../secret.png [output]", "a [temp]"]
)
def test_names_in_nodes_stay_in_their_folders(client: TestClient, home: Path, name: str) -> None:
    (home / "secret.png").write_bytes(b"private")
    prompt = picture()
    prompt["1"] = {"class_type": "LoadImage", "inputs": {"image": name}}
    answer = client.post("/prompt", json={"prompt": prompt})
    assert answer.status_code == 400 and str(home) not in answer.text
    assert list(answer.json()["node_errors"]) == ["1"]


@pytest.mark.parametrize("prefix", ["../out", "/tmp/out", "a/../../out", "..\\out"])
def test_what_is_saved_stays_in_the_output_folder(client: TestClient, home: Path, prefix: str) -> None:
    before = {path for path in home.rglob("*.png") if home / "output" not in path.parents}
    prompt = picture(97)
    prompt["2"]["inputs"]["filename_prefix"] = prefix
    entry = over(client, client.post("/prompt", json={"prompt": prompt}).json()["prompt_id"])
    assert entry["status"]["messages"][-1][0] == "execution_error" and entry["outputs"] == {}
    assert {path for path in home.rglob("*.png") if home / "output" not in path.parents} == before


@pytest.mark.parametrize(
    "data",
    [
        b'{"prompt": %s, "extra_data": {"x": NaN, "y": [-Infinity, 1e999]}}',
        b'{"prompt": %s, "extra_data": {"extra_pnginfo": {"workflow": {"\\ud800": "\\udfff", "n": NaN}}}}',
        b'{"prompt": %s, "client_id": "\\ud83d"}',
        b'{"prompt": %s, "number": 1e999, "front": true}',
    ],
)
def test_no_prompt_spoils_the_lists(client: TestClient, data: bytes) -> None:
    prompt = picture(98)
    prompt["1"]["inputs"]["unknown"] = "HOLE"
    sent = json.dumps(prompt).encode().replace(b'"HOLE"', b'[NaN, "\\ud800"]')
    answer = client.post("/prompt", content=data.replace(b"%s", sent))
    assert answer.status_code == 200, answer.text
    assert over(client, answer.json()["prompt_id"])["status"]["completed"] is True
    for route in ("/history", "/queue", "/jobs"):
        assert client.get(route).status_code == 200
