"""Nodes written as ComfyUI's classes (INPUT_TYPES, RETURN_TYPES, FUNCTION ...), adapted to the same NodeType."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from hires.graph.context import Context
from hires.graph.declare import ExecutionBlocker, NodeResult, NodeType, Registry
from hires.graph.inputs import NOTHING, Bool, Choice, Declaration, Float, Input, Int, Socket, Text

UNDERSTOOD = ("default", "min", "max", "step", "round", "lazy", "tooltip", "multiline", "dynamicPrompts", "options")
"""Options that the declarations carry; the others are passed on to editors as they are."""


def comfy_class(cls: type, name: str, display_name: str | None = None, python_module: str = "nodes") -> NodeType:
    """The node type of a ComfyUI-style class. An object of the class is made per node when it first runs."""
    types = _input_types(cls)
    inputs = tuple(
        _read_input(cls, section, input_name, tuple(config))
        for section in ("required", "optional")
        for input_name, config in types.get(section, {}).items()
    )
    hidden = {parameter: _hidden_kind(kind) for parameter, kind in types.get("hidden", {}).items()}
    outputs = tuple("COMBO" if isinstance(kind, list | tuple) else str(kind) for kind in _tuple_of(cls, "RETURN_TYPES"))
    return NodeType(
        name=name,
        function=_function(cls),
        inputs=inputs,
        outputs=outputs,
        output_names=tuple(_tuple_of(cls, "RETURN_NAMES") or outputs),
        output_is_list=tuple(_tuple_of(cls, "OUTPUT_IS_LIST")),
        output_tooltips=tuple(_tuple_of(cls, "OUTPUT_TOOLTIPS")),
        title=display_name or "",
        category=getattr(cls, "CATEGORY", ""),
        description=getattr(cls, "DESCRIPTION", ""),
        python_module=python_module,
        is_output=bool(getattr(cls, "OUTPUT_NODE", False)),
        input_is_list=bool(getattr(cls, "INPUT_IS_LIST", False)),
        deprecated=bool(getattr(cls, "DEPRECATED", False)),
        experimental=bool(getattr(cls, "EXPERIMENTAL", False)),
        depends_on_id=bool(getattr(cls, "NOT_IDEMPOTENT", False)) or "UNIQUE_ID" in hidden.values(),
        hidden=MappingProxyType(hidden),
        validate=getattr(cls, "VALIDATE_INPUTS", None),
        fingerprint=getattr(cls, "IS_CHANGED", None),
        check_lazy_status=inspect.getattr_static(cls, "check_lazy_status", None),
        instantiate=cls,
    )


def comfy_module(module: ModuleType) -> Registry:
    """The nodes that a module lists in NODE_CLASS_MAPPINGS."""
    titles = getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", {})
    classes: Mapping[str, type] = getattr(module, "NODE_CLASS_MAPPINGS", {})
    place = module.__name__
    return Registry(comfy_class(cls, name, titles.get(name), place) for name, cls in classes.items())


def _tuple_of(cls: type, name: str) -> tuple[Any, ...]:
    value = getattr(cls, name, ())
    return tuple(value) if value is not None else ()


def _input_types(cls: Any) -> Mapping[str, Mapping[str, Any]]:
    types: Mapping[str, Mapping[str, Any]] = cls.INPUT_TYPES()
    return types


def _hidden_kind(kind: Any) -> str:
    return str(kind[0] if isinstance(kind, list | tuple) and kind else kind)


def _function(cls: Any) -> Callable[..., Any]:
    method: str = cls.FUNCTION

    def call(instance: Any, **inputs: Any) -> NodeResult:
        returned = getattr(instance, method)(**inputs)
        if inspect.iscoroutine(returned):
            returned = asyncio.run(returned)
        return _as_node_result(returned, len(_tuple_of(cls, "RETURN_TYPES")))

    return call


def _as_node_result(returned: Any, count: int) -> NodeResult:
    """`None`, a tuple, or a dict with any of `result`, `ui` and `expand`."""
    if isinstance(returned, Mapping):
        outputs = returned.get("result") or ()
        return NodeResult(_outputs(outputs, count), returned.get("ui"), returned.get("expand"))
    return NodeResult(() if returned is None else _outputs(returned, count))


def _outputs(returned: Any, count: int) -> tuple[Any, ...]:
    if isinstance(returned, ExecutionBlocker):
        return (returned,) * count
    return tuple(returned)


def _read_input(cls: type, section: str, name: str, config: tuple[Any, ...]) -> Input:
    options: Mapping[str, Any] = config[1] if len(config) > 1 and isinstance(config[1], Mapping) else {}
    return Input(
        name=name,
        declaration=_declaration(cls, section, name, config[0], options),
        required=section == "required",
        default=options.get("default", NOTHING),
        lazy=bool(options.get("lazy", False)),
        tooltip=str(options.get("tooltip", "")),
        more=MappingProxyType({key: value for key, value in options.items() if key not in UNDERSTOOD}),
    )


def _declaration(cls: type, section: str, name: str, kind: Any, options: Mapping[str, Any]) -> Declaration:
    if isinstance(kind, list | tuple) or kind == "COMBO":

        def choices(context: Context) -> list[Any]:
            # Asked anew every time: lists of files change.
            config = _input_types(cls)[section][name]
            if isinstance(config[0], list | tuple):
                return list(config[0])
            return list(config[1].get("options", ()))

        return Choice(choices)
    if kind == "INT":
        return Int(options.get("min"), options.get("max"), options.get("step"))
    if kind == "FLOAT":
        return Float(options.get("min"), options.get("max"), options.get("step"), options.get("round"))
    if kind == "STRING":
        return Text(bool(options.get("multiline", False)), bool(options.get("dynamicPrompts", False)))
    if kind == "BOOLEAN":
        return Bool()
    # A pack's own widget may give constants of any type.
    return Socket(str(kind), accepts_constants=True)
