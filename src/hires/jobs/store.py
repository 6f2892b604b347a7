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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from hires.errors import OutputError
from hires.jobs.record import ENDED, FOLLOWS, Job, JobError, State

FILE, LOCK = "jobs.sqlite", "jobs.lock"
LAYOUT = 1
MOST_STARTS = 3
"""A job that was running each time so many processes died is not begun again: it may be what killed them."""
SPACING = 1 << 20
"""Between the positions of two jobs that were added one after the other: room to move others between them."""
COLUMNS = (
    "id, number, kind, title, request, words, model, door, priority, position, state, made, begun, ended, share, "
    "results, error, starts, notes"
)
TABLE = """
create table jobs (
    number integer primary key autoincrement,
    id text not null unique,
    kind text not null, title text not null, request text not null,
    words text not null, model text not null, door text not null,
    priority integer not null, position integer not null, state text not null,
    made real not null, begun real, ended real,
    share real not null default 0, results text not null default '[]', error text not null default '',
    starts integer not null default 0, notes text not null default '{}'
);
create index jobs_in_order on jobs (state, priority desc, position);
create index jobs_by_time on jobs (made);
"""


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
    ) -> Job:
        """Put a job behind those of its priority. JobError if one of that id is there."""
        values = (id or uuid.uuid4().hex, kind, title or kind, json.dumps(request), words, model, door, priority)
        with self._writing() as base:
            last = base.execute("select max(position) from jobs").fetchone()[0]
            try:
                base.execute(
                    "insert into jobs (id, kind, title, request, words, model, door, priority, position, state, made) "
                    "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*values, (last or 0) + SPACING, State.WAITING, self._clock()),
                )
            except sqlite3.IntegrityError:
                raise JobError(f"there is a job {values[0]} already") from None
            return self._get(values[0])

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
        with self._writing() as base:
            found = self._select("where state = ? order by priority desc, position limit 1", (State.WAITING,))
            if not found:
                return None
            base.execute(
                "update jobs set state = ?, begun = coalesce(begun, ?), starts = starts + 1 where id = ?",
                (State.RUNNING, self._clock(), found[0].id),
            )
            return self._get(found[0].id)

    def advance(self, id: str, share: float, results: Iterable[str] = (), **notes: Any) -> Job:
        """Tell how much of a running job is done (0..1), and which further files are finished."""
        with self._writing() as base:
            job = self._get(id)
            if job.state is not State.RUNNING:
                raise JobError(f"job {id} is not running, but {job.state}")
            added = [name for name in results if name not in job.results]
            base.execute(
                "update jobs set share = ?, results = ?, notes = ? where id = ?",
                (
                    min(max(share, job.share), 1.0),
                    json.dumps([*job.results, *added]),
                    json.dumps({**job.notes, **notes}),
                    id,
                ),
            )
            return self._get(id)

    def finish(self, id: str) -> Job:
        """End a running job well."""
        return self._turn(id, State.DONE, share=1.0)

    def fail(self, id: str, error: str) -> Job:
        """End a running job with what went wrong."""
        return self._turn(id, State.FAILED, error=error)

    def cancel(self, id: str) -> Job:
        """End a job that has not ended; whoever runs it must stop it."""
        return self._turn(id, State.CANCELLED)

    def pause(self, id: str) -> Job:
        """Hold a job back; whoever runs it must stop it. What it has finished stays."""
        return self._turn(id, State.PAUSED)

    def release(self, id: str) -> Job:
        """Let a paused job wait again, at its place; also one whose process is being closed."""
        return self._turn(id, State.WAITING, of=(State.PAUSED, State.RUNNING))

    def retry(self, id: str) -> Job:
        """Let a job that failed or was cancelled wait again, behind the others. What it had finished stays."""
        with self._writing() as base:
            job = self._turn(id, State.WAITING, of=(State.FAILED, State.CANCELLED), error="", starts=0)
            last = base.execute("select max(position) from jobs").fetchone()[0]
            base.execute("update jobs set position = ?, ended = null where id = ?", (last + SPACING, job.id))
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
            values.append(f"%{_plain(word)}%")
        if model:
            tests.append("model like ? escape '\\'")
            values.append(f"%{_plain(model)}%")
        where = f"where {' and '.join(tests)} order by number desc limit ? offset ?"
        with self._mutex:
            return self._select(where, (*values, limit, offset))

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        with self._mutex:
            found = dict(self._base.execute("select state, count(*) from jobs group by state").fetchall())
            return {state: found.get(state, 0) for state in State}

    def forget(self, id: str) -> None:
        """Take a job that has ended out of the history. Its files stay."""
        with self._writing() as base:
            job = self._get(id)
            if not job.state.has_ended:
                raise JobError(f"job {id} has not ended, it is {job.state}", "Cancel it first.")
            base.execute("delete from jobs where id = ?", (id,))

    def _turn(self, id: str, state: State, of: Iterable[State] = tuple(State), **values: Any) -> Job:
        with self._writing() as base:
            job = self._get(id)
            if state not in FOLLOWS[job.state] or job.state not in of:
                raise JobError(f"job {id} is {job.state} and cannot be {state}")
            if state in ENDED:
                values["ended"] = self._clock()
            values["state"] = state
            names = ", ".join(f"{name} = ?" for name in values)
            base.execute(f"update jobs set {names} where id = ?", (*values.values(), id))
            return self._get(id)

    def _get(self, id: str) -> Job:
        found = self._select("where id = ?", (id,))
        if not found:
            raise JobError(f"there is no job {id}")
        return found[0]

    def _select(self, where: str, values: Iterable[Any]) -> list[Job]:
        rows = self._base.execute(f"select {COLUMNS} from jobs {where}", tuple(values)).fetchall()
        return [_job(row) for row in rows]

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


def _job(row: tuple[Any, ...]) -> Job:
    found = dict(zip(COLUMNS.split(", "), row, strict=True))
    found |= {name: json.loads(found[name]) for name in ("request", "notes")}
    found |= {"results": tuple(json.loads(found["results"])), "state": State(found["state"])}
    return Job(**found)


def _plain(word: str) -> str:
    """A word in which `like` sees no pattern."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
