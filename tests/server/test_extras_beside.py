"""Pictures that are enlarged at the same time by two workers: as if they had been enlarged one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tests.server.conftest import HERE, PATIENCE, coded, settings_in, shades
from tests.server.test_desk import desk_of, until
from tests.workers.threads import use_threads

from hires.jobs.record import State
from hires.server.app import create_app
from hires.workers.bench import Bench
from hires.workers.runs import Elsewhere
from hires.workers.units import Done, RunUnit

BATCH, JOBS = "/sdapi/v1/extra-batch-images", "/hires/v1/jobs"
EDGE = 16
LIMIT = 0.02
"""Megapixels: a picture of a side of 100 cannot be doubled."""


def batch(*sides: int, **fields: Any) -> dict[str, Any]:
    """Square pictures of these sides."""
    pictures = [{"data": coded(shades(side)), "name": f"p{side}.png"} for side in sides]
    return {"imageList": pictures, "upscaler_1": "Lanczos", "upscaling_resize": 2, "save_images": True, **fields}


FOUR = batch(*(EDGE * number for number in (1, 2, 3, 4)))


def number_of(unit: RunUnit) -> int:
    """The picture that a unit enlarges, from 0."""
    (data,) = unit.given.values()
    return Image.open(BytesIO(data)).width // EDGE - 1


@contextmanager
def served(folder: Path, workers: str = "") -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        use_threads(patch)
        settings = settings_in(folder, workers=workers, threads=1, keep_megabytes=100, max_megapixels=LIMIT)
        with TestClient(create_app(settings), base_url=HERE) as client:
            yield client


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(tmp_path_factory.mktemp("one")) as client:
        yield client


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with served(tmp_path_factory.mktemp("two"), "2") as client:
        yield client


class Seen:
    """The pictures that workers have begun, and those that they have enlarged; `at` has something done before a
    picture is begun; `in_line`: they are begun in the order of their numbers."""

    def __init__(self) -> None:
        self.in_line = False
        self.begun: list[int] = []
        self.made: list[int] = []
        self.at: dict[int, Callable[[Bench], Any]] = {}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen()
    performed, run = Elsewhere.performed, Bench._run

    def in_line(elsewhere: Elsewhere, unit: RunUnit, on_event: Any) -> Done:
        until(lambda: not found.in_line or not number_of(unit) or number_of(unit) - 1 in found.begun)
        return performed(elsewhere, unit, on_event)

    def running(bench: Bench, engine: Any, unit: RunUnit) -> Any:
        number = number_of(unit)
        found.begun.append(number)
        if (act := found.at.pop(number, None)) is not None:
            act(bench)
        made = run(bench, engine, unit)
        found.made.append(number)
        return made

    monkeypatch.setattr(Elsewhere, "performed", in_line)
    monkeypatch.setattr(Bench, "_run", running)
    return found


def outputs(client: TestClient) -> dict[str, bytes]:
    folder = desk_of(client).settings.output_dir
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def test_pictures_that_end_in_another_order_are_written_in_theirs(one: TestClient, two: TestClient, seen: Seen) -> None:
    seen.at[0] = lambda bench: until(lambda: {1, 2, 3} <= set(seen.made))
    expected, made = (client.post(BATCH, json=FOUR) for client in (one, two))
    assert made.status_code == 200 and made.json() == expected.json()
    assert outputs(two) == outputs(one) and len(outputs(two)) == 4
    assert seen.made[-1] == 0 and sorted(seen.made) == [0, 1, 2, 3]
    assert not list(desk_of(two).folder.glob("made/*/ahead")), "nothing that was kept is left"


def test_pictures_of_one_name_that_are_not_kept(one: TestClient, two: TestClient, seen: Seen) -> None:
    known = outputs(two)
    same = batch(32, 48, 16, save_images=False)
    for picture in same["imageList"]:
        picture["name"] = ""
    expected, made = (client.post(BATCH, json=same).json() for client in (one, two))
    assert made == expected and len(made["images"]) == 3
    assert sorted(seen.made) == [0, 1, 2] and outputs(two) == known


@pytest.mark.parametrize("which", ["one", "two"])
def test_one_that_cannot_be_enlarged_costs_no_other(which: str, request: pytest.FixtureRequest) -> None:
    client: TestClient = request.getfixturevalue(which)
    known = outputs(client)
    answer = client.post(BATCH, json=batch(80 - 64, 100, 24))
    assert answer.status_code == 400 and "megapixels" in answer.json()["detail"]
    sizes = [Image.open(BytesIO(data)).width for name, data in outputs(client).items() if name not in known]
    assert sorted(sizes) == [32, 48]
    (job,) = client.get(JOBS, params={"limit": 1}).json()["jobs"]
    assert job["state"] == State.FAILED


def test_interrupted_it_begins_no_more(two: TestClient, seen: Seen) -> None:
    known = outputs(two)
    seen.in_line = True

    def interrupt(bench: Bench) -> None:
        until(lambda: 0 in seen.made and len(outputs(two)) == len(known) + 1)
        desk_of(two).work.interrupt()
        assert bench._stop.wait(PATIENCE)

    seen.at[1] = interrupt
    seen.at[2] = lambda bench: bench._stop.wait(PATIENCE)
    two.post(BATCH, json=FOUR)
    assert 3 not in seen.begun and len(outputs(two)) == len(known) + 1
    (job,) = two.get(JOBS, params={"limit": 1}).json()["jobs"]
    assert job["state"] == State.CANCELLED
    assert two.post(f"{JOBS}/{job['id']}/retry").status_code == 200
    until(lambda: two.get(f"{JOBS}/{job['id']}").json()["state"] == State.DONE)
    assert seen.made.count(0) == 1 and len(outputs(two)) == len(known) + 4


def test_what_was_finished_before_its_turn_is_not_enlarged_again(one: TestClient, tmp_path: Path, seen: Seen) -> None:
    seen.in_line = True
    with served(tmp_path, "2") as client:

        def leave(bench: Bench) -> None:
            until(lambda: {1, 2} <= set(seen.made))
            until(lambda: desk_of(client).work.current and desk_of(client).work.current.beside == 2)
            desk_of(client).work.close()
            bench._stop.wait(PATIENCE)

        seen.at[0] = leave
        seen.at[3] = lambda bench: bench._stop.wait(PATIENCE)
        id = client.post(JOBS, json={"kind": "extras", "request": FOUR}).json()["id"]
        until(lambda: desk_of(client).work.is_closed)
        until(lambda: desk_of(client).store.get(id).state is State.WAITING)
        assert not outputs(client), "none comes before the first"
    assert sorted(seen.made) == [1, 2]
    with served(tmp_path, "2") as client:
        until(lambda: client.get(f"{JOBS}/{id}").json()["state"] == State.DONE)
        one.post(BATCH, json=FOUR)
        whole = outputs(client)
        assert len(whole) == 4 and set(whole.values()) <= set(outputs(one).values())
        assert list(whole) == sorted(f"p{EDGE * number}_00001_.png" for number in (1, 2, 3, 4))
    assert sorted(seen.made) == [0, 1, 2, 3], "each is enlarged once"
