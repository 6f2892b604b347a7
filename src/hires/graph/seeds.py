"""Seeds that are left to chance, drawn once when a workflow is taken in.

Packs of nodes take -1 for "another seed in every run". Drawn inside a node, such a seed would be another one after a
crash, and the picture could not say which one it was. Drawn here, it stands in the workflow that is stored and saved.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

from hires.graph.declare import NodeType, Registry
from hires.graph.inputs import Input, Int
from hires.graph.workflow import Workflow, WorkflowNode, as_constant

RANDOM = (-1, "-1")


def with_drawn_seeds(workflow: Workflow, registry: Registry) -> Workflow:
    """The workflow with a number in the place of every -1 that asks for one; itself where there is none.

    A -1 that comes over a link stays: its node draws the seed when it runs.
    """
    nodes = {id: _drawn(node, registry.get(node.class_type or "")) for id, node in workflow.nodes.items()}
    if all(nodes[id] is node for id, node in workflow.nodes.items()):
        return workflow
    return replace(workflow, nodes=nodes)


def _drawn(node: WorkflowNode, kind: NodeType | None) -> WorkflowNode:
    limits = {} if kind is None else {entry.name: _limit(entry) for entry in kind.inputs}
    chosen = {
        name: secrets.randbelow(limit + 1)
        for name, value in node.inputs.items()
        if (limit := limits.get(name)) is not None and as_constant(value) in RANDOM
    }
    return replace(node, inputs={**node.inputs, **chosen}) if chosen else node


def _limit(entry: Input) -> int | None:
    """The largest seed that -1 can become; None where -1 is no such wish."""
    return entry.declaration.drawn_up_to if isinstance(entry.declaration, Int) else None
