"""Is a workflow fit to run? Every fault at once, in the words and shapes that ComfyUI's clients know."""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hires.errors import Fault, HiresError, WorkflowError
from hires.graph.context import Context
from hires.graph.declare import NodeType, Registry, call_hook, hook_parameters
from hires.graph.inputs import NOTHING, Choice, FileChoice, Float, Input, Int, Socket
from hires.graph.order import strong_components
from hires.graph.packs import pack_of, packs_named
from hires.graph.workflow import Link, Workflow, WorkflowNode, as_constant, as_link

MAX_LISTED_CHOICES = 20
MAX_SHOWN_VALUE = 200
MAX_DEPENDENT_OUTPUTS = 100
"""Of a faulty node that very many outputs need, so many are named."""

COERCIONS: Mapping[str, type] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


@dataclass(frozen=True)
class ValidNode:
    """A node that can be run: its type, its constants (coerced) and its links, both by input name."""

    id: str
    type: NodeType
    constants: Mapping[str, Any]
    links: Mapping[str, Link]
    title: str | None = None


@dataclass(frozen=True)
class ValidatedWorkflow:
    """What of a workflow can be run, and what is wrong with the rest."""

    nodes: Mapping[str, ValidNode]
    """The nodes that are sound and depend on sound nodes only."""
    outputs: tuple[str, ...]
    """The output nodes (or chosen nodes) that can be run."""
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]
    prompt: Mapping[str, Any]
    """The whole workflow in API format, with the coerced constants written into it."""
    dependent_outputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of every node with a fault: the outputs that cannot be run because of it."""
    failed_outputs: tuple[str, ...] = ()
    source: str = "the workflow"

    @property
    def ok(self) -> bool:
        return not self.faults

    def raise_for_faults(self) -> None:
        if self.faults:
            raise WorkflowError(list(self.faults), self.source)


def validate(
    workflow: Workflow,
    registry: Registry,
    context: Context,
    targets: Iterable[str] | None = None,
    everything: bool = False,
) -> ValidatedWorkflow:
    """Check what the output nodes need (with `targets`: what these nodes need; `everything`: all nodes).

    Never raises for what stands in the workflow. Nodes of unknown class are reported wherever they stand.
    """
    faults: list[Fault] = []
    warnings: list[str] = list(workflow.notes)
    types: dict[str, NodeType] = {}
    named = packs_named(workflow.ui or {})
    for node_id, node in workflow.nodes.items():
        node_type = registry.get(node.class_type) if node.class_type is not None else None
        if node_type is None:
            faults.append(_unknown_class(node_id, node, named))
        else:
            types[node_id] = node_type
    roots = _roots(workflow, types, targets, faults)
    links = {node_id: _declared_links(workflow.nodes[node_id], node_type) for node_id, node_type in types.items()}

    def sources(node_id: str) -> list[str]:
        return [link.node for link in links.get(node_id, {}).values() if link.node in workflow.nodes]

    components = strong_components(workflow.nodes if everything else roots, sources)
    sound: dict[str, ValidNode] = {}
    for component in components:
        if len(component) > 1 or component[0] in sources(component[0]):
            faults.append(_cycle(component, workflow))
            continue
        node_id = component[0]
        if node_id in types:
            check = _NodeCheck(node_id, workflow, types, context)
            checked = check.run()
            faults += check.faults
            warnings += check.warnings
            if checked is not None and all(source in sound for source in sources(node_id)):
                sound[node_id] = checked
    order = [node_id for component in components for node_id in component]
    failed = tuple(root for root in roots if root not in sound)
    return ValidatedWorkflow(
        nodes=sound,
        outputs=tuple(root for root in roots if root in sound),
        faults=tuple(faults),
        warnings=tuple(warnings),
        prompt=_written_back(workflow, sound),
        dependent_outputs=_dependent_outputs(order, sources, failed, faults),
        failed_outputs=failed,
        source=workflow.source,
    )


def match_types(received: str, wanted: str) -> bool:
    """Whether an output type may be linked to an input type: equal, `*` (or nothing), or unions with one in common."""
    received, wanted = received.upper(), wanted.upper()
    if received == wanted or "*" in (received, wanted) or not received or not wanted:
        return True
    return not {part.strip() for part in received.split(",")}.isdisjoint(part.strip() for part in wanted.split(","))


def resolve_file(name: str, files: Sequence[str]) -> tuple[str | None, list[str]]:
    """The file that a name from another system means, and the candidates if that is not certain.

    `\\` counts as `/`; then the exact name, the same in another case, the only file of that name in any folder.
    """
    if name in files:
        return name, []
    wanted = name.replace("\\", "/")
    slashed = {file: file.replace("\\", "/") for file in files}
    for same in (str, str.lower, _base_name):
        found = [file for file, plain in slashed.items() if same(plain) == same(wanted)]
        if found:
            return (found[0], []) if len(found) == 1 else (None, found)
    return None, []


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


class _NodeCheck:
    """The check of one node; gathers its faults and warnings."""

    def __init__(
        self,
        node_id: str,
        workflow: Workflow,
        types: Mapping[str, NodeType],
        context: Context,
    ) -> None:
        self.id = node_id
        self.node = workflow.nodes[node_id]
        self.type = types[node_id]
        self.workflow = workflow
        self.types = types
        self.context = context
        self.faults: list[Fault] = []
        self.warnings: list[str] = []
        self.constants: dict[str, Any] = {}
        self.links: dict[str, Link] = {}
        self.hook_names, self.hook_takes_all = frozenset[str](), False
        if self.type.validate is not None:
            self.hook_names, self.hook_takes_all = hook_parameters(self.type.validate)

    def run(self) -> ValidNode | None:
        for name, value in self.node.inputs.items():
            if name not in self.type.by_name and as_link(value) is not None:
                self.warnings.append(
                    f"node {self.id} ({self.type.name}): the link to {name!r} is ignored, the node has no such input"
                )
        for entry in self.type.inputs:
            try:
                self._check_input(entry)
            except Exception as error:  # a list of choices that cannot be made must not hide the other faults
                self._exception(error)
        if self.type.validate is not None and not self.faults:
            self._custom_check()
        if self.faults:
            return None
        return ValidNode(self.id, self.type, self.constants, self.links, self.node.title)

    def _check_input(self, entry: Input) -> None:
        value = self.node.inputs.get(entry.name, NOTHING)
        if value is None and isinstance(entry.declaration, Socket):
            value = NOTHING
        if value is NOTHING:
            if entry.required:
                self._fault(
                    "required_input_missing", "Required input is missing", entry.name, entry, {"input_name": entry.name}
                )
        elif (link := as_link(value)) is not None:
            self._check_link(entry, link)
        elif isinstance(value, list | tuple):
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            self._fault("bad_linked_input", message, entry.name, entry, self._info(entry, value))
        else:
            self._check_constant(entry, as_constant(value))

    def _check_link(self, entry: Input, link: Link) -> None:
        source = self.workflow.nodes.get(link.node)
        if source is None:
            self._dangling(entry, f"the input {entry.name!r} is linked to node {link.node!r}, which does not exist")
            return
        source_type = self.types.get(link.node)
        if source_type is not None:
            if not 0 <= link.slot < len(source_type.outputs):
                count = len(source_type.outputs)
                where = f"output {link.slot} of node {link.node!r} ({source_type.name}), which has {count}"
                self._dangling(entry, f"the input {entry.name!r} is linked to {where}")
                return
            received = source_type.outputs[link.slot]
            if "input_types" not in self.hook_names and not match_types(received, entry.type):
                info = self._info(entry, list(link)) | {"received_type": received, "linked_node": list(link)}
                info["received_value"] = list(link)
                self._fault(
                    "return_type_mismatch",
                    "Return type mismatch between linked nodes",
                    f"{entry.name}, received_type({received}) mismatch input_type({entry.type})",
                    entry,
                    info,
                )
                return
        self.links[entry.name] = link

    def _check_constant(self, entry: Input, value: Any) -> None:
        declaration = entry.declaration
        if isinstance(declaration, Socket):
            if not declaration.accepts_constants and not _may_be_constant(entry.type):
                self._not_convertible(entry, value, "this input takes a link to another node's output")
                return
        elif entry.type in COERCIONS:
            try:
                value = COERCIONS[entry.type](value)
                if isinstance(value, float) and math.isnan(value):
                    raise ValueError("not a number")
            except (TypeError, ValueError, OverflowError) as error:
                self._not_convertible(entry, value, str(error))
                return
        if not (self.hook_takes_all or entry.name in self.hook_names) or self._is_no_choice(entry, value):
            value = self._check_range(entry, value)
        self.constants[entry.name] = value

    def _is_no_choice(self, entry: Input, value: Any) -> bool:
        """Whether the value is no text where our own node's hook may count on the text of a choice."""
        is_choice = isinstance(entry.declaration, Choice | FileChoice) and self.type.instantiate is None
        return is_choice and not isinstance(value, str) and value is not self.type.defaults.get(entry.name, NOTHING)

    def _check_range(self, entry: Input, value: Any) -> Any:
        """The value (a file's name in the spelling of the file); faults where it is out of range."""
        declaration = entry.declaration
        if isinstance(declaration, Int | Float):
            low, high = declaration.min, declaration.max
            if low is not None and value < low:
                message = f"Value {_shown(value)} smaller than min of {low}"
                self._fault("value_smaller_than_min", message, entry.name, entry, self._info(entry, value))
            if high is not None and value > high:
                message = f"Value {_shown(value)} bigger than max of {high}"
                self._fault("value_bigger_than_max", message, entry.name, entry, self._info(entry, value))
        choices = entry.choices(self.context)
        if choices is None or _is_among(value, choices):
            return value
        candidates: list[str] = []
        if isinstance(declaration, FileChoice) and isinstance(value, str):
            found, candidates = resolve_file(value, choices)
            if found is not None:
                self.warnings.append(f"node {self.id} ({self.type.name}): {entry.name} {value!r} is read as {found!r}")
                return found
        few = len(choices) <= MAX_LISTED_CHOICES
        listed = str(list(choices)) if few else f"(list of length {len(choices)})"
        details = f"{entry.name}: '{_shown(value)}' not in {listed}"
        info = {
            "input_name": entry.name,
            "input_config": entry.config(self.context, choices) if few else None,
            "received_value": value,
        }
        if candidates:
            details += f"; it could be {' or '.join(candidates[:MAX_LISTED_CHOICES])}"
            info["candidates"] = candidates
        self._fault("value_not_in_list", "Value not in list", details, entry, info)
        return value

    def _custom_check(self) -> None:
        assert self.type.validate is not None
        values: dict[str, Any] = dict.fromkeys(self.links) | self.constants
        for entry in self.type.inputs:  # an absent optional input counts as its default
            if entry.name in self.hook_names and entry.name not in values:
                values[entry.name] = self.type.defaults.get(entry.name)
        if self.type.input_is_list:
            values = {name: [value] for name, value in values.items()}
        checked = [name for name in values if self.hook_takes_all or name in self.hook_names]
        if "input_types" in self.hook_names:
            values["input_types"] = {
                name: self.types[link.node].outputs[link.slot] for name, link in self.links.items()
                if link.node in self.types
            }  # fmt: skip
        try:
            answer = call_hook(self.type.validate, values, self.context)
        except HiresError as error:
            answer = str(error)
        except Exception as error:
            self._exception(error)
            return
        if answer is True:
            return
        for name in checked or [""]:
            named = self.type.by_name.get(name)
            details = name if answer is False else f"{name} - {answer}"
            info = self._info(named, values[name]) if named is not None else {}
            self._fault("custom_validation_failed", "Custom validation failed for node", details, named, info)

    def _not_convertible(self, entry: Input, value: Any, reason: str) -> None:
        self._fault(
            "invalid_input_type",
            f"Failed to convert an input value to a {entry.type} value",
            f"{entry.name}, {_shown(value)}, {reason}",
            entry,
            self._info(entry, value) | {"exception_message": reason},
        )

    def _dangling(self, entry: Input, text: str) -> None:
        info = {"exception_type": "KeyError", "traceback": [], "input_name": entry.name}
        self._fault("exception_during_validation", "Exception when validating node", text, entry, info)

    def _exception(self, error: Exception) -> None:
        # A HiresError is a mistake in words; anything else is a fault of the node's own code and keeps its trace.
        trace = [] if isinstance(error, HiresError) else traceback.format_tb(error.__traceback__)
        info = {"exception_type": type(error).__name__, "traceback": trace}
        self._fault("exception_during_validation", "Exception when validating node", str(error), None, info)

    def _info(self, entry: Input, value: Any) -> dict[str, Any]:
        choices = entry.choices(self.context)
        config = None if choices is not None and len(choices) > MAX_LISTED_CHOICES else (
            entry.config(self.context, choices)
        )  # fmt: skip
        return {"input_name": entry.name, "input_config": config, "received_value": value}

    def _fault(self, kind: str, message: str, details: str, entry: Input | None, info: dict[str, Any]) -> None:
        name = entry.name if entry is not None else None
        self.faults.append(Fault(kind, message, details, self.id, self.type.name, name, info))


def _roots(
    workflow: Workflow, types: Mapping[str, NodeType], targets: Iterable[str] | None, faults: list[Fault]
) -> list[str]:
    if targets is None:
        roots = [node_id for node_id, node_type in types.items() if node_type.is_output]
    else:
        roots = list(dict.fromkeys(targets))
        for target in roots:
            if target not in workflow.nodes:
                faults.append(Fault("prompt_no_outputs", "Prompt has no outputs", f"there is no node {target!r}"))
        roots = [target for target in roots if target in workflow.nodes]
    if not roots and not faults:
        faults.append(Fault("prompt_no_outputs", "Prompt has no outputs"))
    return roots


def _declared_links(node: WorkflowNode, node_type: NodeType) -> dict[str, Link]:
    return {name: link for name, link in node.links().items() if name in node_type.by_name}


def _unknown_class(node_id: str, node: WorkflowNode, named: Mapping[str, str]) -> Fault:
    pack = pack_of(node.class_type, named) if node.class_type is not None else ""
    names = list(node.inputs)
    shown = ", ".join(names[:MAX_LISTED_CHOICES]) + (", ..." if len(names) > MAX_LISTED_CHOICES else "")
    hints = [f"it comes with {_shown(pack)}"] * bool(pack) + [f"inputs: {shown}"] * bool(names)
    if node.class_type is None:
        message = "Cannot execute because a node is missing the class_type property."
    else:
        message = f"Cannot execute because node {_shown(node.class_type)} does not exist."
    info = {"node_id": node_id, "class_type": node.class_type, "node_title": node.title, "inputs": dict(node.inputs)}
    hint = "; ".join(hints)
    return Fault("invalid_prompt", message, f"Node ID '#{node_id}'", node_id, node.class_type, None, info, hint)


def _cycle(component: list[str], workflow: Workflow) -> Fault:
    first = component[0]
    shown = component[:MAX_LISTED_CHOICES]
    path = " -> ".join([*shown, "..."] if len(shown) < len(component) else [*shown, first])
    info = {"node_ids": component}
    message = "Nodes depend on each other in a circle"
    return Fault("dependency_cycle", message, path, first, workflow.nodes[first].class_type, None, info)


def _dependent_outputs(
    order: list[str], sources: Any, failed: Sequence[str], faults: Sequence[Fault]
) -> dict[str, tuple[str, ...]]:
    """Walk from the failed outputs up to the faulty nodes, carrying the outputs along."""
    rank = {output: index for index, output in enumerate(failed)}
    reached: dict[str, set[str]] = {output: {output} for output in failed}
    for node_id in reversed(order):
        outputs = reached.get(node_id, set())
        for source in sources(node_id):
            below = reached.setdefault(source, set())
            if len(below) < MAX_DEPENDENT_OUTPUTS:
                below |= outputs
    for fault in faults:  # the nodes of a circle share their outputs
        circle = fault.extra_info.get("node_ids", ()) if fault.type == "dependency_cycle" else ()
        shared = set[str]().union(*(reached.get(node_id, set()) for node_id in circle))
        reached.update(dict.fromkeys(circle, shared))
    nodes = dict.fromkeys(fault.node for fault in faults if fault.node is not None)
    return {
        node_id: tuple(sorted(reached.get(node_id, ()), key=rank.__getitem__)[:MAX_DEPENDENT_OUTPUTS])
        for node_id in nodes
    }


def _written_back(workflow: Workflow, sound: Mapping[str, ValidNode]) -> dict[str, Any]:
    """API format with coerced constants; literal lists stay wrapped."""
    prompt = {}
    for node_id, node in workflow.nodes.items():
        changed: dict[str, Any] = {}
        if node_id in sound:
            for name, value in sound[node_id].constants.items():
                changed[name] = {"__value__": value} if isinstance(value, list) else value
        prompt[node_id] = replace(node, inputs={**node.inputs, **changed}).as_json()
    return prompt


def _base_name(path: str) -> str:
    return path.rsplit("/", 1)[-1].lower()


def _may_be_constant(kind: str) -> bool:
    parts = {part.strip() for part in kind.upper().split(",")}
    return not parts.isdisjoint(("*", "", "COMBO", *COERCIONS))


def _is_among(value: Any, choices: Sequence[Any]) -> bool:
    # 1 == True in Python; a client that sends `true` for the choice 1 means something else.
    return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices)


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_SHOWN_VALUE else text[:MAX_SHOWN_VALUE] + "..."
