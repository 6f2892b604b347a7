"""Jobs, done one after the other by one thread over one engine; what they have come to, and how to stop them."""

from __future__ import annotations

import logging
import secrets
import string
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
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

    @property
    def progress(self) -> float:
        """0 to 1, and never less than it was."""
        share = min(self.step / self.steps, 1.0) if self.steps else 0.0
        self._shown = max(self._shown, min(1.0, 0.01 + (self.done + share) / max(self.parts, 1)))
        return self._shown

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
        self._waiting: deque[Job] = deque()
        self._closed = False
        self._finished: OrderedDict[str, bool] = OrderedDict()
        self._counter = 0
        self.current: Job | None = None
        self._thread = threading.Thread(target=self._work, name="hires-work", daemon=True)
        self._thread.start()

    @property
    def engine(self) -> Engine | None:
        """The engine, if a job has needed it."""
        return self._engine

    def submit(self, title: str, run: Callable[[Engine, Job], Any], id: str | None = None) -> Job:
        """Put a job behind the others. Busy."""
        with self._lock:
            if self._closed:
                raise Busy("the server is being shut down")
            if len(self._waiting) >= MOST_WAITING:
                raise Busy(f"{MOST_WAITING} jobs wait already", "Try again later.")
            job = Job(id or f"task({title}-{_letters(7)})", title, run)
            self._waiting.append(job)
            self._lock.notify_all()
            return job

    def waiting(self) -> list[Job]:
        """The jobs that have not begun, the next one first."""
        with self._lock:
            return list(self._waiting)

    def is_finished(self, id: str) -> bool:
        """Whether a job of that name ended lately."""
        with self._lock:
            return id in self._finished

    def interrupt(self) -> None:
        """End the job that runs at its next step."""
        with self._lock:
            if self.current is not None:
                self.current.interrupted = True
                self._stop.set()

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
                self.current.interrupted = True
                self._stop.set()
            self._lock.notify_all()
        for job in abandoned:
            job.future.set_exception(Busy("the server was shut down before this job began"))

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended."""
        self._thread.join(seconds)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                if self._engine is None:
                    self._engine = self._make(self._stop)
                job.future.set_result(job.run(self._engine, job))
            except Interrupted:
                job.future.set_exception(HiresError("the job was interrupted before anything was finished"))
            except BaseException as error:
                if not isinstance(error, HiresError):
                    log.error("job %s failed", job.id, exc_info=error)
                job.future.set_exception(error)
            finally:
                self._end(job)

    def _next(self) -> Job | None:
        with self._lock:
            while not self._waiting and not self._closed:
                self._lock.wait()
            if self._closed:
                return None
            self.current = self._waiting.popleft()
            self.current.started = time.monotonic()
            self.current.future.set_running_or_notify_cancel()
            self._stop.clear()
            return self.current

    def _end(self, job: Job) -> None:
        with self._lock:
            self.current = None
            self._finished[job.id] = True
            while len(self._finished) > FINISHED_REMEMBERED:
                self._finished.popitem(last=False)


def _letters(count: int) -> str:
    return "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(count))
