"""What a loader of the pack is asked for, and the loading of it; a plot changes a field and loads again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, cast

from hires.errors import ModelFileError
from hires.graph.inputs import Choice, Socket
from hires.models.clip import TextStack
from hires.models.handles import DiffusionModel, VaeModel
from hires.models.lora import apply_lora
from hires.nodes.conditioning import set_last_layer, with_options
from hires.nodes.context import RunContext
from hires.nodes.efficiency.stacks import apply_stack
from hires.nodes.efficiency.values import BAKED, ControlUse, LoraUse
from hires.nodes.types import ConditioningList
from hires.text.encode import encode_weighted
from hires.text.weighting import TokenNormalization, WeightInterpretation

NORMALIZATIONS = ("none", "mean", "length", "length+mean")
INTERPRETATIONS = ("comfy", "A1111", "compel", "comfy++", "down_weight")
Normalization = Annotated[str, Choice(NORMALIZATIONS)]
Interpretation = Annotated[str, Choice(INTERPRETATIONS)]


@dataclass(frozen=True, eq=False, kw_only=True)
class Wanted:
    """Files, prompts and sizes. `refiner` None: none; the scores are the refiner's.

    `lora` is the loader's own, applied before `lora_stack`.
    """

    checkpoint: str
    vae: str
    clip_skip: int
    positive: str
    negative: str
    token_normalization: str
    weight_interpretation: str
    width: int
    height: int
    lora: LoraUse | None = None
    lora_stack: tuple[LoraUse, ...] = ()
    controls: tuple[ControlUse, ...] = ()
    refiner: str | None = None
    refiner_clip_skip: int = -2
    positive_score: float = 6.0
    negative_score: float = 2.0


DependenciesInput = Annotated[Wanted, Socket("DEPENDENCIES")]


@dataclass(frozen=True, eq=False)
class Side:
    """A model with its text encoder and prompts."""

    model: DiffusionModel
    clip: TextStack | None
    positive: ConditioningList
    negative: ConditioningList


@dataclass(frozen=True, eq=False)
class Loaded:
    """All that a loader gives."""

    base: Side
    refiner: Side | None
    vae: VaeModel | None


def load(wanted: Wanted, context: RunContext) -> Loaded:
    """Checkpoint, LoRAs in order, VAE, clip layer, both prompts, ControlNets; and the refiner with its prompts."""
    base = load_base(wanted, context)
    return Loaded(base, load_refiner(wanted, context), load_vae(wanted, context))


def load_base(wanted: Wanted, context: RunContext) -> Side:
    """The base model with its LoRAs and prompts."""
    checkpoint = context.store.checkpoint(wanted.checkpoint)
    model, clip = checkpoint.model, checkpoint.clip
    own = () if wanted.lora is None else (wanted.lora,)
    for use in (*own, *wanted.lora_stack):
        strengths = (1.0 if use.model is None else use.model, 1.0 if use.clip is None else use.clip)
        if use.name is not None and strengths != (0.0, 0.0):
            applied = apply_lora(model, clip, context.store.lora(use.name), strengths[1], strengths[0])
            model, clip = applied.model, applied.clip
    model, clip = _complete(wanted.checkpoint, model, clip)
    clip = set_last_layer(clip=clip, stop_at_clip_layer=wanted.clip_skip)
    sides = (encode(clip, text, wanted) for text in (wanted.positive, wanted.negative))
    positive, negative = sides
    positive, negative = apply_stack(positive=positive, negative=negative, cnet_stack=list(wanted.controls))
    return Side(model, clip, positive, negative)


def load_refiner(wanted: Wanted, context: RunContext) -> Side | None:
    """The refiner with its prompts, which carry the size and an aesthetic score."""
    if wanted.refiner is None:
        return None
    checkpoint = context.store.checkpoint(wanted.refiner)
    model, clip = _complete(wanted.refiner, checkpoint.model, checkpoint.clip)
    clip = set_last_layer(clip=clip, stop_at_clip_layer=wanted.refiner_clip_skip)
    sizes = {"width": wanted.width, "height": wanted.height}
    positive = with_options(encode(clip, wanted.positive, wanted), aesthetic_score=wanted.positive_score, **sizes)
    negative = with_options(encode(clip, wanted.negative, wanted), aesthetic_score=wanted.negative_score, **sizes)
    return Side(model, clip, positive, negative)


def load_vae(wanted: Wanted, context: RunContext) -> VaeModel | None:
    """The VAE of its own file, or the checkpoint's."""
    return context.store.checkpoint(wanted.checkpoint).vae if wanted.vae == BAKED else context.store.vae(wanted.vae)


def encode(clip: TextStack, text: str, wanted: Wanted) -> ConditioningList:
    """A prompt under the loader's options."""
    cond, pooled = encode_weighted(
        clip,
        text,
        token_normalization=cast(TokenNormalization, wanted.token_normalization),
        weight_interpretation=cast(WeightInterpretation, wanted.weight_interpretation),
    )
    return [(cond, {"pooled_output": pooled})]


def with_control(wanted: Wanted, use: ControlUse, parameter: str, rest: tuple[ControlUse, ...]) -> Wanted:
    """A ControlNet of a plot's axis in front; where the other axis has put it there, only `parameter` changes."""
    first = wanted.controls[0] if wanted.controls else None
    if first is not None and first.net is use.net and first.image is use.image:
        return replace(wanted, controls=(first._replace(**{parameter: getattr(use, parameter)}), *wanted.controls[1:]))
    return replace(wanted, controls=(use, *rest))


def _complete(name: str, model: DiffusionModel | None, clip: TextStack | None) -> tuple[DiffusionModel, TextStack]:
    if model is None or clip is None:
        part = "diffusion model" if model is None else "text encoder"
        raise ModelFileError(f"the checkpoint {name!r} holds no {part}", "The Efficiency loaders need a complete one.")
    return model, clip
