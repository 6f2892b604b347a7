"""What the pack's nodes hand to each other: stacks, tuples, scripts, axes, and the inputs that come in rows."""

from __future__ import annotations

import inspect
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeVar

from torch import Tensor

from hires.graph.inputs import Choice, FileChoice, Float, Int, Socket
from hires.models.clip import TextStack
from hires.models.controlnet import ControlNet
from hires.models.handles import DiffusionModel
from hires.nodes.types import MAX_SEED, ConditioningList
from hires.sampling.samplers import COMFYUI_SAMPLERS
from hires.sampling.schedules import SCHEDULES

F = TypeVar("F", bound=Callable[..., Any])

BAKED = "Baked VAE"
RANDOM_SEED_LIMIT = 1125899906842624
"""The largest seed that the pack draws for -1."""


class LoraUse(NamedTuple):
    """A LoRA's file and its strengths; None where an axis of a plot leaves it to the other."""

    name: str | None
    model: float | None
    clip: float | None


class ControlUse(NamedTuple):
    """One application of a ControlNet."""

    net: ControlNet
    image: Tensor
    strength: float
    start: float
    end: float


class SdxlTuple(NamedTuple):
    """SDXL's base and refiner with their prompts; the refiner's part is None where there is none."""

    base_model: DiffusionModel
    base_clip: TextStack
    base_positive: ConditioningList
    base_negative: ConditioningList
    refiner_model: DiffusionModel | None
    refiner_clip: TextStack | None
    refiner_positive: ConditioningList | None
    refiner_negative: ConditioningList | None


@dataclass(frozen=True)
class Axis:
    """One axis of a plot: what it varies, and the values."""

    kind: str
    values: tuple[Any, ...]

    def __bool__(self) -> bool:
        return bool(self.values)


LoraStack = Annotated[list[LoraUse], Socket("LORA_STACK")]
ControlStack = Annotated[list[ControlUse], Socket("CONTROL_NET_STACK")]
SdxlTupleInput = Annotated[SdxlTuple, Socket("SDXL_TUPLE")]
AxisInput = Annotated[Axis, Socket("XY")]

EffSeed = Annotated[int, Int(-1, MAX_SEED, drawn_up_to=RANDOM_SEED_LIMIT), "-1: another one in every run"]
EffCfg = Annotated[float, Float(0.0, 100.0)]
EffSampler = Annotated[str, Choice(COMFYUI_SAMPLERS)]
EffScheduler = Annotated[str, Choice(tuple(SCHEDULES))]
LayerIndex = Annotated[int, Int(-24, -1, 1)]
LoraStrength = Annotated[float, Float(-10.0, 10.0, 0.01)]
Score = Annotated[float, Float(0.0, 1000.0, 0.01)]
Strength = Annotated[float, Float(0.0, 10.0, 0.01)]
Percent = Annotated[float, Float(0.0, 1.0, 0.01)]
Word = Annotated[str, Choice(("True", "False"))]
WordOff = Annotated[str, Choice(("False", "True"))]
LoraOrNone = Annotated[str, FileChoice("loras", also=("None",), default="None")]
CheckpointOrNone = Annotated[str, FileChoice("checkpoints", also=("None",), default="None")]
VaeOrBaked = Annotated[str, FileChoice("vae", also=(BAKED,), default=BAKED)]


def fresh_if_random(seed: int | None = None, noise_seed: int | None = None) -> float | None:
    """A fingerprint that no two runs share where a seed is -1."""
    return math.nan if -1 in (seed, noise_seed) else None


def drawn_seed(seed: int) -> int:
    """The seed, or for -1 a fresh one."""
    return secrets.randbelow(RANDOM_SEED_LIMIT + 1) if seed == -1 else seed


def rows(count: int, **columns: tuple[Any, Any]) -> Callable[[F], F]:
    """Give a node the inputs name_1, other_1, name_2 ... in place of its **rows; columns: name -> (type, default)."""

    def declare(function: F) -> F:
        signature = inspect.signature(function)
        added = [
            inspect.Parameter(f"{name}_{i}", inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for i in range(1, count + 1)
            for name, (kind, default) in columns.items()
        ]
        kept = [entry for entry in signature.parameters.values() if entry.kind is not entry.VAR_KEYWORD]
        hidden = {entry.name for entry in signature.parameters.values()} - {entry.name for entry in kept}
        function.__signature__ = signature.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
        hints = {name: hint for name, hint in function.__annotations__.items() if name not in hidden}
        function.__annotations__ = hints | {entry.name: entry.annotation for entry in added}
        return function

    return declare


def column(rows: Mapping[str, Any], name: str, count: int, default: Any = None) -> Sequence[Any]:
    """The values of one column, of the first `count` rows."""
    return [rows.get(f"{name}_{i}", default) for i in range(1, count + 1)]
