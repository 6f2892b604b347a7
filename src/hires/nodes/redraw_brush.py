"""What tiles are redrawn with, and the drawing of those that belong together: encoded, noised, denoised, decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from hires.errors import SettingError
from hires.imaging.sizes import LATENT
from hires.models.handles import DiffusionModel, VaeModel
from hires.nodes.context import Counts, RunContext
from hires.nodes.drawing import Guided, Run, check_model, draw_comfyui, draw_sigmas, latent_noise
from hires.nodes.drawing_webui import WebuiNoise, WebuiOptions, draw_webui, webui_label
from hires.nodes.redraw_conditioning import Canvas as Seen
from hires.nodes.redraw_conditioning import Sizes, cropped, stacked
from hires.nodes.samplers import ChosenSampler
from hires.nodes.tile_words import TilePrompt
from hires.nodes.types import ConditioningList, LatentDict
from hires.nodes.vae import vae_decode, vae_decode_tiled, vae_encode
from hires.sampling.inpainting import Masking
from hires.sampling.noise import Anchor
from hires.sampling.webui import img2img_steps
from hires.tiling.grid import Box
from hires.tiling.redraw import Preset, Round
from hires.tiling.redraw_pixels import crop_and_resize, locked, resize, resize_and_fill, to_bytes

LOCK_SHARE = 1 / 8
"""The blur that tells low frequencies from detail, in tile sides."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Brush:
    """What tiles are drawn with. `seeds` gives each job's seed; with `anchored` noise, which is drawn once for the
    whole canvas, all have the one seed.

    lock is 0..1. sizes and regions are as in `redraw_conditioning.Canvas`; source is the size (height, width) that
    areas in latent cells count on. With `words` a tile is told the parts of the prompt that concern it.
    """

    model: DiffusionModel
    positive: ConditioningList
    negative: ConditioningList
    vae: VaeModel
    seed: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    denoise: float
    seam_denoise: float
    dialect: Literal["comfyui", "webui"] = "comfyui"
    noise: WebuiNoise | None = None
    options: WebuiOptions | None = None
    custom: tuple[ChosenSampler, Tensor] | None = None
    anchored: bool = True
    seeds: Sequence[int] = ()
    lock: float = 0.0
    sizes: Sizes = "crop"
    regions: bool = True
    source: tuple[int, int] | None = None
    tiled_decode: bool = False
    batch: int = 1
    words: TilePrompt | None = None

    def strength(self, round_: Round) -> float:
        return self.seam_denoise if round_.seam else self.denoise

    def steps_at(self, denoise: float) -> int:
        """Sampling steps of one tile."""
        return steps_at(self.sampler, self.steps, denoise, self.dialect, self.custom)


def steps_at(
    sampler: str,
    steps: int,
    denoise: float,
    dialect: str,
    custom: tuple[ChosenSampler, Tensor] | None = None,
) -> int:
    """How many steps a tile takes: A1111 makes a part of them, ComfyUI all over a part of a longer schedule."""
    if denoise <= 0:
        return 0
    if custom is not None:
        return max(len(custom[1]) - 1, 0)
    if dialect == "comfyui" or denoise >= 1 or webui_label(sampler) is None:
        return steps
    return img2img_steps(steps, denoise, False)[1] + 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Cut:
    """Tiles that are drawn together, each (batch, height, width, 3) as it is cut from the canvas (height, width), and
    what else that takes beside the brush: plain data.

    size is what they are drawn at. sources are what the tiles are locked to, where they are; mask is the latent mask
    of what may change; told are the entries of the positive side that differ from the brush's, with their pooled
    outputs.
    """

    tiles: tuple[Tensor, ...]
    crops: tuple[Box, ...]
    size: tuple[int, int]
    canvas: tuple[int, int]
    preset: Preset
    denoise: float
    seed: int
    is_anchored: bool
    sources: tuple[Tensor, ...] = ()
    mask: Tensor | None = None
    told: tuple[tuple[int, Tensor, Tensor | None], ...] = ()


class DrawApart(Protocol):
    """Draws tiles elsewhere."""

    @property
    def count(self) -> int:
        """How many at a time."""

    def draw(
        self, cut: Cut, brush: Brush, context: RunContext, told: Callable[[float, Any], None]
    ) -> tuple[list[Tensor], Counts]:
        """As `draw_cut`, and what it cost. told(share, preview) is called on the way, share in 0..1."""


def seen_of(brush: Brush, canvas: tuple[int, int]) -> Seen:
    """A canvas (height, width) as the brush's conditioning sees it."""
    return Seen(canvas, brush.source or canvas, brush.sizes, brush.regions)


def draw_cut(cut: Cut, brush: Brush, seen: Seen, context: RunContext) -> list[Tensor]:
    """The tiles redrawn, each of its crop's size. Progress counts the steps of this."""
    shrink: Callable[[Tensor, tuple[int, int]], Tensor]
    shrink, enlarge = (resize_and_fill, crop_and_resize) if cut.preset == "a1111" else (resize, resize)
    sized = torch.cat([shrink(tile, cut.size) for tile in cut.tiles])
    latent = vae_encode(pixels=sized, vae=brush.vae, context=context)
    if cut.mask is not None:
        latent["noise_mask"] = cut.mask
        latent["masking"] = Masking(latent["samples"])
    latent = _denoised(cut, latent, brush, seen, context)
    if brush.tiled_decode:
        pixels = vae_decode_tiled(samples=latent, vae=brush.vae, tile_size=512, context=context)
    else:
        pixels = vae_decode(samples=latent, vae=brush.vae, context=context)
    if cut.preset == "comfyui":
        pixels = to_bytes(pixels)
    tiles = pixels.split(len(pixels) // len(cut.tiles))
    made = [enlarge(tile, (crop.height, crop.width)) for tile, crop in zip(tiles, cut.crops, strict=True)]
    if not cut.sources:
        return made
    return [
        locked(tile, source, brush.lock, min(crop.height, crop.width) * LOCK_SHARE)
        for tile, source, crop in zip(made, cut.sources, cut.crops, strict=True)
    ]


def _denoised(cut: Cut, latent: LatentDict, brush: Brush, seen: Seen, context: RunContext) -> LatentDict:
    positive = list(brush.positive)
    for index, tensor, pooled in cut.told:
        positive[index] = (tensor, {**positive[index][1], "pooled_output": pooled})
    sides: dict[str, Any] = {}
    for name, entries in (("positive", positive), ("negative", brush.negative)):
        if len(cut.crops) == 1:
            sides[name] = cropped(entries, seen, cut.crops[0], cut.size)
        else:
            sides[name] = stacked(entries, seen, cut.crops, cut.size, len(latent["samples"]) // len(cut.crops))
    anchor = None
    if cut.is_anchored:
        height, width = (side // LATENT for side in cut.canvas)
        anchor = Anchor((height, width), (cut.crops[0].top // LATENT, cut.crops[0].left // LATENT))
    shared: dict[str, Any] = {**sides, "model": brush.model, "cfg": brush.cfg, "latent": latent, "seed": cut.seed}
    if brush.custom is not None:
        return _draw_custom(Guided(**shared, anchor=anchor), brush.custom, context)
    run = Run(
        **shared,
        anchor=anchor,
        sampler=brush.sampler,
        scheduler=brush.scheduler,
        steps=brush.steps,
        denoise=cut.denoise,
        fixed_steps=False,
    )
    if brush.dialect == "comfyui":
        return draw_comfyui(run, context)
    assert brush.noise is not None and brush.options is not None
    return draw_webui(run, brush.noise, brush.options, context)


def _draw_custom(run: Guided, custom: tuple[ChosenSampler, Tensor], context: RunContext) -> LatentDict:
    sampler, sigmas = custom
    if sampler.growth is not None:
        raise SettingError("SamplerLCMUpscale cannot draw tiles", "Use another sampler.")
    check_model(run)
    noise = latent_noise(run.latent, run.seed, run.anchor)
    return draw_sigmas(run, sampler.name, sampler.options, sigmas, noise, context)[0]
