"""What a run tells of its nodes: as events while it goes on, and in its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hires.graph.node_check import ValidNode
from hires.graph.report import (
    Event,
    Failure,
    NodeFailed,
    NodeFinished,
    NodeProgress,
    NodeReport,
    NodeStarted,
    Status,
    failure_of,
)

Ui = Mapping[str, list[Any]]


class Account:
    """The account of one run. `nodes` are those of the run, `parent` names for each that came by expansion the node
    that expanded into it; both may grow. `reports` stand in the order of the work."""

    def __init__(self, nodes: Mapping[str, ValidNode], on_event: Callable[[Event], None] | None) -> None:
        self.nodes, self.on_event = nodes, on_event
        self.parent: dict[str, str] = {}
        self.reports: dict[str, NodeReport] = {}
        self.failures: list[Failure] = []

    def emit(self, event: Event) -> None:
        """Tell an event to whoever listens."""
        if self.on_event is not None:
            self.on_event(event)

    def report(
        self,
        node_id: str,
        status: Status,
        seconds: float = 0.0,
        ui: Ui | None = None,
        because: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Put a node's report behind the others, in the place of an earlier one."""
        class_type = self.nodes[node_id].type.name
        self.take(NodeReport(node_id, class_type, status, seconds, ui, because, self.parent.get(node_id), notes))

    def take(self, report: NodeReport) -> None:
        """Put a report that was made elsewhere behind the others."""
        self.reports.pop(report.node_id, None)
        self.reports[report.node_id] = report

    def status(self, node_id: str) -> Status | None:
        """What is reported of a node so far."""
        report = self.reports.get(node_id)
        return report.status if report is not None else None

    def started(self, node_id: str) -> None:
        """A node has begun."""
        name = self.nodes[node_id].type.name
        self.emit(NodeStarted(node_id, name, self._display(node_id), self.parent.get(node_id)))

    def computed(self, node_id: str, seconds: float, ui: Ui | None, notes: tuple[str, ...]) -> None:
        """A node has its result."""
        self.report(node_id, "computed", seconds, ui, notes=notes)
        name = self.nodes[node_id].type.name
        self.emit(NodeFinished(node_id, name, self._display(node_id), "computed", seconds, ui))

    def reused(self, node_id: str) -> None:
        """A node that is reported as reused: tell what it shows."""
        report = self.reports[node_id]
        self.emit(NodeFinished(node_id, report.class_type, self._display(node_id), "reused", ui=report.ui))

    def failed(self, node_id: str, error: Exception, inputs: Mapping[str, list[Any]]) -> None:
        """A node has failed on these inputs."""
        failure = failure_of(node_id, self.nodes[node_id].type, error, inputs)
        self.failures.append(failure)
        self.emit(NodeFailed(node_id, failure))

    def progress_of(self, node_id: str) -> Callable[[int, int, Any], None]:
        """What a node tells its progress to."""
        return lambda value, total, preview: self.emit(NodeProgress(node_id, value, total, preview))

    def _display(self, node_id: str) -> str:
        """The node of the workflow that a node belongs to."""
        while node_id in self.parent:
            node_id = self.parent[node_id]
        return node_id
