"""Is one node fit to run? Its inputs against what its class declares: links, constants, ranges, choices."""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hires.errors import Fault, HiresError
from hires.graph.context import Context
from hires.graph.declare import NodeType, call_hook, hook_parameters
from hires.graph.inputs import NOTHING, Choice, FileChoice, Float, Input, Int, Socket
from hires.graph.workflow import Link, Workflow, as_constant, as_link

MAX_LISTED_CHOICES = 20
MAX_SHOWN_VALUE = 200

COERCIONS: Mapping[str, type] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


@dataclass(frozen=True)
class ValidNode:
    """A node that can be run: its type, its constants (coerced) and its links, both by input name."""

    id: str
    type: NodeType
    constants: Mapping[str, Any]
    links: Mapping[str, Link]
    title: str | None = None


class NodeCheck:
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
                message = f"Value {quoted(value)} smaller than min of {low}"
                self._fault("value_smaller_than_min", message, entry.name, entry, self._info(entry, value))
            if high is not None and value > high:
                message = f"Value {quoted(value)} bigger than max of {high}"
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
        details = f"{entry.name}: '{quoted(value)}' not in {listed}"
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
            f"{entry.name}, {quoted(value)}, {reason}",
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


def _base_name(path: str) -> str:
    return path.rsplit("/", 1)[-1].lower()


def _may_be_constant(kind: str) -> bool:
    parts = {part.strip() for part in kind.upper().split(",")}
    return not parts.isdisjoint(("*", "", "COMBO", *COERCIONS))


def _is_among(value: Any, choices: Sequence[Any]) -> bool:
    # 1 == True in Python; a client that sends `true` for the choice 1 means something else.
    return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices)


def quoted(value: Any) -> str:
    """A value as a fault quotes it: cut where it is long."""
    text = str(value)
    return text if len(text) <= MAX_SHOWN_VALUE else text[:MAX_SHOWN_VALUE] + "..."
