"""LoRAs and hypernetworks: small files that change what a model draws."""

from __future__ import annotations

from typing import Annotated

from hires.graph.declare import NodeResult, node
from hires.graph.inputs import Extra, FileChoice, Float, Int, Text
from hires.models.clip import TextStack
from hires.models.handles import DiffusionModel
from hires.models.lora import Applied, apply_lora
from hires.models.lora_blocks import block_weights as factors_of
from hires.models.patches import Hypernetwork, patched
from hires.nodes.context import RunContext
from hires.nodes.types import Clip, Model

LoraName = Annotated[str, FileChoice("loras")]
HypernetworkName = Annotated[str, FileChoice("hypernetworks")]
BlockWeights = Annotated[str, Text(), Extra]
LoraStrength = Annotated[float, Float(-100.0, 100.0, 0.01)]


@node("LoraLoader", title="Load LoRA", category="loaders", outputs=("MODEL", "CLIP"))
def load_lora(
    *,
    model: Model,
    clip: Clip,
    lora_name: LoraName,
    strength_model: LoraStrength = 1.0,
    strength_clip: LoraStrength = 1.0,
    block_weights: BlockWeights = "",
    rank: Annotated[int, Int(0, 4096), Extra] = 0,
    context: RunContext,
) -> NodeResult | tuple[DiffusionModel | None, TextStack | None]:
    """Lay a LoRA over the UNet and the text encoder; both strengths 0 change nothing and load nothing.

    block_weights: factors of the strength block by block, as numbers or a preset's name (see lora_blocks.py). rank
    cuts the LoRA to its first ranks; 0 takes all.
    """
    if strength_model == 0.0 and strength_clip == 0.0:
        return model, clip
    owner = model or clip
    factors = factors_of(block_weights, owner.family) if block_weights and owner is not None else None
    file = context.store.lora(lora_name)
    applied = apply_lora(model, clip, file, strength_clip, strength_model, factors, dyn=rank or None)
    return _result(applied, (applied.model, applied.clip))


@node("LoraLoaderModelOnly", category="loaders", outputs=("MODEL",))
def load_lora_model_only(
    *, model: Model, lora_name: LoraName, strength_model: LoraStrength = 1.0, context: RunContext
) -> NodeResult | DiffusionModel | None:
    """Lay a LoRA over the UNet only."""
    if strength_model == 0.0:
        return model
    applied = apply_lora(model, None, context.store.lora(lora_name), 0.0, strength_model)
    return _result(applied, (applied.model,))


def _result(applied: Applied, outputs: tuple[DiffusionModel | TextStack | None, ...]) -> NodeResult:
    """The outputs, with a line for the client about what of the file was not used."""
    warning = applied.warning
    return NodeResult(outputs, ui=None if warning is None else {"text": [warning]})


@node("HypernetworkLoader", category="loaders", outputs=("MODEL",))
def load_hypernetwork(
    *,
    model: Model,
    hypernetwork_name: HypernetworkName,
    strength: Annotated[float, Float(-10.0, 10.0, 0.01)] = 1.0,
    context: RunContext,
) -> DiffusionModel:
    """Change the keys and values of attention by a hypernetwork's small networks."""
    identity, networks = context.store.hypernetwork(hypernetwork_name)
    on_device = {width: (k.to(model.device), v.to(model.device)) for width, (k, v) in networks.items()}
    return patched(model, Hypernetwork(on_device, strength), identity, strength)
