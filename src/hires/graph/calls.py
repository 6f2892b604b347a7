"""The calls of one node: lists spread over them, blockers, and what comes back in a common form (ComfyUI's rules)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hires.graph.declare import ExecutionBlocker, NodeResult, NodeType


def call_node(
    node_type: NodeType,
    function: Callable[..., Any],
    inputs: Mapping[str, list[Any]],
    more: Mapping[str, Any],
    before_each: Callable[[], None],
) -> tuple[list[NodeResult], ExecutionBlocker | None]:
    """One result per call of `function`, which takes `more` besides its inputs; the last blocker that came in, if any.

    `before_each` is asked before every call and may raise to stop.
    """
    results: list[NodeResult] = []
    blocker: ExecutionBlocker | None = None
    for arguments in spread(inputs, node_type.input_is_list):
        found = blockers(arguments, node_type.input_is_list)
        if found:
            blocker = next((entry for entry in found if entry.message is not None), found[0])
            results.append(all_blocked(node_type))
            continue
        before_each()
        results.append(as_result(node_type, function(**arguments, **more)))
    return results, blocker


def spread(inputs: Mapping[str, list[Any]], whole_lists: bool) -> list[dict[str, Any]]:
    """The arguments of the calls: one per index of the longest list, shorter lists repeating their last value.

    None if a list is empty. A node that takes whole lists is called once.
    """
    if whole_lists:
        return [dict(inputs)]
    if any(not values for values in inputs.values()):
        return []
    length = max((len(values) for values in inputs.values()), default=1)
    return [{name: values[min(i, len(values) - 1)] for name, values in inputs.items()} for i in range(length)]


def blockers(arguments: Mapping[str, Any], whole_lists: bool) -> list[ExecutionBlocker]:
    """The blockers among the arguments of a call."""
    given = arguments.values()
    values = [value for whole in given for value in whole] if whole_lists else list(given)
    return [value for value in values if isinstance(value, ExecutionBlocker)]


def all_blocked(node_type: NodeType) -> NodeResult:
    """Every output blocked, silently: the message has been told."""
    return NodeResult(tuple([ExecutionBlocker()] if many else ExecutionBlocker() for many in node_type.output_is_list))


def as_result(node_type: NodeType, returned: Any) -> NodeResult:
    """What a node returned, as a NodeResult: outputs as a tuple, or the only output bare."""
    count = len(node_type.outputs)
    if isinstance(returned, NodeResult):
        result = returned
    elif returned is None and count != 1:
        result = NodeResult()
    elif isinstance(returned, ExecutionBlocker) and count > 1:
        result = NodeResult((returned,) * count)
    elif isinstance(returned, tuple) and (count != 1 or len(returned) == 1):
        result = NodeResult(returned)
    else:
        result = NodeResult((returned,))
    if result.outputs and len(result.outputs) != count:
        raise TypeError(f"the node {node_type.name} returned {len(result.outputs)} outputs, it declares {count}")
    return result


def bound_to(function: Callable[..., Any], instance: Any) -> Callable[..., Any]:
    """A class style node's function on its instance."""
    bound: Callable[..., Any] = function.__get__(instance)
    return bound
