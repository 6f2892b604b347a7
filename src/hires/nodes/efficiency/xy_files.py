"""XY inputs whose values are model files: VAEs, checkpoints, LoRAs; and ControlNets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from hires.errors import SettingError
from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, FileChoice, Float, Int, Text
from hires.nodes.context import RunContext
from hires.nodes.controlnets import Control
from hires.nodes.efficiency.values import (
    BAKED,
    Axis,
    CheckpointOrNone,
    ControlStack,
    ControlUse,
    LayerIndex,
    LoraOrNone,
    LoraStack,
    LoraStrength,
    LoraUse,
    Percent,
    Strength,
    VaeOrBaked,
    column,
    rows,
)
from hires.nodes.efficiency.xy_numbers import CATEGORY, MOST, OUTPUT_NAMES, USUAL, Count, linear_numbers
from hires.nodes.types import Image

Folder = Annotated[str, Text(), "A folder within the models folder of this kind; empty for all of it."]
Sort = Annotated[str, Choice(("ascending", "descending"))]
Limit = Annotated[int, Int(-1, MOST, 1)]
Number = Annotated[int, Int(0, MOST, 1)]
VaeOrNone = Annotated[str, FileChoice("vae", also=("None", BAKED), default="None")]
FOLDER_NAMES = {"vae": ("vae",), "checkpoints": ("checkpoints",), "loras": ("loras",)}


def batch_files(kind: str, folder: str, below: bool, order: str, limit: int, context: RunContext) -> list[str]:
    """The names of the files of a kind in a folder of theirs, sorted; limit -1 is none.

    `folder` is looked for below the configured models folders only; what a path of another machine has before the
    name of the kind's folder is left out.
    """
    parts = [part for part in folder.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        raise SettingError(f"the batch path {folder!r} leads out of the {kind} folder", "Name a folder within it.")
    lowered = [part.lower() for part in parts]
    for name in FOLDER_NAMES[kind]:
        if name in lowered:
            parts = parts[lowered.index(name) + 1 :]
            break
    prefix = "/".join(parts)
    names = [name for name in context.files(kind) if _is_in(name.replace("\\", "/"), prefix, below)]
    if not names:
        hint = "Name a folder within the models folder."
        raise SettingError(f"there are no {kind} in the batch path {folder!r}", hint)
    names.sort(reverse=order == "descending")
    return names if limit == -1 else names[:limit]


def _is_in(name: str, folder: str, below: bool) -> bool:
    own, _, _ = name.rpartition("/")
    return own == folder or (below and (not folder or own.startswith(folder + "/")))


def listing(kind: str) -> Callable[..., Sequence[str] | None]:
    """A fingerprint that changes with the files there are, for the modes that list them."""

    def files(input_mode: str, context: RunContext) -> Sequence[str] | None:
        return list(context.files(kind)) if "Batch" in (input_mode or "") else None

    return files


@node("XY Input: VAE", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES, fingerprint=listing("vae"))
@rows(MOST, vae_name=(VaeOrNone, "None"))
def vae_axis(
    *,
    input_mode: Annotated[str, Choice(("VAE Names", "VAE Batch"))],
    batch_path: Folder = "",
    subdirectories: Annotated[bool, Bool()] = False,
    batch_sort: Sort,
    batch_max: Limit = -1,
    vae_count: Number = USUAL,
    context: RunContext,
    **rows: Any,
) -> Axis:
    """VAEs by name, or all of a folder."""
    if input_mode == "VAE Batch":
        return Axis("VAE", tuple(batch_files("vae", batch_path, subdirectories, batch_sort, batch_max, context)))
    return Axis("VAE", tuple(name for name in column(rows, "vae_name", vae_count, "None") if name != "None"))


CHECKPOINT_MODES = ("Ckpt Names", "Ckpt Names+ClipSkip", "Ckpt Names+ClipSkip+VAE", "Checkpoint Batch")


@node(
    "XY Input: Checkpoint",
    category=CATEGORY,
    outputs=("XY",),
    output_names=OUTPUT_NAMES,
    fingerprint=listing("checkpoints"),
)
@rows(MOST, ckpt_name=(CheckpointOrNone, "None"), clip_skip=(LayerIndex, -1), vae_name=(VaeOrBaked, BAKED))
def checkpoint_axis(
    *,
    target_ckpt: Annotated[str, Choice(("Base", "Refiner"))],
    input_mode: Annotated[str, Choice(CHECKPOINT_MODES)],
    batch_path: Folder = "",
    subdirectories: Annotated[bool, Bool()] = False,
    batch_sort: Sort,
    batch_max: Limit = -1,
    ckpt_count: Number = USUAL,
    context: RunContext,
    **rows: Any,
) -> Axis:
    """Checkpoints by name, with clip skip and VAE if wanted, or all of a folder."""
    kind = "Checkpoint" if target_ckpt == "Base" else "Refiner"
    if input_mode == "Checkpoint Batch":
        names = batch_files("checkpoints", batch_path, subdirectories, batch_sort, batch_max, context)
        return Axis(kind, tuple((name, None, None) for name in names))
    names = list(column(rows, "ckpt_name", ckpt_count, "None"))
    skips = column(rows, "clip_skip", ckpt_count) if "ClipSkip" in input_mode else [None] * ckpt_count
    vaes = column(rows, "vae_name", ckpt_count) if "VAE" in input_mode else [None] * ckpt_count
    return Axis(kind, tuple(row for row in zip(names, skips, vaes, strict=True) if row[0] != "None"))


@node(
    "XY Input: LoRA",
    category=CATEGORY,
    outputs=("XY",),
    output_names=OUTPUT_NAMES,
    fingerprint=listing("loras"),
)
@rows(MOST, lora_name=(LoraOrNone, "None"), model_str=(LoraStrength, 1.0), clip_str=(LoraStrength, 1.0))
def lora_axis(
    *,
    input_mode: Annotated[str, Choice(("LoRA Names", "LoRA Names+Weights", "LoRA Batch"))],
    batch_path: Folder = "",
    subdirectories: Annotated[bool, Bool()] = False,
    batch_sort: Sort,
    batch_max: Limit = -1,
    lora_count: Number = USUAL,
    model_strength: LoraStrength = 1.0,
    clip_strength: LoraStrength = 1.0,
    lora_stack: LoraStack | None = None,
    context: RunContext,
    **rows: Any,
) -> Axis:
    """LoRAs by name, with strengths of their own if wanted, or all of a folder; each with the stack behind it."""
    stack = lora_stack or []
    if input_mode == "LoRA Batch":
        names = batch_files("loras", batch_path, subdirectories, batch_sort, batch_max, context)
        return Axis("LoRA Stacks", tuple([LoraUse(name, model_strength, clip_strength), *stack] for name in names))
    names = list(column(rows, "lora_name", lora_count, "None"))
    models, clips = [model_strength] * lora_count, [clip_strength] * lora_count
    if input_mode == "LoRA Names+Weights":
        models = list(column(rows, "model_str", lora_count, 1.0))
        clips = list(column(rows, "clip_str", lora_count, 1.0))
    uses = [LoraUse(*row) for row in zip(names, models, clips, strict=True) if row[0] != "None"]
    return Axis("LoRA", tuple([use, *stack] for use in uses))


LORA_PLOTS = (
    "X: LoRA Batch, Y: LoRA Weight",
    "X: LoRA Batch, Y: Model Strength",
    "X: LoRA Batch, Y: Clip Strength",
    "X: Model Strength, Y: Clip Strength",
)


@node(
    "XY Input: LoRA Plot",
    category=CATEGORY,
    outputs=("XY", "XY"),
    output_names=("X", "Y"),
    fingerprint=listing("loras"),
)
def lora_plot(
    *,
    input_mode: Annotated[str, Choice(LORA_PLOTS)],
    lora_name: LoraOrNone,
    model_strength: LoraStrength = 1.0,
    clip_strength: LoraStrength = 1.0,
    X_batch_count: Count = USUAL,
    X_batch_path: Folder = "",
    X_subdirectories: Annotated[bool, Bool()] = False,
    X_batch_sort: Sort,
    X_first_value: LoraStrength = 0.0,
    X_last_value: LoraStrength = 1.0,
    Y_batch_count: Count = USUAL,
    Y_first_value: LoraStrength = 0.0,
    Y_last_value: LoraStrength = 1.0,
    lora_stack: LoraStack | None = None,
    context: RunContext,
) -> tuple[Axis, Axis]:
    """Both axes of a plot of LoRAs: files or model strengths against strengths."""
    stack = lora_stack or []
    numbers = linear_numbers(Y_batch_count, Y_first_value, Y_last_value)
    if input_mode == LORA_PLOTS[3]:
        if lora_name == "None":
            raise SettingError("XY Input: LoRA Plot has no LoRA whose strengths it could vary", "Choose a lora_name.")
        firsts = linear_numbers(X_batch_count, X_first_value, X_last_value)
        x = Axis("LoRA MStr", tuple([LoraUse(lora_name, number, None), *stack] for number in firsts))
        return x, Axis("LoRA CStr", tuple([LoraUse(lora_name, None, number), *stack] for number in numbers))
    names = batch_files("loras", X_batch_path, X_subdirectories, X_batch_sort, X_batch_count, context)
    model, clip, kind = {
        LORA_PLOTS[0]: (None, None, "LoRA Wt"),
        LORA_PLOTS[1]: (None, clip_strength, "LoRA MStr"),
        LORA_PLOTS[2]: (model_strength, None, "LoRA CStr"),
    }[input_mode]
    x = Axis("LoRA Batch", tuple([LoraUse(name, model, clip), *stack] for name in names))
    parts = [LoraUse(None, number if model is None else None, number if clip is None else None) for number in numbers]
    return x, Axis(kind, tuple([part, *stack] for part in parts))


@node("XY Input: LoRA Stacks", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
def lora_stacks(
    *,
    node_state: Annotated[str, Choice(("Enabled",))],
    lora_stack_1: LoraStack | None = None,
    lora_stack_2: LoraStack | None = None,
    lora_stack_3: LoraStack | None = None,
    lora_stack_4: LoraStack | None = None,
    lora_stack_5: LoraStack | None = None,
) -> Axis:
    """Whole stacks, in the place of the loader's LoRAs."""
    stacks = (lora_stack_1, lora_stack_2, lora_stack_3, lora_stack_4, lora_stack_5)
    return Axis("LoRA Stacks", tuple(stack for stack in stacks if stack is not None))


# ---- ControlNets ----------------------------------------------------------------------------------------------------

CONTROL_KINDS = {"strength": "ControlNetStrength", "start": "ControlNetStart%", "end": "ControlNetEnd%"}
CONTROL_PLOTS = tuple(
    f"X: {x}, Y: {y}" for x in ("Strength", "Start%", "End%") for y in ("Strength", "Start%", "End%") if x != y
)
PARAMETERS = {"Strength": "strength", "Start%": "start", "End%": "end"}
UpToTen = Annotated[float, Float(0.0, 10.0, 0.01)]


def control_axis(parameter: str, numbers: tuple[float, ...], use: ControlUse, stack: list[ControlUse]) -> Axis:
    """One parameter of a ControlNet over some numbers; the stack behind it."""
    limit = 10.0 if parameter == "strength" else 1.0
    changes: list[dict[str, Any]] = [{parameter: min(number, limit)} for number in numbers]
    return Axis(CONTROL_KINDS[parameter], tuple([use._replace(**change), *stack] for change in changes))


@node("XY Input: Control Net", category=CATEGORY, outputs=("XY",), output_names=OUTPUT_NAMES)
def control_net_axis(
    *,
    control_net: Control,
    image: Image,
    target_parameter: Annotated[str, Choice(("strength", "start_percent", "end_percent"))],
    batch_count: Count = USUAL,
    first_strength: Strength = 0.0,
    last_strength: Strength = 1.0,
    first_start_percent: Percent = 0.0,
    last_start_percent: Percent = 1.0,
    first_end_percent: Percent = 0.0,
    last_end_percent: Percent = 1.0,
    strength: Strength = 1.0,
    start_percent: Percent = 0.0,
    end_percent: Percent = 1.0,
    cnet_stack: ControlStack | None = None,
) -> Axis:
    """The strength, start or end of a ControlNet."""
    first, last = {
        "strength": (first_strength, last_strength),
        "start_percent": (first_start_percent, last_start_percent),
        "end_percent": (first_end_percent, last_end_percent),
    }[target_parameter]
    use = ControlUse(control_net, image, strength, start_percent, end_percent)
    parameter = target_parameter.removesuffix("_percent")
    return control_axis(parameter, linear_numbers(batch_count, first, last), use, cnet_stack or [])


@node("XY Input: Control Net Plot", category=CATEGORY, outputs=("XY", "XY"), output_names=("X", "Y"))
def control_net_plot(
    *,
    control_net: Control,
    image: Image,
    plot_type: Annotated[str, Choice(CONTROL_PLOTS)],
    strength: Percent = 1.0,
    start_percent: Percent = 0.0,
    end_percent: Percent = 1.0,
    X_batch_count: Count = USUAL,
    X_first_value: UpToTen = 0.0,
    X_last_value: UpToTen = 1.0,
    Y_batch_count: Count = USUAL,
    Y_first_value: UpToTen = 0.0,
    Y_last_value: UpToTen = 1.0,
    cnet_stack: ControlStack | None = None,
) -> tuple[Axis, Axis]:
    """Two parameters of a ControlNet against each other."""
    use = ControlUse(control_net, image, strength, start_percent, end_percent)
    x, y = (PARAMETERS[part.split(": ")[1]] for part in plot_type.split(", "))
    across = linear_numbers(X_batch_count, X_first_value, X_last_value)
    down = linear_numbers(Y_batch_count, Y_first_value, Y_last_value)
    stack = cnet_stack or []
    return control_axis(x, across, use, stack), control_axis(y, down, use, stack)
