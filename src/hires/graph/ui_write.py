"""From API format to the editor's own file (format 0.4): nodes with sizes and places, links, widget values in order.

The nodes stand in columns, each right of all that it depends on, in an order that keeps links short.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hires.graph.context import Context
from hires.graph.declare import NodeType, Registry
from hires.graph.inputs import NOTHING, Input
from hires.graph.node_check import COERCIONS
from hires.graph.order import strong_components
from hires.graph.ui_values import companion_values, default_value
from hires.graph.workflow import Link, Workflow, WorkflowNode, as_constant

COLUMN_GAP, ROW_GAP, TOP = 60, 50, 80
"""Pixels between columns and between the nodes of one; TOP leaves room for the editor's bar."""
TITLE_HEIGHT, SLOT_HEIGHT, WIDGET_HEIGHT, TEXT_HEIGHT = 30, 20, 24, 110
NARROW, WIDE = 270, 400
SWEEPS = 2
"""Passes over the columns that move nodes towards what they are linked to."""

Position = tuple[float, float]


@dataclass
class _Placed:
    """A node on its way into the file."""

    id: int
    api_id: str
    node: WorkflowNode
    type: NodeType | None
    order: int
    column: int = 0
    row: int = 0
    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    values: list[Any] | dict[str, Any] = field(default_factory=list)
    size: tuple[int, int] = (NARROW, TITLE_HEIGHT)


def editor_file(workflow: Workflow, registry: Registry, context: Context) -> dict[str, Any]:
    """The workflow as the editor saves it. One that came from an editor's file is given back as it was.

    Nodes of unknown class keep their values by name. Constants for inputs that a class does not have are left out.
    """
    if workflow.ui is not None:
        return dict(workflow.ui)
    placed = _numbered(workflow, registry)
    links = _connect(placed, context)
    _arrange(placed)
    positions = _positions(placed)
    name = uuid.uuid5(uuid.NAMESPACE_OID, workflow.to_json())
    return {
        "id": str(name),
        "revision": 0,
        "last_node_id": max((entry.id for entry in placed.values()), default=0),
        "last_link_id": len(links),
        "nodes": [_node_json(entry, positions[entry.id]) for entry in placed.values()],
        "links": links,
        "groups": [],
        "config": {},
        "extra": {"ds": {"scale": 1, "offset": [0, 0]}},
        "version": 0.4,
    }


def _numbered(workflow: Workflow, registry: Registry) -> dict[str, _Placed]:
    """API id -> node, in the order of execution. Decimal ids stay, others (`2:4`) get free numbers."""

    def sources(node_id: str) -> list[str]:
        return [link.node for link in workflow.nodes[node_id].links().values() if link.node in workflow.nodes]

    taken = {int(node_id) for node_id in workflow.nodes if _is_number(node_id)}
    following = max(taken, default=0)
    placed: dict[str, _Placed] = {}
    columns: dict[str, int] = {}
    for component in strong_components(workflow.nodes, sources):
        for api_id in component:
            node = workflow.nodes[api_id]
            if _is_number(api_id):
                number = int(api_id)
            else:
                following += 1
                number = following
            node_type = registry.get(node.class_type) if node.class_type is not None else None
            # In a circle some source has no column yet; it then counts for nothing.
            columns[api_id] = max((columns[source] + 1 for source in sources(api_id) if source in columns), default=0)
            placed[api_id] = _Placed(number, api_id, node, node_type, len(placed), columns[api_id])
    return placed


def _is_number(node_id: str) -> bool:
    return node_id.isascii() and node_id.isdecimal() and str(int(node_id[:16])) == node_id


def _connect(placed: Mapping[str, _Placed], context: Context) -> list[list[Any]]:
    """Fill in sockets and values; the links as `[id, source, slot, target, slot, type]`."""
    for entry in placed.values():
        _declare(entry, context)
    links: list[list[Any]] = []
    for entry in placed.values():
        for slot, socket in enumerate(entry.inputs):
            link = entry.node.links().get(socket["name"])
            source = placed.get(link.node) if link is not None else None
            if link is None or source is None or not 0 <= link.slot < 1000:
                continue
            output = _output(source, link)
            if output is None:
                continue
            number = len(links) + 1
            kind = output["type"] if output["type"] != "*" else socket["type"]
            socket["link"] = number
            output["links"].append(number)
            links.append([number, source.id, link.slot, entry.id, slot, kind])
    return links


def _output(source: _Placed, link: Link) -> dict[str, Any] | None:
    """The output that a link leaves from; a node of unknown class gets as many as are asked of it."""
    while source.type is None and len(source.outputs) <= link.slot:
        source.outputs.append({"name": "*", "type": "*", "links": [], "slot_index": len(source.outputs)})
    return source.outputs[link.slot] if link.slot < len(source.outputs) else None


def _declare(entry: _Placed, context: Context) -> None:
    """Sockets, values and size, as the editor derives them from the class."""
    linked = entry.node.links()
    if entry.type is None:
        entry.inputs = [{"name": name, "type": "*", "link": None} for name in linked]
        constants = {name: value for name, value in entry.node.inputs.items() if name not in linked}
        entry.values = {name: as_constant(value) for name, value in constants.items()}
        entry.size = (NARROW, TITLE_HEIGHT + SLOT_HEIGHT * max(len(linked), 1) + WIDGET_HEIGHT * len(constants))
        return
    widgets = [widget for widget in entry.type.widget_order if widget.is_widget]
    for declared in entry.type.widget_order:
        if not declared.is_widget:
            optional = {} if declared.required else {"shape": 7}
            entry.inputs.append({"name": declared.name, "type": declared.type, **optional, "link": None})
    for widget in widgets:
        if widget.name in linked:
            socket = {"name": widget.name, "type": widget.type, "widget": {"name": widget.name}, "link": None}
            entry.inputs.append(socket)
    entry.outputs = [
        {"name": name, "type": kind, "links": [], "slot_index": slot}
        for slot, (name, kind) in enumerate(zip(entry.type.output_names, entry.type.outputs, strict=True))
    ]
    entry.values = _values(widgets, entry.node, context)
    entry.size = _size(entry, widgets)


def _values(widgets: Sequence[Input], node: WorkflowNode, context: Context) -> list[Any]:
    """widgets_values: every widget of ComfyUI's node, then those options of hires that reach to the last one given."""
    own = [widget for widget in widgets if not widget.extra]
    extras = [widget for widget in widgets if widget.extra]
    while extras and extras[-1].name not in node.inputs:
        extras.pop()
    links = node.links()
    values: list[Any] = []
    for widget in (*own, *extras):
        given = widget.name in node.inputs and widget.name not in links
        value = _typed(widget, as_constant(node.inputs[widget.name])) if given else default_value(widget, context)
        values += [None if value is NOTHING else value, *companion_values(widget)]
    return values


def _typed(widget: Input, value: Any) -> Any:
    """API clients may send "20" for 20; the editor keeps the number."""
    if widget.type not in ("INT", "FLOAT") or not isinstance(value, str):
        return value
    try:
        return COERCIONS[widget.type](value)
    except ValueError:
        return value


def _size(entry: _Placed, widgets: Sequence[Input]) -> tuple[int, int]:
    long = sum(1 for widget in widgets if getattr(widget.declaration, "multiline", False))
    short = len(widgets) + sum(len(companion_values(widget)) for widget in widgets) - long
    slots = max(len(entry.inputs), len(entry.outputs))
    height = TITLE_HEIGHT + SLOT_HEIGHT * slots + WIDGET_HEIGHT * short + TEXT_HEIGHT * long
    return WIDE if long else NARROW, height


def _node_json(entry: _Placed, position: Position) -> dict[str, Any]:
    kind = entry.node.class_type or ""
    display = entry.type.display_name if entry.type is not None else kind
    title = {"title": entry.node.title} if entry.node.title and entry.node.title != display else {}
    return {
        "id": entry.id,
        "type": kind,
        "pos": list(position),
        "size": list(entry.size),
        "flags": {},
        "order": entry.order,
        "mode": 0,
        "inputs": entry.inputs,
        "outputs": entry.outputs,
        **title,
        "properties": {"Node name for S&R": kind},
        "widgets_values": entry.values,
    }


# Places


def _arrange(placed: Mapping[str, _Placed]) -> None:
    """Rows within the columns: each node beside the middle of its neighbours (Sugiyama's barycentre rule)."""
    columns = _columns(placed)
    below: dict[str, list[str]] = {}
    for entry in placed.values():
        for link in entry.node.links().values():
            below.setdefault(link.node, []).append(entry.api_id)
    for _ in range(SWEEPS):
        for column in columns[1:]:
            _reorder(column, {e.api_id: [link.node for link in e.node.links().values()] for e in column}, placed)
        for column in reversed(columns[:-1]):
            _reorder(column, {entry.api_id: below.get(entry.api_id, []) for entry in column}, placed)


def _columns(placed: Mapping[str, _Placed]) -> list[list[_Placed]]:
    columns: list[list[_Placed]] = [[] for _ in range(max((entry.column for entry in placed.values()), default=-1) + 1)]
    for entry in placed.values():
        entry.row = len(columns[entry.column])
        columns[entry.column].append(entry)
    return columns


def _reorder(column: list[_Placed], neighbours: Mapping[str, list[str]], placed: Mapping[str, _Placed]) -> None:
    def middle(entry: _Placed) -> float:
        rows = [placed[node].row for node in neighbours[entry.api_id] if node in placed]
        return sum(rows) / len(rows) if rows else entry.row

    column.sort(key=middle)
    for row, entry in enumerate(column):
        entry.row = row


def _positions(placed: Mapping[str, _Placed]) -> dict[int, Position]:
    positions: dict[int, Position] = {}
    columns: dict[int, list[_Placed]] = {}
    for entry in placed.values():
        columns.setdefault(entry.column, []).append(entry)
    x = 0.0
    for _, column in sorted(columns.items()):
        y = float(TOP)
        for entry in sorted(column, key=lambda entry: entry.row):
            positions[entry.id] = (x, y)
            y += entry.size[1] + ROW_GAP
        x += max(entry.size[0] for entry in column) + COLUMN_GAP
    return positions
