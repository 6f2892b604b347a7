"""What goes into a node's calls, and what of their results goes on: lists by input and by output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hires.graph.cache import CachedResult
from hires.graph.declare import NodeResult, NodeType
from hires.graph.node_check import ValidNode
from hires.graph.workflow import Link, as_link

Results = Mapping[str, CachedResult]
"""What the nodes of a run have given, by their ids."""


def inputs_of(node: ValidNode, results: Results) -> dict[str, list[Any]]:
    """Input name -> list of values; a lazy input that was not asked for is None."""
    inputs: dict[str, list[Any]] = {}
    for entry in node.type.inputs:
        if entry.name in node.links:
            link = node.links[entry.name]
            # A copy: a node that takes whole lists may change them.
            inputs[entry.name] = list(_linked(link, results)) if link.node in results else [None]
        elif entry.name in node.constants:
            inputs[entry.name] = [node.constants[entry.name]]
        elif entry.is_widget and entry.name in node.type.defaults:
            inputs[entry.name] = [node.type.defaults[entry.name]]
    return inputs


def hidden_of(node: ValidNode, prompt: Mapping[str, Any], extra_pnginfo: Any) -> dict[str, Any]:
    """What a node takes beside its inputs: the workflow, what is stored with pictures, its own id."""
    values: dict[str, Any] = {
        "PROMPT": prompt,
        "DYNPROMPT": prompt,
        "EXTRA_PNGINFO": extra_pnginfo,
        "UNIQUE_ID": node.id,
    }
    given = {name: values.get(kind) for name, kind in node.type.hidden.items()}
    return {name: [value] for name, value in given.items()} if node.type.input_is_list else given


def combined(node_type: NodeType, calls: Iterable[NodeResult], results: Results) -> CachedResult:
    """The results of the calls in one list per output, links into an expansion replaced by what they lead to."""
    outputs: tuple[list[Any], ...] = tuple([] for _ in node_type.outputs)
    ui: dict[str, list[Any]] | None = None
    for call in calls:
        for slot, value in enumerate(call.outputs[: len(outputs)]):
            link = as_link(value) if call.expand else None
            if link is not None:
                outputs[slot].extend(_linked(link, results))
            elif node_type.output_is_list[slot] and isinstance(value, list | tuple):
                outputs[slot].extend(value)
            else:
                outputs[slot].append(value)
        if call.ui is not None:
            ui = ui if ui is not None else {}
            for name, entries in call.ui.items():
                ui.setdefault(name, []).extend(entries)
    return CachedResult(outputs, ui)


def _linked(link: Link, results: Results) -> list[Any]:
    outputs = results[link.node].outputs
    return outputs[link.slot] if 0 <= link.slot < len(outputs) else []
