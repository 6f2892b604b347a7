"""An XY input written as text: values between semicolons, what belongs to one value between commas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from hires.errors import SettingError
from hires.graph.declare import node
from hires.graph.inputs import Choice, Text
from hires.models.names import match_name
from hires.nodes.context import RunContext
from hires.nodes.efficiency.values import BAKED, Axis, LoraUse
from hires.nodes.efficiency.xy_numbers import CATEGORY, MOST, OUTPUT_NAMES
from hires.sampling.samplers import COMFYUI_SAMPLERS
from hires.sampling.schedules import SCHEDULES, closest_choice

Parse = Callable[[str, str, RunContext], Any]
"""parse(text, kind, context) -> the value."""

SYNTAX = """Seeds++ Batch: a count
Steps, StartStep, EndStep, CFG Scale, Denoise, Clip Skip, Scheduler, VAE: value;value;...
Sampler: sampler;...  or  sampler,scheduler;...  or  sampler;...;,scheduler for all
Prompt S/R: search;replacement;...
Checkpoint: file;...  or  file,clip skip;...  or  file;...;,clip skip for all
LoRA: file;...  or  file,model strength,clip strength;...  or  file;...;,model strength,clip strength for all"""


@node("XY Input: Manual XY Entry", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
def manual_entry(
    *,
    plot_type: Annotated[
        str,
        Choice(
            ("Nothing", "Seeds++ Batch", "Steps", "StartStep", "EndStep", "CFG Scale", "Sampler", "Scheduler",
             "Denoise", "VAE", "Positive Prompt S/R", "Negative Prompt S/R", "Checkpoint", "Clip Skip", "LoRA")
        ),
    ],
    plot_value: Annotated[str, Text(multiline=True)] = "",
    context: RunContext,
) -> Axis:  # fmt: skip
    """An axis written as text."""
    if plot_type == "Nothing":
        return Axis("Nothing", ("",))
    parts = [part.strip() for part in plot_value.replace("\n", "").rstrip("; ").split(";")]
    if not any(parts):
        raise SettingError(f"Manual XY Entry: there are no values for {plot_type}", "Write them with ; between.")
    if plot_type == "Seeds++ Batch":
        return Axis(plot_type, tuple(range(int(_number(parts[0], plot_type, 1, MOST, whole=True)))))
    if plot_type.endswith("Prompt S/R"):
        search, *others = parts
        return Axis(plot_type, ((search, None), *((search, other) for other in others)))
    return Axis(plot_type, tuple(PARSERS[plot_type](part, plot_type, context) for part in with_defaults(parts)))


def with_defaults(parts: Sequence[str]) -> list[str]:
    """A last part that begins with a comma is what all parts without one of their own end in."""
    if len(parts) > 1 and parts[-1].startswith(","):
        return [part if "," in part else part + parts[-1] for part in parts[:-1]]
    return list(parts)


def _number(text: str, kind: str, low: float, high: float, *, whole: bool = False) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not low <= number <= high or (whole and number != int(number)):
        raise SettingError(
            f"Manual XY Entry: {text!r} is no value for {kind}",
            f"It takes {'whole numbers' if whole else 'numbers'} from {low:g} to {high:g}.",
        )
    return number


def _whole(low: int, high: int) -> Parse:
    return lambda text, kind, _: int(_number(text, kind, low, high, whole=True))


def _real(low: float, high: float) -> Parse:
    return lambda text, kind, _: _number(text, kind, low, high)


def _sampler(text: str, kind: str, context: RunContext) -> tuple[str, str | None]:
    name, _, scheduler = (part.strip() for part in text.partition(","))
    known = closest_choice(name, COMFYUI_SAMPLERS, "sampler")
    return known, closest_choice(scheduler.lower(), SCHEDULES, "scheduler") if scheduler else None


def _scheduler(text: str, kind: str, context: RunContext) -> str:
    return closest_choice(text.lower(), SCHEDULES, "scheduler")


def _vae(text: str, kind: str, context: RunContext) -> str:
    return BAKED if text == BAKED else _file(text, "vae", context)


def _checkpoint(text: str, kind: str, context: RunContext) -> tuple[str, int | None, None]:
    name, *rest = (part.strip() for part in text.split(","))
    skip = int(_number(rest[0], "clip skip", -24, -1, whole=True)) if rest else None
    return _file(name, "checkpoints", context), skip, None


def _lora(text: str, kind: str, context: RunContext) -> list[LoraUse]:
    name, *rest = (part.strip() for part in text.split(","))
    strengths = [_number(part, "LoRA strength", -10, 10) for part in rest[:2]] or [1.0]
    return [LoraUse(_file(name, "loras", context), strengths[0], strengths[-1])]


def _file(name: str, kind: str, context: RunContext) -> str:
    """A file of a kind, in any spelling that means one."""
    entries = context.store.entries(kind)
    found = match_name(entries, name)
    if found is None:
        listed = ", ".join(entry.name for entry in entries)
        raise SettingError(f"Manual XY Entry: there is no {name!r} among the {kind}", f"There are: {listed}.")
    return found.name


PARSERS: Mapping[str, Parse] = {
    "Steps": _whole(1, 10_000),
    "StartStep": _whole(0, 10_000),
    "EndStep": _whole(0, 10_000),
    "CFG Scale": _real(0.0, 100.0),
    "Denoise": _real(0.0, 1.0),
    "Clip Skip": _whole(-24, -1),
    "Sampler": _sampler,
    "Scheduler": _scheduler,
    "VAE": _vae,
    "Checkpoint": _checkpoint,
    "LoRA": _lora,
}


@node("Manual XY Entry Info", category=CATEGORY)
def manual_entry_info(*, notes: Annotated[str, Text(multiline=True)] = SYNTAX) -> None:
    """What Manual XY Entry understands."""
