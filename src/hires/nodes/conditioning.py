"""Conditioning: prompts to text vectors, and the algebra on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor

from hires.errors import ModelFileError
from hires.graph.declare import node
from hires.graph.inputs import Bool, Choice, Extra, Float, Int
from hires.models.clip import TextStack
from hires.nodes.context import RunContext
from hires.nodes.texts import EncodedTexts, Encoding
from hires.nodes.types import Clip, Conditioning, ConditioningList, Dialect, Pixels, Prompt
from hires.text.encode import encode_comfy
from hires.text.schedule import schedule
from hires.text.syntax_webui import split_and, split_networks, strip_comments

ENDLESS = 2**62
LayerIndex = Annotated[int, Int(-24, -1, 1)]
Emphasis = Annotated[str, Choice(("Original", "No norm", "Ignore", "None", "ComfyUI")), Extra]
Strength = Annotated[float, Float(0.0, 10.0, 0.01)]
Percent = Annotated[float, Float(0.0, 1.0, 0.001)]
Calls = Annotated[int, Int(0, 1_000_000), Extra]


@node("CLIPSetLastLayer", title="CLIP Set Last Layer", category="conditioning", outputs=("CLIP",))
def set_last_layer(*, clip: Clip, stop_at_clip_layer: LayerIndex = -1) -> TextStack:
    """Take the text from an earlier hidden layer (-1 last, -2 the one before ...): clip skip."""
    return replace(clip, layer=stop_at_clip_layer, identity=f"{clip.identity} layer {stop_at_clip_layer}")


@node("CLIPTextEncode", title="CLIP Text Encode (Prompt)", category="conditioning", outputs=("CONDITIONING",))
def text_encode(
    *,
    text: Prompt,
    clip: Clip,
    dialect: Dialect = "comfyui",
    emphasis: Emphasis = "Original",
    comma_backtrack: Annotated[int, Int(0, 75), Extra] = 20,
    schedule_calls: Calls = 0,
    schedule_calls_before: Calls = 0,
    negative: Annotated[bool, Bool(), Extra] = False,
    zero_if_empty: Annotated[bool, Bool(), Extra] = False,
    comments: Annotated[bool, Bool(), Extra] = True,
    old_scheduling: Annotated[bool, Bool(), Extra] = False,
    context: RunContext | None = None,
) -> ConditioningList:
    """Encode a prompt. In the A1111 dialect with its prompt schedules over `schedule_calls` denoiser calls
    (of the second pass when `schedule_calls_before` says how many the first one had), AND parts and BREAK; each text
    that comes up is encoded once. `old_scheduling` is the timeline from before A1111 1.6."""
    _check_clip(clip)
    if dialect == "comfyui":
        cond, pooled = encode_comfy(clip, text)
        return [(cond, {"pooled_output": pooled})]
    text, _ = split_networks(strip_comments(text) if comments else text)
    parts = [(text, 1.0)] if negative else split_and(text)
    how = Encoding(emphasis, comma_backtrack, zero_if_empty)
    texts = context.texts if context is not None else EncodedTexts()
    entries: ConditioningList = []
    for part, weight in parts:
        first = 0
        for until, variant in _variants(part, schedule_calls, schedule_calls_before, old_scheduling):
            cond, pooled = texts.encode(clip, variant, how)
            options: dict[str, Any] = {"pooled_output": pooled, "calls": (first, until)}
            if len(parts) > 1 or weight != 1.0:
                options["and_weight"] = weight
            entries.append((cond, options))
            first = until + 1
        entries[-1][1]["calls"] = (entries[-1][1]["calls"][0], ENDLESS)
    return _as_long(entries) if len(parts) > 1 else entries


def _as_long(entries: ConditioningList) -> ConditioningList:
    """All texts of an AND prompt as long as the longest, their last vectors repeated, as the web UI evaluates them."""
    longest = max(tensor.shape[1] for tensor, _ in entries)
    return [
        (torch.cat([tensor, tensor[:, -1:].expand(-1, longest - tensor.shape[1], -1)], dim=1), options)
        if tensor.shape[1] < longest
        else (tensor, options)
        for tensor, options in entries
    ]


def _variants(text: str, calls: int, calls_before: int, old: bool) -> list[tuple[int, str]]:
    """(last denoiser call, text) of a prompt schedule; the text as it is where no number of calls is known."""
    if calls == 0:
        return [(ENDLESS, text)]
    return schedule(text, calls_before, calls, old) if calls_before and not old else schedule(text, calls, old=old)


@node("CLIPTextEncodeSDXL", category="advanced/conditioning", outputs=("CONDITIONING",))
def text_encode_sdxl(
    *,
    clip: Clip,
    width: Pixels = 1024,
    height: Pixels = 1024,
    crop_w: Pixels = 0,
    crop_h: Pixels = 0,
    target_width: Pixels = 1024,
    target_height: Pixels = 1024,
    text_g: Prompt,
    text_l: Prompt,
) -> ConditioningList:
    """One text for each of SDXL's encoders, and the sizes it is told."""
    _check_clip(clip)
    cond, pooled = encode_comfy(clip, text_g, text_l)
    sizes = {"width": width, "height": height, "crop_w": crop_w, "crop_h": crop_h}
    targets = {"target_width": target_width, "target_height": target_height}
    return [(cond, {"pooled_output": pooled, **sizes, **targets})]


@node("CLIPTextEncodeSDXLRefiner", category="advanced/conditioning", outputs=("CONDITIONING",))
def text_encode_refiner(
    *,
    ascore: Annotated[float, Float(0.0, 1000.0, 0.01)] = 6.0,
    width: Pixels = 1024,
    height: Pixels = 1024,
    text: Prompt,
    clip: Clip,
) -> ConditioningList:
    """The refiner's text, with the aesthetic score it is told."""
    _check_clip(clip)
    cond, pooled = encode_comfy(clip, text)
    return [(cond, {"pooled_output": pooled, "aesthetic_score": ascore, "width": width, "height": height})]


def _check_clip(clip: TextStack | None) -> None:
    if clip is None:
        raise ModelFileError(
            "the checkpoint holds no text encoder", "Load one with CLIPLoader, or use a complete checkpoint."
        )


@node("ConditioningCombine", title="Conditioning (Combine)", category="conditioning", outputs=("CONDITIONING",))
def combine(*, conditioning_1: Conditioning, conditioning_2: Conditioning) -> ConditioningList:
    """Both are evaluated and averaged."""
    return [*conditioning_1, *conditioning_2]


@node("ConditioningConcat", title="Conditioning (Concat)", category="conditioning", outputs=("CONDITIONING",))
def concat(*, conditioning_to: Conditioning, conditioning_from: Conditioning) -> ConditioningList:
    """The tokens of the first entry of `from` behind those of each entry of `to`."""
    tail = conditioning_from[0][0]
    return [(torch.cat([tensor, tail.to(tensor)], dim=1), dict(options)) for tensor, options in conditioning_to]


@node("ConditioningAverage", category="conditioning", outputs=("CONDITIONING",))
def average(
    *,
    conditioning_to: Conditioning,
    conditioning_from: Conditioning,
    conditioning_to_strength: Annotated[float, Float(0.0, 1.0, 0.01)] = 1.0,
) -> ConditioningList:
    """to * strength + from * (1 - strength), token by token; `from` is cut or padded with zeros."""
    other, other_options = conditioning_from[0]
    other_pooled = other_options.get("pooled_output")
    strength = conditioning_to_strength
    result: ConditioningList = []
    for tensor, options in conditioning_to:
        options = dict(options)
        pooled = options.get("pooled_output", other_pooled)
        if pooled is not None and other_pooled is not None:
            pooled = pooled * strength + other_pooled * (1.0 - strength)
        if pooled is not None:
            options["pooled_output"] = pooled
        result.append((tensor * strength + _fitted(other, tensor.shape[1]) * (1.0 - strength), options))
    return result


def _fitted(tensor: Tensor, tokens: int) -> Tensor:
    cut = tensor[:, :tokens]
    missing = tokens - cut.shape[1]
    return torch.nn.functional.pad(cut, (0, 0, 0, missing)) if missing > 0 else cut


def with_options(conditioning: ConditioningList, **options: Any) -> ConditioningList:
    """The same entries with options set."""
    return [(tensor, {**old, **options}) for tensor, old in conditioning]


@node("ConditioningZeroOut", category="advanced/conditioning", outputs=("CONDITIONING",))
def zero_out(*, conditioning: Conditioning) -> ConditioningList:
    """Zeros in place of the text vectors."""
    result: ConditioningList = []
    for tensor, options in conditioning:
        options = dict(options)
        if options.get("pooled_output") is not None:
            options["pooled_output"] = torch.zeros_like(options["pooled_output"])
        result.append((torch.zeros_like(tensor), options))
    return result


@node("ConditioningSetTimestepRange", category="advanced/conditioning", outputs=("CONDITIONING",))
def set_timestep_range(*, conditioning: Conditioning, start: Percent = 0.0, end: Percent = 1.0) -> ConditioningList:
    """In force over a part of the noise levels only; 0 = most noise."""
    return with_options(conditioning, start_percent=start, end_percent=end)
