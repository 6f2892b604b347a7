"""The loaders: checkpoint, LoRAs, VAE, prompts and an empty latent in one node."""

from __future__ import annotations

from typing import Annotated, Any

from hires.graph.declare import node
from hires.graph.inputs import FileChoice, Int, Text
from hires.models.clip import TextStack
from hires.models.handles import DiffusionModel, VaeModel
from hires.nodes.context import RunContext
from hires.nodes.efficiency.loading import Interpretation, Normalization, Wanted, load
from hires.nodes.efficiency.migrations import migrate_loader
from hires.nodes.efficiency.values import (
    ControlStack,
    LayerIndex,
    LoraOrNone,
    LoraStack,
    LoraStrength,
    LoraUse,
    Score,
    SdxlTuple,
    VaeOrBaked,
)
from hires.nodes.latents import empty_latent
from hires.nodes.types import MAX_RESOLUTION, CheckpointName, ConditioningList, LatentDict

CATEGORY = "Efficiency Nodes/Loaders"
Words = Annotated[str, Text(multiline=True)]
EmptySide = Annotated[int, Int(64, MAX_RESOLUTION, 64)]


@node(
    "Efficient Loader",
    category=CATEGORY,
    outputs=("MODEL", "CONDITIONING", "CONDITIONING", "LATENT", "VAE", "CLIP", "DEPENDENCIES"),
    output_names=("MODEL", "CONDITIONING+", "CONDITIONING-", "LATENT", "VAE", "CLIP", "DEPENDENCIES"),
    migrate=migrate_loader,
)
def efficient_loader(
    *,
    ckpt_name: CheckpointName,
    vae_name: VaeOrBaked,
    clip_skip: LayerIndex = -1,
    lora_name: LoraOrNone,
    lora_model_strength: LoraStrength = 1.0,
    lora_clip_strength: LoraStrength = 1.0,
    positive: Words = "CLIP_POSITIVE",
    negative: Words = "CLIP_NEGATIVE",
    token_normalization: Normalization,
    weight_interpretation: Interpretation,
    empty_latent_width: EmptySide = 512,
    empty_latent_height: EmptySide = 512,
    batch_size: Annotated[int, Int(1, 262144)] = 1,
    lora_stack: LoraStack | None = None,
    cnet_stack: ControlStack | None = None,
    context: RunContext,
) -> tuple[DiffusionModel, ConditioningList, ConditioningList, LatentDict, VaeModel | None, TextStack | None, Wanted]:
    """Load a checkpoint with LoRAs and a VAE, encode both prompts, and make an empty latent."""
    wanted = Wanted(
        checkpoint=ckpt_name,
        vae=vae_name,
        clip_skip=clip_skip,
        positive=positive,
        negative=negative,
        token_normalization=token_normalization,
        weight_interpretation=weight_interpretation,
        width=empty_latent_width,
        height=empty_latent_height,
        lora=None if lora_name == "None" else LoraUse(lora_name, lora_model_strength, lora_clip_strength),
        lora_stack=tuple(lora_stack or ()),
        controls=tuple(cnet_stack or ()),
    )
    latent = _empty(wanted, batch_size, context)
    loaded = load(wanted, context)
    base = loaded.base
    return base.model, base.positive, base.negative, latent, loaded.vae, base.clip, wanted


@node(
    "Eff. Loader SDXL",
    category=CATEGORY,
    outputs=("SDXL_TUPLE", "LATENT", "VAE", "DEPENDENCIES"),
)
def efficient_loader_sdxl(
    *,
    base_ckpt_name: CheckpointName,
    base_clip_skip: LayerIndex = -2,
    refiner_ckpt_name: Annotated[str, FileChoice("checkpoints", also=("None",), default="None")],
    refiner_clip_skip: LayerIndex = -2,
    positive_ascore: Score = 6.0,
    negative_ascore: Score = 2.0,
    vae_name: VaeOrBaked,
    positive: Words = "CLIP_POSITIVE",
    negative: Words = "CLIP_NEGATIVE",
    token_normalization: Normalization,
    weight_interpretation: Interpretation,
    empty_latent_width: EmptySide = 1024,
    empty_latent_height: EmptySide = 1024,
    batch_size: Annotated[int, Int(1, 64)] = 1,
    lora_stack: LoraStack | None = None,
    cnet_stack: ControlStack | None = None,
    context: RunContext,
) -> tuple[SdxlTuple, LatentDict, VaeModel | None, Wanted]:
    """Load SDXL's base and refiner with both prompts for each, and make an empty latent."""
    wanted = Wanted(
        checkpoint=base_ckpt_name,
        vae=vae_name,
        clip_skip=base_clip_skip,
        positive=positive,
        negative=negative,
        token_normalization=token_normalization,
        weight_interpretation=weight_interpretation,
        width=empty_latent_width,
        height=empty_latent_height,
        lora_stack=tuple(lora_stack or ()),
        controls=tuple(cnet_stack or ()),
        refiner=None if refiner_ckpt_name == "None" else refiner_ckpt_name,
        refiner_clip_skip=refiner_clip_skip,
        positive_score=positive_ascore,
        negative_score=negative_ascore,
    )
    latent = _empty(wanted, batch_size, context)
    loaded = load(wanted, context)
    base, refiner = loaded.base, loaded.refiner
    parts: tuple[Any, ...] = (None,) * 4
    if refiner is not None:
        parts = (refiner.model, refiner.clip, refiner.positive, refiner.negative)
    assert base.clip is not None
    return SdxlTuple(base.model, base.clip, base.positive, base.negative, *parts), latent, loaded.vae, wanted


def _empty(wanted: Wanted, batch: int, context: RunContext) -> LatentDict:
    return empty_latent(width=wanted.width, height=wanted.height, batch_size=batch, context=context)
