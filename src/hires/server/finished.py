"""What a job has finished: its files and its parts, told to the store before and after each file gets its name.

A job that goes on after a kill draws the same bytes again where it must; a file of these bytes that it wrote before
is found here and not written a second time. Parts (batches, pictures) that were finished are not drawn again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hires.jobs.record import Job
from hires.jobs.store import JobStore
from hires.server.work import Job as Task

WRITTEN, PARTS, FOLDERS = "written", "parts", "folders"
"""The notes of a job: its files with their digests, in the order in which they were to get their names; the files of
each finished part; the folder of each part that has one."""
OUTPUT, OWN = "output", "own"
SECONDS_BETWEEN_SHARES = 2.0


class Finished:
    """The files of one job: below the outputs folder, or in a folder of its own where they are not to be saved."""

    def __init__(
        self, store: JobStore, job: Job, surely: Callable[[Callable[[], Job]], Job], outputs: Path, own: Path
    ) -> None:
        self._store, self._surely, self._id = store, surely, job.id
        self._roots = {OUTPUT: outputs.resolve(), OWN: own.resolve()}
        self._written: list[list[str]] = [list(one) for one in job.notes.get(WRITTEN, [])]
        self._parts: dict[str, list[list[str]]] = dict(job.notes.get(PARTS, {}))
        self._folders: dict[str, list[str]] = dict(job.notes.get(FOLDERS, {}))
        self._claimed: set[tuple[str, str]] = set()

    @property
    def folder(self) -> Path:
        """For what is not to be saved."""
        return self._roots[OWN]

    def know(self, root: str, folder: Path) -> None:
        """Keep account of files below a further folder as well; they are no results."""
        self._roots[root] = folder.resolve()

    def before(self, root: str) -> list[Path]:
        """The files below a root that this job gave their names before a kill and that are as it wrote them."""
        files = [(self._roots[root] / name, known) for own, name, known in self._written if own == root]
        return [path for path, known in files if path.is_file() and digest_of(path) == known]

    # The files, as whoever writes them asks and tells

    def earlier(self, folder: Path, stem: str, digest: str) -> Path | None:
        """A file of that content that this job wrote there before, each only once."""
        for root, name, known in self._written:
            path = self._roots[root] / name
            if (root, name) in self._claimed or known != digest or path.parent != folder.resolve():
                continue
            if path.name.startswith(stem) and path.is_file() and digest_of(path) == digest:
                self._claimed.add((root, name))
                self._tell([path])
                return path
        return None

    def intend(self, path: Path, digest: str) -> None:
        """A whole file is about to get its name."""
        place = self._place(path)
        if place is not None:
            self._claimed.add(place)
            # a kill before it had the name left it here: twice there, it would stand for two files of these bytes
            others = [one for one in self._written if tuple(one[:2]) != place]
            self._written = [*others, [*place, digest]]
            self._tell([], written=self._written)

    def written(self, path: Path) -> None:
        """It has it."""
        self._tell([path])

    # The parts

    def part(self, number: int) -> list[Path] | None:
        """The files of a part that was finished, as far as they are still there; None where it was not."""
        found = self._parts.get(str(number))
        if found is None:
            return None
        paths = [self._roots[root] / name for root, name in found]
        return [path for path in paths if path.is_file()]

    def finish_part(self, number: int, paths: Sequence[Path], share: float) -> None:
        """A part is done; `share` (0..1) of the job is."""
        places = [self._place(path) for path in paths]
        self._parts[str(number)] = [list(place) for place in places if place is not None]
        self._tell(paths, share, parts=self._parts)

    def folder_of(self, number: int) -> Path | None:
        """The folder that a part was said to be drawn into."""
        found = self._folders.get(str(number))
        return None if found is None else self._roots[found[0]] / found[1]

    def intend_folder(self, number: int, folder: Path) -> None:
        """A part is about to make a folder for itself."""
        place = self._place(folder)
        if place is not None:
            self._folders[str(number)] = list(place)
            self._tell([], folders=self._folders)

    def add(self, paths: Iterable[Path]) -> None:
        """Files were finished."""
        self._tell(paths)

    def _tell(self, paths: Iterable[Path], share: float = 0.0, **notes: Any) -> None:
        places = [self._place(path) for path in paths]
        results = [place[1] for place in places if place is not None and place[0] == OUTPUT]
        if results or notes or share:
            self._surely(lambda: self._store.advance(self._id, share, results, **notes))

    def _place(self, path: Path) -> tuple[str, str] | None:
        """The root that a path is below, and its name from there; None for one that is below none."""
        whole = path.parent.resolve() / path.name
        for root, folder in self._roots.items():
            if whole.is_relative_to(folder):
                return root, whole.relative_to(folder).as_posix()
        return None


class Shares:
    """Tells how much of a job is done: at once when it is more than it was before, then from time to time."""

    def __init__(self, tell: Callable[[float], object], task: Task, share: float) -> None:
        self._tell, self._task, self._share = tell, task, share
        self._told = float("-inf")

    def __call__(self) -> None:
        share, now = min(self._task.progress, 1.0), time.monotonic()
        if share > self._share and now - self._told >= SECONDS_BETWEEN_SHARES:
            self._share, self._told = share, now
            self._tell(share)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
