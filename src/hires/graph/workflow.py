"""Workflows in API format: reading them safely, looking at them, writing them.

    {node_id: {"class_type": str, "inputs": {name: value}, "_meta": {"title": str}}}

A value is a link `[node_id, slot]`, a literal list `{"__value__": [...]}`, or a constant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from hires.errors import Fault, WorkflowError

if TYPE_CHECKING:
    from hires.graph.context import Context
    from hires.graph.declare import Registry

MAX_INTEGER_BITS = 4096


@dataclass(frozen=True)
class Limits:
    """What a workflow may measure; everything beyond is refused before it is looked at."""

    max_bytes: int = 64 * 2**20
    max_nodes: int = 50_000
    max_depth: int = 100


DEFAULT_LIMITS = Limits()


class Link(NamedTuple):
    """Output `slot` (0-based) of a node."""

    node: str
    slot: int


@dataclass(frozen=True)
class WorkflowNode:
    """One node as it stands in the file; `inputs` holds raw values, `rest` the keys that are merely kept."""

    class_type: str | None
    inputs: Mapping[str, Any]
    title: str | None = None
    rest: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def links(self) -> dict[str, Link]:
        return {name: link for name, value in self.inputs.items() if (link := as_link(value)) is not None}

    def as_json(self) -> dict[str, Any]:
        return {"class_type": self.class_type, "inputs": dict(self.inputs), **self.rest}


@dataclass(frozen=True)
class Workflow:
    """A graph of nodes in the order of the file; `ui` is the editor's file it came from, where there was one."""

    nodes: Mapping[str, WorkflowNode]
    ui: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    """What the import had to mend or leave out, in words for the user."""
    source: str = "the workflow"

    @classmethod
    def parse(
        cls,
        data: str | bytes | Mapping[str, Any],
        *,
        registry: Registry | None = None,
        context: Context | None = None,
        limits: Limits = DEFAULT_LIMITS,
        source: str = "the workflow",
    ) -> Workflow:
        """Read API format, the editor's own format (this needs the registry and a context), or a `/prompt` body.

        Raises `WorkflowError` for everything that is none of these or is beyond the limits.
        """
        if not isinstance(data, Mapping):
            data = read_json(data, limits, source)
        check_json(data, limits, source)
        if not isinstance(data, Mapping):
            raise _broken("invalid_workflow", f"a workflow is a JSON object, not {_json_name(data)}", source)
        if isinstance(data.get("nodes"), list):
            if registry is None or context is None:
                raise _broken(
                    "ui_format",
                    "this is the editor's own file; without the nodes' definitions only API format is read",
                    source,
                )
            from hires.graph.ui_format import convert  # conversion reads workflows itself

            prompt, notes = convert(data, registry, context, source=source, limits=limits)
            return replace(cls.parse(prompt, limits=limits, source=source), ui=data, notes=notes)
        if isinstance(data.get("prompt"), Mapping) and "class_type" not in data["prompt"]:
            return replace(_from_api(data["prompt"], limits, source), ui=_embedded_ui(data))
        if "templates" in data and not isinstance(data["templates"], Mapping):
            raise _broken("invalid_workflow", "this file holds node templates, not a workflow", source)
        return _from_api(data, limits, source)

    @classmethod
    def read(
        cls,
        path: Path,
        *,
        registry: Registry | None = None,
        context: Context | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Workflow:
        """Read a `.json` file."""
        try:
            size = path.stat().st_size
            if size > limits.max_bytes:
                raise _too_large(size, limits, path.name)
            data = path.read_bytes()
        except OSError as error:
            raise _broken("unreadable_file", f"cannot be read: {error.strerror or error}", str(path)) from error
        return cls.parse(data, registry=registry, context=context, limits=limits, source=path.name)

    def as_json(self) -> dict[str, Any]:
        """The workflow as a JSON object in API format."""
        return {node_id: node.as_json() for node_id, node in self.nodes.items()}

    def to_json(self, indent: int | None = None) -> str:
        """ASCII text, so that it can stand in a PNG's `tEXt` chunk."""
        return json.dumps(self.as_json(), ensure_ascii=True, indent=indent)

    def find(self, class_type: str) -> list[str]:
        """The ids of the nodes of a class type, in order."""
        return [node_id for node_id, node in self.nodes.items() if node.class_type == class_type]

    def with_inputs(self, node_id: str, **inputs: Any) -> Workflow:
        """The same workflow with some inputs of a node replaced."""
        changed = replace(self.nodes[node_id], inputs={**self.nodes[node_id].inputs, **inputs})
        return replace(self, nodes={**self.nodes, node_id: changed}, ui=None)


class Output(NamedTuple):
    """A node just added to a `WorkflowBuilder`; `output[0]` is the link to its first output."""

    id: str

    def out(self, slot: int = 0) -> list[Any]:
        return [self.id, slot]


class WorkflowBuilder:
    """Writes workflows: for recipes, and for the graphs that nodes expand into (give the node's id as prefix).

    flow = WorkflowBuilder()
    loader = flow.add("CheckpointLoaderSimple", ckpt_name="sd15.safetensors")
    flow.add("CLIPTextEncode", clip=loader.out(1), text="a fox")
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._nodes: dict[str, WorkflowNode] = {}

    def add(self, class_type: str, *, title: str | None = None, id: str | None = None, **inputs: Any) -> Output:
        """Add a node; inputs given as None are left out, literal lists must be wrapped by `literal`."""
        node_id = self._prefix + (id if id is not None else str(len(self._nodes) + 1))
        if node_id in self._nodes:
            raise ValueError(f"the workflow already has a node {node_id!r}")
        rest = {"_meta": {"title": title}} if title is not None else {}
        present = {name: value for name, value in inputs.items() if value is not None}
        self._nodes[node_id] = WorkflowNode(class_type, present, title, rest)
        return Output(node_id)

    def workflow(self) -> Workflow:
        return Workflow(dict(self._nodes))

    def graph(self) -> dict[str, Any]:
        """API format, for `NodeResult(expand=...)`."""
        return self.workflow().as_json()


def literal(values: Iterable[Any]) -> dict[str, list[Any]]:
    """A list as a constant, so that it is not taken for a link."""
    return {"__value__": list(values)}


def as_link(value: Any) -> Link | None:
    if (
        isinstance(value, list | tuple)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
    ):
        return Link(value[0], value[1])
    return None


def as_constant(value: Any) -> Any:
    """The constant itself, out of `{"__value__": ...}` where it is wrapped."""
    return value["__value__"] if isinstance(value, Mapping) and "__value__" in value else value


def read_json(data: str | bytes, limits: Limits = DEFAULT_LIMITS, source: str = "the workflow") -> Any:
    """Parse JSON (NaN and Infinity are accepted: Python's writers make them); duplicate keys are refused."""
    if len(data) > limits.max_bytes:
        raise _too_large(len(data), limits, source)
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data.removeprefix("\ufeff")
        return json.loads(text, object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise _broken("invalid_json", f"not JSON: byte {error.start} is not UTF-8 text", source) from error
    except _DuplicateKeyError as error:
        raise _broken("duplicate_key", f"the key {error.args[0]!r} appears twice in one object", source) from error
    except json.JSONDecodeError as error:
        where = f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        raise _broken("invalid_json", where, source) from error
    except RecursionError as error:
        raise _too_deep(limits, source) from error
    except ValueError as error:  # an integer of thousands of digits
        raise _broken("invalid_json", f"not usable as JSON: {error}", source) from error


def check_json(data: Any, limits: Limits = DEFAULT_LIMITS, source: str = "the workflow") -> None:
    """Refuse what is nested too deeply, has keys that are no strings, or is not JSON at all."""
    level, depth = [data], 0
    while level:
        if depth > limits.max_depth:
            raise _too_deep(limits, source)
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                for key in value:
                    if not isinstance(key, str):
                        raise _broken("invalid_workflow", f"the key {str(key)[:60]!r} is not a string", source)
                below.extend(value.values())
            elif isinstance(value, list | tuple):
                below.extend(value)
            elif isinstance(value, int):
                if value.bit_length() > MAX_INTEGER_BITS:
                    raise _broken("invalid_workflow", "it holds an integer of more than a thousand digits", source)
            elif value is not None and not isinstance(value, str | float):
                raise _broken("invalid_workflow", f"a {type(value).__name__} is not a JSON value", source)
        level, depth = below, depth + 1


class _DuplicateKeyError(Exception):
    """Carries the key out of the JSON parser."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return found


def _from_api(data: Mapping[str, Any], limits: Limits, source: str) -> Workflow:
    if len(data) > limits.max_nodes:
        raise _broken("too_many_nodes", f"it has {len(data)} nodes; at most {limits.max_nodes} are accepted", source)
    faults: list[Fault] = []
    nodes: dict[str, WorkflowNode] = {}
    for node_id, entry in data.items():
        if not isinstance(entry, Mapping):
            faults.append(
                Fault("invalid_node", f"a node is a JSON object, not {_json_name(entry)}", node=node_id, class_type="?")
            )
            continue
        inputs = entry.get("inputs", {})
        if not isinstance(inputs, Mapping):
            message = f"a node's inputs are a JSON object, not {_json_name(inputs)}"
            faults.append(Fault("invalid_node", message, node=node_id, class_type="?"))
            continue
        class_type, meta = entry.get("class_type"), entry.get("_meta")
        title = meta.get("title") if isinstance(meta, Mapping) else None
        nodes[node_id] = WorkflowNode(
            class_type=class_type if isinstance(class_type, str) else None,
            inputs=dict(inputs),
            title=title if isinstance(title, str) else None,
            # `is_changed` would let the sender of a workflow claim that nothing has changed.
            rest={k: v for k, v in entry.items() if k not in ("class_type", "inputs", "is_changed")},
        )
    if faults and not nodes:
        raise _broken("invalid_workflow", "this JSON is not a workflow in API or editor format", source)
    if faults:
        raise WorkflowError(faults, source)
    return Workflow(nodes, source=source)


def _embedded_ui(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The editor's file in a `/prompt` body: extra_data.extra_pnginfo.workflow."""
    value: Any = body
    for key in ("extra_data", "extra_pnginfo", "workflow"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else None


def _json_name(value: Any) -> str:
    if value is None:
        return "null"
    names = ((bool, "a boolean"), (str, "a string"), (int, "a number"), (float, "a number"), (list, "a list"))
    return next((name for kind, name in names if isinstance(value, kind)), "an object")


def _broken(kind: str, message: str, source: str) -> WorkflowError:
    return WorkflowError([Fault(kind, message)], source)


def _too_large(size: int, limits: Limits, source: str) -> WorkflowError:
    return _broken("too_large", f"it has {size} bytes; at most {limits.max_bytes} are accepted", source)


def _too_deep(limits: Limits, source: str) -> WorkflowError:
    return _broken("too_deep", f"it is nested more than {limits.max_depth} levels deep", source)
