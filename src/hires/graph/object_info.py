"""The description of the nodes that editors ask for (`GET /object_info`)."""

from __future__ import annotations

from typing import Any

from hires.graph.context import Context
from hires.graph.declare import NodeType, Registry


def object_info(registry: Registry, context: Context) -> dict[str, Any]:
    """Class type -> description, in the shape that ComfyUI's frontends read."""
    return {name: node_info(node_type, context) for name, node_type in registry.items()}


def node_info(node_type: NodeType, context: Context) -> dict[str, Any]:
    """The description of one node; the lists of files are those of this moment."""
    sections: dict[str, dict[str, Any]] = {"required": {}}
    for entry in node_type.widget_order:
        sections.setdefault("required" if entry.required else "optional", {})[entry.name] = entry.config(context)
    if node_type.hidden:
        sections["hidden"] = dict(node_type.hidden)
    info: dict[str, Any] = {
        "input": sections,
        "input_order": {section: list(entries) for section, entries in sections.items()},
        "is_input_list": node_type.input_is_list,
        "output": list(node_type.outputs),
        "output_is_list": list(node_type.output_is_list),
        "output_name": list(node_type.output_names),
        "name": node_type.name,
        "display_name": node_type.display_name,
        "description": node_type.description,
        "python_module": node_type.python_module,
        "category": node_type.category,
        "output_node": node_type.is_output,
        "deprecated": node_type.deprecated,
        "experimental": node_type.experimental,
    }
    if node_type.output_tooltips:
        info["output_tooltips"] = list(node_type.output_tooltips)
    return info
