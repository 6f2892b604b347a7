"""Jobs keep their order, their states and themselves, through closing, killing and full disks."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hires.errors import OutputError
from hires.jobs.record import FOLLOWS, Job, JobError, State
from hires.jobs.store import FILE, MOST_STARTS, JobStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    with JobStore(tmp_path) as store:
        yield store


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


def test_jobs_run_by_priority_then_in_the_order_they_came(store: JobStore) -> None:
    for name, priority in (("a", 0), ("b", 1), ("c", 0), ("d", 1)):
        store.add("txt2img", {"prompt": name}, id=name, priority=priority)
    assert ids(store.waiting()) == ["b", "d", "a", "c"]
    taken = [store.take() for _ in range(5)]
    assert [job and job.id for job in taken] == ["b", "d", "a", "c", None]
    assert store.get("b").request == {"prompt": "b"}
    assert store.get("b").state is State.RUNNING


def test_an_id_is_given_once(store: JobStore) -> None:
    store.add("txt2img", {}, id="a")
    with pytest.raises(JobError, match="already"):
        store.add("txt2img", {}, id="a")
    assert len(store.waiting()) == 1


def test_moving_before_another_takes_its_priority(store: JobStore) -> None:
    for name, priority in (("a", 2), ("b", 1), ("c", 0)):
        store.add("txt2img", {}, id=name, priority=priority)
    store.move("c", "b")
    assert ids(store.waiting()) == ["a", "c", "b"]
    assert store.get("c").priority == 1
    store.move("a", None)
    assert ids(store.waiting()) == ["a", "c", "b"]
    store.prioritise("a", 0)
    assert ids(store.waiting()) == ["c", "b", "a"]
    with pytest.raises(JobError, match="no job x waits"):
        store.move("a", "x")


def test_what_is_finished_is_told_once_and_never_less(store: JobStore) -> None:
    store.add("grid", {}, id="a")
    store.take()
    store.advance("a", 0.5, ["1.png", "2.png"], calls=7)
    job = store.advance("a", 0.25, ["2.png", "3.png"])
    assert (job.share, job.results, job.notes) == (0.5, ("1.png", "2.png", "3.png"), {"calls": 7})
    assert store.finish("a").share == 1.0
    with pytest.raises(JobError, match="not running"):
        store.advance("a", 1.0)


def test_a_retried_job_waits_behind_the_others_and_keeps_its_results(store: JobStore) -> None:
    store.add("txt2img", {}, id="a")
    store.take()
    with pytest.raises(JobError, match="is running and cannot be waiting"):
        store.retry("a")
    store.advance("a", 0.5, ["1.png"])
    assert store.fail("a", "no such model").error == "no such model"
    store.add("txt2img", {}, id="b")
    job = store.retry("a")
    assert (job.state, job.error, job.results, job.ended) == (State.WAITING, "", ("1.png",), None)
    assert ids(store.waiting()) == ["b", "a"]


def test_history_is_searched_by_words_state_and_model(store: JobStore) -> None:
    store.add("txt2img", {}, id="a", words="1girl, Beach, 100%_sure", model="dream")
    store.add("txt2img", {}, id="b", words="1girl, city", model="photo")
    store.cancel("b")
    assert ids(store.search("girl")) == ["b", "a"]
    assert ids(store.search("beach GIRL")) == ["a"]
    assert ids(store.search("0%_s")) == ["a"]
    assert ids(store.search("1_irl")) == []
    assert ids(store.search(states=[State.CANCELLED])) == ["b"]
    assert ids(store.search(model="dre")) == ["a"]
    assert ids(store.search(limit=1, offset=1)) == ["a"]
    assert store.counts()[State.CANCELLED] == 1


def test_only_ended_jobs_are_forgotten(store: JobStore) -> None:
    store.add("txt2img", {}, id="a")
    with pytest.raises(JobError, match="has not ended"):
        store.forget("a")
    store.cancel("a")
    store.forget("a")
    with pytest.raises(JobError, match="no job a"):
        store.get("a")


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with JobStore(tmp_path), pytest.raises(JobError, match="another hires server"):
        JobStore(tmp_path)
    JobStore(tmp_path).close()


def test_jobs_of_a_newer_layout_are_left_alone(tmp_path: Path) -> None:
    JobStore(tmp_path).close()
    base = sqlite3.connect(tmp_path / FILE)
    base.execute("pragma user_version = 99")
    base.close()
    with pytest.raises(JobError, match="newer"):
        JobStore(tmp_path)


def test_running_jobs_wait_again_at_their_place_after_a_death(tmp_path: Path) -> None:
    with JobStore(tmp_path) as store:
        for name in "abc":
            store.add("txt2img", {}, id=name)
        store.take()
        store.advance("a", 0.5, ["1.png"])
    with JobStore(tmp_path) as store:
        assert ids(store.waiting()) == ["a", "b", "c"]
        assert (store.get("a").results, store.get("a").share, store.get("a").starts) == (("1.png",), 0.5, 1)


def test_a_job_that_ends_the_program_each_time_is_given_up(tmp_path: Path) -> None:
    with JobStore(tmp_path) as store:
        store.add("txt2img", {}, id="a")
    for _ in range(MOST_STARTS):
        with JobStore(tmp_path) as store:
            assert store.take() is not None
    with JobStore(tmp_path) as store:
        assert store.take() is None
        assert f"{MOST_STARTS} times" in store.get("a").error


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path: Path, store: JobStore) -> None:
    store.add("txt2img", {}, id="a")
    pages = store._base.execute("pragma page_count").fetchone()[0]
    store._base.execute(f"pragma max_page_count = {pages}")
    with pytest.raises(OutputError, match="disk is full"):
        store.add("txt2img", {"prompt": "x" * 100_000}, id="b")
    store._base.execute(f"pragma max_page_count = {pages + 1000}")
    assert ids(store.waiting()) == ["a"]
    store.add("txt2img", {"prompt": "x" * 100_000}, id="b")
    assert ids(store.waiting()) == ["a", "b"]


ADD_AND_RUN = """
import sys
from pathlib import Path
from hires.jobs.store import JobStore
store = JobStore(Path(sys.argv[1]))
for number in range(10_000):
    print("added", store.add("txt2img", {"number": number}).id, flush=True)
    if number % 2:
        job = store.take()
        store.advance(job.id, 0.5, [f"{job.id}.png"])
        print("ended", store.finish(job.id).id, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 7, 40])
def test_what_was_told_survives_a_kill(tmp_path: Path, lines: int) -> None:
    child = subprocess.Popen([sys.executable, "-c", ADD_AND_RUN, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told = [child.stdout.readline().split() for _ in range(lines)]
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read()
    told += [line.split() for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    child.wait()
    child.stdout.close()
    with JobStore(tmp_path) as store:
        jobs = {job.id: job for job in store.search(limit=100_000)}
        added = [name for word, name in told if word == "added"]
        assert set(added) <= set(jobs) and len(jobs) <= len(added) + 1
        assert all(jobs[name].state is State.DONE for word, name in told if word == "ended")
        assert not any(job.state is State.RUNNING for job in jobs.values())
        numbers = sorted(job.request["number"] for job in jobs.values())
        assert numbers == list(range(len(numbers)))


class Queue(RuleBasedStateMachine):
    """The store beside a plain list of names in the order in which they wait."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = JobStore(Path(self.folder.name))
        self.states: dict[str, State] = {}
        self.order: list[str] = []  # of all jobs, whether they wait or not

    @rule()
    def add(self) -> None:
        name = str(len(self.states))
        self.store.add("txt2img", {}, id=name)
        self.states[name] = State.WAITING
        self.order.append(name)

    @rule()
    def take(self) -> None:
        job = self.store.take()
        waiting = self.waiting()
        assert (job and job.id) == (waiting[0] if waiting else None)
        if job is not None:
            self.states[job.id] = State.RUNNING

    @precondition(lambda self: self.states)
    @rule(data=st.data(), state=st.sampled_from(list(State)))
    def turn(self, data: st.DataObject, state: State) -> None:
        name = data.draw(st.sampled_from(sorted(self.states)))
        ways = {
            State.DONE: self.store.finish,
            State.FAILED: lambda id: self.store.fail(id, "broken"),
            State.CANCELLED: self.store.cancel,
            State.PAUSED: self.store.pause,
            State.WAITING: self.store.release,
        }
        if state not in ways:  # only take() makes a job run
            return
        if state in FOLLOWS[self.states[name]] and not (state is State.WAITING and self.states[name].has_ended):
            ways[state](name)
            self.states[name] = state
        else:
            with pytest.raises(JobError):
                ways[state](name)

    @precondition(lambda self: len(self.waiting()) > 1)
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        name, before = data.draw(st.permutations(self.waiting()))[:2]
        self.store.move(name, before)
        waiting = [other for other in self.waiting() if other != name]
        waiting.insert(waiting.index(before), name)
        places = [index for index, other in enumerate(self.order) if self.states[other] is State.WAITING]
        for place, other in zip(places, waiting, strict=True):
            self.order[place] = other

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = JobStore(Path(self.folder.name))
        for name, state in self.states.items():
            if state is State.RUNNING:
                starts = self.store.get(name).starts
                self.states[name] = State.FAILED if starts >= MOST_STARTS else State.WAITING

    @invariant()
    def agrees(self) -> None:
        assert ids(self.store.waiting()) == self.waiting()
        assert {job.id: job.state for job in self.store.search(limit=1000)} == self.states

    def waiting(self) -> list[str]:
        return [name for name in self.order if self.states[name] is State.WAITING]

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_no_number_of_a_client_is_too_large(store: JobStore) -> None:
    store.add("txt2img", {}, id="a")
    assert store.history("txt2img", 10**30, 10**30) == []
    assert ids(store.search(limit=10**30)) == ["a"] and store.search(offset=10**30) == []
