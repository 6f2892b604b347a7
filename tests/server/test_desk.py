"""Jobs that outlive the server: stored before work starts, held back, tried again, gone on with; and full disks."""

from __future__ import annotations

import base64
import errno
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tests.server.conftest import HERE, PATIENCE, SMALL, coded, over, picture, settings_in, shades, told
from typer.testing import CliRunner

from hires.cli import app
from hires.errors import HiresError
from hires.jobs.record import JobError, State
from hires.metadata import files
from hires.server import room
from hires.server.app import create_app
from hires.server.desk import Desk
from hires.server.references import REFERENCE

JOBS, QUEUE = "/hires/v1/jobs", "/hires/v1/queue"


@contextmanager
def serving(folder: Path, **changes: Any) -> Iterator[TestClient]:
    with TestClient(create_app(settings_in(folder, **changes)), base_url=HERE) as client:
        yield client


def desk_of(client: TestClient) -> Desk:
    found: Desk = client.app.state.server.desk  # type: ignore[attr-defined]
    return found


def until(true: Callable[[], Any]) -> Any:
    """What a question answers as soon as it is not empty."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.01)
    raise AssertionError("it never came to that")


def put(client: TestClient, color: int, **more: Any) -> str:
    answer = client.post("/prompt", json={"prompt": picture(color=color), **more})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["prompt_id"])


def state(client: TestClient, id: str) -> str:
    return str(client.get(f"{JOBS}/{id}").json()["state"])


def held_back(client: TestClient) -> None:
    assert client.post(f"{QUEUE}/pause").json()["paused"] is True


def gone_on(client: TestClient) -> None:
    assert client.post(f"{QUEUE}/resume").json()["paused"] is False


def test_jobs_and_history_survive_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        done = put(client, 1)
        entry = over(client, done)
        held_back(client)
        waiting = [put(client, color) for color in (2, 3)]
        front = put(client, 4, front=True)
        assert [item[1] for item in client.get("/queue").json()["queue_pending"]] == [front, *waiting]
        before = client.get("/queue").json()["queue_pending"]
    with serving(tmp_path) as client:
        assert client.get(f"/history/{done}").json()[done] == entry
        for id in (front, *waiting):
            assert over(client, id)["status"]["completed"] is True
        assert list(client.get("/history").json()) == [done, front, *waiting]
        prompts = {id: client.get(f"/history/{id}").json()[id]["prompt"] for id in (front, *waiting)}
        assert [prompts[item[1]] for item in before] == before
        again = client.post("/prompt", json={"prompt": picture(), "prompt_id": done})
        assert again.status_code == 400 and again.json()["error"]["type"] == "invalid_prompt_id"
        assert client.post("/prompt", json={"prompt": picture(5)}).json()["number"] > prompts[waiting[1]][0]
        asked = {"id_task": waiting[0]}
        assert client.post("/internal/progress", json=asked).json()["completed"] is True


def test_a_job_that_is_stopped_with_the_server_goes_on_in_the_next(tmp_path: Path) -> None:
    begun, release = threading.Event(), threading.Event()
    with serving(tmp_path) as client:
        engine = client.app.state.server.work.ready()  # type: ignore[attr-defined]
        run = engine.run

        def slow(*args: Any, on_event: Any, **more: Any) -> Any:
            def hear(event: Any) -> None:
                on_event(event)
                begun.set()
                release.wait(PATIENCE)

            return run(*args, on_event=hear, **more)

        engine.run = slow
        running = put(client, 6)
        assert begun.wait(PATIENCE) and state(client, running) == "running"
        client.app.state.server.work.close()  # type: ignore[attr-defined]
        release.set()
    assert not list((tmp_path / "output").rglob("*.png"))
    with serving(tmp_path) as client:
        assert over(client, running)["status"]["completed"] is True
    assert len(list((tmp_path / "output").rglob("*.png"))) == 1


def test_pausing_releasing_cancelling_and_trying_again(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        held_back(client)
        first, second, third = (put(client, color) for color in (10, 11, 12))
        assert client.post(f"{JOBS}/{first}/pause").json()["state"] == "paused"
        assert client.post(f"{JOBS}/{second}/cancel").json()["state"] == "cancelled"
        assert client.post(f"{JOBS}/{second}/cancel").status_code == 409
        assert client.post(f"{JOBS}/{third}/release").status_code == 409
        assert client.post(f"{JOBS}/none/cancel").status_code == 404
        gone_on(client)
        over(client, third)
        assert state(client, first) == "paused" and client.get(f"/history/{second}").json() == {}
        assert client.post(f"{JOBS}/{first}/release").status_code == 200
        assert client.post(f"{JOBS}/{second}/retry").status_code == 200
        over(client, first)
        over(client, second)
        assert client.post(f"{JOBS}/{second}/retry").status_code == 409, "it is done"
        listed = client.get(JOBS, params={"state": "done", "limit": 2}).json()
        assert listed["counts"]["done"] == 3 and len(listed["jobs"]) == 2 and listed["has_more"] is True
        assert client.delete(f"{JOBS}/{first}").status_code == 200
        assert client.get(f"{JOBS}/{first}").status_code == 404
        assert client.get(JOBS, params={"state": "gone"}).status_code == 400


def test_the_order_is_by_priority_then_by_place(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        held_back(client)
        a, b, c, d = (put(client, color) for color in (20, 21, 22, 23))
        assert client.post(f"{JOBS}/{d}/priority", json={"priority": 1}).json()["priority"] == 1
        assert client.post(f"{JOBS}/{c}/move", json={"before": a}).status_code == 200
        assert client.post(f"{JOBS}/{c}/move", json={"before": "none"}).status_code == 409
        order = [d, c, a, b]
        assert client.get(QUEUE).json()["jobs"]["waiting"] == order
        assert client.get("/internal/pending-tasks").json()["tasks"] == order
        gone_on(client)
        for id in order:
            over(client, id)
        assert list(client.get("/history").json()) == order


def test_requests_are_stored_with_their_seeds_and_their_pictures_in_files(tmp_path: Path) -> None:
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    body = {**SMALL, "seed": -1, "init_images": [coded(noise)], "denoising_strength": 0.5}
    with serving(tmp_path) as client:
        held_back(client)
        desk = desk_of(client)
        job = desk.submit("img2img", body, title="mine", door="page")
        kept = job.request["init_images"][0]
        assert job.request["seed"] >= 0 and kept.startswith(REFERENCE)
        assert desk.kept.given(job.request)["init_images"] == body["init_images"]
        assert (job.state, job.door, job.title) == (State.WAITING, "page", "mine")
        assert [one.id for one in desk.store.search("pink hair")] == [job.id] and not desk.store.search("blue")
        desk.kept.clean(desk.store)
        assert len(list(desk.kept.pictures.iterdir())) == 1, "it is needed"
    with serving(tmp_path) as client:  # nobody waits for it any more
        until(lambda: state(client, job.id) == "done")
        one = client.get(f"{JOBS}/{job.id}").json()
        assert one["unsaved"] == 1 and one["results"] == []
        drawn = client.get(f"{JOBS}/{job.id}/pictures/0")
        assert drawn.status_code == 200 and f"Seed: {job.request['seed']},".encode() in drawn.content
        assert client.get(f"{JOBS}/{job.id}/pictures/1").status_code == 404


def test_a_request_that_cannot_be_run_never_waits(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        for kind, request in (
            ("txt2img", {"steps": "many"}),
            ("txt2img", {"script_name": "no such"}),
            ("img2img", {"prompt": "x"}),
            ("workflow", {"prompt": {"1": {"class_type": "NoSuchNode", "inputs": {}}}}),
            ("workflow", {}),
            ("workflow", {"prompt": 3}),
            ("extras", {"imageList": 3}),
            ("dream", {}),
        ):
            with pytest.raises(HiresError):
                desk_of(client).submit(kind, request)
            assert 400 <= client.post(JOBS, json={"kind": kind, "request": request}).status_code < 500
        assert sum(desk_of(client).store.counts().values()) == 0


def test_whatever_was_asked_for_can_be_told_again(tmp_path: Path) -> None:
    request = b'{"prompt": "\\ud800 beach", "script_args": [NaN, "\\udfff"], "infotext": "\\ud83d"}'
    with serving(tmp_path) as client:
        held_back(client)
        body = b'{"kind": "txt2img", "request": %s}' % request
        answer = client.post(JOBS, content=body, headers={"Content-Type": "application/json"})
        assert 200 <= answer.status_code < 500
        desk_of(client).submit("txt2img", {"prompt": "beach", "script_args": [float("nan"), "\ud800"]})
        for one in client.get(JOBS).json()["jobs"]:
            assert client.get(f"{JOBS}/{one['id']}").status_code == 200
        for query in ("search=%ED%A0%80", "since=nan", "until=-inf", "search=%00&model=%00", "kind=%25"):
            assert client.get(f"{JOBS}?{query}").status_code == 200


def test_a_name_of_a_job_that_has_ended_is_free_again(tmp_path: Path) -> None:
    body = {"image": coded(shades(16)), "upscaler_1": "Nearest"}
    with serving(tmp_path) as client:
        desk = desk_of(client)
        first = desk.submit("extras", body, id="task(mine)")
        until(lambda: state(client, "task(mine)") == "done")
        held_back(client)
        second = desk.submit("extras", body, id="task(mine)")
        assert second.number != first.number and desk.store.get(f"task(mine).{first.number}").state is State.DONE
        with pytest.raises(JobError, match="already"):
            desk.submit("extras", body, id="task(mine)")


def test_one_server_has_a_folder(tmp_path: Path) -> None:
    with serving(tmp_path):
        second = CliRunner().invoke(app, ["serve", "--port", "0", "--data-dir", str(tmp_path / "user" / "jobs")])
    assert second.exit_code == 2
    (said,) = second.output.splitlines()
    assert "another hires server" in said and "--data-dir" in said


class Disk:
    """A disk that is full until `make_room`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full, self.tries, self.free = False, 0, 0
        give_name = files._give_name

        def named(temporary: Path, path: Path) -> None:
            if self.full:
                self.tries += 1
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            give_name(temporary, path)

        monkeypatch.setattr(files, "_give_name", named)
        monkeypatch.setattr(room, "free_bytes", lambda folder: self.free)
        monkeypatch.setattr(room, "SECONDS_BETWEEN_LOOKS", 0.02)

    def make_room(self) -> None:
        self.full, self.free = False, self.free + 2 * room.MORE_BYTES


@pytest.mark.parametrize("asked", [False, True])
def test_a_full_disk_holds_the_queue_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    disk = Disk(monkeypatch)
    with serving(tmp_path) as client:
        over(client, put(client, 30))
        disk.full = True
        first, second = put(client, 31), put(client, 32)
        standing = until(lambda: (now := client.get(QUEUE).json())["paused"] and now)
        assert "disk is full" in standing["why"] and standing["waits_for_room"] is True
        assert str(tmp_path) not in standing["why"]
        until(lambda: client.get(QUEUE).json()["jobs"]["waiting"] == [first, second])
        assert client.get("/prompt").json()["exec_info"]["paused"] == standing["why"]
        assert client.get("/sdapi/v1/progress").json()["textinfo"] == standing["why"]
        assert desk_of(client).state.waits_for_room
        third, tries = put(client, 33), disk.tries
        if asked:
            disk.full = False
            gone_on(client)
        else:
            disk.make_room()
        for id in (first, second, third):
            assert over(client, id)["status"]["completed"] is True
        assert client.get(QUEUE).json()["paused"] is False and disk.tries == tries == 1
    assert len(list((tmp_path / "output").rglob("*.png"))) == 4


def test_a_client_that_waits_is_answered_when_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, answers = Disk(monkeypatch), []
    with serving(tmp_path) as client:
        disk.full = True
        body = {**SMALL, "save_images": True}
        asked = threading.Thread(target=lambda: answers.append(client.post("/sdapi/v1/txt2img", json=body)))
        asked.start()
        until(lambda: client.get(QUEUE).json()["waits_for_room"])
        disk.make_room()
        asked.join(PATIENCE)
        assert told(answers[0])["all_seeds"] == [7]
    (drawn,) = (tmp_path / "output").rglob("*.png")
    assert base64.b64decode(answers[0].json()["images"][0]) == drawn.read_bytes()


def test_a_store_without_room_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    with serving(tmp_path) as client:
        over(client, put(client, 40))
        store = desk_of(client).store
        pages = store._base.execute("pragma page_count").fetchone()[0]
        store._base.execute(f"pragma max_page_count = {pages}")
        answers = [client.post("/prompt", json={"prompt": picture(41 + n)}) for n in range(40)]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert refused and {answer.status_code for answer in refused} == {507}
        assert "disk is full" in refused[0].json()["error"] + refused[0].json()["detail"]
        taken = [answer.json()["prompt_id"] for answer in answers if answer.status_code == 200]
        store._base.execute(f"pragma max_page_count = {pages * 100}")
        disk.make_room()
        for id in taken:
            assert over(client, id)["status"]["completed"] is True
        assert sorted(client.get("/history").json()) == sorted([*taken, *list(client.get("/history").json())[:1]])


@pytest.mark.skipif(sys.platform != "linux", reason="small disks are made with Linux's tmpfs")
def test_a_small_disk_that_is_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(1_020_000))
        with serving(tmp_path, output_dir=disk / "output") as client:
            noise = {**picture(), "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64}}}
            noise["1"]["inputs"] |= {"batch_size": 8, "color": 77}
            id = str(client.post("/prompt", json={"prompt": noise}).json()["prompt_id"])
            standing = until(lambda: (now := client.get(QUEUE).json())["paused"] and now)
            assert "disk is full" in standing["why"] and state(client, id) == "waiting"
            before = {path.name: path.read_bytes() for path in (disk / "output").rglob("*.png")}
            ballast.unlink()
            assert over(client, id)["status"]["completed"] is True
            after = {path.name: path.read_bytes() for path in (disk / "output").rglob("*.png")}
            assert len(after) == 8 and before.items() <= after.items()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
