"""Declarations of inputs: what goes into `Annotated[...]` beside a parameter of a node.

A declaration says the type, the range and how an editor shows the input. The parameter's default is the
widget's default. Types that several nodes share are written once:

    Steps = Annotated[int, Int(1, 10000)]
"""

from __future__ import annotations

import enum
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from hires.graph.context import Context

NOTHING = inspect.Parameter.empty
"""The default of an input that has none."""

WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
SEED_NAMES = ("seed", "noise_seed")
"""INT inputs of these names are followed by a control-after-generate widget even where it is not declared."""


class Marker(enum.Enum):
    """Properties of an input that any declaration can have."""

    LAZY = "lazy"
    EXTRA = "extra"
    OPTIONAL = "optional"


Lazy = Marker.LAZY
"""Computed only when the node's `check_lazy_status` asks for it."""
Extra = Marker.EXTRA
"""An option of hires that ComfyUI's node lacks: always optional, shown after the others."""
OptionalInput = Marker.OPTIONAL
"""A widget that a workflow may leave out; the parameter's default holds then."""


@dataclass(frozen=True, kw_only=True)
class Declaration(ABC):
    """What all declarations share; `type` is the name that links are matched by."""

    lazy: bool = False
    extra: bool = False
    optional: bool = False

    @property
    @abstractmethod
    def type(self) -> str: ...

    @property
    def is_widget(self) -> bool:
        return True

    def options(self, context: Context) -> dict[str, Any]:
        """The options that editors read, in the names of ComfyUI's object_info, without the default."""
        return {}


@dataclass(frozen=True)
class Socket(Declaration):
    """A value that only a link can bring. `*` takes anything, `A,B` takes A or B."""

    name: str
    accepts_constants: bool = field(default=False, kw_only=True)

    @property
    def type(self) -> str:
        return self.name

    @property
    def is_widget(self) -> bool:
        return False


@dataclass(frozen=True)
class Int(Declaration):
    min: int | None = None
    max: int | None = None
    step: int | None = None
    control_after_generate: bool = False
    drawn_up_to: int | None = None
    """-1 asks for a number from 0 to this one, another in every run."""

    @property
    def type(self) -> str:
        return "INT"

    def options(self, context: Context) -> dict[str, Any]:
        control = {"control_after_generate": True} if self.control_after_generate else {}
        return _present(min=self.min, max=self.max, step=self.step) | control


@dataclass(frozen=True)
class Float(Declaration):
    min: float | None = None
    max: float | None = None
    step: float | None = None
    round: float | bool | None = None

    @property
    def type(self) -> str:
        return "FLOAT"

    def options(self, context: Context) -> dict[str, Any]:
        return _present(min=self.min, max=self.max, step=self.step, round=self.round)


@dataclass(frozen=True)
class Text(Declaration):
    multiline: bool = False
    dynamic_prompts: bool = False

    @property
    def type(self) -> str:
        return "STRING"

    def options(self, context: Context) -> dict[str, Any]:
        named = {"multiline": self.multiline, "dynamicPrompts": self.dynamic_prompts}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True)
class Bool(Declaration):
    label_on: str | None = None
    label_off: str | None = None

    @property
    def type(self) -> str:
        return "BOOLEAN"

    def options(self, context: Context) -> dict[str, Any]:
        return _present(label_on=self.label_on, label_off=self.label_off)


@dataclass(frozen=True)
class Choice(Declaration):
    """One of a list, fixed or asked of the context whenever it is needed."""

    choices: Sequence[Any] | Callable[[Context], Sequence[Any]]
    default: Any = NOTHING
    control_after_generate: bool = False

    @property
    def type(self) -> str:
        return "COMBO"

    def available(self, context: Context) -> Sequence[Any]:
        return self.choices(context) if callable(self.choices) else self.choices

    def options(self, context: Context) -> dict[str, Any]:
        return {"control_after_generate": True} if self.control_after_generate else {}


@dataclass(frozen=True)
class FileChoice(Declaration):
    """The name of a file of a kind (`checkpoints`, `loras`, `input` ...); `upload` adds the editor's button.

    Names from other systems are found again: `\\` for `/`, another case, another folder if the name is unique.
    `also` are words that may stand in a file's place ("None", "Baked VAE"), listed first.
    """

    kind: str
    upload: bool = False
    default: Any = NOTHING
    also: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        return "COMBO"

    def available(self, context: Context) -> Sequence[Any]:
        return [*self.also, *context.files(self.kind)]

    def options(self, context: Context) -> dict[str, Any]:
        return {"image_upload": True} if self.upload else {}


@dataclass(frozen=True)
class Hidden:
    """A value that the engine provides: PROMPT, EXTRA_PNGINFO, UNIQUE_ID or DYNPROMPT."""

    kind: str


@dataclass(frozen=True)
class Input:
    """One input of a node, as derived from its signature."""

    name: str
    declaration: Declaration
    required: bool
    default: Any = NOTHING
    lazy: bool = False
    extra: bool = False
    tooltip: str = ""
    more: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Further options for editors, passed on as they are."""

    @property
    def type(self) -> str:
        return self.declaration.type

    @property
    def is_widget(self) -> bool:
        """Whether an editor shows a widget and stores its value (`forceInput` makes it a mere socket)."""
        return self.declaration.is_widget and not self.more.get("forceInput", False)

    @property
    def has_control(self) -> bool:
        """Whether an editor keeps a control-after-generate widget behind this one."""
        declared = getattr(self.declaration, "control_after_generate", False)
        return bool(declared) or (self.type == "INT" and self.name in SEED_NAMES)

    def choices(self, context: Context) -> Sequence[Any] | None:
        declaration = self.declaration
        return declaration.available(context) if isinstance(declaration, Choice | FileChoice) else None

    def config(self, context: Context, choices: Sequence[Any] | None = None) -> list[Any]:
        """The entry of object_info: `[type, options]`, or `[[choice, ...], options]`; the options only if there are."""
        if choices is None:
            choices = self.choices(context)
        options: dict[str, Any] = {} if self.default is NOTHING or not self.is_widget else {"default": self.default}
        options |= self.declaration.options(context)
        if self.lazy:
            options["lazy"] = True
        if self.tooltip:
            options["tooltip"] = self.tooltip
        if self.extra and self.is_widget:
            options["advanced"] = True  # editors show these on demand only
        options |= self.more
        kind: Any = self.type if choices is None else list(choices)
        return [kind, options] if options else [kind]


def _present(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
