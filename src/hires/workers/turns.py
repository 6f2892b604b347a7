"""Runs that are made at the same time and leave their files in an order that was set before."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hires import __version__
from hires.errors import Interrupted
from hires.graph.report import NodeReport
from hires.nodes.context import Counts
from hires.workers.units import Done, MadeFile, MadeRun, RunUnit

RECORD = "run.json"


class Row:
    """Whose turn it is: a number that grows."""

    def __init__(self) -> None:
        self._now, self._closed = 0, False
        self._changed = threading.Condition()

    def reach(self, number: int) -> None:
        """It is the turn of that number; those before it are over."""
        with self._changed:
            self._now = number
            self._changed.notify_all()

    def has_reached(self, number: int) -> bool:
        return self._now >= number

    def wait(self, number: int) -> None:
        """Wait for the turn of that number. Interrupted where it never comes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._now >= number)
            if self._now < number:
                raise Interrupted

    def close(self) -> None:
        """Nobody's turn comes any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


@dataclass
class Place:
    """A place in a row. What is finished before its turn is kept in a folder until it may be written."""

    row: Row
    number: int
    kept: KeptRuns
    stop: threading.Event = field(default_factory=threading.Event)
    is_made: bool = False
    """Whether something was finished, be it written or not."""
    _units: list[RunUnit] = field(default_factory=list)

    def known(self, unit: RunUnit) -> Done | None:
        """What an earlier process had finished of that."""
        self._units.append(unit)
        found = self.kept.get(unit)
        self.is_made = self.is_made or found is not None
        return found

    def keep(self, unit: RunUnit, done: Done) -> None:
        """A unit is finished; nothing is kept of one that can be written at once."""
        self.is_made = True
        if not self.row.has_reached(self.number):
            self.kept.put(unit, done)

    def wait(self) -> None:
        """Until what was finished may be written."""
        self.row.wait(self.number)

    def leave(self) -> None:
        """All is written."""
        for unit in self._units:
            self.kept.drop(unit)
        self._units.clear()


class KeptRuns:
    """Finished runs on disk: files, and what is told of them. One that is gone or broken is made again.

    They are plain files and JSON, which whoever could write there could not turn into code that is run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, unit: RunUnit) -> Done | None:
        folder = self._folder(unit)
        try:
            told = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            files = [
                MadeFile(place, subfolder, name, (folder / str(number)).read_bytes())
                for number, (place, subfolder, name) in enumerate(told["files"])
            ]
            if [hashlib.sha256(file.data).hexdigest() for file in files] != told["digests"]:
                return None
            return Done(
                MadeRun(
                    {id: _node(node) for id, node in told["nodes"].items()},
                    tuple(told["outputs"]),
                    (),
                    told["seconds"],
                    (),
                    tuple(told["warnings"]),
                    tuple(files),
                    Counts(**told["counts"]),
                )
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def put(self, unit: RunUnit, done: Done) -> None:
        """Keep a run without failures, whole or not at all. A disk that is full keeps nothing."""
        made = done.made
        if not isinstance(made, MadeRun) or made.failures or made.faults:
            return
        told = {
            "nodes": {id: asdict(node) for id, node in made.nodes.items()},
            "outputs": made.outputs,
            "seconds": made.seconds,
            "warnings": made.warnings,
            "counts": asdict(made.counts),
            "files": [[file.place, file.subfolder, file.filename] for file in made.files],
            "digests": [hashlib.sha256(file.data).hexdigest() for file in made.files],
        }
        folder = self._folder(unit)
        temporary = folder.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            temporary.mkdir(parents=True)
            for number, file in enumerate(made.files):
                _write(temporary / str(number), file.data)
            _write(temporary / RECORD, json.dumps(told).encode())
            temporary.rename(folder)
        except (OSError, TypeError, ValueError):  # no room, or told in words that JSON has not: it is only not kept
            shutil.rmtree(temporary, ignore_errors=True)

    def drop(self, unit: RunUnit) -> None:
        """Let go of a run."""
        shutil.rmtree(self._folder(unit), ignore_errors=True)

    def clear(self) -> None:
        """Let go of all."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()  # unless there is more in it

    def _folder(self, unit: RunUnit) -> Path:
        given = {name: hashlib.sha256(data).hexdigest() for name, data in unit.given.items()}
        models = [(model.kind, model.name, model.sha256) for model in unit.models]
        whole = [__version__, unit.workflow, unit.targets, unit.extra_pnginfo, given, models]
        text = json.dumps(whole, sort_keys=True, default=repr)
        return self.folder / hashlib.sha256(text.encode()).hexdigest()


def _node(told: Mapping[str, Any]) -> NodeReport:
    return NodeReport(**{**told, "notes": tuple(told["notes"])})


def _write(path: Path, data: bytes) -> None:
    """A file that is on the disk afterwards."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
