"""A workflow as text to read: every output with what it is made from below it, each node once, with its settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hires.graph.declare import Registry
from hires.graph.packs import pack_of, packs_named
from hires.graph.workflow import Link, Workflow, as_constant, as_link

LONGEST_VALUE = 160
DEEPEST = 24
"""Levels of indentation; what lies deeper begins anew at the margin."""


def tree_lines(workflow: Workflow, registry: Registry) -> list[str]:
    """The lines, after a heading; nodes of unknown class say so, with their pack."""
    nodes = "1 node" if len(workflow.nodes) == 1 else f"{len(workflow.nodes)} nodes"
    kind = "editor format" if workflow.ui is not None else "API format"
    lines = [f"{workflow.source}: {nodes}, {kind}"]
    lines += [f"  note: {note}" for note in workflow.notes]
    return [*lines, *_Tree(workflow, registry).lines()]


class _Tree:
    """The walk: outputs first, then whatever no output needs."""

    def __init__(self, workflow: Workflow, registry: Registry) -> None:
        self.workflow, self.registry = workflow, registry
        self.named = packs_named(workflow.ui or {})
        self.shown: set[str] = set()

    def lines(self) -> Iterator[str]:
        read = {link.node for node in self.workflow.nodes.values() for link in node.links().values()}
        ends = [node_id for node_id in self.workflow.nodes if node_id not in read]
        for root in (*ends, *self.workflow.nodes):  # the rest are circles
            if root in self.shown:
                continue
            waiting: list[tuple[str, int, str, Link | None]] = [(root, 0, "", None)]
            while waiting:
                node_id, depth, name, link = waiting.pop()
                if depth > DEEPEST:
                    yield f"{'  ' * depth}{name}: node {node_id}, below"
                    waiting.insert(0, (node_id, 0, "", None))
                    continue
                if depth == 0 and node_id in self.shown:
                    continue
                known = node_id in self.shown
                yield "  " * depth + self._line(node_id, name, link, known)
                if known or node_id not in self.workflow.nodes:
                    continue
                self.shown.add(node_id)
                yield from ("  " * depth + f"    {text}" for text in self._settings(node_id))
                below = self.workflow.nodes[node_id].links()
                waiting += [(below[key].node, depth + 1, key, below[key]) for key in reversed(below)]

    def _line(self, node_id: str, name: str, link: Link | None, known: bool) -> str:
        socket = f"{name}: " if name else ""
        node = self.workflow.nodes.get(node_id)
        if node is None:
            return f"{socket}node {node_id}, which is not there"
        kind = node.class_type or "(no class)"
        node_type = self.registry.get(kind)
        output = ""
        if link is not None and node_type is not None and len(node_type.outputs) > 1:
            names = node_type.output_names
            output = f" -> {names[link.slot]}" if 0 <= link.slot < len(names) else f" -> output {link.slot}"
        if known:
            return f"{socket}{node_id} {kind}{output} (above)"
        display = node_type.display_name if node_type is not None else kind
        title = f' "{node.title}"' if node.title and node.title not in (display, kind) else ""
        unknown = ""
        if node_type is None:
            pack = pack_of(kind, self.named)
            unknown = f"  [not known here{f': it comes with {pack}' if pack else ''}]"
        return f"{socket}{node_id} {kind}{output}{title}{unknown}"

    def _settings(self, node_id: str) -> list[str]:
        """Short settings on one line, long texts on a line each."""
        inputs: Mapping[str, Any] = self.workflow.nodes[node_id].inputs
        values = {name: _shown(as_constant(value)) for name, value in inputs.items() if as_link(value) is None}
        long = {name for name, text in values.items() if len(text) > 40}
        short = [f"{name} {text}" for name, text in values.items() if name not in long]
        return [", ".join(short)] * bool(short) + [f"{name} {values[name]}" for name in values if name in long]


def _shown(value: Any) -> str:
    text = " ".join(value.split()) if isinstance(value, str) else repr(value)
    if isinstance(value, str) and (not text or "," in text):
        text = f'"{text}"'
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."
