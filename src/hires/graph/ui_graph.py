"""The editor's own file, both generations of it, as plain graphs: nodes, their inputs, where the links lead.

Files come from many versions and hands, so whatever is malformed is read as absent; what the conversion cannot
do without shows up there as a missing input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

GRAPH_INPUT = "-10"
"""The id that links inside a subgraph have for their origin when it is the subgraph's own input."""
GRAPH_OUTPUT = "-20"

MUTED, BYPASSED = 2, 4

RENAMED_TYPES = {
    "T2IAdapterLoader": "ControlNetLoader",
    "ConditioningAverage ": "ConditioningAverage",
    "SDV_img2vid_Conditioning": "SVD_img2vid_Conditioning",
}
GROUP_PREFIXES = ("workflow>", "workflow/")


class UiLink(NamedTuple):
    """Where an input gets its value: output `slot` of node `source` of the same graph."""

    source: str
    slot: int


@dataclass(frozen=True)
class UiInput:
    name: str
    type: str
    link: UiLink | None = None
    has_widget: bool = False
    label: str | None = None


@dataclass(frozen=True)
class UiNode:
    id: str
    type: str
    mode: int = 0
    order: int = 0
    title: str | None = None
    inputs: tuple[UiInput, ...] = ()
    output_types: tuple[str, ...] = ()
    values: Sequence[Any] | Mapping[str, Any] = ()
    """widgets_values: by position, or by name where the file has names."""
    properties: Mapping[str, Any] = field(default_factory=dict)

    def input(self, name: str) -> UiInput | None:
        return next((entry for entry in self.inputs if entry.name == name), None)


@dataclass(frozen=True)
class UiGraph:
    """The root graph, a subgraph, or a group node's inside."""

    nodes: Mapping[str, UiNode]
    inputs: tuple[str, ...] = ()
    outputs: tuple[UiLink | None, ...] = ()
    widget_slots: tuple[tuple[str, str], ...] | None = None
    """Of a group node: (inner node, widget) in the order of the host's values; the widget '' is one to skip."""


def read_graph(data: Mapping[str, Any]) -> UiGraph:
    """The root graph or a subgraph's definition."""
    inputs, outputs = as_list(data.get("inputs")), as_list(data.get("outputs"))
    origins = {
        str(as_dict(data.get("inputNode")).get("id", GRAPH_INPUT)): GRAPH_INPUT,
        str(as_dict(data.get("outputNode")).get("id", GRAPH_OUTPUT)): GRAPH_OUTPUT,
    }
    links, targets = _read_links(data.get("links"), origins)
    nodes = (_read_node(entry, links) for entry in as_list(data.get("nodes")) if isinstance(entry, Mapping))
    return UiGraph(
        nodes={node.id: node for node in nodes},
        inputs=tuple(str(as_dict(entry).get("name", "")) for entry in inputs),
        outputs=tuple(_output_link(as_dict(entry), slot, links, targets) for slot, entry in enumerate(outputs)),
    )


def read_subgraphs(data: Mapping[str, Any]) -> dict[str, UiGraph]:
    """Subgraph id -> graph."""
    definitions = as_list(as_dict(data.get("definitions")).get("subgraphs"))
    return {str(entry.get("id")): read_graph(entry) for entry in definitions if isinstance(entry, Mapping)}


def group_definition(data: Mapping[str, Any], node_type: str) -> Mapping[str, Any] | None:
    """The definition of a legacy group node (`workflow>Name`), if the file has it."""
    groups = as_dict(as_dict(data.get("extra")).get("groupNodes"))
    for prefix in GROUP_PREFIXES:
        if node_type.startswith(prefix):
            found = groups.get(node_type.removeprefix(prefix))
            return found if isinstance(found, Mapping) else None
    return None


def read_group(definition: Mapping[str, Any], host: UiNode, widgets_of: Any) -> UiGraph:
    """A legacy group node as a graph whose inputs are those of the host.

    The host has the inner inputs without inner links, in order, renamed where names repeat; the inner outputs that
    nothing inside takes or that are declared external; and the inner widgets that are neither linked nor hidden.
    `widgets_of(type) -> [(name, slots)]` says how many values each widget of a class holds.
    """
    config = as_dict(definition.get("config"))
    links: dict[tuple[str, int], UiLink] = {}
    taken: set[UiLink] = set()
    for entry in as_list(definition.get("links")):
        if isinstance(entry, list) and len(entry) >= 4 and entry[0] is not None and entry[2] is not None:
            origin = UiLink(str(entry[0]), as_int(entry[1]))
            links[str(entry[2]), as_int(entry[3])] = origin
            taken.add(origin)
    external = {UiLink(str(e[0]), as_int(e[1])) for e in as_list(definition.get("external")) if as_list(e)[1:]}

    names: dict[str, int] = {}
    nodes: dict[str, UiNode] = {}
    exposed: list[str] = []
    outputs: list[UiLink | None] = []
    widget_slots: list[tuple[str, str]] = []
    for index, raw in enumerate(as_list(definition.get("nodes"))):
        inner = replace(_read_node(as_dict(raw), {}), id=str(index), order=index)
        shown_inputs = as_dict(as_dict(config.get(inner.id)).get("input"))
        shown_outputs = as_dict(as_dict(config.get(inner.id)).get("output"))
        inputs: list[UiInput] = []
        for slot, entry in enumerate(inner.inputs):
            link = links.get((inner.id, slot))
            if link is None and as_dict(shown_inputs.get(entry.name)).get("visible", True):
                name = _group_input_name(inner, entry, shown_inputs, names)
                if host.input(name) is not None:
                    link = UiLink(GRAPH_INPUT, len(exposed))
                    exposed.append(name)
            inputs.append(replace(entry, link=link))
        nodes[inner.id] = replace(inner, inputs=tuple(inputs))
        for slot in range(len(inner.output_types)):
            output = UiLink(inner.id, slot)
            shown = as_dict(shown_outputs.get(str(slot))).get("visible", output not in taken or output in external)
            if shown:
                outputs.append(output)
        linked = {entry.name for entry in nodes[inner.id].inputs if entry.link and entry.link.source != GRAPH_INPUT}
        widgets = widgets_of(inner.type) or [("value", len(inner.values))] * (inner.type == "PrimitiveNode")
        for name, slots in widgets:
            if slots and name not in linked and as_dict(shown_inputs.get(name)).get("visible", True):
                widget_slots += [(inner.id, name), *[(inner.id, "")] * (slots - 1)]
    return UiGraph(nodes, tuple(exposed), tuple(outputs), tuple(widget_slots))


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def as_dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def as_int(value: Any, default: int = 0) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _read_links(raw: Any, renamed: Mapping[str, str]) -> tuple[dict[str, UiLink], dict[str, tuple[str, int]]]:
    """Link id -> origin, and link id -> target; links are lists in format 0.4, objects in schema 1 and subgraphs."""
    links: dict[str, UiLink] = {}
    targets: dict[str, tuple[str, int]] = {}
    for entry in as_list(raw):
        if isinstance(entry, Mapping):
            keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
            parts: Iterable[Any] = (entry.get(key) for key in keys)
        elif isinstance(entry, list | tuple) and len(entry) >= 5:
            parts = entry[:5]
        else:
            continue
        link_id, source, source_slot, target, target_slot = parts
        links[str(link_id)] = UiLink(renamed.get(str(source), str(source)), as_int(source_slot))
        targets[str(link_id)] = (renamed.get(str(target), str(target)), as_int(target_slot))
    return links, targets


def _output_link(
    output: Mapping[str, Any], slot: int, links: Mapping[str, UiLink], targets: Mapping[str, tuple[str, int]]
) -> UiLink | None:
    """What feeds a subgraph's output: the link it names, else the link that ends there."""
    named = [str(link_id) for link_id in as_list(output.get("linkIds"))]
    ending = [link_id for link_id, target in targets.items() if target == (GRAPH_OUTPUT, slot)]
    return next((links[link_id] for link_id in (*named, *ending) if link_id in links), None)


def _read_node(raw: Mapping[str, Any], links: Mapping[str, UiLink]) -> UiNode:
    node_type, title, named = raw.get("type"), raw.get("title"), raw.get("widgets_values_named")
    values = named if isinstance(named, Mapping) else raw.get("widgets_values")
    plain = node_type if isinstance(node_type, str) else ""
    return UiNode(
        id=str(raw.get("id")),
        type=RENAMED_TYPES.get(plain, plain),
        mode=as_int(raw.get("mode")),
        order=as_int(raw.get("order")),
        title=title if isinstance(title, str) and title else None,
        inputs=tuple(_read_input(entry, links) for entry in as_list(raw.get("inputs")) if isinstance(entry, Mapping)),
        output_types=tuple(_type_name(as_dict(entry).get("type")) for entry in as_list(raw.get("outputs"))),
        values=values if isinstance(values, Mapping) else as_list(values),
        properties=as_dict(raw.get("properties")),
    )


def _read_input(raw: Mapping[str, Any], links: Mapping[str, UiLink]) -> UiInput:
    link_id, label = raw.get("link"), raw.get("label")
    return UiInput(
        name=str(raw.get("name")),
        type=_type_name(raw.get("type")),
        link=links.get(str(link_id)) if link_id is not None else None,
        has_widget=isinstance(raw.get("widget"), Mapping),
        label=label if isinstance(label, str) else None,
    )


def _type_name(value: Any) -> str:
    """Types are texts; 0 and -1 stand for any in old files, a list is a combo's."""
    if isinstance(value, str):
        return value
    return "COMBO" if isinstance(value, list) else "*"


def _group_input_name(node: UiNode, entry: UiInput, shown: Mapping[str, Any], names: dict[str, int]) -> str:
    """The host's name for an inner input: its own, behind the inner node's title where it is taken."""
    custom = as_dict(shown.get(entry.name)).get("name")
    name = custom if isinstance(custom, str) else entry.label or entry.name
    if name in names:
        key = f"{node.title or node.type} {entry.name}"
        name = key if key not in names else f"{node.title or node.type} {names[key]}{entry.name}"
        names[key] = names.get(key, 1) + 1
    names.setdefault(name, 1)
    return name
