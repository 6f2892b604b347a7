"""The desk: every request that draws is a job in the store before work starts, whatever door it came through.

The store says what there is to do and what came of it, and outlives the process; `Work` is the queue of this process
and its one thread. After a kill the next process puts the jobs that had not ended into its queue again.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hires.errors import HiresError, Interrupted, OutputError, is_disk_full
from hires.jobs.record import Job, JobError, State
from hires.jobs.store import SPACING, JobStore
from hires.jobs.table import sound
from hires.server.finished import OWN, PARTS, Finished, Shares
from hires.server.keeping import Kept
from hires.server.kind import Accepted, Kind, Live, Standing
from hires.server.room import Room
from hires.server.work import Busy, Postponed, Work, new_id
from hires.server.work import Job as Task
from hires.settings import Settings

if TYPE_CHECKING:
    from hires.api import Engine

log = logging.getLogger("hires.server")
Given = TypeVar("Given")
FARTHEST = 1 << 52
"""Positions of jobs lie between this and its negative, whatever number a client names."""
MOST_REMEMBERED = 10_000
SECONDS_BETWEEN_TIDYINGS = 600.0
TITLES = {"workflow": "prompt"}
"""What the web UI's routes call a job of a kind, where that is another word."""


class Desk:
    """The jobs of a server. Its methods may be called in any thread, but not in an event loop: they write to a disk."""

    def __init__(self, work: Work, settings: Settings) -> None:
        self.work, self.settings = work, settings
        self.folder = settings.jobs_dir
        self.kept = Kept(self.folder)
        self.kinds: dict[str, Kind] = {}
        self.clean: Callable[[str], str] = str
        """A text without the machine's paths."""
        self._watchers: list[Callable[[], None]] = []
        work.watchers.append(self.tell)
        self._room = Room([settings.output_dir, self.folder], self.go_on)
        self._lock = threading.RLock()
        work.choosing = self._lock
        self._store: JobStore | None = None
        self._closed = False
        self._tidied: float | None = None
        self._put_off: dict[str, Future[Any]] = {}
        """Of paused jobs: who waits for their answers."""

    # The store

    @property
    def store(self) -> JobStore:
        """The jobs; opened with the first look at it."""
        with self._lock:
            if self._store is None:
                self.open()
            assert self._store is not None
            return self._store

    def open(self) -> None:
        """Take the folder for this process, and put the jobs that have not ended into the queue.

        JobError where another process has it, OutputError where it cannot be written.
        """
        with self._lock:
            if self._closed:
                raise Busy("the server was shut down")
            if self._store is not None:
                return
            self._store = store = JobStore(self.folder)
            last = store.search(limit=1)
            waiting = [job for job in store.unended() if job.state is State.WAITING]
            places = [job.position // SPACING for job in waiting]
            self.work.count_from(max([last[0].number if last else -1, *places]) + 1)
            for job in waiting:
                self._enqueue(job, Future())
            self._tidy()

    def _tidy(self) -> None:
        """Let go of the oldest of the history, and of files that no job needs, from time to time."""
        if self._tidied is None or time.monotonic() - self._tidied > SECONDS_BETWEEN_TIDYINGS:
            self._tidied = time.monotonic()
            self.store.trim(MOST_REMEMBERED)
            self.kept.clean(self.store)

    def close(self) -> None:
        """Leave the folder to others. Jobs that have not ended stay; whoever waits for them is told."""
        self._room.close()
        with self._lock:
            for future in self._put_off.values():
                future.set_exception(Busy("the server was shut down", "The job goes on when it is started again."))
            self._put_off.clear()
            self._closed = True
            if self._store is not None:
                self._store.close()
                self._store = None

    # Jobs come

    def submit(
        self,
        kind: str,
        request: Mapping[str, Any],
        *,
        title: str = "",
        door: str = "",
        priority: int = 0,
        id: str | None = None,
    ) -> Job:
        """Check a request and put it into the queue: see `Kind`. HiresError, Busy."""
        accepted = self.accepted(kind, request)
        return self.enter(kind, accepted, title=title, door=door, priority=priority, id=id)[0]

    def accepted(self, kind: str, request: Mapping[str, Any]) -> Accepted:
        """A request that is fit to wait. HiresError."""
        if kind not in self.kinds:
            raise JobError(f"there are no jobs of the kind {kind!r}", f"There are: {', '.join(self.kinds)}.")
        return self.kinds[kind].accept(request)

    def enter(
        self,
        kind: str,
        accepted: Accepted,
        *,
        title: str = "",
        door: str = "",
        priority: int = 0,
        id: str | None = None,
        number: float | None = None,
        awaited: bool = False,
    ) -> tuple[Job, Future[Any]]:
        """Put a request that was checked into the queue, behind the others or at a number; and what will be its answer.

        What is not to be saved is let go of with an answer that is awaited; otherwise it is kept for a while. Busy,
        JobError.
        """
        if self.work.is_closed:
            raise Busy("the server is being shut down")
        number = self.work.next_number() if number is None else number
        id = sound(id or new_id(TITLES.get(kind, kind)))
        with self._lock:
            earlier = self.store.find(id)
            if earlier is not None:
                self.store.rename(id, f"{id}.{earlier.number}")
            job = self.store.add(
                kind,
                accepted.request,
                title=title,
                words=accepted.words,
                model=accepted.model,
                door=door,
                priority=priority,
                id=id,
                position=_position(number),
                notes=accepted.notes,
            )
            try:
                return job, self._enqueue(job, awaited=awaited).future
            except Busy:
                self.store.cancel(id)
                self.store.forget(id)
                raise

    def _enqueue(self, job: Job, future: Future[Any] | None = None, awaited: bool = False) -> Task:
        return self.work.submit(
            TITLES.get(job.kind, job.kind),
            partial(self._run, awaited=awaited),
            job.id,
            number=job.position / SPACING,
            priority=job.priority,
            lasts=True,
            future=future,
        )

    # Jobs are looked at

    def live(self, id: str) -> Live | None:
        """How far a job is, while it runs."""
        task = self.work.current
        if task is None or task.id != id:
            return None
        text = f"part {min(task.done + 1, task.parts)} of {task.parts}" if task.parts > 1 else ""
        return Live(task.progress, task.seconds_left, task.step, task.steps, text, task.preview_number)

    def preview(self, id: str) -> bytes | None:
        """The prediction that was made last of the job that runs, as a PNG."""
        task = self.work.current
        if task is None or task.id != id or task.preview is None:
            return None
        from hires.server.previews import preview_png

        return preview_png(task.preview, task.model, task.family)

    def unsaved(self, job: Job) -> list[Path]:
        """The pictures of a job that were not to be saved, as far as they are still kept."""
        folder = self.kept.made(job.id)
        names = [name for place in job.notes.get(PARTS, {}).values() for root, name in place if root == OWN]
        return [folder / name for name in names if (folder / name).is_file()]

    @property
    def state(self) -> Standing:
        """Whether jobs are begun."""
        why = self.work.held
        return Standing(bool(why), why, bool(why) and self._room.is_awaited)

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have a function called, in any thread, on each change; what is returned ends it."""
        self._watchers.append(callback)

        def end() -> None:
            if callback in self._watchers:
                self._watchers.remove(callback)

        return end

    # Jobs are stopped, and go on

    def cancel(self, id: str) -> None:
        """End a job that has not ended; one that runs ends at its next step. JobError."""
        if not self.withdraw(id) and not self.work.interrupt(id):
            self.store.cancel(id)

    def withdraw(self, id: str) -> bool:
        """End a job that waits or is paused; False where there is none of that id."""
        with self._lock:
            task = self.work.take_out(id)
            if task is None:
                job = self.store.find(id)
                if job is None or job.state is not State.PAUSED:
                    return False
            self.store.cancel(id)
            future = task.future if task is not None else self._put_off.pop(id, None)
        if future is not None and not future.done():
            future.set_exception(HiresError("the job was cancelled"))
        self.tell()
        return True

    def pause(self, id: str) -> None:
        """Hold a job back; one that runs stops at its next step, from which it will go on. JobError."""
        with self._lock:
            task = self.work.take_out(id)
            if task is None and self.work.interrupt(id, put_off=True):
                return
            self.store.pause(id)
            if task is not None:
                self._put_off[id] = task.future
        self.tell()

    def release(self, id: str) -> None:
        """Let a paused job wait again, at its place. JobError."""
        with self._lock:
            if self.store.get(id).state is not State.PAUSED:
                raise JobError(f"job {id} is not paused")
            self._enqueue(self.store.release(id), self._put_off.pop(id, None) or Future())

    def retry(self, id: str) -> None:
        """Let a job that failed or was cancelled wait again, behind the others; what it finished stays. JobError."""
        with self._lock:
            self._enqueue(self.store.retry(id, _position(self.work.next_number())))

    def move(self, id: str, before: str | None) -> None:
        """Put a waiting job before another that waits, or behind all of its priority. JobError."""
        with self._lock:
            self.store.move(id, before)
            self._reorder()

    def prioritise(self, id: str, priority: int) -> None:
        """Give a job another priority: more is done before less. JobError."""
        with self._lock:
            self.store.prioritise(id, priority)
            self._reorder()

    def _reorder(self) -> None:
        self.work.place({job.id: (job.priority, job.position / SPACING) for job in self.store.waiting()})

    def skip(self) -> None:
        """End the batch that runs; its job goes on with the next one."""
        self.work.skip()

    def hold(self, why: str = "paused") -> None:
        """Begin no job until `go_on`; the one that runs goes on."""
        self.work.hold(why)

    def go_on(self) -> None:
        """Begin jobs again."""
        self._room.give_up()
        if self.work.engine is not None and self.work.engine.kept is not None:
            self.work.engine.kept.try_again()
        self.work.go()

    def tell(self) -> None:
        """Call all that watch."""
        for watcher in list(self._watchers):
            watcher()

    # Jobs are done, in the thread that works

    def _run(self, engine: Engine, task: Task, awaited: bool) -> Any:
        """Do a job, and tell the store what came of it before anybody else hears of it."""
        with suppress(OutputError):  # it is told when it matters
            self._tidy()
        job = self.surely(lambda: self.store.begin(task.id))
        self.tell()
        finished = Finished(self.store, job, self.surely, self.settings.output_dir, self.kept.made(job.id))
        task.heard = Shares(lambda share: self.surely(lambda: self.store.advance(job.id, share)), task, job.share)
        try:
            if job.kind not in self.kinds:
                raise JobError(f"there are no jobs of the kind {job.kind!r}")
            outcome = self.kinds[job.kind].run(engine, task, job, finished)
        except Interrupted:
            if task.put_off:
                raise self._postponed(task, job) from None
            self.surely(lambda: self.store.cancel(job.id))
            raise
        except BaseException as error:
            if is_disk_full(error):
                raise self._without_room(task, job, error, awaited) from None
            text = self.clean(str(error)) if isinstance(error, HiresError) else f"a fault in hires: {error!r}"[:500]
            self.surely(lambda: self.store.fail(job.id, text))
            raise
        notes = outcome.notes
        if outcome.cut and task.put_off:
            self.surely(lambda: self.store.release(job.id))
        elif outcome.cut:
            self.surely(lambda: self.store.cancel(job.id, **notes))
        elif outcome.error:
            self.surely(lambda: self.store.fail(job.id, outcome.error, **notes))
        else:
            self.surely(lambda: self.store.finish(job.id, **notes))
        if awaited and not (outcome.cut and task.put_off):
            shutil.rmtree(finished.folder, ignore_errors=True)
        return outcome.answer

    def _postponed(self, task: Task, job: Job) -> Exception:
        """A job that was stopped in order to go on: paused, or left to the next process."""
        if self.work.is_closed:
            self.surely(lambda: self.store.release(job.id))
            return Busy("the server was shut down", "The job goes on when it is started again.")
        self._put_off[job.id] = task.future
        self.surely(lambda: self.store.pause(job.id))
        return Postponed()

    def _without_room(self, task: Task, job: Job, error: BaseException, awaited: bool) -> Exception:
        """A job that could not write waits again at its place, and the queue until there is room."""
        self._hold_for_room(error)
        try:
            self.surely(lambda: self.store.release(job.id))
            self._enqueue(job, task.future, awaited)
        except (Busy, OutputError):
            return Busy("the server was shut down", "The job goes on when it is started again.")
        return Postponed()

    def _hold_for_room(self, error: BaseException) -> None:
        what = self.clean(str(error)) if isinstance(error, HiresError) else "a file could not be written"
        log.warning("the queue waits for room: %s", error)
        self._room.wait()
        self.work.hold(f"The disk is full or cannot be written: {what} The queue goes on by itself when there is room.")

    def surely(self, change: Callable[[], Given]) -> Given:
        """In the thread that works: make a change of the store, if need be when there is room on its disk again."""
        while True:
            try:
                return change()
            except OutputError as error:
                if not is_disk_full(error):
                    raise
                self._hold_for_room(error)
                if not self.work.wait_to_go():
                    raise


def _position(number: float) -> int:
    return round(min(max(number * SPACING, -FARTHEST), FARTHEST))
