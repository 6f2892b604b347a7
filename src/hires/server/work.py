"""Jobs, done one after the other by one thread over one engine; what they have come to, and how to stop them."""

from __future__ import annotations

import bisect
import logging
import secrets
import string
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hires.errors import HiresError, Interrupted
from hires.graph.report import Event, NodeFinished, NodeProgress

if TYPE_CHECKING:
    from hires.api import Engine

log = logging.getLogger("hires.server")
MOST_WAITING = 1000
FINISHED_REMEMBERED = 100
PASSES = ("KSampler", "KSamplerAdvanced", "HiresSDUpscale", "HiresUltimateUpscale")
"""Nodes whose end is the end of a sampling pass."""


class Postponed(Exception):  # noqa: N818 - no error
    """A job is not over: it was held back, or waits again. Nobody is answered yet."""


class Busy(HiresError):  # noqa: N818 - said to a client
    """The server takes no job: too many wait, or it is being shut down."""


@dataclass
class Job:
    """One request on its way. Written by the thread that works, read by those that answer.

    parts is the number of passes it is made of; done those that are over.
    """

    id: str
    title: str
    run: Callable[[Engine, Job], Any]
    future: Future[Any] = field(default_factory=Future)
    stamp: str = field(default_factory=lambda: time.strftime("%Y%m%d%H%M%S"))
    started: float = 0.0
    parts: int = 1
    done: int = 0
    step: int = 0
    steps: int = 0
    beside: float = 0.0
    """What other parts than the present one have come to that are drawn at the same time, in parts."""
    interrupted: bool = False
    skipped: bool = False
    preview: Any = None
    """The clean latent that was predicted last, (batch, 4, height/8, width/8), at the model's scale."""
    preview_number: int = -1
    model: str = ""
    family: str = "sd1"
    """The checkpoint and its family, by whose colours a preview is drawn."""
    by_cells: bool = False
    """Whether its parts are counted by the cells of a grid."""
    files: list[dict[str, Any]] = field(default_factory=list)
    """What was written so far, as the nodes that save tell it."""
    number: float = 0.0
    """Its place in the queue: the least is done first."""
    priority: int = 0
    """Of the jobs of more priority all are done before those of less."""
    lasts: bool = False
    """Whether it outlives the process. Only those that do are held back with the queue."""
    put_off: bool = False
    """Whether it is stopped in order to go on later."""
    ended: Callable[[], None] | None = None
    """Called once the job is over and no longer counted."""
    heard: Callable[[], None] | None = None
    """Called, in the thread that works, after each step."""
    _shown: float = 0.0

    def __call__(self, event: Event) -> None:
        """Taken as the `on_event` of the engine's runs."""
        if isinstance(event, NodeProgress):
            self.step, self.steps = event.value, max(event.total, 1)
            if event.preview is not None:
                self.preview, self.preview_number = event.preview, self.preview_number + 1
        elif isinstance(event, NodeFinished):
            if event.ui is not None:
                self.files += [entry for entry in event.ui.get("images", []) if entry.get("type") == "output"]
            if event.class_type in PASSES and not self.by_cells:
                self.done = min(self.done + 1, self.parts - 1)
                self.step = 0
        if self.heard is not None:
            self.heard()

    @property
    def progress(self) -> float:
        """0 to 1, and never less than it was."""
        self._shown = max(self._shown, min(1.0, 0.01 + (self.come_to + self.beside) / max(self.parts, 1)))
        return self._shown

    @property
    def come_to(self) -> float:
        """The parts that are over, and the share of the present one; of a grid, how many there are is told with the
        first cell that is drawn."""
        if self.by_cells and self.parts == 1:
            return float(self.done)
        return self.done + (min(self.step / self.steps, 1.0) if self.steps else 0.0)

    @property
    def seconds_left(self) -> float:
        """By what has been done so far."""
        elapsed = time.monotonic() - self.started
        return elapsed / self.progress - elapsed


class Work:
    """The queue and its thread. `make` builds the engine, in that thread, when the first job needs it."""

    def __init__(self, make: Callable[[threading.Event], Engine]) -> None:
        self._make = make
        self._engine: Engine | None = None
        self._stop = threading.Event()
        self._lock = threading.Condition()
        self._waiting: list[Job] = []
        self._making = threading.Lock()
        self.watchers: list[Callable[[], None]] = []
        """Called, in any thread, whenever the number of jobs has changed or one has begun."""
        self._closed = False
        self.choosing: AbstractContextManager[Any] = nullcontext()
        """Held while the next job is chosen: who holds it can add one that is seen by the next choice."""
        self.held = ""
        """Why no job that outlives the process is begun; "" where they are."""
        self._finished: OrderedDict[str, bool] = OrderedDict()
        self._counter = 0
        self.current: Job | None = None
        self._thread = threading.Thread(target=self._work, name="hires-work", daemon=True)
        self._thread.start()

    @property
    def engine(self) -> Engine | None:
        """The engine, if a job has needed it."""
        return self._engine

    def ready(self) -> Engine:
        """The engine, made in the thread that asks where there is none yet."""
        with self._making:
            if self._engine is None:
                self._engine = self._make(self._stop)
            return self._engine

    def next_number(self) -> int:
        """The number of the next job, counted up from 0."""
        with self._lock:
            self._counter += 1
            return self._counter - 1

    def submit(
        self,
        title: str,
        run: Callable[[Engine, Job], Any],
        id: str | None = None,
        *,
        number: float | None = None,
        priority: int = 0,
        lasts: bool = False,
        future: Future[Any] | None = None,
        ended: Callable[[], None] | None = None,
    ) -> Job:
        """Put a job behind those of its number and less; without one, behind all that were given none. Busy.

        `future` is that of a job that was postponed.
        """
        if number is None:
            number = self.next_number()
        with self._lock:
            if self._closed:
                raise Busy("the server is being shut down")
            if future is None and len(self._waiting) >= MOST_WAITING:
                raise Busy(f"{MOST_WAITING} jobs wait already", "Try again later.")
            job = Job(id or new_id(title), title, run, number=number, priority=priority, lasts=lasts, ended=ended)
            job.future = future or job.future
            bisect.insort_right(self._waiting, job, key=_place)
            self._lock.notify_all()
        self._tell()
        return job

    def remove(self, ids: Collection[str]) -> list[str]:
        """Take jobs that wait out of the queue; the ids of those that did."""
        with self._lock:
            removed = [job for job in self._waiting if job.id in ids]
            self._waiting = [job for job in self._waiting if job.id not in ids]
        for job in removed:
            job.future.cancel()
        if removed:
            self._tell()
        return [job.id for job in removed]

    def take_out(self, id: str) -> Job | None:
        """Take a job that waits out of the queue, without a word to who waits for it."""
        with self._lock:
            found = next((job for job in self._waiting if job.id == id), None)
            if found is not None:
                self._waiting.remove(found)
        self._tell()
        return found

    def place(self, places: Mapping[str, tuple[int, float]]) -> None:
        """Give jobs that wait other priorities and numbers, by their ids."""
        with self._lock:
            for job in self._waiting:
                job.priority, job.number = places.get(job.id, (job.priority, job.number))
            self._waiting.sort(key=_place)
        self._tell()

    def count_from(self, number: int) -> None:
        """Let the numbers that are given from now on be above those of an earlier process."""
        with self._lock:
            self._counter = max(self._counter, number)

    def hold(self, why: str) -> None:
        """Begin no job that outlives the process until `go`; the one that runs goes on."""
        with self._lock:
            self.held = why
        self._tell()

    def go(self) -> None:
        """Begin jobs again."""
        with self._lock:
            self.held = ""
            self._lock.notify_all()
        self._tell()

    @property
    def is_closed(self) -> bool:
        """Whether nothing is begun any more."""
        return self._closed

    def wait_to_go(self) -> bool:
        """In the thread that works: wait until the queue is no longer held; False where it was closed instead."""
        with self._lock:
            while self.held and not self._closed:
                self._lock.wait()
            return not self._closed

    @property
    def remaining(self) -> int:
        """The jobs that wait and the one that runs."""
        with self._lock:
            return len(self._waiting) + (self.current is not None)

    def waiting(self) -> list[Job]:
        """The jobs that have not begun, the next one first."""
        with self._lock:
            return list(self._waiting)

    def is_finished(self, id: str) -> bool:
        """Whether a job of that name ended lately."""
        with self._lock:
            return id in self._finished

    def interrupt(self, id: str | None = None, *, put_off: bool = False) -> bool:
        """End the job that runs, if it is the one of that id, at its next step; to go on later where it is put off.
        Whether it was."""
        with self._lock:
            if self.current is None or id not in (None, self.current.id):
                return False
            self.current.interrupted = True
            self.current.put_off = put_off
            self._stop.set()
            return True

    def skip(self) -> None:
        """End the batch that runs at its next step; the job goes on with the next one."""
        with self._lock:
            if self.current is not None:
                self.current.skipped = True
                self._stop.set()

    def go_on(self, job: Job) -> bool:
        """After a stop: whether only a batch was skipped, so that the next one is due."""
        with self._lock:
            if job.interrupted or not job.skipped:
                return False
            job.skipped = False
            self._stop.clear()
            return True

    def close(self) -> None:
        """Stop the job that runs and give up those that wait. Returns at once."""
        with self._lock:
            self._closed = True
            abandoned = list(self._waiting)
            self._waiting.clear()
            if self.current is not None:
                self.current.put_off = self.current.put_off or not self.current.interrupted
                self.current.interrupted = True
                self._stop.set()
            self._lock.notify_all()
        for job in abandoned:
            if not job.future.done():
                job.future.set_exception(Busy("the server was shut down before this job began"))

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended."""
        self._thread.join(seconds)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job.future.set_result(job.run(self.ready(), job))
            except Postponed:
                pass
            except Interrupted:
                job.future.set_exception(HiresError("the job was interrupted before anything was finished"))
            except BaseException as error:
                if not isinstance(error, HiresError):
                    log.error("job %s failed", job.id, exc_info=error)
                job.future.set_exception(error)
            finally:
                self._end(job)

    def _next(self) -> Job | None:
        while True:
            with self._lock:
                while self._first() is None and not self._closed:
                    self._lock.wait()
                if self._closed:
                    return None
            with self.choosing, self._lock:
                job = self._first()
                if job is None or self._closed:  # it was taken away meanwhile
                    continue
                self.current = job
                self._waiting.remove(job)
                job.started = time.monotonic()
                if not job.future.running():
                    job.future.set_running_or_notify_cancel()
                self._stop.clear()
            self._tell()
            return job

    def _first(self) -> Job | None:
        return next((job for job in self._waiting if not (self.held and job.lasts)), None)

    def _end(self, job: Job) -> None:
        with self._lock:
            self.current = None
            self._finished[job.id] = True
            while len(self._finished) > FINISHED_REMEMBERED:
                self._finished.popitem(last=False)
        self._tell()
        if job.ended is not None:
            job.ended()

    def _tell(self) -> None:
        for watcher in self.watchers:
            watcher()


def _place(job: Job) -> tuple[int, float]:
    return -job.priority, job.number


def new_id(title: str) -> str:
    """A name for a job, as the web UI makes them."""
    letters = "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(7))
    return f"task({title}-{letters})"
