"""Workers as they are seen from here, over threads in the place of processes."""

from __future__ import annotations

import threading
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from tests.workers.threads import Actor, Threads

from hires.errors import Interrupted
from hires.graph.report import NodeProgress
from hires.workers.cluster import Cluster
from hires.workers.pool import Lane
from hires.workers.units import Done, RunUnit, Told

PATIENCE = 60


class Counting:
    """Does its units by counting until it is stopped, or to `steps`."""

    def __init__(self, steps: int) -> None:
        self.steps, self.stops, self.is_busy = steps, threading.Event(), False

    def do(self, number: int, unit: RunUnit) -> Done:
        assert not self.is_busy, "one unit at a time"
        self.is_busy = True
        self.stops.clear()
        self.number = number
        stopped = not self.steps and self.stops.wait(PATIENCE)
        self.is_busy = False
        return Done(None, Interrupted() if stopped else None, self._events(), "life")

    def told(self, number: int, since: int) -> Told:
        return Told("life", self._events()[since:])

    def stop(self, number: int) -> None:
        self.stops.set()

    def _events(self) -> tuple[NodeProgress, ...]:
        return tuple(NodeProgress("1", step, 3) for step in range(3))


def lane_over(bench: Counting) -> Lane:
    cluster = Cluster(cast(ModuleType, Threads()), 1, 1, 0.0, is_local=True, own_folder=Path("none"))
    return Lane(cluster, Actor(bench), iter(range(100)))


def test_every_event_is_heard_once() -> None:
    heard: list[Any] = []
    done = lane_over(Counting(3)).perform(RunUnit({}), on_event=heard.append)
    assert [event.value for event in (*heard, *done.events)] == [0, 1, 2]


def test_stopped_it_ends_as_interrupted() -> None:
    stop = threading.Event()
    heard: list[Any] = []

    def hear(event: Any) -> None:
        heard.append(event)
        stop.set()

    with pytest.raises(Interrupted):
        lane_over(Counting(0)).perform(RunUnit({}), stop=stop, on_event=hear)
    assert heard


def test_a_fault_of_who_hears_is_raised_when_the_worker_is_free_again() -> None:
    bench = Counting(0)
    lane = lane_over(bench)

    def fail(event: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        lane.perform(RunUnit({}), on_event=fail)
    assert not bench.is_busy
    bench.steps = 3
    assert lane.perform(RunUnit({})).error is None
