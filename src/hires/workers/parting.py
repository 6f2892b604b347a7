"""Parts of a workflow that workers make: what is sent of each, and what is kept of it until the run is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hires.graph.cache import CachedResult
from hires.graph.declare import Registry
from hires.graph.parting import MadePart, Parting
from hires.graph.report import Event, NodeFinished, NodeReport
from hires.nodes.context import RunContext
from hires.workers.apart import needed
from hires.workers.placing import models_of, pictures_of
from hires.workers.results import from_values, on_cpu, to_values
from hires.workers.units import Done, MadeRun, RunUnit

Perform = Callable[[RunUnit, Callable[[Event], None] | None], Done]


@dataclass(frozen=True)
class Parted:
    """A workflow in API format that is cut, and `perform`, which has a unit done."""

    parting: Parting
    workflow: Mapping[str, Any]
    registry: Registry
    context: RunContext
    perform: Perform
    is_local: bool

    def make(
        self, node_id: str, key: str, known: Mapping[str, CachedResult], hear: Callable[[Event], None]
    ) -> MadePart:
        """As `graph.parting.MakesParts`."""
        kept, name = self.context.kept, f"part {key}"
        found = None if kept is None else kept.get(name)
        if found is not None:
            return self._as_before(node_id, from_values(found), hear)
        flow = needed(self.workflow, [node_id])
        unit = RunUnit(
            flow,
            targets=(node_id,),
            given=pictures_of(flow, self.registry, self.context),
            models=() if self.is_local else models_of(flow, self.registry, self.context),
            known={id: on_cpu(result) for id, result in known.items()},
            wanted=(node_id,),
        )
        done = self.perform(unit, hear)
        for event in done.events:
            hear(event)
        made = done.made
        assert isinstance(made, MadeRun)
        self.context.counts.add(made.counts)
        result = made.results.get(node_id)
        if kept is not None and result is not None and not made.failures and (values := to_values(result)) is not None:
            kept.put(name, values)
        return MadePart(result, made.nodes, made.failures)

    def _as_before(self, node_id: str, result: CachedResult, hear: Callable[[Event], None]) -> MadePart:
        class_type = self.workflow[node_id]["class_type"]
        hear(NodeFinished(node_id, class_type, node_id, "reused"))
        return MadePart(result, {node_id: NodeReport(node_id, class_type, "reused", notes=("it was made before",))})
