"""The queue: order, stopping, skipping, failures; with jobs that draw nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import TimeoutError as Late
from typing import Any

import pytest

from hires.errors import HiresError, Interrupted, SettingError
from hires.graph.report import NodeFinished, NodeProgress
from hires.server import work as queue
from hires.server.work import Busy, Job, Work

PATIENCE = 60


class Stand:
    """What jobs get for an engine."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop


@pytest.fixture
def work() -> Iterator[Work]:
    found = Work(Stand)  # type: ignore[arg-type]
    yield found
    found.close()
    found.join(PATIENCE)


def held(release: threading.Event) -> tuple[threading.Event, Any]:
    """A job that waits until it is released, and the event of its beginning."""
    begun = threading.Event()

    def run(engine: Any, job: Job) -> str:
        begun.set()
        release.wait(PATIENCE)
        return job.id

    return begun, run


def until_stopped(engine: Any, job: Job) -> None:
    assert engine.stop.wait(PATIENCE)
    raise Interrupted


def test_jobs_are_done_in_their_order_by_one_thread(work: Work) -> None:
    seen: list[tuple[int, str]] = []
    jobs = [work.submit("x", lambda e, j, k=k: seen.append((k, threading.current_thread().name))) for k in range(20)]
    for job in jobs:
        job.future.result(PATIENCE)
    assert [number for number, _ in seen] == list(range(20)) and {name for _, name in seen} == {"hires-work"}


def test_a_job_that_fails_leaves_the_next_alone(work: Work) -> None:
    def mistaken(engine: Any, job: Job) -> None:
        raise SettingError("steps must be 1 or more")

    def broken(engine: Any, job: Job) -> None:
        raise ZeroDivisionError

    jobs = [work.submit("x", run) for run in (mistaken, broken, lambda e, j: 5)]
    assert isinstance(jobs[0].future.exception(PATIENCE), SettingError)
    assert isinstance(jobs[1].future.exception(PATIENCE), ZeroDivisionError)
    assert jobs[2].future.result(PATIENCE) == 5


def test_an_engine_that_cannot_be_made_is_tried_again() -> None:
    tries: list[int] = []

    def make(stop: threading.Event) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise SettingError("device 'cuda:9' is not there")
        return Stand(stop)

    work = Work(make)
    assert isinstance(work.submit("x", lambda e, j: 1).future.exception(PATIENCE), SettingError)
    assert work.submit("x", lambda e, j: 2).future.result(PATIENCE) == 2
    work.close()


def test_an_interruption_ends_the_job_that_runs_and_no_other(work: Work) -> None:
    first, second = work.submit("x", until_stopped), work.submit("x", lambda e, j: e.stop.is_set())
    while work.current is not first:
        pass
    work.interrupt()
    assert isinstance(first.future.exception(PATIENCE), HiresError) and first.interrupted
    assert second.future.result(PATIENCE) is False, "the next job begins unstopped"
    work.interrupt()
    work.skip()
    assert work.submit("x", lambda e, j: e.stop.is_set()).future.result(PATIENCE) is False, "nothing ran"


def test_a_skip_ends_a_batch_and_the_job_goes_on(work: Work) -> None:
    begun = threading.Event()

    def run(engine: Any, job: Job) -> tuple[bool, bool]:
        begun.set()
        assert engine.stop.wait(PATIENCE)
        return work.go_on(job), engine.stop.is_set()

    job = work.submit("x", run)
    assert begun.wait(PATIENCE)
    work.skip()
    assert job.future.result(PATIENCE) == (True, False)
    assert not work.go_on(job), "once"


def test_the_end_answers_those_that_wait() -> None:
    work, release = Work(Stand), threading.Event()  # type: ignore[arg-type]
    begun, run = held(release)
    running, waiting = work.submit("x", run), work.submit("x", lambda e, j: 1)
    assert begun.wait(PATIENCE)
    work.close()
    assert isinstance(waiting.future.exception(PATIENCE), Busy)
    with pytest.raises(Busy):
        work.submit("x", lambda e, j: 1)
    release.set()
    assert running.future.result(PATIENCE) == running.id
    work.join(PATIENCE)


def test_the_queue_is_bounded(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MOST_WAITING", 3)
    release = threading.Event()
    begun, run = held(release)
    work.submit("x", run)
    assert begun.wait(PATIENCE)
    named = [work.submit("x", lambda e, j: 1, id=f"job {number}") for number in range(3)]
    assert [job.id for job in work.waiting()] == ["job 0", "job 1", "job 2"]
    with pytest.raises(Busy, match="wait already"):
        work.submit("x", lambda e, j: 1)
    release.set()
    assert named[-1].future.result(PATIENCE) == 1


def test_finished_jobs_are_remembered_by_name(work: Work) -> None:
    job = work.submit("txt2img", lambda e, j: 1)
    job.future.result(PATIENCE)
    assert job.id.startswith("task(txt2img-") and len(job.id) == len("task(txt2img-XXXXXXX)")
    work.submit("x", lambda e, j: 1).future.result(PATIENCE)
    assert work.is_finished(job.id) and not work.is_finished("another")


def test_progress_never_goes_back_and_ends_at_one() -> None:
    job = Job("a", "x", lambda e, j: None, parts=2, started=0.0)
    shown = [job.progress]
    for part in range(2):
        for step in range(1, 5):
            job(NodeProgress("3", step, 4))
            shown.append(job.progress)
        job(NodeProgress("9", 1, 10))  # a decoder's tiles count anew
        shown.append(job.progress)
        job(NodeFinished("3", "KSampler", "3", "computed"))
        assert job.done == 1, part
    assert shown == sorted(shown) and shown[0] == 0.01 and shown[-1] == 1.0
    assert shown[2] == pytest.approx(0.01 + 2 / 4 / 2)


def test_a_future_that_is_late_is_only_that(work: Work) -> None:
    release = threading.Event()
    begun, run = held(release)
    job = work.submit("x", run)
    assert begun.wait(PATIENCE)
    with pytest.raises(Late):
        job.future.result(0)
    assert not job.future.cancel(), "a job that runs cannot be taken away"
    release.set()
    assert job.future.result(PATIENCE) == job.id


def test_a_grid_is_not_far_before_its_cells_are_counted() -> None:
    job = Job("id", "title", lambda engine, job: None)
    job.by_cells = True
    job(NodeProgress("1", 20, 20))
    assert job.progress == 0.01
    job.parts, job.done = 30, 1
    job(NodeProgress("1", 10, 20))
    assert job.progress == pytest.approx(0.01 + 1.5 / 30)
