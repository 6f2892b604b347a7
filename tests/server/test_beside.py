"""Batches of one request, drawn at the same time by two workers: as if they had been drawn one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import HERE, PATIENCE, SMALL, coded, settings_in, shades, told
from tests.server.test_desk import desk_of, until
from tests.workers.threads import use_threads

from hires.graph.report import Event, NodeProgress
from hires.jobs.record import State
from hires.server.app import create_app
from hires.workers.bench import Bench
from hires.workers.pool import Lane
from hires.workers.runs import Elsewhere
from hires.workers.units import Done, RunUnit

FOUR: dict[str, Any] = {**SMALL, "n_iter": 4, "save_images": True}
JOBS = "/hires/v1/jobs"


def seed_of(unit: RunUnit) -> int:
    """The batch that a unit draws, from 0."""
    seeds = [node["inputs"]["seed"] for node in unit.workflow.values() if "seed" in node["inputs"]]
    return int(seeds[0]) - SMALL["seed"]


@contextmanager
def two_workers(folder: Path) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        use_threads(patch)
        settings = settings_in(folder, workers="2", threads=1, keep_megabytes=100)
        with TestClient(create_app(settings), base_url=HERE) as client:
            yield client


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("one")
    with TestClient(create_app(settings_in(folder, threads=1)), base_url=HERE) as client:
        yield client


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with two_workers(tmp_path_factory.mktemp("two")) as client:
        yield client


class Seen:
    """What workers do: the batches that they have begun, in the order of their numbers, and those that they have drawn.
    `at` has something done when a batch comes to a step, before its worker goes on; it is given the worker."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.drawn: list[int] = []
        self.at: dict[tuple[int, int], Callable[[Bench], Any]] = {}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen()
    performed, perform, run, hear = Elsewhere.performed, Lane.perform, Bench._run, Bench._hear
    drawing: dict[Bench, int] = {}

    def in_line(elsewhere: Elsewhere, unit: RunUnit, on_event: Any) -> Done:
        until(lambda: not seed_of(unit) or seed_of(unit) - 1 in found.begun)
        return performed(elsewhere, unit, on_event)

    def noting(lane: Lane, unit: RunUnit, *, stop: threading.Event, on_event: Any) -> Done:
        found.begun.append(seed_of(unit))
        done = perform(lane, unit, stop=stop, on_event=on_event)
        found.drawn.append(seed_of(unit))
        return done

    def running(bench: Bench, engine: Any, unit: RunUnit) -> Any:
        drawing[bench] = seed_of(unit)
        return run(bench, engine, unit)

    def hearing(bench: Bench, event: Event) -> None:
        hear(bench, event)
        if isinstance(event, NodeProgress) and (act := found.at.pop((drawing[bench], event.value), None)):
            act(bench)

    monkeypatch.setattr(Elsewhere, "performed", in_line)
    monkeypatch.setattr(Lane, "perform", noting)
    monkeypatch.setattr(Bench, "_run", running)
    monkeypatch.setattr(Bench, "_hear", hearing)
    return found


def outputs(client: TestClient) -> dict[str, bytes]:
    folder = desk_of(client).settings.output_dir
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def new(client: TestClient, before: dict[str, bytes]) -> list[bytes]:
    return [data for name, data in outputs(client).items() if name not in before]


def test_batches_that_end_in_another_order_are_written_in_theirs(one: TestClient, two: TestClient, seen: Seen) -> None:
    seen.at[0, 1] = lambda bench: until(lambda: {1, 2} <= set(seen.drawn))
    expected, made = (client.post("/sdapi/v1/txt2img", json=FOUR) for client in (one, two))
    assert made.json()["images"] == expected.json()["images"]
    assert told(made)["all_seeds"] == told(expected)["all_seeds"]
    assert outputs(two) == outputs(one)
    assert seen.drawn.index(0) >= 2 and sorted(seen.drawn) == [0, 1, 2, 3]
    assert not list(desk_of(two).folder.glob("made/*/ahead")), "nothing that was kept is left"


def test_img2img_with_its_masks_too(one: TestClient, two: TestClient) -> None:
    request = {**FOUR, "n_iter": 2, "init_images": [coded(shades())], "mask": coded(shades().convert("L"))}
    request |= {"override_settings": {"return_mask": True}, "denoising_strength": 0.5}
    expected, made = (client.post("/sdapi/v1/img2img", json=request) for client in (one, two))
    assert made.json()["images"] == expected.json()["images"]
    assert outputs(two) == outputs(one)


def stopped(bench: Bench) -> bool:
    return bench._stop.wait(PATIENCE)


def test_skipping_ends_the_first_that_is_not_over(one: TestClient, two: TestClient, seen: Seen) -> None:
    request = {**FOUR, "n_iter": 3, "steps": 3, "prompt": "beach", "do_not_save_grid": True}
    whole = one.post("/sdapi/v1/txt2img", json=request).json()["images"]
    known = outputs(two)
    work = desk_of(two).work
    shares: list[float] = []

    def skip(bench: Bench) -> None:
        until(lambda: 1 in seen.drawn)
        until(lambda: work.current and work.current.beside >= 1)
        shares.append(work.current.progress if work.current else 0.0)
        work.skip()
        stopped(bench)
        until(lambda: 2 in seen.drawn)

    seen.at[0, 1] = skip
    made = two.post("/sdapi/v1/txt2img", json=request).json()["images"]
    assert len(made) == 3 and made[0] != whole[0], "what it had come to is shown"
    assert made[1:] == whole[1:], "the others are whole"
    assert len(new(two, known)) == 2
    assert 1 / 3 < shares[0] < 1, "the second batch counts before it is its turn"


def test_interrupted_it_answers_with_what_was_begun(two: TestClient, seen: Seen) -> None:
    known = outputs(two)

    def interrupt(bench: Bench) -> None:
        work = desk_of(two).work
        until(lambda: work.current and work.current.beside == 1.5)
        work.interrupt()
        stopped(bench)

    seen.at[0, 1], seen.at[2, 1] = interrupt, stopped
    answer = two.post("/sdapi/v1/txt2img", json={**FOUR, "prompt": "sea", "do_not_save_grid": True})
    assert len(answer.json()["images"]) == 3, "what the first and the third had come to, and the second"
    assert len(new(two, known)) == 1, "the batch that was finished is kept"
    assert 3 not in seen.begun
    (job,) = two.get(JOBS, params={"limit": 1}).json()["jobs"]
    assert job["state"] == State.CANCELLED
    assert two.post(f"{JOBS}/{job['id']}/retry").status_code == 200
    until(lambda: two.get(f"{JOBS}/{job['id']}").json()["state"] == State.DONE)
    assert seen.begun.count(3) == 1 and len(new(two, known)) == 2, "the fourth was still to be drawn"


def test_what_was_finished_before_its_turn_is_not_drawn_again(one: TestClient, tmp_path: Path, seen: Seen) -> None:
    request = {**FOUR, "prompt": "1girl, rain"}
    with two_workers(tmp_path) as client:

        def leave(bench: Bench) -> None:
            until(lambda: {1, 2} <= set(seen.drawn))
            desk_of(client).work.close()
            stopped(bench)

        seen.at[0, 1], seen.at[3, 1] = leave, stopped
        answer = client.post(JOBS, json={"kind": "txt2img", "request": request})
        id = answer.json()["id"]
        until(lambda: desk_of(client).work.is_closed)
        until(lambda: desk_of(client).store.get(id).state is State.WAITING)
        assert not outputs(client), "none comes before the first"
    assert sorted(seen.drawn) == [1, 2]
    with two_workers(tmp_path) as client:
        until(lambda: client.get(f"{JOBS}/{id}").json()["state"] == State.DONE)
        known = outputs(one)
        one.post("/sdapi/v1/txt2img", json=request)
        assert list(outputs(client).values()) == new(one, known)
    assert sorted(seen.drawn) == [0, 1, 2, 3], "each is drawn once"
