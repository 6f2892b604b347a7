"""What runs in a worker's process: one engine, which does a unit at a time and is asked meanwhile how far it is."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast
from uuid import uuid4

import torch

from hires import __version__
from hires.errors import HiresError, Interrupted, ModelFileError
from hires.graph.cache import CachedResult
from hires.graph.report import Event, NodeFailed, NodeFinished, NodeProgress, RunReport
from hires.graph.workflow import Workflow
from hires.models.store import ModelStore
from hires.nodes.context import Counts, RunContext, TempFolder
from hires.settings import Settings, load_settings
from hires.tiling.upscale import as_planes
from hires.workers.redrawing import redrawn
from hires.workers.results import on_cpu
from hires.workers.units import Done, Greeting, MadeFile, MadeRun, MadeTiles, ModelFile, RunUnit, TileUnit, Told, Unit

if TYPE_CHECKING:
    from torch import Tensor

OF_THE_CALLER = ("weights", "max_megapixels", "cache_megabytes")
"""Settings that a worker on another machine takes from the caller; folders, device and memory are its own."""


class Runs(Protocol):
    """What a worker needs of an engine."""

    store: ModelStore
    temp: TempFolder

    def run(
        self,
        workflow: Workflow,
        *,
        targets: tuple[str, ...] | None,
        on_event: Callable[[Event], None] | None = None,
        force_outputs: bool = False,
        counts: Counts | None = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
        given: Mapping[str, Path],
        output_dir: Path | None = None,
        known: Mapping[str, CachedResult] = ...,
    ) -> RunReport: ...

    def context(self, counts: Counts, given: Mapping[str, Path]) -> RunContext: ...


MakeEngine = Callable[..., Runs]
"""make(settings, stop=event)."""


class Bench:
    """One worker. `do` is called for a unit at a time; `told` and `stop` come in other threads while it works.

    The engine is made for the first unit, and again after the process was lost.
    """

    def __init__(self, make: MakeEngine, settings: Settings, threads: int, *, is_local: bool) -> None:
        self._make, self._threads = make, threads
        self._settings = settings if is_local else _own_settings(settings)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._number = -1
        self._stopped = -1
        self._engine: Runs | None = None
        self._life = uuid4().hex

    def greet(self) -> Greeting:
        return Greeting(__version__, socket.gethostname(), os.getpid(), self._threads)

    def do(self, number: int, unit: Unit) -> Done:
        """Do a unit. What goes wrong is told, not raised, so that Ray repeats only what was lost with its process."""
        with self._lock:
            self._number, self._events = number, []
            if self._stopped != number:
                self._stop.clear()
        try:
            engine = self._begin()
            check_models(engine.store, unit.models)
            made = self._made(engine, unit)
        except Exception as error:
            return Done(None, _sendable(error), tuple(self._events), self._life)
        return Done(made, None, tuple(self._events), self._life)

    def told(self, number: int, since: int) -> Told:
        """The events of that unit after the first `since`; only the last keeps its preview."""
        with self._lock:
            new = self._events[since:] if self._number == number else []
        past = [replace(event, preview=None) if isinstance(event, NodeProgress) else event for event in new[:-1]]
        return Told(self._life, (*past, *new[-1:]))

    def stop(self, number: int) -> None:
        """Stop that unit at its next step; also before it has begun."""
        with self._lock:
            self._stopped = number
            if self._number == number:
                self._stop.set()

    def _begin(self) -> Runs:
        if self._engine is None:
            torch.set_num_threads(self._threads)
            self._engine = self._make(self._settings, stop=self._stop)
        return self._engine

    def _hear(self, event: Event) -> None:
        if isinstance(event, NodeProgress) and isinstance(event.preview, torch.Tensor):
            event = replace(event, preview=event.preview.detach().cpu())
        elif isinstance(event, NodeFinished) and event.ui is not None:
            event = replace(event, ui=dict(event.ui))
        elif isinstance(event, NodeFailed):
            event = replace(event, failure=replace(event.failure, error=_sendable(event.failure.error)))
        with self._lock:
            self._events.append(event)

    def _made(self, engine: Runs, unit: Unit) -> MadeRun | MadeTiles | Tensor:
        if isinstance(unit, RunUnit):
            return self._run(engine, unit)
        if isinstance(unit, TileUnit):
            return self._enlarge(engine, unit)
        given = _placed(unit.given, engine.temp.path)
        return redrawn(
            engine, unit, given, lambda value, of, preview: self._hear(NodeProgress("tile", value, of, preview))
        )

    def _run(self, engine: Runs, unit: RunUnit) -> MadeRun:
        counts = Counts()
        with tempfile.TemporaryDirectory(prefix="hires-unit-") as name:
            folder = Path(name)
            report = engine.run(
                unit.parsed(),
                targets=unit.targets,
                on_event=self._hear,
                force_outputs=True,
                counts=counts,
                extra_pnginfo=unit.extra_pnginfo,
                given=_placed(unit.given, engine.temp.path),
                output_dir=folder,
                known=unit.known,
            )
            files = _files(report, {"output": folder, "temp": engine.temp.path})
        return MadeRun(
            {id: replace(node, ui=None if node.ui is None else dict(node.ui)) for id, node in report.nodes.items()},
            report.outputs,
            tuple(replace(failure, error=_sendable(failure.error)) for failure in report.failures),
            report.seconds,
            report.faults,
            report.warnings,
            files,
            counts,
            {id: on_cpu(found) for id in unit.wanted if (found := report.result(id)) is not None},
        )

    def _enlarge(self, engine: Runs, unit: TileUnit) -> Tensor:
        if self._stop.is_set():
            raise Interrupted
        with torch.inference_mode():
            made = engine.store.upscaler(unit.upscaler).upscale(as_planes(unit.pixels))
        rows, columns = unit.keep.slices
        return made[0, :, rows, columns].contiguous()


def _own_settings(callers: Settings) -> Settings:
    """Those of this machine, but for what the numbers depend on."""
    return replace(load_settings(), **{name: getattr(callers, name) for name in OF_THE_CALLER})


def check_models(store: ModelStore, models: tuple[ModelFile, ...]) -> None:
    """Raise ModelFileError for the first file that this machine does not have, or has in another version."""
    host = socket.gethostname()
    for model in models:
        try:
            path = store.find(model.kind, model.name)
        except HiresError as error:
            raise ModelFileError(f"the worker on {host}: {error.message}", "Put the file there as well.") from error
        if store.hashes.sha256(path) != model.sha256:
            raise ModelFileError(
                f"the worker on {host} has another {model.name} than the one asked for ({model.sha256[:10]})",
                "Put the same file there.",
            )


def _placed(given: Mapping[str, bytes], temp: Path) -> dict[str, Path]:
    """Pictures as files, each content once and never written again, so that what was made of it is found again."""
    placed: dict[str, Path] = {}
    for name, data in given.items():
        folder = temp / "given" / hashlib.sha256(data).hexdigest()
        path = folder / Path(name).name
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        placed[name] = path
    return placed


def _files(report: RunReport, folders: Mapping[str, Path]) -> tuple[MadeFile, ...]:
    """The files that a run says it wrote, in its order."""
    found: dict[tuple[str, str, str], MadeFile] = {}
    for ui in report.ui.values():
        for entries in ui.values():
            for entry in entries:
                if isinstance(entry, dict) and entry.get("type") in folders and "filename" in entry:
                    key = (entry["type"], entry.get("subfolder", ""), entry["filename"])
                    path = folders[key[0]] / key[1] / key[2]
                    if path.is_file():
                        place = cast(Any, key[0])
                        found[key] = MadeFile(place, key[1], key[2], path.read_bytes())
    return tuple(found.values())


def _sendable(error: Exception) -> Exception:
    """The error, or its words where it cannot be carried to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
