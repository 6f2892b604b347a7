"""Is a workflow fit to run? Every fault at once, in the words and shapes that ComfyUI's clients know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hires.errors import Fault, WorkflowError
from hires.graph.context import Context
from hires.graph.declare import NodeType, Registry
from hires.graph.node_check import MAX_LISTED_CHOICES, NodeCheck, ValidNode, quoted
from hires.graph.order import strong_components
from hires.graph.packs import pack_of, packs_named
from hires.graph.workflow import Link, Workflow, WorkflowNode

MAX_DEPENDENT_OUTPUTS = 100
"""Of a faulty node that very many outputs need, so many are named."""


@dataclass(frozen=True)
class ValidatedWorkflow:
    """What of a workflow can be run, and what is wrong with the rest."""

    nodes: Mapping[str, ValidNode]
    """The nodes that are sound and depend on sound nodes only."""
    outputs: tuple[str, ...]
    """The output nodes (or chosen nodes) that can be run."""
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]
    prompt: Mapping[str, Any]
    """The whole workflow in API format, with the coerced constants written into it."""
    dependent_outputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of every node with a fault: the outputs that cannot be run because of it."""
    failed_outputs: tuple[str, ...] = ()
    source: str = "the workflow"

    @property
    def ok(self) -> bool:
        return not self.faults

    def raise_for_faults(self) -> None:
        if self.faults:
            raise WorkflowError(list(self.faults), self.source)


def validate(
    workflow: Workflow,
    registry: Registry,
    context: Context,
    targets: Iterable[str] | None = None,
    everything: bool = False,
) -> ValidatedWorkflow:
    """Check what the output nodes need (with `targets`: what these nodes need; `everything`: all nodes).

    Never raises for what stands in the workflow. Nodes of unknown class are reported wherever they stand.
    """
    faults: list[Fault] = []
    warnings: list[str] = list(workflow.notes)
    types: dict[str, NodeType] = {}
    named = packs_named(workflow.ui or {})
    for node_id, node in workflow.nodes.items():
        node_type = registry.get(node.class_type) if node.class_type is not None else None
        if node_type is None:
            faults.append(_unknown_class(node_id, node, named))
        else:
            types[node_id] = node_type
    roots = _roots(workflow, types, targets, faults)
    links = {node_id: _declared_links(workflow.nodes[node_id], node_type) for node_id, node_type in types.items()}

    def sources(node_id: str) -> list[str]:
        return [link.node for link in links.get(node_id, {}).values() if link.node in workflow.nodes]

    components = strong_components(workflow.nodes if everything else roots, sources)
    sound: dict[str, ValidNode] = {}
    for component in components:
        if len(component) > 1 or component[0] in sources(component[0]):
            faults.append(_cycle(component, workflow))
            continue
        node_id = component[0]
        if node_id in types:
            check = NodeCheck(node_id, workflow, types, context)
            checked = check.run()
            faults += check.faults
            warnings += check.warnings
            if checked is not None and all(source in sound for source in sources(node_id)):
                sound[node_id] = checked
    order = [node_id for component in components for node_id in component]
    failed = tuple(root for root in roots if root not in sound)
    return ValidatedWorkflow(
        nodes=sound,
        outputs=tuple(root for root in roots if root in sound),
        faults=tuple(faults),
        warnings=tuple(warnings),
        prompt=_written_back(workflow, sound),
        dependent_outputs=_dependent_outputs(order, sources, failed, faults),
        failed_outputs=failed,
        source=workflow.source,
    )


def _roots(
    workflow: Workflow, types: Mapping[str, NodeType], targets: Iterable[str] | None, faults: list[Fault]
) -> list[str]:
    if targets is None:
        roots = [node_id for node_id, node_type in types.items() if node_type.is_output]
    else:
        roots = list(dict.fromkeys(targets))
        for target in roots:
            if target not in workflow.nodes:
                faults.append(Fault("prompt_no_outputs", "Prompt has no outputs", f"there is no node {target!r}"))
        roots = [target for target in roots if target in workflow.nodes]
    if not roots and not faults:
        faults.append(Fault("prompt_no_outputs", "Prompt has no outputs"))
    return roots


def _declared_links(node: WorkflowNode, node_type: NodeType) -> dict[str, Link]:
    return {name: link for name, link in node.links().items() if name in node_type.by_name}


def _unknown_class(node_id: str, node: WorkflowNode, named: Mapping[str, str]) -> Fault:
    pack = pack_of(node.class_type, named) if node.class_type is not None else ""
    names = list(node.inputs)
    shown = ", ".join(names[:MAX_LISTED_CHOICES]) + (", ..." if len(names) > MAX_LISTED_CHOICES else "")
    hints = [f"it comes with {quoted(pack)}"] * bool(pack) + [f"inputs: {shown}"] * bool(names)
    if node.class_type is None:
        message = "Cannot execute because a node is missing the class_type property."
    else:
        message = f"Cannot execute because node {quoted(node.class_type)} does not exist."
    info = {"node_id": node_id, "class_type": node.class_type, "node_title": node.title, "inputs": dict(node.inputs)}
    hint = "; ".join(hints)
    return Fault("invalid_prompt", message, f"Node ID '#{node_id}'", node_id, node.class_type, None, info, hint)


def _cycle(component: list[str], workflow: Workflow) -> Fault:
    first = component[0]
    shown = component[:MAX_LISTED_CHOICES]
    path = " -> ".join([*shown, "..."] if len(shown) < len(component) else [*shown, first])
    info = {"node_ids": component}
    message = "Nodes depend on each other in a circle"
    return Fault("dependency_cycle", message, path, first, workflow.nodes[first].class_type, None, info)


def _dependent_outputs(
    order: list[str], sources: Any, failed: Sequence[str], faults: Sequence[Fault]
) -> dict[str, tuple[str, ...]]:
    """Walk from the failed outputs up to the faulty nodes, carrying the outputs along."""
    rank = {output: index for index, output in enumerate(failed)}
    reached: dict[str, set[str]] = {output: {output} for output in failed}
    for node_id in reversed(order):
        outputs = reached.get(node_id, set())
        for source in sources(node_id):
            below = reached.setdefault(source, set())
            if len(below) < MAX_DEPENDENT_OUTPUTS:
                below |= outputs
    for fault in faults:  # the nodes of a circle share their outputs
        circle = fault.extra_info.get("node_ids", ()) if fault.type == "dependency_cycle" else ()
        shared = set[str]().union(*(reached.get(node_id, set()) for node_id in circle))
        reached.update(dict.fromkeys(circle, shared))
    nodes = dict.fromkeys(fault.node for fault in faults if fault.node is not None)
    return {
        node_id: tuple(sorted(reached.get(node_id, ()), key=rank.__getitem__)[:MAX_DEPENDENT_OUTPUTS])
        for node_id in nodes
    }


def _written_back(workflow: Workflow, sound: Mapping[str, ValidNode]) -> dict[str, Any]:
    """API format with coerced constants; literal lists stay wrapped."""
    prompt = {}
    for node_id, node in workflow.nodes.items():
        changed: dict[str, Any] = {}
        if node_id in sound:
            for name, value in sound[node_id].constants.items():
                changed[name] = {"__value__": value} if isinstance(value, list) else value
        prompt[node_id] = replace(node, inputs={**node.inputs, **changed}).as_json()
    return prompt
