"""Redrawing a picture tile by tile: each crop is encoded, noised, denoised, decoded and laid back."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image as PillowImage
from torch import Tensor

from hires.errors import SettingError
from hires.imaging.inpaint_masks import latent_mask
from hires.imaging.sizes import LATENT
from hires.models.handles import DiffusionModel, VaeModel
from hires.nodes.context import RunContext
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
from hires.sampling.run import find_sampler
from hires.sampling.webui import img2img_steps
from hires.tiling.redraw import Job, RedrawPlan, Round
from hires.tiling.redraw_pixels import Canvas, crop_and_resize, locked, resize, resize_and_fill, to_bytes

OnTile = Callable[[int, Tensor], None]
"""Given the number of a finished job and its pixels (batch, height, width, 3); may raise to stop the work."""
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


def planned_calls(plan: RedrawPlan, sampler: str, steps: int, denoise: float, seam_denoise: float, dialect: str) -> int:
    """Denoiser calls of a plan."""
    return find_sampler(sampler).calls * sum(
        len(each.jobs) * steps_at(sampler, steps, seam_denoise if each.seam else denoise, dialect)
        for each in plan.rounds
    )


def redraw(
    image: Tensor,
    plan: RedrawPlan,
    brush: Brush,
    context: RunContext,
    on_tile: OnTile | None = None,
    source: Tensor | None = None,
) -> Tensor:
    """The image (batch, height, width, 3) of the plan's canvas, redrawn. Where nothing is denoised it stays as it is.

    `source` is what the image was before an earlier redraw. Progress counts tile-steps; the run can be stopped between
    any two.
    """
    work = _Work(plan, brush, context, image if source is None else source, on_tile)
    for round_ in plan.rounds:
        if brush.steps_at(brush.strength(round_)):
            image = work.round(image, round_)
    work.say()
    return image


class _Work:
    """One redraw: its source, how far it is, and what its tiles share."""

    def __init__(
        self, plan: RedrawPlan, brush: Brush, context: RunContext, source: Tensor, on_tile: OnTile | None
    ) -> None:
        self._plan, self._brush, self._context, self._source, self._on_tile = plan, brush, context, source, on_tile
        self._seen = Seen(plan.canvas, brush.source or plan.canvas, brush.sizes, brush.regions)
        height, width = (side // LATENT for side in plan.canvas)
        self._anchor = Anchor((height, width), (0, 0))
        self._number, self._done, self._taken = 0, 0, 0
        crops = [(job.crop, job.size) for each in plan.rounds for job in each.jobs]
        self._pieces = context.pieces(f"tile {hashlib.sha256(repr(crops).encode()).hexdigest()}")
        self._total = sum(len(each.jobs) * brush.steps_at(brush.strength(each)) for each in plan.rounds)

    def round(self, image: Tensor, round_: Round) -> Tensor:
        """The canvas after a round."""
        canvas, denoise = Canvas(image, round_), self._brush.strength(round_)
        jobs = iter(round_.jobs)
        while group := list(islice(jobs, self._brush.batch)):
            self._context.check_interrupted()
            tiles = self._kept_tiles(group, denoise)
            if tiles is None:
                mark = frozenset() if self._pieces is None else self._pieces.mark()
                tiles = self._drawn(group, [canvas.view(job) for job in group], denoise)
                tiles = [self._locked(tile, job) for tile, job in zip(tiles, group, strict=True)]
                self._keep(tiles, mark)
            for job, tile in zip(group, tiles, strict=True):
                canvas.lay(job, tile)
                if self._on_tile is not None:
                    self._on_tile(self._number, tile)
                self._number += 1
        return canvas.finished()

    def _kept_tiles(self, group: list[Job], denoise: float) -> list[Tensor] | None:
        """What a run that was stopped had drawn of these jobs, if it had drawn all of them."""
        if self._pieces is None:
            return None
        tiles = [self._pieces.get(self._number + index) for index in range(len(group))]
        found = [tile for tile in tiles if tile is not None]
        if len(found) < len(tiles):
            return None
        self._taken += len(found)
        self._done += self._brush.steps_at(denoise) * len(group)
        self._context.progress(self._done, self._total)
        return found

    def _keep(self, tiles: list[Tensor], mark: frozenset[Path]) -> None:
        """Keep finished tiles in the place of the steps that led to them."""
        if self._pieces is not None:
            for index, tile in enumerate(tiles):
                self._pieces.put(self._number + index, tile)
            self._pieces.settle(mark)

    def say(self) -> None:
        """Note what was there already."""
        if self._taken:
            self._context.note(f"{self._taken} of {self._number} tiles were drawn before")

    def _locked(self, tile: Tensor, job: Job) -> Tensor:
        if self._brush.lock <= 0:
            return tile
        return locked(tile, self._source_of(job), self._brush.lock, min(job.crop.height, job.crop.width) * LOCK_SHARE)

    def _source_of(self, job: Job) -> Tensor:
        return self._source[:, job.crop.slices[0], job.crop.slices[1]]

    def _drawn(self, group: list[Job], views: list[Tensor], denoise: float) -> list[Tensor]:
        brush, job = self._brush, group[0]
        shrink: Callable[[Tensor, tuple[int, int]], Tensor]
        shrink, enlarge = (resize_and_fill, crop_and_resize) if self._plan.preset == "a1111" else (resize, resize)
        sized = torch.cat([shrink(view, each.size) for view, each in zip(views, group, strict=True)])
        steps = brush.steps_at(denoise)
        context = _part(self._context, self._done, steps * len(group), self._total)
        latent = vae_encode(pixels=sized, vae=brush.vae, context=context)
        if self._plan.keeps_outside:
            latent["noise_mask"] = _latent_mask(job)
            latent["masking"] = Masking(latent["samples"])
        latent = self._denoised(group, latent, denoise, context)
        if brush.tiled_decode:
            pixels = vae_decode_tiled(samples=latent, vae=brush.vae, tile_size=512, context=context)
        else:
            pixels = vae_decode(samples=latent, vae=brush.vae, context=context)
        self._done += steps * len(group)
        self._context.progress(self._done, self._total)
        if self._plan.preset == "comfyui":
            pixels = to_bytes(pixels)
        tiles = pixels.split(len(pixels) // len(group))
        return [enlarge(tile, (each.crop.height, each.crop.width)) for tile, each in zip(tiles, group, strict=True)]

    def _denoised(self, group: list[Job], latent: LatentDict, denoise: float, context: RunContext) -> LatentDict:
        brush, job = self._brush, group[0]
        sides: dict[str, Any] = {}
        for name, entries in (("positive", brush.positive), ("negative", brush.negative)):
            if len(group) == 1 and name == "positive" and brush.words is not None:
                entries = brush.words.conditioning(entries, job.crop, self._plan.canvas)
            if len(group) == 1:
                sides[name] = cropped(entries, self._seen, job.crop, job.size)
            else:
                images = len(latent["samples"]) // len(group)
                sides[name] = stacked(entries, self._seen, [each.crop for each in group], job.size, images)
        anchor = None
        if brush.anchored and not job.resized:
            anchor = replace(self._anchor, origin=(job.crop.top // LATENT, job.crop.left // LATENT))
        seed = brush.seeds[self._number] if self._number < len(brush.seeds) else brush.seed
        shared: dict[str, Any] = {**sides, "model": brush.model, "cfg": brush.cfg, "latent": latent, "seed": seed}
        if brush.custom is not None:
            return _draw_custom(Guided(**shared, anchor=anchor), brush.custom, context)
        run = Run(
            **shared,
            anchor=anchor,
            sampler=brush.sampler,
            scheduler=brush.scheduler,
            steps=brush.steps,
            denoise=denoise,
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


def _part(context: RunContext, done: int, steps: int, total: int) -> RunContext:
    """The context of one tile: what it says of its progress counts as a part of the whole."""
    view = copy.copy(context)

    def report(value: int, of: int, preview: Any) -> None:
        context.progress(done + min(steps * value // max(of, 1), steps), total, preview)

    view._report = report
    return view


def _latent_mask(job: Job) -> Tensor:
    """The web UI's latent mask (1, 1, h, w) of zeros and ones: resized with the crop, then to the latent, rounded."""
    fitted = resize_and_fill(job.mask()[None, ..., None], job.size)[0, ..., 0]
    picture = PillowImage.fromarray((fitted.clamp(0, 1) * 255).round().to(torch.uint8).numpy())
    return latent_mask(picture)


def in_batches(plan: RedrawPlan, batch: int) -> RedrawPlan:
    """The plan with so many tiles drawn at a time, all of which are cut before any of them is drawn."""
    if batch == 1:
        return plan
    redrawn = [job for each in plan.rounds if not each.seam for job in each.jobs]
    groups = [tuple(redrawn[start : start + batch]) for start in range(0, len(redrawn), batch)]
    rounds = [Round(group, "over") for group in groups]
    return replace(plan, rounds=(*rounds, *(each for each in plan.rounds if each.seam)))
