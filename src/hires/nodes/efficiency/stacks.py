"""Stacks of LoRAs and ControlNets, and SDXL's tuple."""

from __future__ import annotations

from typing import Annotated, Any

from hires.graph.declare import node
from hires.graph.inputs import Choice, Float, Int
from hires.models.clip import TextStack
from hires.models.handles import DiffusionModel
from hires.nodes.controlnets import Control, apply_controlnet_advanced
from hires.nodes.efficiency.values import (
    ControlStack,
    ControlUse,
    LoraOrNone,
    LoraStack,
    LoraStrength,
    LoraUse,
    SdxlTuple,
    SdxlTupleInput,
    Strength,
    column,
    rows,
)
from hires.nodes.types import Clip, Conditioning, ConditioningList, Image, Model

STACKERS, MISC = "Efficiency Nodes/Stackers", "Efficiency Nodes/Misc"
Percent = Annotated[float, Float(0.0, 1.0, 0.001)]


@node("LoRA Stacker", category=STACKERS, outputs=("LORA_STACK",))
@rows(
    49,
    lora_name=(LoraOrNone, "None"),
    lora_wt=(LoraStrength, 1.0),
    model_str=(LoraStrength, 1.0),
    clip_str=(LoraStrength, 1.0),
)
def lora_stacker(
    *,
    input_mode: Annotated[str, Choice(("simple", "advanced"))],
    lora_count: Annotated[int, Int(0, 50, 1)] = 3,
    lora_stack: LoraStack | None = None,
    **rows: Any,
) -> list[LoraUse]:
    """LoRAs with their strengths; an incoming stack comes behind."""
    count = min(lora_count, 49)
    names = column(rows, "lora_name", count, "None")
    if input_mode == "simple":
        models = clips = column(rows, "lora_wt", count, 1.0)
    else:
        models, clips = column(rows, "model_str", count, 1.0), column(rows, "clip_str", count, 1.0)
    own = [LoraUse(*row) for row in zip(names, models, clips, strict=True) if row[0] != "None"]
    return [*own, *(lora_stack or [])]


@node("Control Net Stacker", category=STACKERS, outputs=("CONTROL_NET_STACK",), output_names=("CNET_STACK",))
def control_net_stacker(
    *,
    control_net: Control,
    image: Image,
    strength: Strength = 1.0,
    start_percent: Percent = 0.0,
    end_percent: Percent = 1.0,
    cnet_stack: ControlStack | None = None,
) -> list[ControlUse]:
    """One more ControlNet behind those of the stack."""
    return [*(cnet_stack or []), ControlUse(control_net, image, strength, start_percent, end_percent)]


@node(
    "Apply ControlNet Stack",
    category=STACKERS,
    outputs=("CONDITIONING", "CONDITIONING"),
    output_names=("CONDITIONING+", "CONDITIONING-"),
)
def apply_stack(
    *, positive: Conditioning, negative: Conditioning, cnet_stack: ControlStack | None = None
) -> tuple[ConditioningList, ConditioningList]:
    """Apply each ControlNet of a stack to both sides, in order."""
    for use in cnet_stack or []:
        positive, negative = apply_controlnet_advanced(
            positive=positive,
            negative=negative,
            control_net=use.net,
            image=use.image,
            strength=use.strength,
            start_percent=use.start,
            end_percent=use.end,
        )
    return positive, negative


@node("Pack SDXL Tuple", category=MISC, outputs=("SDXL_TUPLE",))
def pack_sdxl_tuple(
    *,
    base_model: Model,
    base_clip: Clip,
    base_positive: Conditioning,
    base_negative: Conditioning,
    refiner_model: Model,
    refiner_clip: Clip,
    refiner_positive: Conditioning,
    refiner_negative: Conditioning,
) -> SdxlTuple:
    """SDXL's base and refiner as one value."""
    base = (base_model, base_clip, base_positive, base_negative)
    return SdxlTuple(*base, refiner_model, refiner_clip, refiner_positive, refiner_negative)


SIDE_TYPES = ("MODEL", "CLIP", "CONDITIONING", "CONDITIONING")
SIDE_NAMES = ("MODEL", "CLIP", "CONDITIONING+", "CONDITIONING-")


@node(
    "Unpack SDXL Tuple",
    category=MISC,
    outputs=(*SIDE_TYPES, *SIDE_TYPES),
    output_names=tuple(f"{part}_{name}" for part in ("BASE", "REFINER") for name in SIDE_NAMES),
)
def unpack_sdxl_tuple(
    *, sdxl_tuple: SdxlTupleInput
) -> tuple[DiffusionModel | TextStack | ConditioningList | None, ...]:
    """The parts of SDXL's tuple; the refiner's are None where there is none."""
    return tuple(sdxl_tuple)
