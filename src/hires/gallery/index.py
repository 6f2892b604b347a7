"""The index of the pictures below a folder, in one SQLite file among the caches.

A picture is read when its path, size or time of change is new, so that looking again costs little more than listing
the folder. The index holds nothing that the files do not: where it is lost or damaged it is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hires.errors import ImageFileError, OutputError
from hires.gallery.reading import ENDINGS, read_picture

LAYOUT = 2
AT_ONCE = 200
"""Pictures after which what was read is kept, and can be found."""
MOST_PICTURES = 1_000_000
DEEPEST = 12
GRID_RECORD = "grid.json"
ORDERS = {
    "newest": "changed desc, name desc",
    "oldest": "changed, name",
    "name": "name",
    "largest": "pixels desc, name",
}
TABLE = """
create table pictures (
    name text primary key, bytes integer not null, stamp integer not null, changed real not null,
    width integer not null, height integer not null, pixels integer not null,
    words text not null, model text not null, problem text not null, cell integer not null
) without rowid;
create index pictures_by_time on pictures (changed);
"""


@dataclass(frozen=True)
class Entry:
    """A picture: its path below the folder with "/" between its parts, its bytes, when it was changed (seconds since
    1970), width and height. `problem` says why it cannot be shown, "" if it can."""

    name: str
    bytes: int
    changed: float
    width: int
    height: int
    model: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Found:
    """One page of what was searched for, and how many there are in all."""

    entries: list[Entry]
    total: int


class GalleryIndex:
    """The pictures below `root`, remembered in `cache_dir`. Calls are safe from any thread."""

    def __init__(self, root: Path, cache_dir: Path, *, on_gone: Callable[[str], None] | None = None) -> None:
        self.root = root
        self._on_gone = on_gone
        digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
        self._file = cache_dir / "gallery" / f"{digest}.sqlite"
        self._mutex, self._scanning = threading.RLock(), threading.Lock()
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._base = self._opened()
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"the index of the gallery cannot be kept in {self._file.parent}: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with self._mutex:
            self._base.close()

    def refresh(self) -> bool:
        """Look what is new, changed or gone. False where another thread was at it, once that is done."""
        if not self._scanning.acquire(blocking=False):
            with self._scanning:
                return False
        try:
            with self._mutex:
                known = {
                    name: (size, stamp) for name, size, stamp in self._all("select name, bytes, stamp from pictures")
                }
            read: list[tuple[Any, ...]] = []
            for name, path, status in pictures_below(self.root):
                if known.pop(name, None) == (status.st_size, status.st_mtime_ns):
                    continue
                read.append(_row(name, path, status))
                if len(read) >= AT_ONCE:
                    self._keep(read)
                    read = []
            self._keep(read)
            self._forget(known)
        finally:
            self._scanning.release()
        return True

    def search(
        self,
        words: str = "",
        *,
        model: str = "",
        since: float = 0.0,
        until: float = float("inf"),
        least_pixels: int = 0,
        with_cells: bool = True,
        order: str = "newest",
        limit: int = 60,
        offset: int = 0,
    ) -> Found:
        """Pictures whose texts or name hold all the words, whatever their case, of a model (a part of its name is
        enough), changed from `since` to before `until`, with so many pixels or more; in one of ORDERS.
        Cells of grids are left out unless `with_cells`."""
        tests = ["problem = ''", "changed >= ?", "changed < ?", "pixels >= ?"]
        values: list[Any] = [since, until, least_pixels]
        if not with_cells:
            tests.append("cell = 0")
        for word in words.split():
            tests.append("(name || ' ' || words) like ? escape '\\'")
            values.append(_holding(word))
        if model:
            tests.append("model like ? escape '\\'")
            values.append(_holding(model))
        where = f"from pictures where {' and '.join(tests)}"
        with self._mutex:
            total = self._all(f"select count(*) {where}", values)[0][0]
            rows = self._all(
                f"select name, bytes, changed, width, height, model, problem {where} "
                f"order by {ORDERS[order]} limit ? offset ?",
                [*values, limit, offset],
            )
        return Found([Entry(*row) for row in rows], total)

    def get(self, name: str) -> Entry | None:
        """The picture of that name, if the index knows it."""
        question = "select name, bytes, changed, width, height, model, problem from pictures where name = ?"
        with self._mutex:
            rows = self._all(question, (name,))
        return Entry(*rows[0]) if rows else None

    def models(self) -> list[str]:
        """The checkpoints that pictures were drawn with, by name."""
        with self._mutex:
            rows = self._all("select distinct model from pictures where model != '' order by model collate nocase")
        return [row[0] for row in rows]

    def problems(self) -> list[Entry]:
        """Files with a picture's ending that are none, or are broken."""
        with self._mutex:
            rows = self._all(
                "select name, bytes, changed, width, height, model, problem from pictures where problem != '' "
                "order by name"
            )
        return [Entry(*row) for row in rows]

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._laid_out()
        except sqlite3.DatabaseError:
            for ending in ("", "-wal", "-shm"):
                Path(f"{self._file}{ending}").unlink(missing_ok=True)
            return self._laid_out()

    def _laid_out(self) -> sqlite3.Connection:
        base = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False, timeout=30)
        try:
            base.execute("pragma journal_mode = wal")
            base.execute("pragma synchronous = off")  # a cache: after a power cut it is made anew
            if base.execute("pragma user_version").fetchone()[0] != LAYOUT:
                base.executescript(f"drop table if exists pictures; {TABLE} pragma user_version = {LAYOUT};")
            base.execute("select count(*) from pictures").fetchone()
        except BaseException:
            base.close()
            raise
        return base

    def _all(self, question: str, values: Iterable[Any] = ()) -> list[Any]:
        return self._base.execute(question, tuple(values)).fetchall()

    def _keep(self, rows: list[tuple[Any, ...]]) -> None:
        with self._mutex, self._writing():
            self._base.executemany(f"insert or replace into pictures values ({', '.join('?' * 11)})", rows)

    def _forget(self, names: Iterable[str]) -> None:
        names = list(names)
        with self._mutex, self._writing():
            self._base.executemany("delete from pictures where name = ?", [(name,) for name in names])
        for name in names if self._on_gone is not None else ():
            assert self._on_gone is not None
            self._on_gone(name)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        self._base.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._base.execute("rollback")
            raise
        self._base.execute("commit")


def pictures_below(root: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """(name, path, status) of each file with a picture's ending. Hidden files and folders, and links, which could lead
    out of the folder, are passed by."""
    folders, count = [(root, "", 0)], 0
    while folders:
        folder, prefix, depth = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue  # not there, or not ours to read
        for entry in entries:
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            name = prefix + entry.name
            if entry.is_dir(follow_symlinks=False):
                if depth < DEEPEST:
                    folders.append((folder / entry.name, f"{name}/", depth + 1))
                continue
            if os.path.splitext(entry.name)[1].lower() not in ENDINGS or not _is_text(name):
                continue
            with contextlib.suppress(OSError):  # gone in the meantime
                yield name, folder / entry.name, entry.stat(follow_symlinks=False)
                count += 1
            if count >= MOST_PICTURES:
                return


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _row(name: str, path: Path, status: os.stat_result) -> tuple[Any, ...]:
    head = (name, status.st_size, status.st_mtime_ns, status.st_mtime)
    try:
        said = read_picture(path)
    except ImageFileError as error:
        return (*head, 0, 0, 0, "", "", error.message, 0)
    texts = (_sound(said.words), _sound(said.model))
    return (*head, said.width, said.height, said.width * said.height, *texts, "", _is_cell(path))


def _is_cell(path: Path) -> bool:
    """Whether a picture is one of many of a grid; the grid's own picture lies beside its record."""
    return (path.parent.parent / GRID_RECORD).is_file()


def _sound(text: str) -> str:
    """The text without lone surrogates, which JSON can hold and SQLite cannot."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _holding(word: str) -> str:
    plain = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{plain}%"
