"""XY inputs whose values are numbers or choices of the sampler."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from hires.errors import SettingError
from hires.graph.declare import node
from hires.graph.inputs import Choice, Float, Int, Text
from hires.nodes.efficiency.values import Axis, AxisInput, LayerIndex, Percent, Score, column, rows
from hires.nodes.types import StepIndex, Steps
from hires.sampling.samplers import COMFYUI_SAMPLERS
from hires.sampling.schedules import SCHEDULES

CATEGORY = "Efficiency Nodes/XY Inputs"
OUTPUT_NAMES = ("X or Y",)
USUAL, MOST = 3, 50
"""How many values an axis has, unless said, and at most."""

Count = Annotated[int, Int(0, MOST)]
CfgValue = Annotated[float, Float(0.0, 100.0)]


def linear_integers(count: int, first: int, last: int) -> tuple[int, ...]:
    """`count` whole numbers from first to last, rounded; those that come out the same once."""
    return tuple(dict.fromkeys(round(number) for number in np.linspace(first, last, count).tolist()))


def linear_numbers(count: int, first: float, last: float) -> tuple[float, ...]:
    """`count` numbers from first to last, to three places."""
    return tuple(round(number, 3) for number in np.linspace(first, last, count).tolist())


@node("XY Input: Seeds++ Batch", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
def seeds_batch(*, batch_count: Count = USUAL) -> Axis:
    """The seed and those after it."""
    return Axis("Seeds++ Batch", tuple(range(batch_count)))


@node("XY Input: Add/Return Noise", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
def add_return_noise(*, XY_type: Annotated[str, Choice(("add_noise", "return_with_leftover_noise"))]) -> Axis:
    """With and without."""
    return Axis("AddNoise" if XY_type == "add_noise" else "ReturnNoise", ("enable", "disable"))


STEP_KINDS = {"steps": "Steps", "start_at_step": "StartStep", "end_at_step": "EndStep", "refine_at_step": "RefineStep"}


@node("XY Input: Steps", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
def steps(
    *,
    target_parameter: Annotated[str, Choice(tuple(STEP_KINDS))],
    batch_count: Count = USUAL,
    first_step: Steps = 10,
    last_step: Steps = 20,
    first_start_step: StepIndex = 0,
    last_start_step: StepIndex = 10,
    first_end_step: StepIndex = 10,
    last_end_step: StepIndex = 20,
    first_refine_step: StepIndex = 10,
    last_refine_step: StepIndex = 20,
) -> Axis:
    """Numbers of steps, or the steps at which a run begins, ends or is refined."""
    ends = {
        "steps": (first_step, last_step),
        "start_at_step": (first_start_step, last_start_step),
        "end_at_step": (first_end_step, last_end_step),
        "refine_at_step": (first_refine_step, last_refine_step),
    }
    return Axis(STEP_KINDS[target_parameter], linear_integers(batch_count, *ends[target_parameter]))


@node("XY Input: CFG Scale", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
def cfg_scale(*, batch_count: Count = USUAL, first_cfg: CfgValue = 7.0, last_cfg: CfgValue = 9.0) -> Axis:
    """Strengths of guidance."""
    return Axis("CFG Scale", linear_numbers(batch_count, first_cfg, last_cfg))


@node("XY Input: Denoise", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
def denoise(*, batch_count: Count = USUAL, first_denoise: Percent = 0.0, last_denoise: Percent = 1.0) -> Axis:
    """Shares of the schedule."""
    return Axis("Denoise", linear_numbers(batch_count, first_denoise, last_denoise))


@node("XY Input: Aesthetic Score", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
def aesthetic_score(
    *,
    target_ascore: Annotated[str, Choice(("positive", "negative"))],
    batch_count: Count = USUAL,
    first_ascore: Score = 0.0,
    last_ascore: Score = 10.0,
) -> Axis:
    """What the refiner is told of the picture's beauty."""
    kind = "AScore+" if target_ascore == "positive" else "AScore-"
    return Axis(kind, linear_numbers(batch_count, first_ascore, last_ascore))


@node("XY Input: Refiner On/Off", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
def refiner_on_off(*, refine_at_percent: Percent = 0.8) -> Axis:
    """The refiner from a share of the steps on, and not at all."""
    return Axis("Refiner On/Off", (refine_at_percent, 1.0))


@node("XY Input: Clip Skip", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
def clip_skip(
    *,
    target_ckpt: Annotated[str, Choice(("Base", "Refiner"))],
    batch_count: Count = USUAL,
    first_clip_skip: LayerIndex = -1,
    last_clip_skip: LayerIndex = -3,
) -> Axis:
    """Layers that the text is taken from."""
    kind = "Clip Skip" if target_ckpt == "Base" else "Clip Skip (Refiner)"
    return Axis(kind, linear_integers(batch_count, first_clip_skip, last_clip_skip))


SamplerOrNone = Annotated[str, Choice(("None", *COMFYUI_SAMPLERS))]
SchedulerOrNone = Annotated[str, Choice(("None", *SCHEDULES))]


@node("XY Input: Sampler/Scheduler", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
@rows(MOST, sampler=(SamplerOrNone, "None"), scheduler=(SchedulerOrNone, "None"))
def sampler_scheduler(
    *,
    target_parameter: Annotated[str, Choice(("sampler", "scheduler", "sampler & scheduler"))],
    input_count: Annotated[int, Int(0, MOST, 1)] = USUAL,
    **rows: Any,
) -> Axis:
    """Samplers, schedulers, or pairs of them."""
    samplers = column(rows, "sampler", input_count, "None")
    schedulers = column(rows, "scheduler", input_count, "None")
    if target_parameter == "scheduler":
        return Axis("Scheduler", tuple(name for name in schedulers if name != "None"))
    if target_parameter == "sampler":
        schedulers = ["None"] * len(samplers)
    pairs = zip(samplers, schedulers, strict=True)
    return Axis("Sampler", tuple((one, None if two == "None" else two) for one, two in pairs if one != "None"))


@node("XY Input: Prompt S/R", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
@rows(MOST - 1, replace=(Annotated[str, Text()], ""))
def prompt_sr(
    *,
    target_prompt: Annotated[str, Choice(("positive", "negative"))],
    search_txt: Annotated[str, Text()] = "",
    replace_count: Annotated[int, Int(0, MOST - 1)] = USUAL,
    **rows: Any,
) -> Axis:
    """The prompt as it is, and with a text in it replaced."""
    if not search_txt:
        raise SettingError("XY Input: Prompt S/R has no text to search for", "Fill in search_txt.")
    values = [None, *column(rows, "replace", replace_count, "")]
    kind = "Positive Prompt S/R" if target_prompt == "positive" else "Negative Prompt S/R"
    return Axis(kind, tuple((search_txt, value) for value in values))


@node("Join XY Inputs of Same Type", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
def join_axes(*, XY_1: AxisInput, XY_2: AxisInput) -> Axis:
    """The values of both; seeds go on counting."""
    if XY_1.kind != XY_2.kind:
        raise SettingError(f"Join XY Inputs: one varies {XY_1.kind}, the other {XY_2.kind}", "Both must vary the same.")
    if XY_1.kind == "Seeds++ Batch":
        return Axis(XY_1.kind, tuple(range(len(XY_1.values) + len(XY_2.values))))
    return Axis(XY_1.kind, (*XY_1.values, *XY_2.values))
