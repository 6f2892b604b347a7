"""What the command line shows: progress bars with the time left, reports of runs, tables of models and samplers."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from hires.graph.report import Event, NodeFinished, NodeProgress, NodeStarted, RunReport, Said

if TYPE_CHECKING:
    from hires.models.inspection import ModelInfo


class Display:
    """A bar per node that takes steps, on standard error; used as the `on_event` of a run.

    `keep`: bars of finished nodes stay, as a record of what was done."""

    def __init__(self, keep: bool = True) -> None:
        self._keep = keep
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=Console(stderr=True),
        )
        self._names: dict[str, str] = {}
        self._bars: dict[str, TaskID] = {}
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Said):
            if event.text not in self._said:  # the runs of a batch say the same
                self._said.add(event.text)
                self._progress.console.print(event.text, highlight=False, markup=False, soft_wrap=True)
        elif isinstance(event, NodeStarted):
            self._names[event.node_id] = event.class_type
            self._bars.pop(event.node_id, None)
        elif isinstance(event, NodeProgress):
            if event.node_id not in self._bars:
                name = self._names.get(event.node_id, event.node_id)
                self._bars[event.node_id] = self._progress.add_task(name, total=event.total)
            self._progress.update(self._bars[event.node_id], completed=event.value, total=event.total)
        elif isinstance(event, NodeFinished) and event.node_id in self._bars:
            bar = self._bars.pop(event.node_id)
            if not self._keep:
                self._progress.remove_task(bar)
                return
            self._progress.update(bar, completed=self._progress.tasks[bar].total)


def report_lines(name: str, report: RunReport) -> list[str]:
    """What a run did, a line a node; the failures, which begin with `hires:`, last."""
    done = [node for node in report.nodes.values() if node.status in ("computed", "reused")]
    lines = [f"{name}: {len(done)} of {len(report.nodes)} nodes in {report.seconds:.1f} s"]
    for node in report.nodes.values():
        took = f", {node.seconds:.1f} s" if node.status == "computed" and node.seconds >= 0.05 else ""
        said = f" ({'; '.join(node.notes)})" if node.notes else ""
        lines.append(f"  {node.node_id} {node.class_type}: {node.status}{took}{said}")
        for entry in [entry for key in ("images", "latents") for entry in (node.ui or {}).get(key, [])]:
            lines.append(f"    {entry['subfolder'] + '/' if entry['subfolder'] else ''}{entry['filename']}")
    lines += [f"  warning: {warning}" for warning in report.warnings]
    lines += [f"hires: {name}: {fault}" for fault in report.faults]
    lines += [f"hires: {name}: {failure.fault}" for failure in report.failures]
    return lines


def models_table(models: Sequence[ModelInfo]) -> None:
    """Print what was found."""
    table = Table(box=None, pad_edge=False)
    for column in ("kind", "name", "family", "precision"):
        table.add_column(column, overflow="fold")
    table.add_column("size", justify="right")
    table.add_column("hash")
    for model in models:
        table.add_row(model.kind, model.name, model.family, model.precision, f"{model.size / 1e6:.0f} MB", model.hash)
    Console().print(table)


def samplers_table() -> None:
    """Print samplers and schedules under both dialects' names."""
    from hires.recipes.samplers import sampler_rows, schedule_rows

    table = Table(box=None, pad_edge=False)
    for column in ("sampler", "ComfyUI's name", "automatic schedule", "calls a step"):
        table.add_column(column)
    for row in sampler_rows():
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print()
    schedules = Table(box=None, pad_edge=False)
    for column in ("schedule", "ComfyUI's name"):
        schedules.add_column(column)
    for label, name in schedule_rows():
        schedules.add_row(label, name)
    console.print(schedules)
