"""What is wrong with a workflow in the JSON of ComfyUI's answers to `/prompt`."""

from __future__ import annotations

from typing import Any

from hires.errors import Fault
from hires.graph.validate import ValidatedWorkflow


def node_errors(validated: ValidatedWorkflow) -> dict[str, Any]:
    """The faults by node, in the JSON of ComfyUI's `/prompt` answer."""
    found: dict[str, Any] = {}
    for fault in validated.faults:
        if fault.node is None:
            continue
        entry = found.setdefault(
            fault.node,
            {
                "errors": [],
                "dependent_outputs": list(validated.dependent_outputs.get(fault.node, ())),
                "class_type": fault.class_type,
            },
        )
        entry["errors"].append(fault_json(fault))
    return found


def fault_json(fault: Fault) -> dict[str, Any]:
    """One fault: type, message, details and extra_info."""
    return {
        "type": fault.type, "message": fault.message, "details": fault.details, "extra_info": dict(fault.extra_info)
    }  # fmt: skip


def error_body(validated: ValidatedWorkflow) -> dict[str, Any] | None:
    """The body of the HTTP 400 answer, or None if at least one output can be run."""
    if validated.outputs:
        return None
    fatal = [fault for fault in validated.faults if fault.type in ("invalid_prompt", "dependency_cycle")]
    whole = [fault for fault in validated.faults if fault.node is None] or fatal
    if whole:
        error = fault_json(whole[0])
    else:
        reasons = [
            f"{fault.message}: {fault.details}"
            for output in validated.failed_outputs
            for fault in validated.faults
            if fault.node == output
        ]
        error = {
            "type": "prompt_outputs_failed_validation",
            "message": "Prompt outputs failed validation",
            "details": "\n".join(reasons),
            "extra_info": {},
        }
    return {"error": error, "node_errors": node_errors(validated)}
