"""Runs of other processes, as if they had been made here: what is sent, and their files and reports taken over."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hires.errors import HiresError, OutputError
from hires.graph.cache import ResultCache
from hires.graph.declare import Registry
from hires.graph.inputs import FileChoice
from hires.graph.report import Event, NodeFinished, RunPlanned, RunReport, Said
from hires.metadata.files import write_new, write_numbered
from hires.models.names import FOLDERS
from hires.models.upscale_names import upscaler_file
from hires.nodes.context import Counts, RunContext
from hires.workers.units import MadeFile, MadeRun, ModelFile

NUMBERED = re.compile(r"(.+)_\d{5,}_(\.\w+)")
Names = Mapping[tuple[str, str, str], str]
"""(place, subfolder, file name as the worker wrote it) -> the name that it has here."""


def pictures_of(workflow: Mapping[str, Any], registry: Registry, context: RunContext) -> dict[str, bytes]:
    """The pictures that a workflow in API format loads, and those that it was given, by name."""
    paths = dict(context.given)
    if not paths:
        for kind, name in _files_named(workflow, registry):
            if kind.startswith("input"):
                paths[name] = context.input_path(name)
    return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}


def models_of(workflow: Mapping[str, Any], registry: Registry, context: RunContext) -> tuple[ModelFile, ...]:
    """The model files that a workflow in API format names, with their hashes. Those that are not here are left out: the
    worker says so better."""
    found: dict[ModelFile, None] = {}
    store = context.store
    for kind, name in _files_named(workflow, registry):
        try:
            if kind == "upscalers":
                kind, name = "upscale_models", upscaler_file(store, name)
            if kind in FOLDERS:
                found[ModelFile(kind, name, store.hashes.sha256(store.find(kind, name)))] = None
        except HiresError:
            continue
    return tuple(found)


def _files_named(workflow: Mapping[str, Any], registry: Registry) -> list[tuple[str, str]]:
    """(kind, name) of every file that an input of the workflow chooses."""
    found = []
    for node in workflow.values():
        class_type = node.get("class_type")
        if class_type not in registry:
            continue
        for name, entry in registry[class_type].by_name.items():
            value = node["inputs"].get(name)
            choice = entry.declaration
            if isinstance(choice, FileChoice) and isinstance(value, str) and value not in choice.also:
                found.append((choice.kind, value))
    return found


def place(made: MadeRun, workflow: Mapping[str, Any], context: RunContext, counts: Counts) -> tuple[RunReport, Names]:
    """Write a run's files as if it had been made here, and its report with the names that they got."""
    exact = {id for id, node in workflow.items() if node["inputs"].get("numbered") is False}
    named_exactly = {
        entry["filename"]
        for id in exact
        if id in made.nodes
        for entries in (made.nodes[id].ui or {}).values()
        for entry in entries
        if isinstance(entry, dict) and "filename" in entry
    }
    names: dict[tuple[str, str, str], str] = {}
    for file in made.files:
        key = (file.place, file.subfolder, file.filename)
        names[key] = _written(file, context, exactly=file.filename in named_exactly).name
    counts.add(made.counts)
    nodes = {id: replace(node, ui=_renamed(node.ui, names)) for id, node in made.nodes.items()}
    report = RunReport(
        nodes=nodes,
        outputs=made.outputs,
        failures=made.failures,
        interrupted=False,
        interrupted_node=None,
        seconds=made.seconds,
        faults=made.faults,
        warnings=made.warnings,
        _held={},
        _keys={},
        _cache=ResultCache(0),
    )
    return report, names


class Renaming:
    """Hands events on while a run goes on elsewhere; those that name files, and all behind them, are held until the
    files have their names here."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event
        self.held: list[Event] = []

    def __call__(self, event: Event) -> None:
        if self.held or (isinstance(event, NodeFinished) and event.ui):
            self.held.append(event)
        else:
            self._on_event(event)


class Mixed:
    """Events of several runs that come at the same time: one by one, each run's nodes under names of their own."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event, self._lock = on_event, threading.Lock()

    def of(self, run: str) -> Callable[[Event], None]:
        """What hears one run."""

        def hear(event: Event) -> None:
            if not isinstance(event, Said | RunPlanned):
                event = replace(event, node_id=f"{run} {event.node_id}")
            with self._lock:
                self._on_event(event)

        return hear


def renamed(event: Event, names: Names) -> Event:
    """An event with the names that files got here."""
    return replace(event, ui=_renamed(event.ui, names)) if isinstance(event, NodeFinished) else event


def _renamed(ui: Mapping[str, list[Any]] | None, names: Names) -> Mapping[str, list[Any]] | None:
    if ui is None:
        return None
    return {key: [_entry(entry, names) for entry in entries] for key, entries in ui.items()}


def _entry(entry: Any, names: Names) -> Any:
    if not isinstance(entry, dict) or "filename" not in entry:
        return entry
    key = (entry.get("type", ""), entry.get("subfolder", ""), entry["filename"])
    return {**entry, "filename": names.get(key, entry["filename"])}


def _written(file: MadeFile, context: RunContext, *, exactly: bool) -> Path:
    root = context.output_dir if file.place == "output" else context.temp.path
    folder = root / file.subfolder
    ledger = context.ledger if file.place == "output" else None
    write = partial(_write, file.data)
    match = NUMBERED.fullmatch(file.filename)
    if match is not None and not exactly:
        return write_numbered(folder, match[1], match[2], write, ledger)
    path = folder / file.filename
    try:
        return write_new(path, write, ledger)
    except FileExistsError as error:
        raise OutputError(f"{path} is there already", "Choose another name.") from error


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)
