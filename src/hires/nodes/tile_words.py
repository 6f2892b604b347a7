"""Which words of a prompt each tile is told, found from the network's own cross-attention over the whole picture."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from hires.errors import ModelFileError, SettingError
from hires.graph.declare import node
from hires.graph.inputs import Int, OptionalInput, Socket, Text
from hires.imaging.resample import lanczos
from hires.metadata.infotext import read_infotext, write_infotext
from hires.models.clip import TextStack
from hires.models.handles import DiffusionModel, VaeModel
from hires.models.patches import patched
from hires.models.word_maps import WordMaps
from hires.nodes.conditioning import Calls, Emphasis, text_encode
from hires.nodes.context import RunContext
from hires.nodes.guiding import noise_levels
from hires.nodes.redraw_conditioning import is_placed
from hires.nodes.resolve import resolve_sides
from hires.nodes.types import Clip, ConditioningList, Dialect, Image, Model, Prompt, Vae
from hires.sampling.guidance import Guidance
from hires.sampling.noise import initial_noise
from hires.text.encode import comfy_chunks, webui_chunks
from hires.text.places import Chunks, joined, part_positions, prompt_parts
from hires.text.syntax_webui import split_networks, strip_comments
from hires.tiling.grid import Box
from hires.tiling.redraw import RedrawPlan
from hires.tiling.words import PartMaps

NATIVE = {"sd1": 512, "sd2": 512, "sdxl": 1024, "sdxl_refiner": 1024}
LOOKS = (0.3, 0.5)
"""Shares of the schedule at which the network looks at the picture: late enough to see it, early enough to look for
things and not only for edges."""
SEED = 0
GRAIN = 32
"""Pixels: sides of the picture that is looked at are multiples of this, so that reduced maps cover it evenly."""


@dataclass(frozen=True, eq=False)
class TilePrompt:
    """A prompt whose parts have places in a picture, and how to encode what is left of it."""

    text: str
    places: PartMaps
    encoding: dict[str, Any] = field(default_factory=dict)
    encoded: dict[str, ConditioningList] = field(default_factory=dict)

    def told(self, box: Box, canvas: tuple[int, int]) -> str:
        """What a box of a canvas (height, width) is told; the prompt as it was written where nothing is left out."""
        kept = self.places.kept(box, canvas)
        return self.text if kept == self.places.parts else ", ".join(kept)

    def conditioning(self, entries: ConditioningList, box: Box, canvas: tuple[int, int]) -> ConditioningList:
        """The entries with the text of those that hold for the whole picture changed to what the box is told."""
        told = self.told(box, canvas)
        whole = [index for index, (_, options) in enumerate(entries) if not is_placed(options)]
        if told == self.text:
            return entries
        if told not in self.encoded:
            self.encoded[told] = text_encode(text=told, **self.encoding)
        texts = self.encoded[told]
        if len(texts) != len(whole):  # a schedule that changes in a part that is left out
            return entries
        changed = list(entries)
        for index, (tensor, options) in zip(whole, texts, strict=True):
            pooled = {"pooled_output": options["pooled_output"]}
            changed[index] = (tensor, {**entries[index][1], **pooled})
        return changed


def tiles_told(prompt: TilePrompt, plan: RedrawPlan) -> list[str]:
    """A line for each text that is not the whole prompt: which tiles are told it, counted in the order of drawing."""
    told: dict[str, list[int]] = {}
    jobs = [job for each in plan.rounds for job in each.jobs]
    for number, job in enumerate(jobs, 1):
        told.setdefault(prompt.told(job.crop, plan.canvas), []).append(number)
    named = {text: numbers for text, numbers in told.items() if text != prompt.text}
    return [
        f"tile{'s' * (len(numbers) > 1)} {_ranges(numbers)} {'are' if len(numbers) > 1 else 'is'} told: {text}"
        for text, numbers in named.items()
    ]


def is_told(note: str) -> bool:
    """Whether a note is one of `tiles_told`'s."""
    return re.match(r"tiles? [\d, -]+ (is|are) told: ", note) is not None


def _ranges(numbers: Sequence[int]) -> str:
    """1, 2, 3, 7 as "1-3, 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


Told = Annotated[TilePrompt, Socket("TILE_PROMPT")]
Backtrack = Annotated[int, Int(0, 75), OptionalInput]


@node("HiresTilePrompts", title="Tile Prompts (hires)", category="image/upscaling", outputs=("TILE_PROMPT",))
def hires_tile_prompts(
    *,
    image: Image,
    model: Model,
    clip: Clip,
    vae: Vae,
    text: Prompt,
    native_size: Annotated[int, Int(0, 8192, 8), OptionalInput] = 0,
    dialect: Dialect = "comfyui",
    emphasis: Emphasis = "Original",
    comma_backtrack: Backtrack = 20,
    schedule_calls: Calls = 0,
    context: RunContext,
) -> TilePrompt:
    """Look where in the picture each part of the prompt (between commas) stands, for redrawing in tiles.

    The picture is reduced to the size that the model draws (native_size, 0: by its family), noised, and shown to the
    network twice; its attention to each part's words says which tiles the part concerns. The text must be that of the
    positive prompt, with the same options.
    """
    encoding: dict[str, Any] = {
        "clip": clip,
        "dialect": dialect,
        "emphasis": emphasis,
        "comma_backtrack": comma_backtrack,
        "schedule_calls": schedule_calls,
        "context": context,
    }
    if clip is None or not clip.clips:
        raise ModelFileError("the checkpoint holds no text encoder", "Load one with CLIPLoader.")
    if len(image) != 1:
        raise SettingError(f"{len(image)} pictures cannot share one prompt's places", "Give them one by one.")
    bare = split_networks(strip_comments(text))[0] if dialect == "webui" else text
    parts = prompt_parts(bare)
    positions = part_positions(parts, _chunks(clip, dialect, emphasis, comma_backtrack)) if len(parts) > 1 else None
    if positions is None:
        context.note("every tile is told the whole prompt: it has no parts between commas that could be told apart")
        return TilePrompt(text, PartMaps((text,), torch.zeros(1, 1, 1)), encoding)
    entries = text_encode(text=joined(parts), **encoding)
    maps = attention_maps(image, model, vae, entries, native_size or NATIVE.get(model.family, 512), context)
    places = [maps[[at for at in own if at < len(maps)]] for own in positions]
    means = [seen.mean(dim=0) if len(seen) else torch.zeros(maps.shape[1:]) for seen in places]
    return TilePrompt(text, PartMaps(tuple(parts), torch.stack(means)), encoding)


def _chunks(clip: TextStack, dialect: str, emphasis: str, comma_backtrack: int) -> Chunks:
    first = clip.clips[0]
    if dialect == "comfyui":
        return lambda text: comfy_chunks(clip, first, text)
    return lambda text: webui_chunks(clip, first, text, emphasis, comma_backtrack)


def attention_maps(
    image: Tensor,
    model: DiffusionModel,
    vae: VaeModel,
    entries: ConditioningList,
    native: int,
    context: RunContext,
    looks: Sequence[float] = LOOKS,
) -> Tensor:
    """(tokens, h, w): how much each place of the picture (batch, height, width, 3) looks for each token; the first of
    the batch counts. Zeros where the network has no layer that could say."""
    latent = vae.encode(_reduced(image[:1, ..., :3].float(), native)) * model.latent_scale
    levels, record = noise_levels(model), WordMaps()
    watched = patched(model, record)
    sides = resolve_sides(watched, levels, {"positive": entries, "negative": []}, latent.shape, None)
    look = Guidance(network=watched, levels=levels, positive=sides["positive"][:1], negative=[], cfg=1.0)
    noise = initial_noise(SEED, latent.shape)
    for gone in looks:
        context.check_interrupted()
        sigma = torch.tensor(levels.percent_to_sigma(gone))
        with torch.inference_mode():
            look(latent + sigma * noise, sigma, 0)
        context.counts.denoiser_calls += 1
    seen = record.mean()
    return torch.zeros(1, 1, 1) if seen is None else seen.clone()


def _reduced(image: Tensor, native: int) -> Tensor:
    """The picture at the area of native x native, its aspect kept to multiples of 32; never enlarged."""
    height, width = image.shape[1:3]
    scale = min(1.0, native / math.sqrt(height * width))
    tall, wide = (max(GRAIN, round(side * scale / GRAIN) * GRAIN) for side in (height, width))
    return lanczos(image.movedim(-1, 1), wide, tall).movedim(1, -1)


@node("HiresInfotextField", title="Infotext Field (hires)", category="utils", outputs=("STRING",))
def hires_infotext_field(
    *,
    parameters: Annotated[str, Text(multiline=True)] = "",
    name: Annotated[str, Text()] = "",
    value: Annotated[str, Text()] = "",
) -> str:
    """The infotext of a picture with one more field; as it was where the value is empty."""
    if not value:
        return parameters
    told = read_infotext(parameters)
    version = {"Version": told.fields.pop("Version")} if "Version" in told.fields else {}
    return write_infotext(told.prompt, told.negative, {**told.fields, name: value, **version})
