"""The graph that a node gave in the place of its results, as nodes that can be run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from hires.errors import HiresError
from hires.graph.declare import Registry
from hires.graph.node_check import ValidNode
from hires.graph.workflow import Link, as_constant, as_link

Graph = Mapping[str, Mapping[str, Any]]
"""In API format: id -> class_type and inputs."""


def expanded(graph: Graph, taken: Collection[str], registry: Registry) -> dict[str, ValidNode]:
    """The nodes of a graph, which may also link to those whose ids are `taken`. HiresError says what is wrong."""
    return {node_id: _expanded(node_id, raw, graph, taken, registry) for node_id, raw in graph.items()}


def _expanded(
    node_id: str, raw: Mapping[str, Any], graph: Graph, taken: Collection[str], registry: Registry
) -> ValidNode:
    if node_id in taken:
        raise HiresError(f"it expands into a node with the id {node_id!r}, which is taken")
    node_type = registry.get(raw.get("class_type", ""))
    if node_type is None:
        raise HiresError(f"it expands into a node of the unknown class {raw.get('class_type')!r}")
    links: dict[str, Link] = {}
    constants: dict[str, Any] = {}
    for name, value in raw.get("inputs", {}).items():
        link = as_link(value)
        if name not in node_type.by_name:
            continue
        if link is None:
            constants[name] = as_constant(value)
        elif link.node in graph or link.node in taken:
            links[name] = link
        else:
            raise HiresError(f"it expands into a link to the node {link.node!r}, which does not exist")
    given = {*links, *constants, *node_type.defaults}
    absent = [entry.name for entry in node_type.inputs if entry.required and entry.name not in given]
    if absent:
        raise HiresError(f"it expands into a {node_type.name} without the input {absent[0]!r}")
    return ValidNode(node_id, node_type, constants, links)
