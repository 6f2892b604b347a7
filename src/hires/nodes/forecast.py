"""What a workflow will need of memory, stage by stage, told before any of it runs; and what cannot be met, refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from hires.errors import HiresError, MemoryLimitError, ModelFileError
from hires.graph.node_check import ValidNode
from hires.graph.validate import ValidatedWorkflow
from hires.imaging.sizes import LATENT
from hires.imaging.upscalers import PLAIN
from hires.models.budget import Budget, Choice, in_words
from hires.models.clip import TextStack
from hires.models.handles import DiffusionModel, VaeModel
from hires.models.inspection import inspect
from hires.models.upscale import UpscaleModel
from hires.models.upscale_names import upscaler_file
from hires.nodes.context import RunContext
from hires.nodes.extents import SAMPLERS, Extent, Extents
from hires.nodes.fitting import WHOLE, sampling_choices, sampling_networks, text_choices
from hires.nodes.fitting_upscale import enlarging_choices
from hires.nodes.fitting_vae import decode_choices, encode_choices

FLOAT = 4
PICTURE = 3 * FLOAT
"""Bytes a pixel of a picture between nodes."""
TEXT = "prompt"
DECODERS = ("VAEDecode", "HiresVAEDecode")
VAE_NODES = (*DECODERS, "VAEEncode", "HiresVAEEncode")
REDRAWS = (
    "HiresUltimateUpscale",
    "HiresSDUpscale",
    "UltimateSDUpscale",
    "UltimateSDUpscaleNoUpscale",
    "UltimateSDUpscaleCustomSample",
)
CROP_STEP = 64
"""Pixels: crops are rounded up to this at most."""
LEAST_SHARE = 0.7
"""Of a checkpoint's bytes: its UNet's, which is in memory whole while it works."""
COPIES = 3
"""Of the largest picture: as it comes, as it is converted, as it is written."""


@dataclass(frozen=True)
class Stage:
    """A node that needs memory, and the first of its choices that fits."""

    node_id: str
    what: str
    chosen: Choice


@dataclass(frozen=True)
class Forecast:
    """The stages of a workflow whose sizes could be told beforehand, under a budget. `held` are bytes of the process
    with all models read and all pictures kept; `halved` says that weights had to be held in half precision."""

    budget: Budget
    held: int
    stages: tuple[Stage, ...]
    halved: bool = False

    @property
    def peak(self) -> int:
        """Predicted bytes of the process at its largest."""
        return self.budget.total(max((stage.chosen.need for stage in self.stages), default=0), self.held)

    @property
    def cuts(self) -> bool:
        """Whether something is done otherwise than whole."""
        return self.halved or any(stage.chosen.name != WHOLE and stage.what != TEXT for stage in self.stages)

    def describe(self) -> str:
        """One line: the predicted peak, the budget, and each stage's choice."""
        limit = f"of the {in_words(self.budget.limit)} " + ("stated" if self.budget.stated else "free")
        return f"memory: {in_words(self.peak)} at most {limit}: {self._choices()}"

    def stored(self) -> str:
        """What is stored with a picture: budget and choices, without the figures that differ from run to run."""
        return f"{in_words(self.budget.limit)}: {self._choices()}"

    def _choices(self) -> str:
        parts = dict.fromkeys(f"{stage.what} {stage.chosen.name}" for stage in self.stages if stage.what != TEXT)
        halved = "weights in half precision, " if self.halved else ""
        return halved + (", ".join(parts) or "nothing that can be told")


def forecast(workflow: ValidatedWorkflow, context: RunContext) -> Forecast | None:
    """The forecast under the context's budget, None without one. MemoryLimitError when a stage cannot be made to fit.

    Models are loaded for it, since their networks tell their needs; files that are too large by themselves are refused
    before that.
    """
    if context.budget is None:
        return None
    _check_files(workflow, context, context.budget)
    try:
        return _planned(workflow, context, context.budget)
    except MemoryLimitError:
        if not context.store.hold_in_half():
            raise
    try:
        return replace(_planned(workflow, context, context.budget), halved=True)
    except MemoryLimitError:
        context.store.hold_as_stored()
        raise


def _planned(workflow: ValidatedWorkflow, context: RunContext, budget: Budget) -> Forecast:
    extents = Extents(workflow, context)
    for node in workflow.nodes.values():  # all weights count, whenever they are read
        model_of(node, extents, context), vae_of(node, extents, context)
    pictures = [extent for node in workflow.nodes.values() if (extent := _picture(node, extents)) is not None]
    pixels = [extent.batch * extent.height * extent.width for extent in pictures]
    held = budget.held(context.store.held_bytes()) + PICTURE * (sum(pixels) + (COPIES - 1) * max(pixels, default=0))
    needs = _needs(workflow, context, extents, budget.room(held))
    stages, refused = [], []
    for need in needs:
        movable = partial(context.store.movable_bytes, need.working)
        try:
            stages.append(Stage(need.node_id, need.what, budget.choose(need.what, need.choices, held, movable)))
        except MemoryLimitError as error:
            refused.append(error)
    if refused:  # the stage that needs most: a budget for it does for all
        raise max(refused, key=lambda error: error.needed)
    return Forecast(budget, held, tuple(stages))


@dataclass(frozen=True)
class _Need:
    node_id: str
    what: str
    choices: Iterable[Choice]
    working: Sequence[nn.Module]


def _check_files(workflow: ValidatedWorkflow, context: RunContext, budget: Budget) -> None:
    """MemoryLimitError where the weights alone are more than the budget, however they are held."""
    largest = 0.0
    for node in workflow.nodes.values():
        if node.type.name.startswith("CheckpointLoader") and "ckpt_name" in node.constants:
            with suppress(ModelFileError, OSError):
                path = context.store.find("checkpoints", str(node.constants["ckpt_name"]))
                most = LEAST_SHARE * path.stat().st_size
                if path.is_file() and most > max(largest, budget.limit - budget.begun):
                    half = 0.5 if inspect(path, with_hash=False).precision == "float32" else 1.0
                    largest = max(largest, half * most)
    needed = budget.begun + int(largest)
    if needed > budget.limit:
        raise MemoryLimitError(
            f"the model's weights need {in_words(needed)} at least, {budget.whose()} is {in_words(budget.limit)}",
            budget.advice(),
        )


def _picture(node: ValidNode, extents: Extents) -> Extent | None:
    return extents.out_of(node) if "IMAGE" in node.type.outputs else None


def _needs(workflow: ValidatedWorkflow, context: RunContext, extents: Extents, room: int) -> Iterator[_Need]:
    for node in workflow.nodes.values():
        kind = node.type.name
        if kind in SAMPLERS:
            latent, model = extents.out_of(node), model_of(node, extents, context)
            if latent is not None and model is not None:
                crop = cropped(node, extents, latent)
                each = node.constants.get("dialect") == "webui"
                what = f"{node.title or kind} at {latent.width * LATENT}x{latent.height * LATENT}"
                batch = 1 if each else latent.batch
                choices = sampling_choices(model, crop.height, crop.width, batch, room)
                yield _Need(node.id, what, choices, sampling_networks(model))
        elif kind in VAE_NODES:
            latent = extents.into(node, "samples") if kind in DECODERS else extents.out_of(node)
            vae = vae_of(node, extents, context)
            if latent is not None and vae is not None:
                ways = decode_choices if kind in DECODERS else encode_choices
                what = (
                    f"{'decoding' if kind in DECODERS else 'encoding'} {latent.width * LATENT}x{latent.height * LATENT}"
                )
                yield _Need(node.id, what, ways(vae, latent.height, latent.width), [vae.vae])
        elif kind in REDRAWS:
            yield from _redraw_needs(node, extents, context, room)
        elif kind == "ImageUpscaleWithModel":
            picture, loader = extents.into(node, "image"), extents.source(node, "upscale_model")
            if picture is not None and loader is not None and "model_name" in loader.constants:
                title = str(loader.constants["model_name"])
                yield from _upscale_needs(node, context, [title], picture)
        elif kind == "HiresUpscale":
            picture = extents.into(node, "image")
            if picture is not None:
                titles = [str(node.constants.get(name, "None")) for name in ("upscaler", "upscaler_2")]
                yield from _upscale_needs(node, context, titles, picture)
        elif kind.startswith("CLIPTextEncode"):
            clip = text_of(node, extents, context)
            if clip is not None:
                yield _Need(node.id, TEXT, text_choices(clip), [tower.module for tower in clip.clips])


def _redraw_needs(node: ValidNode, extents: Extents, context: RunContext, room: int) -> Iterator[_Need]:
    """The crops of a redraw: each is encoded, sampled and decoded."""
    canvas, model, vae = extents.out_of(node), model_of(node, extents, context), vae_of(node, extents, context)
    if canvas is None or model is None or vae is None:
        return
    margin = 0 if node.type.name == "HiresSDUpscale" else 2 * int(node.constants.get("tile_padding", 0))
    margin = margin or (2 * int(node.constants.get("padding", 0)))
    sides = [int(node.constants.get(name, 512)) + margin for name in ("tile_height", "tile_width")]
    whole = [-(-side // CROP_STEP) * CROP_STEP for side in (canvas.height, canvas.width)]
    high, wide = (
        min(-(-side // CROP_STEP) * CROP_STEP, most) // LATENT for side, most in zip(sides, whole, strict=True)
    )
    batch = canvas.batch * int(node.constants.get("batch_size", 1))
    crop = f"{wide * LATENT}x{high * LATENT}"
    working = sampling_networks(model)
    yield _Need(node.id, f"redrawing at {crop}", sampling_choices(model, high, wide, batch, room), working)
    for word, ways in (("encoding", encode_choices), ("decoding", decode_choices)):
        yield _Need(node.id, f"{word} {crop}", ways(vae, high, wide), [vae.vae])


def _upscale_needs(node: ValidNode, context: RunContext, titles: Sequence[str], picture: Extent) -> Iterator[_Need]:
    """The tiles of a network that enlarges a picture."""
    for title in dict.fromkeys(titles):
        with suppress(HiresError):  # told when the node runs
            model = None if title in PLAIN else context.store.upscaler(upscaler_file(context.store, title))
            if isinstance(model, UpscaleModel):
                ways = enlarging_choices(context, model, picture.height, picture.width)
                yield _Need(node.id, f"enlarging {picture.width}x{picture.height}", ways, [model.network.model])


def cropped(node: ValidNode, extents: Extents, latent: Extent) -> Extent:
    """What the network sees of a latent at one time: a tile, where the model is tiled."""
    tiled = extents.on_the_way(node, "model", ("HiresTiledDiffusion", "TiledDiffusion"))
    if tiled is None:
        return latent
    unit = 8 if tiled.type.name == "TiledDiffusion" else 1
    sides: Mapping[str, Any] = tiled.constants
    high, wide = (int(sides.get(name, 0)) // unit for name in ("tile_height", "tile_width"))
    batch = int(sides.get("tile_batch", sides.get("tile_batch_size", 1)))
    high, wide = min(high or latent.height, latent.height), min(wide or latent.width, latent.width)
    return Extent(latent.batch, high * batch, wide)


def model_of(node: ValidNode, extents: Extents, context: RunContext) -> DiffusionModel | None:
    """The diffusion model of a sampling node."""
    loader = extents.loader(node, "guider" if "guider" in node.links else "model")
    with suppress(ModelFileError):  # told when its node runs
        if loader is not None and "ckpt_name" in loader.constants:
            return context.store.checkpoint(str(loader.constants["ckpt_name"])).model
        if loader is not None and "unet_name" in loader.constants:
            return context.store.unet(str(loader.constants["unet_name"]))
    return None


def text_of(node: ValidNode, extents: Extents, context: RunContext) -> TextStack | None:
    """The text encoder of a prompt's node."""
    loader = extents.loader(node, "clip")
    with suppress(ModelFileError):
        if loader is not None and "ckpt_name" in loader.constants:
            return context.store.checkpoint(str(loader.constants["ckpt_name"])).clip
    return None


def vae_of(node: ValidNode, extents: Extents, context: RunContext) -> VaeModel | None:
    """The VAE of a decoding or encoding node."""
    loader = extents.loader(node, "vae")
    with suppress(ModelFileError):
        if loader is not None and "vae_name" in loader.constants:
            return context.store.vae(str(loader.constants["vae_name"]))
        if loader is not None and "ckpt_name" in loader.constants:
            return context.store.checkpoint(str(loader.constants["ckpt_name"])).vae
    return None
