"""ControlNets and T2I-Adapters: loading them and applying them to conditioning."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from hires.graph.declare import node
from hires.graph.inputs import Choice, FileChoice, Float, Socket
from hires.models.controlnet import UNION_TYPES, ControlNet
from hires.nodes.context import RunContext
from hires.nodes.steering import ControlLink
from hires.nodes.types import Conditioning, ConditioningList, Image, Model, Vae

ControlNetName = Annotated[str, FileChoice("controlnet")]
Control = Annotated[ControlNet, Socket("CONTROL_NET")]
ControlStrength = Annotated[float, Float(0.0, 10.0, 0.01)]
Percent = Annotated[float, Float(0.0, 1.0, 0.001)]
CATEGORY = "conditioning/controlnet"


@node("ControlNetLoader", title="Load ControlNet Model", category="loaders", outputs=("CONTROL_NET",))
def load_controlnet(*, control_net_name: ControlNetName, context: RunContext) -> ControlNet:
    """Load a ControlNet, Control-LoRA, union ControlNet or T2I-Adapter."""
    net = context.store.controlnet(control_net_name)
    if "difference" in net.source.tensors:
        raise net.source.error(
            "this ControlNet holds differences from a model", 'Load it with "Load ControlNet Model (diff)".'
        )
    return net


@node("DiffControlNetLoader", title="Load ControlNet Model (diff)", category="loaders", outputs=("CONTROL_NET",))
def load_diff_controlnet(*, model: Model, control_net_name: ControlNetName, context: RunContext) -> ControlNet:
    """Load a ControlNet whose file holds differences, and add them to a model's weights."""
    return context.store.controlnet(control_net_name).bound(model)


@node("SetUnionControlNetType", category=CATEGORY, outputs=("CONTROL_NET",))
def set_union_type(*, control_net: Control, type: Annotated[str, Choice(("auto", *UNION_TYPES))]) -> ControlNet:
    """Say what kind of hint a union ControlNet is given."""
    return replace(control_net, types=() if type == "auto" else (UNION_TYPES.index(type),))


@node(
    "ControlNetApply",
    title="Apply ControlNet (OLD)",
    category=CATEGORY,
    outputs=("CONDITIONING",),
    deprecated=True,
)
def apply_controlnet(
    *, conditioning: Conditioning, control_net: Control, image: Image, strength: ControlStrength = 1.0
) -> ConditioningList:
    """Steer by a picture, on the negative side too; strength 0 changes nothing."""
    if strength == 0.0:
        return conditioning
    return linked(ControlLink(control_net, image, strength), conditioning, {}, to_uncond=True)


@node(
    "ControlNetApplyAdvanced",
    title="Apply ControlNet",
    category=CATEGORY,
    outputs=("CONDITIONING", "CONDITIONING"),
    output_names=("positive", "negative"),
)
def apply_controlnet_advanced(
    *,
    positive: Conditioning,
    negative: Conditioning,
    control_net: Control,
    image: Image,
    strength: ControlStrength = 1.0,
    start_percent: Percent = 0.0,
    end_percent: Percent = 1.0,
    vae: Vae | None = None,
) -> tuple[ConditioningList, ConditioningList]:
    """Steer both sides by a picture over a part of the schedule; the VAE is for networks of other families."""
    if strength == 0.0:
        return positive, negative
    return linked_sides(ControlLink(control_net, image, strength, start_percent, end_percent), positive, negative)


def linked_sides(
    link: ControlLink, positive: ConditioningList, negative: ConditioningList
) -> tuple[ConditioningList, ConditioningList]:
    """Both sides with the link behind what they have; entries of either that had the same share one instance."""
    made: dict[int, ControlLink] = {}
    return linked(link, positive, made, to_uncond=False), linked(link, negative, made, to_uncond=False)


def linked(
    link: ControlLink, conditioning: ConditioningList, made: dict[int, ControlLink], *, to_uncond: bool
) -> ConditioningList:
    """Every entry with the link behind what it has; entries that had the same share one instance."""
    result: ConditioningList = []
    for tensor, options in conditioning:
        previous: ControlLink | None = options.get("control")
        linked = made.setdefault(id(previous), replace(link, previous=previous))
        result.append((tensor, {**options, "control": linked, "control_apply_to_uncond": to_uncond}))
    return result
