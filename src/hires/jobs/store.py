"""The queue and its history in one SQLite file, which outlives the process that works on it.

Every change is one transaction that is on the disk when the call returns, so that after a kill or a power cut each job
is in the state that was last told: none is lost, none is there twice, and what was running waits again at its place.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from hires.errors import OutputError
from hires.jobs.record import ENDED, FOLLOWS, Job, JobError, State
from hires.jobs.table import COLUMNS, TABLE, bounded, job_of, plain, sound

FILE, LOCK = "jobs.sqlite", "jobs.lock"
LAYOUT = 1
MOST_STARTS = 5
"""A job that was running each time so many processes died is not begun again: it may be what killed them."""
SPACING = 1 << 20
"""Between the positions of two jobs that were added one after the other: room to move others between them."""


class JobStore:
    """The jobs of one data folder, which one process may hold at a time. Calls are safe from any thread.

    Opening it puts jobs that were running when the last process ended back among those that wait, at their place.
    JobError where another process holds the folder or the file is of a newer layout; OutputError where it cannot be
    written.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._mutex = threading.RLock()
        self._lock = FileLock(folder / LOCK)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise JobError(
                f"another hires server works with the folder {folder}", "Stop it, or give this one another --data-dir."
            ) from None
        except OSError as error:
            raise OutputError(f"the jobs folder {folder} cannot be written: {error.strerror}") from error
        try:
            self._base = sqlite3.connect(folder / FILE, isolation_level=None, check_same_thread=False)
            self._base.execute("pragma journal_mode = wal")
            self._base.execute("pragma synchronous = full")
            self._lay_out(folder)
            self._go_on()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave the folder to others. Jobs stay as they are."""
        with self._mutex:
            self._base.close()
            self._lock.release()

    def add(
        self,
        kind: str,
        request: Mapping[str, Any],
        *,
        title: str = "",
        words: str = "",
        model: str = "",
        door: str = "",
        priority: int = 0,
        id: str | None = None,
        position: int | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> Job:
        """Put a job behind those of its priority, or at a position. JobError if one of that id is there."""
        id = sound(id or uuid.uuid4().hex)
        texts = (sound(kind), sound(title or kind), json.dumps(request), sound(words), sound(model), sound(door))
        values = (id, *texts, priority)
        with self._writing() as base:
            if position is None:
                position = (base.execute("select max(position) from jobs").fetchone()[0] or 0) + SPACING
            try:
                base.execute(
                    "insert into jobs "
                    "(id, kind, title, request, words, model, door, priority, position, state, made, notes) "
                    "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*values, position, State.WAITING, self._clock(), json.dumps(dict(notes or {}))),
                )
            except sqlite3.IntegrityError:
                raise JobError(f"there is a job {id} already") from None
            return self._get(id)

    def get(self, id: str) -> Job:
        """The job of an id. JobError."""
        with self._mutex:
            return self._get(id)

    def waiting(self) -> list[Job]:
        """The jobs that wait, the next one first."""
        with self._mutex:
            return self._select("where state = ? order by priority desc, position", (State.WAITING,))

    def take(self) -> Job | None:
        """The next job, which runs from now on; None when none waits."""
        with self._writing():
            found = self._select("where state = ? order by priority desc, position limit 1", (State.WAITING,))
            return self.begin(found[0].id) if found else None

    def begin(self, id: str) -> Job:
        """Let a waiting job run from now on."""
        with self._writing() as base:
            job = self._turn(id, State.RUNNING)
            base.execute(
                "update jobs set begun = ?, starts = ? where id = ?",
                (self._clock() if job.begun is None else job.begun, job.starts + 1, id),
            )
            return self._get(id)

    def advance(self, id: str, share: float, results: Iterable[str] = (), **notes: Any) -> Job:
        """Tell how much of a running job is done (0..1), and which further files are finished."""
        with self._writing() as base:
            job = self._get(id)
            if job.state is not State.RUNNING:
                raise JobError(f"job {id} is not running, but {job.state}")
            added = [name for name in results if name not in job.results]
            moved = bool(added) or share > job.share
            base.execute(
                "update jobs set share = ?, results = ?, notes = ?, starts = ? where id = ?",
                (
                    min(max(share, job.share), 1.0),
                    json.dumps([*job.results, *added]),
                    json.dumps({**job.notes, **notes}),
                    min(job.starts, 1) if moved else job.starts,  # it is not what kills the process
                    id,
                ),
            )
            return self._get(id)

    def note(self, id: str, **notes: Any) -> Job:
        """Add to the notes of a job in any state."""
        with self._writing() as base:
            job = self._get(id)
            base.execute("update jobs set notes = ? where id = ?", (json.dumps({**job.notes, **notes}), id))
            return self._get(id)

    def rename(self, id: str, other: str) -> Job:
        """Give a job that has ended another id, so that its own is free. JobError."""
        with self._writing() as base:
            job = self._get(id)
            if not job.state.has_ended:
                raise JobError(f"there is a job {id} already, and it is {job.state}")
            base.execute("update jobs set id = ? where id = ?", (other, id))
            return self._get(other)

    def finish(self, id: str, **notes: Any) -> Job:
        """End a running job well."""
        return self._turn(id, State.DONE, notes=notes, share=1.0)

    def fail(self, id: str, error: str, **notes: Any) -> Job:
        """End a running job with what went wrong."""
        return self._turn(id, State.FAILED, notes=notes, error=sound(error))

    def cancel(self, id: str, **notes: Any) -> Job:
        """End a job that has not ended; whoever runs it must stop it."""
        return self._turn(id, State.CANCELLED, notes=notes)

    def pause(self, id: str) -> Job:
        """Hold a job back; whoever runs it must stop it. What it has finished stays."""
        return self._turn(id, State.PAUSED)

    def release(self, id: str) -> Job:
        """Let a paused job wait again, at its place; also one whose process is being closed."""
        return self._turn(id, State.WAITING, of=(State.PAUSED, State.RUNNING))

    def retry(self, id: str, position: int | None = None) -> Job:
        """Let a job that failed or was cancelled wait again, behind the others or at a position. What it had finished
        stays."""
        with self._writing() as base:
            job = self._turn(id, State.WAITING, of=(State.FAILED, State.CANCELLED), error="", starts=0)
            if position is None:
                position = base.execute("select max(position) from jobs").fetchone()[0] + SPACING
            base.execute("update jobs set position = ?, ended = null where id = ?", (position, job.id))
            return self._get(id)

    def prioritise(self, id: str, priority: int) -> Job:
        """Give a job another priority."""
        with self._writing() as base:
            self._get(id)
            base.execute("update jobs set priority = ? where id = ?", (priority, id))
            return self._get(id)

    def move(self, id: str, before: str | None) -> None:
        """Put a waiting job before another that waits, whose priority it takes; behind all of its own without one."""
        with self._writing() as base:
            job, order = self._get(id), self.waiting()
            if job.state is not State.WAITING:
                raise JobError(f"job {id} does not wait, but is {job.state}")
            rest = [other for other in order if other.id != id]
            if before is None:
                place = len([other for other in rest if other.priority >= job.priority])
                priority = job.priority
            else:
                places = [index for index, other in enumerate(rest) if other.id == before]
                if not places:
                    raise JobError(f"no job {before} waits")
                place, priority = places[0], rest[places[0]].priority
            rest.insert(place, job)
            base.execute("update jobs set priority = ? where id = ?", (priority, id))
            positions = sorted(other.position for other in rest)
            base.executemany(
                "update jobs set position = ? where id = ?",
                [(position, other.id) for position, other in zip(positions, rest, strict=True)],
            )

    def search(
        self,
        words: str = "",
        *,
        states: Iterable[State] = tuple(State),
        model: str = "",
        kind: str = "",
        since: float = 0.0,
        until: float = float("inf"),
        limit: int = 50,
        offset: int = 0,
    ) -> list[Job]:
        """Jobs whose words or title hold all the given words, whatever their case; the newest first."""
        states = list(states)
        tests = [f"state in ({', '.join('?' * len(states))})", "made >= ?", "made <= ?"]
        values: list[Any] = [*states, since, until]
        for word in words.split():
            tests.append("(words || ' ' || title) like ? escape '\\'")
            values.append(f"%{plain(sound(word))}%")
        if model:
            tests.append("model like ? escape '\\'")
            values.append(f"%{plain(sound(model))}%")
        if kind:
            tests.append("kind = ?")
            values.append(sound(kind))
        where = f"where {' and '.join(tests)} order by number desc limit ? offset ?"
        with self._mutex:
            return self._select(where, (*values, bounded(limit), bounded(offset)))

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        with self._mutex:
            found = dict(self._base.execute("select state, count(*) from jobs group by state").fetchall())
            return {state: found.get(state, 0) for state in State}

    def history(self, kind: str, limit: int = -1, offset: int = 0, newest: bool = False) -> list[Job]:
        """Jobs of a kind that were begun and have ended, in the order they did; with `newest` counted from the end."""
        order = "desc" if newest else "asc"
        where = (
            f"where kind = ? and state in ({', '.join('?' * len(ENDED))}) and begun is not null "
            f"order by ended {order}, number {order} limit ? offset ?"
        )
        with self._mutex:
            found = self._select(where, (kind, *sorted(ENDED), bounded(limit), bounded(offset)))
        return found[::-1] if newest else found

    def find(self, id: str) -> Job | None:
        """The job of an id, if there is one."""
        with self._mutex:
            return next(iter(self._select("where id = ?", (sound(id),))), None)

    def unended(self) -> list[Job]:
        """The jobs that wait, run or are paused, in the order in which they are run."""
        states = [state for state in State if state not in ENDED]
        with self._mutex:
            return self._select("where state in (?, ?, ?) order by priority desc, position", states)

    def order(self) -> list[tuple[str, State]]:
        """The ids and states of the jobs that have not ended, in the order in which they are run."""
        marks = ", ".join("?" * len(ENDED))
        text = f"select id, state from jobs where state not in ({marks}) order by priority desc, position"
        with self._mutex:
            return [(id, State(state)) for id, state in self._base.execute(text, sorted(ENDED))]

    def waiting_bytes(self, kind: str) -> int:
        """How large the requests of a kind are together that have not ended."""
        tests = f"kind = ? and state not in ({', '.join('?' * len(ENDED))})"
        with self._mutex:
            found = self._base.execute(
                f"select sum(length(request)) from jobs where {tests}", (kind, *sorted(ENDED))
            ).fetchone()
            return int(found[0] or 0)

    def trim(self, most: int) -> int:
        """Take the oldest jobs that have ended out of the history, beyond so many. How many they were."""
        marks = ", ".join("?" * len(ENDED))
        with self._writing() as base:
            return base.execute(
                f"delete from jobs where state in ({marks}) and number not in "
                f"(select number from jobs where state in ({marks}) order by ended desc limit ?)",
                (*sorted(ENDED), *sorted(ENDED), most),
            ).rowcount

    def forget(self, id: str) -> None:
        """Take a job that has ended out of the history. Its files stay."""
        with self._writing() as base:
            job = self._get(id)
            if not job.state.has_ended:
                raise JobError(f"job {id} has not ended, it is {job.state}", "Cancel it first.")
            base.execute("delete from jobs where id = ?", (id,))

    def forget_all(self, kind: str, ids: Collection[str] | None = None) -> None:
        """Take the jobs of a kind that have ended out of the history: those of some ids, or all for None."""
        marks = ", ".join("?" * len(ENDED))
        with self._writing() as base:
            found = base.execute(f"select id from jobs where kind = ? and state in ({marks})", (kind, *sorted(ENDED)))
            chosen = [(id,) for (id,) in found.fetchall() if ids is None or id in ids]
            base.executemany("delete from jobs where id = ?", chosen)

    def _turn(
        self,
        id: str,
        state: State,
        of: Iterable[State] = tuple(State),
        notes: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> Job:
        with self._writing() as base:
            job = self._get(id)
            if state not in FOLLOWS[job.state] or job.state not in of:
                raise JobError(f"job {id} is {job.state} and cannot be {state}")
            if notes:
                values["notes"] = json.dumps({**job.notes, **notes})
            if state in ENDED:
                values["ended"] = self._clock()
            values["state"] = state
            names = ", ".join(f"{name} = ?" for name in values)
            base.execute(f"update jobs set {names} where id = ?", (*values.values(), id))
            return self._get(id)

    def _get(self, id: str) -> Job:
        found = self._select("where id = ?", (sound(id),))
        if not found:
            raise JobError(f"there is no job {id}")
        return found[0]

    def _select(self, where: str, values: Iterable[Any]) -> list[Job]:
        rows = self._base.execute(f"select {COLUMNS} from jobs {where}", tuple(values)).fetchall()
        return [job_of(row) for row in rows]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, which a nested call joins."""
        with self._mutex:
            if self._base.in_transaction:
                yield self._base
                return
            self._base.execute("begin immediate")
            try:
                yield self._base
                self._base.execute("commit")
            except BaseException as error:
                if self._base.in_transaction:
                    self._base.execute("rollback")
                if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
                    raise OutputError("the disk is full: the queue could not be written", "Make room.") from error
                raise

    def _lay_out(self, folder: Path) -> None:
        version = self._base.execute("pragma user_version").fetchone()[0]
        if version > LAYOUT:
            raise JobError(f"the jobs in {folder} are of a newer hires", "Update, or give another --data-dir.")
        if version == 0:
            with self._writing() as base:
                for statement in TABLE.split(";"):
                    base.execute(statement)
                base.execute(f"pragma user_version = {LAYOUT}")

    def _go_on(self) -> None:
        with self._writing():
            for job in self._select("where state = ?", (State.RUNNING,)):
                if job.starts >= MOST_STARTS:
                    self.fail(job.id, f"the program ended {job.starts} times while this job was running")
                else:
                    self.release(job.id)
