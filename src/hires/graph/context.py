"""What a node may ask of the run it takes part in: files, progress, interruption, the workflow around it."""

from __future__ import annotations

import copy
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

from hires.errors import Interrupted

ProgressReport = Callable[[int, int, Any], None]


class Context(ABC):
    """The services of a run. A door subclasses it with what its nodes need (folders, models, memory budget ...).

    The executor hands every node a shallow copy that also knows the node (`for_node`), so a subclass may
    keep shared objects in its attributes but must not expect an assignment made by one node to reach another.
    """

    prompt: Mapping[str, Any] = MappingProxyType({})
    """The workflow in API format, as validated."""
    extra_pnginfo: Mapping[str, Any] = MappingProxyType({})
    """What the client wants saved beside the prompt (`workflow`: the editor's own file)."""
    node_id: str = ""
    node_key: str = ""
    """The content key under which the node's result is kept; new at every run for a node that is never reused."""
    known: Mapping[str, Any] = MappingProxyType({})
    """Results of other nodes (id -> CachedResult) that go along with what this node has done elsewhere."""
    stop: threading.Event | None = None
    _report: ProgressReport | None = None
    notes: tuple[str, ...] = ()
    """What the node wants said beside its result in the report."""

    @abstractmethod
    def files(self, kind: str) -> Sequence[str]:
        """The names, relative to their folder and sorted, of the files of a kind (checkpoints, loras, input ...)."""

    def file_identity(self, kind: str, name: str) -> str:
        """A text that changes when the file's content may have (size and time of change); part of the result's key."""
        return ""

    def check_interrupted(self) -> None:
        """Raise `Interrupted` when the user asked the run to stop."""
        if self.stop is not None and self.stop.is_set():
            raise Interrupted

    def progress(self, value: int, total: int, preview: Any = None) -> None:
        """Say that `value` of `total` steps are done; also the moment at which an interruption takes effect."""
        self.check_interrupted()
        if self._report is not None:
            self._report(value, total, preview)

    def note(self, text: str) -> None:
        """Say something of how the result came about ("12 of 20 steps were there already"); for the report only."""
        object.__setattr__(self, "notes", (*self.notes, text))

    def for_node(self, node_id: str, node_key: str, prompt: Mapping[str, Any], report: ProgressReport | None) -> Self:
        """The same services, seen from one node."""
        view = copy.copy(self)
        given = {"node_id": node_id, "node_key": node_key, "prompt": prompt, "_report": report, "notes": ()}
        for name, value in given.items():
            object.__setattr__(view, name, value)  # a subclass may be a frozen dataclass
        return view


class PlainContext(Context):
    """A context with a fixed list of files per kind: enough for graphs that need no folders."""

    def __init__(self, files: Mapping[str, Sequence[str]] | None = None, stop: threading.Event | None = None) -> None:
        self._files = dict(files or {})
        self.stop = stop

    def files(self, kind: str) -> Sequence[str]:
        return self._files.get(kind, ())
