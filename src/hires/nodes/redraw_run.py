"""Redrawing a picture tile by tile: each crop is encoded, noised, denoised, decoded and laid back."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PillowImage
from torch import Tensor

from hires.imaging.inpaint_masks import latent_mask
from hires.nodes.context import RunContext
from hires.nodes.redraw_brush import Brush, Cut, DrawApart, draw_cut, seen_of, steps_at
from hires.sampling.run import find_sampler
from hires.tiling.order import awaited, draw_awaited, merged
from hires.tiling.redraw import Job, RedrawPlan, Round
from hires.tiling.redraw_pixels import Canvas, resize_and_fill

OnTile = Callable[[int, Tensor], None]
"""Given the number of a finished job and its pixels (batch, height, width, 3); may raise to stop the work."""


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
    apart = None if brush.batch > 1 or brush.custom is not None else context.apart
    for round_ in plan.rounds if apart is None else merged(plan.rounds):
        if brush.steps_at(brush.strength(round_)):
            image = work.round(image, round_) if apart is None else work.round_apart(image, round_, apart)
    work.say()
    return image


class _Work:
    """One redraw: its source, how far it is, and what its tiles share."""

    def __init__(
        self, plan: RedrawPlan, brush: Brush, context: RunContext, source: Tensor, on_tile: OnTile | None
    ) -> None:
        self._plan, self._brush, self._context, self._source, self._on_tile = plan, brush, context, source, on_tile
        self._seen = seen_of(brush, plan.canvas)
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
                tiles = self._drawn(group, [self._view(canvas, round_, job) for job in group], denoise)
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

    def round_apart(self, image: Tensor, round_: Round, apart: DrawApart) -> Tensor:
        """The canvas after a round whose tiles are drawn elsewhere, each as soon as what it sees is there.

        Tiles that are all cut from what the round began with wait for none; they are laid in their order, since sums
        of several depend on it in their last bits.
        """
        canvas, denoise, first = Canvas(image, round_), self._brush.strength(round_), self._number
        jobs, steps = round_.jobs, self._brush.steps_at(denoise)
        sees = (round_.sees_former or round_.joined == "over") and not round_.from_source
        waits = awaited([job.crop for job in jobs]) if sees else [set[int]() for _ in jobs]
        shares, lock = [0.0] * len(jobs), threading.Lock()
        drawn: dict[int, Tensor] = {}

        def told(index: int, share: float, preview: Any) -> None:
            with lock:
                shares[index] = max(shares[index], share)
                done = self._done + sum(int(steps * each) for each in shares)
                self._context.progress(min(done, self._total), self._total, preview)

        def draw(index: int, cut: Cut) -> Tensor:
            (tile,), counts = apart.draw(cut, self._brush, self._context, partial(told, index))
            with lock:
                self._context.counts.add(counts)
            return tile

        def begin(index: int) -> Future[Tensor]:
            kept = None if self._pieces is None else self._pieces.get(first + index)
            if kept is not None:
                self._taken += 1
                found = Future[Tensor]()
                found.set_result(kept)
                return found
            cut = self._cut(first + index, [jobs[index]], [self._view(canvas, round_, jobs[index])], denoise)
            return threads.submit(draw, index, cut)

        def finish(index: int, tile: Tensor) -> None:
            if self._pieces is not None:
                self._pieces.put(first + index, tile)
            drawn[index] = tile
            told(index, 1.0, None)
            for ready in (index,) if sees else range(len(jobs)):
                if ready not in drawn or (not sees and ready != self._number - first):
                    continue
                tile = drawn.pop(ready)
                canvas.lay(jobs[ready], tile)
                if self._on_tile is not None:
                    self._on_tile(first + ready, tile)
                self._number += 1

        with ThreadPoolExecutor(max_workers=apart.count, thread_name_prefix="tiles") as threads:
            draw_awaited(waits, begin, finish, apart.count, self._context.check_interrupted)
        self._done += steps * len(jobs)
        return canvas.finished()

    def _cut(self, number: int, group: list[Job], views: list[Tensor], denoise: float) -> Cut:
        """What drawing these jobs, of which the first has that number, takes."""
        brush, job = self._brush, group[0]
        told: list[tuple[int, Tensor, Tensor | None]] = []
        if len(group) == 1 and brush.words is not None:
            own = brush.words.conditioning(brush.positive, job.crop, self._plan.canvas)
            for index, (entry, before) in enumerate(zip(own, brush.positive, strict=True)):
                if entry is not before:
                    told.append((index, entry[0], entry[1]["pooled_output"]))
        return Cut(
            tiles=tuple(views),
            crops=tuple(each.crop for each in group),
            size=job.size,
            canvas=self._plan.canvas,
            preset=self._plan.preset,
            denoise=denoise,
            seed=brush.seeds[number] if number < len(brush.seeds) else brush.seed,
            is_anchored=brush.anchored and not job.resized,
            sources=tuple(self._source_of(each) for each in group) if brush.lock > 0 else (),
            mask=_latent_mask(job) if self._plan.keeps_outside else None,
            told=tuple(told),
        )

    def _view(self, canvas: Canvas, round_: Round, job: Job) -> Tensor:
        return self._source_of(job) if round_.from_source else canvas.view(job)

    def _source_of(self, job: Job) -> Tensor:
        return self._source[:, job.crop.slices[0], job.crop.slices[1]]

    def _drawn(self, group: list[Job], views: list[Tensor], denoise: float) -> list[Tensor]:
        steps = self._brush.steps_at(denoise) * len(group)
        context = _part(self._context, self._done, steps, self._total)
        tiles = draw_cut(self._cut(self._number, group, views, denoise), self._brush, self._seen, context)
        self._done += steps
        self._context.progress(self._done, self._total)
        return tiles


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
