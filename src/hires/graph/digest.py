"""What a node's output is made of, as a name: equal for two workflows that would compute the same there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hires.graph.declare import Registry
from hires.graph.inputs import NOTHING
from hires.graph.workflow import as_constant, as_link

Nodes = Mapping[str, Mapping[str, Any]]
"""A workflow in API format: id -> class_type and inputs."""


def digest(nodes: Nodes, link: Any, registry: Registry) -> str:
    """A hex name of everything that an output depends on, whatever its nodes are called, in whatever order they stand,
    and whether a file states defaults or leaves them out. A link that leads nowhere, or round, is named as such.
    """
    start = as_link(link)
    if start is None:
        return _hashed(repr(link))
    found: dict[str, str] = {}
    entered: set[str] = set()
    stack = [(start.node, False)]
    while stack:
        node_id, is_ready = stack.pop()
        if is_ready:
            found[node_id] = _named(nodes.get(node_id), found, registry)
        elif node_id not in entered:
            entered.add(node_id)
            stack.append((node_id, True))
            stack += [(name, False) for name in _before(nodes.get(node_id))]
    return _hashed(f"{found[start.node]} {start.slot}")


def _before(node: Mapping[str, Any] | None) -> list[str]:
    inputs = {} if node is None else node.get("inputs", {})
    return [link.node for value in inputs.values() if (link := as_link(value)) is not None]


def _named(node: Mapping[str, Any] | None, found: Mapping[str, str], registry: Registry) -> str:
    if node is None:
        return "absent"
    kind = str(node.get("class_type"))
    values: dict[str, Any] = {}
    if kind in registry:
        declared = registry[kind].inputs
        values = {entry.name: entry.default for entry in declared if entry.is_widget and entry.default is not NOTHING}
    for name, value in node.get("inputs", {}).items():
        link = as_link(value)
        values[name] = as_constant(value) if link is None else [found.get(link.node, "round"), link.slot]
    return _hashed(json.dumps([kind, {name: _plain(values[name]) for name in sorted(values)}], default=str))


def _plain(value: Any) -> Any:
    """Numbers that are equal as one: editors write 7.0 as 7."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
