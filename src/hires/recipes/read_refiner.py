"""A hand-over to a refiner in a workflow, read as one sampler and the refiner's switch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from hires.errors import SettingError
from hires.graph.workflow import Workflow, WorkflowNode, as_link
from hires.recipes.request import Refiner

PAIR = "KSamplerAdvanced"
PATCHES = ("HiresWebuiSampling", "TomePatchModel", "HiresSeamlessModel")
"""What may lie over a model, the uppermost first."""
OF_THE_WINDOW = ("add_noise", "start_at_step", "end_at_step", "return_with_leftover_noise")
OF_THE_MODEL = ("model", "positive", "negative", "latent_image")


@dataclass(frozen=True)
class _HandOver:
    base: str
    refiner: str
    switch_step: int
    checkpoint: str
    first_pass: bool


def read_refiner(workflow: Workflow) -> tuple[Workflow, Refiner | None]:
    """The workflow with each base and refiner pair as one KSampler by the base, and the refiner that was there.

    A pair is two KSampler (Advanced) with the same settings, the second going on where the first stopped. Anything
    else of that class is left as it is. Raises SettingError when two pairs do not agree, for infotext has one refiner.
    """
    pairs = [pair for node_id in workflow.find(PAIR) if (pair := _pair(workflow, node_id)) is not None]
    if not pairs:
        return workflow, None
    if len({(pair.switch_step, pair.checkpoint) for pair in pairs}) > 1:
        raise SettingError(f"{workflow.source} cannot be told as infotext: its passes switch to a refiner differently")
    nodes = dict(workflow.nodes)
    for pair in pairs:
        nodes[pair.refiner] = _as_one(nodes[pair.base])
    passes = "both passes" if len(pairs) > 1 else "first pass" if pairs[0].first_pass else "second pass"
    if pairs[0].first_pass and len(pairs) == 1 and not _has_second_pass(nodes):
        passes = "second pass"  # the default, which without a hires pass is the only one
    name = PurePath(pairs[0].checkpoint.replace("\\", "/")).stem
    refiner = Refiner(name, switch_step=pairs[0].switch_step, passes=passes)
    ends = [key for key in workflow.nodes if not _feeds_something(key, workflow.nodes)]
    return replace(workflow, nodes=_needed(nodes, ends)), refiner


def _pair(workflow: Workflow, node_id: str) -> _HandOver | None:
    refiner = workflow.nodes[node_id]
    link = as_link(refiner.inputs.get("latent_image"))
    base = workflow.nodes.get(link.node) if link is not None else None
    if link is None or base is None or base.class_type != PAIR or _settings(base) != _settings(refiner):
        return None
    first, then = _window(base), _window(refiner)
    loader = _class_of(workflow.nodes, _under(workflow.nodes, refiner).inputs.get("model"), "CheckpointLoaderSimple")
    steps = refiner.inputs.get("steps")
    if first is None or then is None or loader is None or not isinstance(steps, int):
        return None
    fits = first[2:] == ("enable", "enable") and then[2:] == ("disable", "disable") and first[1] == then[0]
    if not fits or then[1] < steps or not _same_texts(workflow.nodes, base, refiner):
        return None
    before = _class_of(workflow.nodes, base.inputs.get("latent_image"), "EmptyLatentImage")
    return _HandOver(link.node, node_id, then[0] - first[0], str(loader.inputs.get("ckpt_name")), before is not None)


def _under(nodes: Mapping[str, WorkflowNode], sampler: WorkflowNode) -> WorkflowNode:
    """The node whose model is the network that a sampler's model was made of by patches."""
    lowest = sampler
    for kind in PATCHES:
        lowest = _class_of(nodes, lowest.inputs.get("model"), kind) or lowest
    return lowest


def _window(node: WorkflowNode) -> tuple[int, int, Any, Any] | None:
    """(start, end, add noise, leftover noise) of a KSampler (Advanced); None where the steps are not numbers."""
    start, end = node.inputs.get("start_at_step"), node.inputs.get("end_at_step")
    if not isinstance(start, int) or not isinstance(end, int):
        return None
    return start, end, node.inputs.get("add_noise"), node.inputs.get("return_with_leftover_noise")


def _settings(node: WorkflowNode) -> Mapping[str, Any]:
    return {key: value for key, value in node.inputs.items() if key not in (*OF_THE_WINDOW, *OF_THE_MODEL)}


def _class_of(nodes: Mapping[str, WorkflowNode], value: Any, class_type: str) -> WorkflowNode | None:
    link = as_link(value)
    node = nodes.get(link.node) if link is not None else None
    return node if node is not None and node.class_type == class_type else None


def _same_texts(nodes: Mapping[str, WorkflowNode], base: WorkflowNode, refiner: WorkflowNode) -> bool:
    """Whether both encode the same prompts in the same way, each by its own checkpoint's text encoder."""
    for socket in ("positive", "negative"):
        pair = [_class_of(nodes, node.inputs.get(socket), "CLIPTextEncode") for node in (base, refiner)]
        told = [{k: v for k, v in node.inputs.items() if k != "clip"} for node in pair if node is not None]
        if len(told) < 2 or told[0] != told[1]:
            return False
    return True


def _as_one(base: WorkflowNode) -> WorkflowNode:
    """The KSampler that runs the base's whole window: a part of the schedule is what denoising leaves of it."""
    steps, start = base.inputs["steps"], base.inputs["start_at_step"]
    inputs = {key: value for key, value in base.inputs.items() if key not in (*OF_THE_WINDOW, "noise_seed", "steps")}
    denoise = 1.0 if start == 0 else (steps - start) / steps
    more = {"seed": base.inputs.get("noise_seed"), "steps": steps - start, "denoise": denoise}
    return replace(base, class_type="KSampler", inputs=inputs | more)


def _has_second_pass(nodes: Mapping[str, WorkflowNode]) -> bool:
    return sum(node.class_type == "KSampler" for node in nodes.values()) > 1


def _needed(nodes: Mapping[str, WorkflowNode], ends: list[str]) -> dict[str, WorkflowNode]:
    """The nodes that the ends need: without the bases, and without what only refiners needed."""
    found: set[str] = set()
    rest = list(ends)
    while rest:
        key = rest.pop()
        if key not in found and key in nodes:
            found.add(key)
            rest += [link.node for link in nodes[key].links().values()]
    return {key: node for key, node in nodes.items() if key in found}


def _feeds_something(key: str, nodes: Mapping[str, WorkflowNode]) -> bool:
    return any(link.node == key for node in nodes.values() for link in node.links().values())
