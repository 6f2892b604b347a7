"""From the editor's own file to API format, as the editor does it when a workflow is queued.

Reroutes, primitives, notes, subgraphs and group nodes exist in the editor only. A link is followed through them,
and through bypassed nodes, to the node that really gives the value.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from hires.errors import Fault, WorkflowError
from hires.graph.context import Context
from hires.graph.declare import Registry
from hires.graph.node_check import match_types
from hires.graph.order import strong_components
from hires.graph.packs import pack_of
from hires.graph.ui_graph import (
    BYPASSED,
    GRAPH_INPUT,
    MUTED,
    UiGraph,
    UiInput,
    UiLink,
    UiNode,
    as_list,
    group_definition,
    read_graph,
    read_group,
    read_subgraphs,
)
from hires.graph.ui_text import replace_tokens
from hires.graph.ui_values import widget_slots, widget_values
from hires.graph.workflow import DEFAULT_LIMITS, Limits, Link, as_link

NOTES = ("Note", "MarkdownNote")
VIRTUAL = ("Reroute", "PrimitiveNode", *NOTES)
MAX_NESTING = 32
MAX_FOLLOWED = 1000
"""Reroutes, bypassed nodes and borders of subgraphs in a row."""
REPLACE_IN_PRIMITIVE = "Run widget replace on values"


def convert(
    data: Mapping[str, Any],
    registry: Registry,
    context: Context,
    *,
    source: str = "the workflow",
    limits: Limits = DEFAULT_LIMITS,
    now: datetime | None = None,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The workflow in API format, and what had to be mended or is unknown, in words for the user.

    Seeds are taken as they stand (the editor changes them after queueing) and texts too, dynamic prompts included;
    `%...%` tokens in file names are replaced, with the time `now`.
    """
    return _Conversion(data, registry, context, source, limits, now or datetime.now()).run()


class _Constant(NamedTuple):
    """A value that reaches an input through links."""

    value: Any


class _Own(NamedTuple):
    """The input's own widget holds the value: the link leads to an unlinked input of a subgraph."""


@dataclass(frozen=True)
class _Scope:
    """A graph at its place: the root, or what is inside of a host node."""

    graph: UiGraph
    prefix: str = ""
    host: UiNode | None = None
    outer: _Scope | None = None
    host_values: Mapping[str, Any] = field(default_factory=dict)
    """Input of the host -> the value of its widget."""
    inner_values: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    """(inner node, widget) -> a value that the host sets there."""
    depth: int = 0

    def full_id(self, node_id: str) -> str:
        return self.prefix + node_id


class _Conversion:
    """One file being converted."""

    def __init__(
        self,
        data: Mapping[str, Any],
        registry: Registry,
        context: Context,
        source: str,
        limits: Limits,
        now: datetime,
    ) -> None:
        self.data, self.registry, self.context = data, registry, context
        self.source, self.limits, self.now = source, limits, now
        self.subgraphs = read_subgraphs(data)
        self.scopes: dict[str, _Scope] = {}  # full id of a host -> its inside
        self.notes: list[str] = []
        self.count = 0
        self.places: list[tuple[_Scope, UiNode]] = []
        self.constants: dict[str, dict[str, Any]] = {}  # full id -> values of the widgets

    def run(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        root = _Scope(read_graph(self.data))
        self.places = list(self._places(root))
        self.constants = {scope.full_id(node.id): self._constants(scope, node) for scope, node in self.places}
        self._replace_tokens()
        prompt = {scope.full_id(node.id): self._emit(scope, node) for scope, node in self.places}
        for entry in prompt.values():  # what points at nodes that were not emitted
            inputs = entry["inputs"]
            gone = [name for name, value in inputs.items() if (link := as_link(value)) and link.node not in prompt]
            for name in gone:
                del inputs[name]

        def sources(node_id: str) -> list[str]:
            return [link.node for value in prompt[node_id]["inputs"].values() if (link := as_link(value))]

        order = [node_id for component in strong_components(prompt, sources) for node_id in component]
        return {node_id: prompt[node_id] for node_id in order}, tuple(self.notes)

    # Which nodes there are

    def _places(self, scope: _Scope) -> Iterator[tuple[_Scope, UiNode]]:
        """The nodes to emit, in the editor's order, those of subgraphs at the place of their host."""
        for node in sorted(scope.graph.nodes.values(), key=lambda node: node.order):
            if node.mode in (MUTED, BYPASSED) or node.type in VIRTUAL:
                continue
            inside = self._inside(scope, node)
            if inside is not None:
                yield from self._places(inside)
                continue
            self._count_one()
            yield scope, node

    def _inside(self, scope: _Scope, node: UiNode) -> _Scope | None:
        """The inside of a host (made once), None for an ordinary node."""
        full_id = scope.full_id(node.id)
        if full_id in self.scopes:
            return self.scopes[full_id]
        graph = self.subgraphs.get(node.type)
        if graph is None and node.type not in self.registry:
            definition = group_definition(self.data, node.type)
            graph = read_group(definition, node, self._widgets_of) if definition is not None else None
        if graph is None:
            return None
        if scope.depth >= MAX_NESTING:
            raise self._refused("too_deep", f"its subgraphs are nested more than {MAX_NESTING} levels deep")
        self._count_one()
        host_values, inner_values = self._host_values(scope, node, graph)
        inside = _Scope(graph, f"{full_id}:", node, scope, host_values, inner_values, scope.depth + 1)
        self.scopes[full_id] = inside
        return inside

    def _host_values(
        self, scope: _Scope, host: UiNode, graph: UiGraph
    ) -> tuple[dict[str, Any], dict[tuple[str, str], Any]]:
        """The values of a host's widgets: by its inputs, and by inner widgets where it lists those."""
        by_input: dict[str, Any] = {}
        by_widget: dict[tuple[str, str], Any] = {}
        values = host.values
        listed = [entry for entry in as_list(host.properties.get("proxyWidgets")) if len(as_list(entry)) >= 2]
        if isinstance(values, Mapping):
            by_input.update(values)
        elif graph.widget_slots is not None:
            if len(values) == len(graph.widget_slots):
                by_widget = {slot: value for slot, value in zip(graph.widget_slots, values, strict=True) if slot[1]}
            elif values:
                self._note(scope, host, "the values of this group do not fit its inside; those inside are taken")
        elif listed:
            for (inner, widget, *_), value in zip(listed, values, strict=False):
                if str(inner) == "-1":
                    by_input[str(widget)] = value
                else:
                    by_widget[str(inner), str(widget)] = value
        else:
            fed = self._slots_of_widgets(graph)
            shown = {entry.name for entry in host.inputs if entry.has_widget}
            promoted = [name for slot, name in enumerate(graph.inputs) if slot in fed or name in shown]
            by_input = dict(zip(promoted, values, strict=False))
        set_from_outside = {widget: value for (inner, widget), value in scope.inner_values.items() if inner == host.id}
        by_input |= set_from_outside
        return by_input, by_widget

    def _slots_of_widgets(self, graph: UiGraph) -> set[int]:
        """The inputs of a subgraph that feed a widget inside."""
        slots: set[int] = set()
        for node in graph.nodes.values():
            node_type = self.registry.get(node.type)
            for entry in node.inputs:
                declared = node_type.by_name.get(entry.name) if node_type is not None else None
                is_widget = entry.has_widget or (declared is not None and declared.is_widget)
                if is_widget and entry.link is not None and entry.link.source == GRAPH_INPUT:
                    slots.add(entry.link.slot)
        return slots

    def _widgets_of(self, class_type: str) -> list[tuple[str, int]]:
        return widget_slots(self.registry[class_type]) if class_type in self.registry else []

    # What goes into a node

    def _constants(self, scope: _Scope, node: UiNode) -> dict[str, Any]:
        node_type = self.registry.get(node.type)
        if node_type is None:
            pack = node.properties.get("cnr_id") or node.properties.get("aux_id") or pack_of(node.type)
            self._note(scope, node, f"this node is not known here{f' (it comes with {pack})' if pack else ''}")
            constants = _constants_of_unknown(node)
        else:
            constants, note = widget_values(node_type, node.values, self.context)
            if note is not None:
                self._note(scope, node, note)
        set_from_outside = {
            widget: value
            for (inner, widget), value in scope.inner_values.items()
            if inner == node.id and value is not None and widget in constants
        }
        return constants | set_from_outside

    def _emit(self, scope: _Scope, node: UiNode) -> dict[str, Any]:
        inputs = {name: _wrapped(value) for name, value in self.constants[scope.full_id(node.id)].items()}
        node_type = self.registry.get(node.type)
        for entry in node.inputs:
            if entry.link is None:
                continue
            declared = node_type.by_name.get(entry.name) if node_type is not None else None
            wanted = declared.type if declared is not None and entry.type in ("", "*") else entry.type
            found = self._follow(scope, entry.link, wanted)
            if isinstance(found, Link):
                inputs[entry.name] = [found.node, found.slot]
            elif isinstance(found, _Constant):
                inputs[entry.name] = _wrapped(found.value)
            elif found is None:
                inputs.pop(entry.name, None)
        title = node.title or (node_type.display_name if node_type is not None else node.type)
        return {"class_type": node.type or None, "inputs": inputs, "_meta": {"title": title}}

    def _follow(self, scope: _Scope, link: UiLink, wanted: str) -> Link | _Constant | _Own | None:
        """What a link leads to in the end; None if that is nothing."""
        visited: set[tuple[str, UiLink]] = set()
        at: UiLink | None = link
        while at is not None and (scope.prefix, at) not in visited and len(visited) < MAX_FOLLOWED:
            visited.add((scope.prefix, at))
            if at.source == GRAPH_INPUT and scope.host is not None and scope.outer is not None:
                name = scope.graph.inputs[at.slot] if 0 <= at.slot < len(scope.graph.inputs) else ""
                entry = scope.host.input(name)
                if entry is None or entry.link is None:
                    value = scope.host_values.get(name)
                    return _Own() if value is None else _Constant(value)
                scope, at = scope.outer, entry.link
                continue
            node = scope.graph.nodes.get(at.source)
            if node is None or node.type in NOTES:
                return None
            if node.type == "PrimitiveNode":
                value = self._primitive(scope, node)
                return _Own() if value is None else _Constant(value)
            if node.type == "Reroute":
                at = node.inputs[0].link if node.inputs else None
            elif node.mode == MUTED:
                return None
            elif node.mode == BYPASSED:
                passed = _passed_through(node, at.slot, wanted)
                at = passed.link if passed is not None else None
            elif (inside := self._inside(scope, node)) is not None:
                outputs = inside.graph.outputs
                scope, at = inside, outputs[at.slot] if 0 <= at.slot < len(outputs) else None
            else:
                return Link(scope.full_id(node.id), at.slot)
        return None

    def _primitive(self, scope: _Scope, node: UiNode) -> Any:
        """The value of a PrimitiveNode; None if the file has none."""
        if (node.id, "value") in scope.inner_values:
            return scope.inner_values[node.id, "value"]
        values = node.values
        value = values.get("value") if isinstance(values, Mapping) else next(iter(values), None)
        if isinstance(value, str) and node.properties.get(REPLACE_IN_PRIMITIVE):
            return replace_tokens(value, self._look_up, self.now)
        return value

    # Text and words

    def _replace_tokens(self) -> None:
        """Replace `%...%` in the file names of the nodes that save."""
        for scope, node in self.places:
            node_type = self.registry.get(node.type)
            own = self.constants[scope.full_id(node.id)]
            text = own.get("filename_prefix")
            if node_type is not None and node_type.is_output and isinstance(text, str):
                own["filename_prefix"] = replace_tokens(text, self._look_up, self.now)

    def _look_up(self, name: str, widget: str) -> Any:
        """The value of a widget of the node called `name`: by its name for search and replace, else by its title."""
        ids = (full_id for full_id in self._by_name.get(name, ()) if widget in self.constants[full_id])
        return next((self.constants[full_id][widget] for full_id in ids), None)

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        named = [(node.properties.get("Node name for S&R"), scope.full_id(node.id)) for scope, node in self.places]
        titled = [(node.title, scope.full_id(node.id)) for scope, node in self.places]
        for name, full_id in (*named, *titled):
            if isinstance(name, str):
                found.setdefault(name, []).append(full_id)
        return found

    def _note(self, scope: _Scope, node: UiNode, text: str) -> None:
        self.notes.append(f"node {scope.full_id(node.id)} ({node.type}): {text}")

    def _count_one(self) -> None:
        """Small files can nest subgraphs into very many nodes."""
        self.count += 1
        if self.count > self.limits.max_nodes:
            raise self._refused("too_many_nodes", f"it has more than {self.limits.max_nodes} nodes")

    def _refused(self, kind: str, message: str) -> WorkflowError:
        return WorkflowError([Fault(kind, message)], self.source)


def _passed_through(node: UiNode, slot: int, wanted: str) -> UiInput | None:
    """The input whose value takes the place of output `slot` of a bypassed node."""
    inputs = node.inputs
    if wanted in ("", "*"):
        return inputs[slot] if 0 <= slot < len(inputs) else next(iter(inputs), None)
    given = node.output_types[slot] if 0 <= slot < len(node.output_types) else wanted
    if 0 <= slot < len(inputs) and match_types(inputs[slot].type, given) and match_types(inputs[slot].type, wanted):
        return inputs[slot]
    exact = (entry for entry in inputs if entry.type == wanted)
    return next(exact, None) or next((entry for entry in inputs if match_types(entry.type, wanted)), None)


def _wrapped(value: Any) -> Any:
    """A list as a literal, so that it is not taken for a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _constants_of_unknown(node: UiNode) -> dict[str, Any]:
    """The values of a node of unknown class, where the file itself names them."""
    if isinstance(node.values, Mapping):
        return dict(node.values)
    names = [entry.name for entry in node.inputs if entry.has_widget]
    return dict(zip(names, node.values, strict=True)) if len(names) == len(node.values) else {}
