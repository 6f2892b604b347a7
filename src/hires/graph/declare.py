"""Nodes: typed functions whose names, inputs, ranges, defaults and outputs are read from the signature.

    @node("LatentUpscaleBy", title="Upscale Latent By", category="latent", outputs=("LATENT",))
    def latent_upscale_by(*, samples: Latent, upscale_method: UpscaleMethod, scale_by: ScaleBy = 1.5) -> LatentDict:
        ...

Every parameter is passed by name, so a node writes `*` first and keeps the order of ComfyUI's inputs, with
and without defaults in any order. A parameter annotated with `Context` (or a subclass) receives the run's.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar

from hires.graph.context import Context
from hires.graph.inputs import (
    NOTHING,
    Choice,
    Declaration,
    FileChoice,
    Float,
    Hidden,
    Input,
    Int,
    Marker,
    Socket,
)

F = TypeVar("F", bound=Callable[..., Any])
EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class NodeResult:
    """What a node may return instead of its outputs.

    `ui` goes to the client and is kept with the result: name -> list. `expand` is a graph in API format that is
    run in the node's place; `outputs` then holds links `[node_id, slot]` into it (or plain values).
    """

    outputs: tuple[Any, ...] = ()
    ui: Mapping[str, list[Any]] | None = None
    expand: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ExecutionBlocker:
    """As the value of an output: whoever needs it is not run; with a message, that is reported."""

    message: str | None = None


@dataclass(frozen=True)
class NodeType:
    """One kind of node. `function` takes its inputs by name (after the instance, where `instantiate` is set)."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    output_is_list: tuple[bool, ...] = ()
    output_tooltips: tuple[str, ...] = ()
    title: str = ""
    category: str = ""
    description: str = ""
    python_module: str = "nodes"
    is_output: bool = False
    input_is_list: bool = False
    deprecated: bool = False
    experimental: bool = False
    depends_on_id: bool = False
    """The result holds for this node's id only (the class is not idempotent or asks for UNIQUE_ID)."""
    context_parameter: str | None = None
    hidden: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    defaults: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    """What the function takes for an absent input."""
    validate: Callable[..., Any] | None = None
    fingerprint: Callable[..., Any] | None = None
    check_lazy_status: Callable[..., Any] | None = None
    instantiate: Callable[[], Any] | None = None
    migrate: Callable[[list[Any]], Mapping[str, Any] | list[Any] | None] | None = None
    """Translates the widget values of older editor files, given as a list: by name, as a list that fits, or None."""

    @property
    def display_name(self) -> str:
        return self.title or self.name

    def input(self, name: str) -> Input | None:
        return self.by_name.get(name)

    @property
    def by_name(self) -> Mapping[str, Input]:
        found: Mapping[str, Input] = self.__dict__["_by_name"]
        return found

    def __post_init__(self) -> None:
        count = len(self.outputs)
        for attribute, filler in (("output_names", self.outputs), ("output_is_list", (False,) * count)):
            if not getattr(self, attribute):
                object.__setattr__(self, attribute, filler)
            if len(getattr(self, attribute)) != count:
                raise TypeError(f"node {self.name}: {attribute} does not have one entry per output")
        object.__setattr__(self, "_by_name", MappingProxyType({entry.name: entry for entry in self.inputs}))

    @property
    def widget_order(self) -> tuple[Input, ...]:
        """The inputs as an editor lists them: required, then optional, then the options of hires."""
        return tuple(sorted(self.inputs, key=lambda entry: (entry.extra, not entry.required)))


def node(
    name: str,
    *,
    outputs: tuple[str, ...] = (),
    output_names: tuple[str, ...] = (),
    output_is_list: tuple[bool, ...] = (),
    output_tooltips: tuple[str, ...] = (),
    title: str = "",
    category: str = "",
    description: str | None = None,
    python_module: str = "nodes",
    is_output: bool = False,
    input_is_list: bool = False,
    deprecated: bool = False,
    experimental: bool = False,
    depends_on_id: bool = False,
    validate: Callable[..., Any] | None = None,
    fingerprint: Callable[..., Any] | None = None,
    check_lazy_status: Callable[..., Any] | None = None,
    migrate: Callable[[list[Any]], Mapping[str, Any] | list[Any] | None] | None = None,
) -> Callable[[F], F]:
    """Declare the function as the node `name`; it stays an ordinary function and can be called as one.

    The hooks name the inputs they want, and `context` if they need it; linked inputs arrive as None.
    `validate` gives True or what is wrong, `fingerprint` a value that changes when the result would
    (NaN or an exception: never the same), `check_lazy_status` the names of the lazy inputs needed now.
    A function may be declared under several names.
    """

    def declare(function: F) -> F:
        inputs, hidden, context_parameter = _read_signature(name, function)
        node_type = NodeType(
            name=name,
            function=function,
            inputs=inputs,
            outputs=outputs,
            output_names=output_names,
            output_is_list=output_is_list,
            output_tooltips=output_tooltips,
            title=title,
            category=category,
            description=_first_line(function) if description is None else description,
            python_module=python_module,
            is_output=is_output,
            input_is_list=input_is_list,
            deprecated=deprecated,
            experimental=experimental,
            depends_on_id=depends_on_id or "UNIQUE_ID" in hidden.values(),
            context_parameter=context_parameter,
            hidden=MappingProxyType(hidden),
            defaults=MappingProxyType({i.name: i.default for i in inputs if i.default is not NOTHING}),
            validate=validate,
            fingerprint=fingerprint,
            check_lazy_status=check_lazy_status,
            migrate=migrate,
        )
        function.__dict__["node_types"] = (*node_types_of(function), node_type)
        return function

    return declare


def node_types_of(value: Any) -> tuple[NodeType, ...]:
    """The node types that `node` attached to a function; none for anything else."""
    attached = value.__dict__.get("node_types", ()) if inspect.isfunction(value) else ()
    return attached if isinstance(attached, tuple) else ()


class Registry(Mapping[str, NodeType]):
    """The node types that a workflow may use, by class type; never changed once made."""

    def __init__(self, node_types: Iterable[NodeType] = ()) -> None:
        self._types: dict[str, NodeType] = {}
        for node_type in node_types:
            if self._types.setdefault(node_type.name, node_type) is not node_type:
                raise ValueError(f"two nodes are called {node_type.name!r}")

    @classmethod
    def of(cls, *sources: ModuleType | NodeType | Callable[..., Any]) -> Registry:
        """The nodes declared in modules, given as decorated functions, or given as they are."""
        return cls(node_type for source in sources for node_type in _collect(source))

    def __getitem__(self, name: str) -> NodeType:
        return self._types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    def __or__(self, other: Registry) -> Registry:
        return Registry((*self.values(), *other.values()))


def call_hook(hook: Callable[..., Any], values: Mapping[str, Any], context: Context) -> Any:
    """Call a hook with the values it names (all of them for `**kwargs`), and the context if it names `context`."""
    named, takes_all = hook_parameters(hook)
    arguments = {name: value for name, value in values.items() if takes_all or name in named}
    if "context" in named:
        arguments["context"] = context
    return hook(**arguments)


def hook_parameters(hook: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """The names of a hook's parameters, and whether it has `**kwargs`."""
    parameters = inspect.signature(hook).parameters.values()
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)), takes_all


def _collect(source: Any) -> tuple[NodeType, ...]:
    if isinstance(source, NodeType):
        return (source,)
    if isinstance(source, ModuleType):
        return tuple(found for value in vars(source).values() for found in node_types_of(value))
    return node_types_of(source)


def _first_line(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").strip().split("\n")[0]


def _read_signature(name: str, function: Callable[..., Any]) -> tuple[tuple[Input, ...], dict[str, str], str | None]:
    """The inputs, the hidden inputs (parameter -> kind) and the name of the context's parameter."""
    hints = typing.get_type_hints(function, include_extras=True)
    inputs: list[Input] = []
    hidden: dict[str, str] = {}
    context_parameter = None
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name)
        # `context: RunContext | None = None` is a node that may also be called without a run
        whole = [kind for kind in typing.get_args(hint) if kind is not type(None)] or [hint]
        if inspect.isclass(whole[0]) and issubclass(whole[0], Context):
            context_parameter = parameter.name
            continue
        metadata = _metadata(hint)
        kinds = [entry.kind for entry in metadata if isinstance(entry, Hidden)]
        if kinds:
            hidden[parameter.name] = kinds[0]
            continue
        declarations = [entry for entry in metadata if isinstance(entry, Declaration)]
        if not declarations:
            raise TypeError(f"node {name}: parameter {parameter.name!r} has no declaration in Annotated[...]")
        inputs.append(_read_input(name, parameter, declarations[-1], metadata))
    return tuple(inputs), hidden, context_parameter


def _metadata(hint: Any) -> tuple[Any, ...]:
    """The metadata of `Annotated[...]`, also within `Annotated[...] | None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(entry for part in typing.get_args(hint) for entry in _metadata(part))
    return getattr(hint, "__metadata__", ())


def _read_input(name: str, parameter: inspect.Parameter, declaration: Declaration, metadata: tuple[Any, ...]) -> Input:
    markers = {entry for entry in metadata if isinstance(entry, Marker)}
    default = parameter.default
    if default is NOTHING and isinstance(declaration, Choice | FileChoice):
        default = declaration.default
    extra = declaration.extra or Marker.EXTRA in markers
    optional = extra or declaration.optional or Marker.OPTIONAL in markers
    if isinstance(declaration, Socket) and parameter.default is not NOTHING:
        optional = True
    if optional and parameter.default is NOTHING:
        raise TypeError(f"node {name}: the optional input {parameter.name!r} needs a default")
    if isinstance(declaration, Int | Float) and default is not NOTHING and default is not None:
        low, high = declaration.min, declaration.max
        if (low is not None and default < low) or (high is not None and default > high):
            raise TypeError(f"node {name}: the default of {parameter.name!r} is out of its range")
    return Input(
        name=parameter.name,
        declaration=declaration,
        required=not optional,
        default=default,
        lazy=declaration.lazy or Marker.LAZY in markers,
        extra=extra,
        tooltip=" ".join(entry for entry in metadata if isinstance(entry, str)),
        more=MappingProxyType({k: v for entry in metadata if isinstance(entry, dict) for k, v in entry.items()}),
    )
