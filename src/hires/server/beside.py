"""The steps of a job in their order: one after the other, or several at once where there are workers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from hires.api import Engine
from hires.graph.report import Event
from hires.server.work import Job
from hires.workers.turns import KeptRuns, Place, Row

AHEAD = 2
"""Steps for each worker that are drawn, or wait to be handed on."""
SECONDS_BETWEEN_LOOKS = 0.1
AHEAD_FOLDER = "ahead"
"""Of what was finished before its turn, in the folder of what a job makes for itself."""
Draw = Callable[[Engine, Callable[[Event], None]], Sequence[Path]]


class OneByOne:
    """Each in the thread that works, when it is due."""

    def __init__(self, engine: Engine, job: Job, draws: Sequence[Draw]) -> None:
        self._engine, self._job, self._draws, self._ended = engine, job, draws, False

    def numbers(self) -> Iterator[int]:
        """The steps that are due, each when those before it are over."""
        for number in range(len(self._draws)):
            if self._ended:
                return
            yield number

    def draw(self, number: int) -> Sequence[Path]:
        """The files of a step. Raises why there are none; the job has then what it had come to."""
        self._job.files, self._job.preview = [], None
        return self._draws[number](self._engine, self._job)

    def end(self) -> None:
        """Begin no more steps."""
        self._ended = True

    def close(self) -> None:
        """Stop what still goes on: nothing."""


class Beside:
    """Several at once, each by a worker that is free. They are handed on in their order: what a step writes waits until
    those before it are over, on the disk, so that a kill costs none that was finished.

    The first that is not over is the one that the job shows, and that is skipped. `passes` are those of each step,
    `over` the steps that are not to be drawn.
    """

    def __init__(
        self,
        engine: Engine,
        job: Job,
        draws: Sequence[Draw],
        passes: Sequence[int],
        over: Collection[int],
        kept: KeptRuns,
    ) -> None:
        assert engine.workers is not None
        self._engine, self._job, self._over = engine, job, over
        self._row, self._lock, self._ended = Row(), threading.Lock(), False
        self._first, self._before, self._shown = 0, job.done, -1
        self._heard: set[int] = set()
        self._parts = [Job(job.id, job.title, job.run, parts=count + 1) for count in passes]
        self._places = [Place(self._row, number, kept) for number in range(len(draws))]
        ahead = AHEAD * len(engine.workers.lanes)
        self._threads = ThreadPoolExecutor(max_workers=ahead, thread_name_prefix="beside")
        self._drawn = {
            number: self._threads.submit(draw, engine.at(self._places[number]), self._hearing(number))
            for number, draw in enumerate(draws)
            if number not in over
        }

    def numbers(self) -> Iterator[int]:
        """As they are due; once they were ended, only those that were begun by then."""
        for number, place in enumerate(self._places):
            if self._ended and number not in self._over and number not in self._heard and not place.is_made:
                continue
            yield number
            place.leave()

    def draw(self, number: int) -> Sequence[Path]:
        """As OneByOne's."""
        job, part, drawn = self._job, self._parts[number], self._drawn[number]
        with self._lock:
            self._first, self._before, self._shown = number, job.done, -1
            job.files, job.preview = part.files, None
            self._show()
        self._row.reach(number)
        while not wait([drawn], SECONDS_BETWEEN_LOOKS).done:
            if self._engine.stop.is_set():
                for place in self._places if job.interrupted else [self._places[number]]:
                    place.stop.set()
            with self._lock:
                self._show()
            if job.heard is not None:
                job.heard()
        return drawn.result()

    def end(self) -> None:
        """Begin no more steps."""
        self._ended = True

    def close(self) -> None:
        """Stop what still goes on, and wait for its end."""
        self._row.close()
        for place in self._places:
            place.stop.set()
        self._threads.shutdown(cancel_futures=True)
        self._job.beside = 0.0

    def _hearing(self, number: int) -> Callable[[Event], None]:
        part = self._parts[number]

        def hear(event: Event) -> None:
            with self._lock:
                part(event)
                self._heard.add(number)
                self._show()

        return hear

    def _show(self) -> None:
        """Let the job say what its parts have come to."""
        job, first = self._job, self._parts[self._first]
        job.done = min(self._before + first.done, max(job.parts - 1, self._before))
        job.step, job.steps = first.step, first.steps
        later = zip(self._parts[self._first + 1 :], self._places[self._first + 1 :], strict=True)
        job.beside = sum(part.parts - 1 if place.is_made else part.come_to for part, place in later)
        if first.preview is not None and first.preview_number != self._shown:
            self._shown = first.preview_number
            job.preview, job.preview_number = first.preview, job.preview_number + 1


def drawing(
    engine: Engine,
    job: Job,
    draws: Sequence[Draw],
    passes: Sequence[int],
    over: Collection[int],
    kept: KeptRuns,
    *,
    is_apart: bool = True,
) -> OneByOne | Beside:
    """The steps as Beside draws them, where there are workers and several steps that know nothing of each other."""
    if engine.workers is None or len(draws) == 1 or not is_apart:
        return OneByOne(engine, job, draws)
    return Beside(engine, job, draws, passes, over, kept)
