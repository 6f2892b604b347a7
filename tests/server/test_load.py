"""Many clients of both dialects at once, some of which cancel or go away: no job is lost, and each keeps its place."""

from __future__ import annotations

import gc
import json
import random
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import uvicorn
from tests.server.conftest import PATIENCE, coded, picture, settings_in, shades

from hires.jobs.record import Job, State
from hires.server.app import create_app
from hires.server.serving import EndingServer, listen
from hires.server.state import Server

PRIORITIES = (0, 0, 1)
COLORS = count()  # each picture is another one


class Running:
    """A server on a port of its own."""

    def __init__(self, folder: Path) -> None:
        app = create_app(settings_in(folder, cache_megabytes=20))
        listening = listen("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self.state: Server = app.state.server
        self._server = EndingServer(uvicorn.Config(app, log_level="error"), self.state.work.close)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]})
        self._thread.start()
        self.folder = folder

    def post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = requests.post(f"http://127.0.0.1:{self.port}{route}", json=body, timeout=4 * PATIENCE)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def leave(self, route: str, body: dict[str, Any]) -> None:
        """Ask for something and go away before it is answered."""
        data = json.dumps(body).encode()
        head = f"POST {route} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)

    def close(self) -> None:
        self._server.handle_exit(2, None)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path)
    yield found
    found.close()


def asked(running: Running, client: int, jobs: int, cancelled: set[str], gone: list[str]) -> None:
    """What one client does: prompts, pictures to enlarge, jobs of some priority; cancellations and disconnects."""
    chosen = random.Random(client)
    for _ in range(jobs):
        color, way = next(COLORS), chosen.randrange(5)
        enlarge = {"image": coded(shades(16 + client % 4)), "upscaler_1": "Nearest"}
        if way == 0:
            assert running.post("/sdapi/v1/extra-single-image", enlarge)["image"]
        elif way == 1:
            running.leave("/sdapi/v1/extra-single-image", enlarge)
            gone.append("extras")
        else:
            body = {"kind": "workflow", "request": {"prompt": picture(color)}, "priority": chosen.choice(PRIORITIES)}
            id = running.post("/hires/v1/jobs", body)["id"] if way > 2 else ""
            id = id or running.post("/prompt", {"prompt": picture(color), "client_id": f"client {client}"})["prompt_id"]
            if chosen.random() < 0.2:
                answer = running.post("/jobs/cancel", {"job_ids": [id]})
                cancelled.update(answer["cancelled"])


def load(running: Running, clients: int, jobs: int) -> list[Job]:
    """All jobs of so many clients, ended, in the order they came."""
    desk, cancelled, gone = running.state.desk, set[str](), list[str]()
    before = sum(desk.store.counts().values())
    ended = threading.Event()
    with ThreadPoolExecutor(clients) as pool:
        for asking in [pool.submit(asked, running, one, jobs, cancelled, gone) for one in range(clients)]:
            asking.result()

    def look() -> None:
        counts = desk.store.counts()
        if sum(counts.values()) >= before + clients * jobs and not counts[State.WAITING] + counts[State.RUNNING]:
            ended.set()

    stop = desk.watch(look)
    while not ended.wait(0.05):
        look()
    stop()
    found = desk.store.search(limit=100_000)[::-1][before:]
    assert len(found) == clients * jobs, "none is lost, none is there twice"
    for job in found:
        if job.id in cancelled:
            assert job.state in (State.CANCELLED, State.DONE), "it was stopped, or was faster"
        else:
            assert job.state is State.DONE, (job.id, job.error)
    assert len(gone) > 0 and len(cancelled) > 0
    return found


def check_order(jobs: list[Job]) -> None:
    """Of two jobs that both waited, the one of more priority was begun first, then the earlier one."""
    begun = sorted((job for job in jobs if job.begun is not None), key=lambda job: job.begun or 0)
    for place, (before, job) in enumerate(pairwise(begun), start=1):
        for later in begun[place + 1 :]:
            if later.made < (before.ended or 0):  # it was there already when this one was taken
                assert (-job.priority, job.position) < (-later.priority, later.position)


def check_files(running: Running, jobs: list[Job]) -> None:
    """Each prompt that was done has its one file, and no file is without a job."""
    names = [name for job in jobs if job.kind == "workflow" for name in job.results]
    output = running.folder / "output"
    assert sorted(names) == sorted(path.relative_to(output).as_posix() for path in output.rglob("*.png"))
    assert all(len(job.results) == 1 for job in jobs if job.kind == "workflow" and job.state is State.DONE)


def test_a_few_clients_at_once(running: Running) -> None:
    jobs = load(running, clients=6, jobs=5)
    check_order(jobs)
    check_files(running, jobs)


def resident() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss)


@pytest.mark.slow
def test_two_hundred_jobs_of_twenty_clients(running: Running) -> None:
    jobs = load(running, clients=20, jobs=10)
    before = resident()
    for _ in range(3):
        jobs += load(running, clients=20, jobs=10)
    check_order(jobs)
    check_files(running, jobs)
    assert resident() < 1.1 * before
