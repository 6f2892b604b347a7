"""What a run tells: events while it goes on, a report at its end."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hires.errors import Fault, HiresError, Interrupted, WorkflowError
from hires.graph.cache import CachedResult, ResultCache
from hires.graph.declare import NodeType

Status = Literal["computed", "reused", "failed", "blocked", "skipped", "unneeded"]
"""`blocked`: an ExecutionBlocker came in; `skipped`: something it needs failed, or the run was stopped before it;
`unneeded`: nothing that ran asked for it (behind a reused result, or a lazy input that was not taken)."""

MAX_DESCRIPTION = 300
MAX_DESCRIBED = 8


@dataclass(frozen=True)
class RunPlanned:
    """The run begins: the nodes that will run as far as is known, and those whose result is already there."""

    to_run: tuple[str, ...]
    reused: tuple[str, ...]


@dataclass(frozen=True)
class Said:
    """A line that a person should read before the work begins."""

    text: str


@dataclass(frozen=True)
class NodeStarted:
    node_id: str
    class_type: str
    display_node: str
    """The node of the workflow that an editor shows: the outermost one that this was expanded from."""
    parent_node: str | None = None


@dataclass(frozen=True)
class NodeProgress:
    node_id: str
    value: int
    total: int
    preview: Any = None


@dataclass(frozen=True)
class NodeFinished:
    node_id: str
    class_type: str
    display_node: str
    how: Literal["computed", "reused"]
    seconds: float = 0.0
    ui: Mapping[str, list[Any]] | None = None


@dataclass(frozen=True)
class Failure:
    """A node that failed. `trace` is empty where the user made the mistake (a HiresError)."""

    node_id: str
    class_type: str
    error: Exception
    fault: Fault
    trace: tuple[str, ...] = ()
    inputs: Mapping[str, list[str]] = field(default_factory=dict)
    """The inputs it had, described."""


@dataclass(frozen=True)
class NodeFailed:
    node_id: str
    failure: Failure


Event = Said | RunPlanned | NodeStarted | NodeProgress | NodeFinished | NodeFailed


@dataclass(frozen=True)
class NodeReport:
    node_id: str
    class_type: str
    status: Status
    seconds: float = 0.0
    ui: Mapping[str, list[Any]] | None = None
    because: str | None = None
    """For `skipped` the node that failed (None: the run was stopped), for `blocked` the blocker's message."""
    parent_node: str | None = None
    notes: tuple[str, ...] = ()
    """What the node said of how the result came about."""


@dataclass(frozen=True)
class RunReport:
    """What a run did, node by node in the order it was done."""

    nodes: Mapping[str, NodeReport]
    outputs: tuple[str, ...]
    failures: tuple[Failure, ...]
    interrupted: bool
    interrupted_node: str | None
    seconds: float
    faults: tuple[Fault, ...]
    """What of the workflow could not be run at all, found before the run."""
    warnings: tuple[str, ...]
    _held: Mapping[str, CachedResult]
    _keys: Mapping[str, str]
    _cache: ResultCache

    @property
    def ok(self) -> bool:
        return not self.failures and not self.interrupted

    @property
    def ui(self) -> dict[str, Mapping[str, list[Any]]]:
        """What the nodes sent to the client, by node id."""
        return {node_id: node.ui for node_id, node in self.nodes.items() if node.ui is not None}

    def with_status(self, status: Status) -> list[str]:
        return [node_id for node_id, node in self.nodes.items() if node.status == status]

    def result(self, node_id: str) -> CachedResult | None:
        """All that a requested node gave; None where it gave nothing."""
        return self._held.get(node_id)

    def values(self, node_id: str, slot: int = 0) -> list[Any]:
        """The values at an output of a node: one, unless lists were at work.

        Those of the requested nodes are held by the report, any other node's as long as the cache keeps them.
        """
        result = self._held.get(node_id) or self._cache.get(self._keys.get(node_id, ""))
        if result is None:
            status = self.nodes[node_id].status if node_id in self.nodes else "not part of the run"
            raise HiresError(f"Node {node_id!r} has no result to look at ({status})", "Ask for it as a target.")
        if not 0 <= slot < len(result.outputs):
            raise HiresError(f"Node {node_id!r} has {len(result.outputs)} outputs, no output {slot}")
        return list(result.outputs[slot])

    def value(self, node_id: str, slot: int = 0) -> Any:
        """The only value at an output of a node."""
        values = self.values(node_id, slot)
        if len(values) != 1:
            raise HiresError(f"Output {slot} of node {node_id!r} is a list of {len(values)} values", "Use values().")
        return values[0]

    def raise_for_failure(self) -> None:
        """Raise what stopped the run: our own fault as it is, the user's as a WorkflowError, or Interrupted."""
        for failure in self.failures:
            if not isinstance(failure.error, HiresError):
                raise failure.error
        if self.failures:
            faults = [failure.fault for failure in self.failures]
            raise WorkflowError(faults) from self.failures[0].error
        if self.interrupted:
            raise Interrupted


def failure_of(node_id: str, node_type: NodeType, error: Exception, inputs: Mapping[str, list[Any]]) -> Failure:
    """What went wrong in a node, with the inputs it had."""
    own = isinstance(error, HiresError)
    message = str(error) or type(error).__name__
    trace = () if own else tuple(traceback.format_exception(error))
    fault = Fault(
        type=type(error).__name__,
        message=message if own else f"{type(error).__name__}: {message}",
        node=node_id,
        class_type=node_type.name,
    )
    described = {name: [describe(value) for value in values[:MAX_DESCRIBED]] for name, values in inputs.items()}
    return Failure(node_id, node_type.name, error, fault, trace, described)


def describe(value: Any) -> str:
    """A short text for a value: shape and type of arrays, the beginning of anything else."""
    shape = getattr(value, "shape", None)
    if shape is not None and not isinstance(value, type):
        return f"{type(value).__name__}{tuple(shape)} {getattr(value, 'dtype', '')}".rstrip()
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {describe(entry)}' for key, entry in list(value.items())[:8])}}}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, str | int | float | None):
        text = repr(value)
        return text if len(text) <= MAX_DESCRIPTION else text[:MAX_DESCRIPTION] + "..."
    return type(value).__name__
