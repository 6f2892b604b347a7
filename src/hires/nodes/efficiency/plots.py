"""Drawing an XY plot: every cell through the sampler's passes, and the sheet of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hires.errors import ModelFileError
from hires.imaging.grids import labelled_grid
from hires.imaging.pictures import to_pictures, to_tensor
from hires.nodes.context import RunContext
from hires.nodes.efficiency.axes import Cell, axis_kind
from hires.nodes.efficiency.loading import Wanted, load_base, load_refiner, load_vae
from hires.nodes.efficiency.passes import Job, decoded, draw
from hires.nodes.efficiency.scripts import Script, XyPlot
from hires.nodes.efficiency.values import BAKED
from hires.nodes.types import LatentDict

LABEL_SIZE = 48 / 512
"""Height of a label's letters by the width of a picture."""


@dataclass(frozen=True, eq=False)
class Plotted:
    """Latents and pictures column by column, and the sheet (1, height, width, 3)."""

    latent: LatentDict
    images: Tensor
    sheet: Tensor


def draw_plot(job: Job, script: Script, plot: XyPlot, context: RunContext) -> Plotted:
    """All cells, with the other scripts in each; the axis whose values must be loaded is the outer loop."""
    x, y = axis_kind(plot.x.kind, job.kind), axis_kind(plot.y.kind, job.kind)
    if job.vae is None and "VAE" not in (plot.x.kind, plot.y.kind):
        raise ModelFileError("XY Plot: the pictures need a VAE", "Connect one to optional_vae.")
    job = replace(job, latent=first_item(job.latent))
    others = replace(script, plot=None)
    places = [(column, row) for column in range(len(plot.x.values)) for row in range(len(plot.y.values))]
    if y.heavy and not x.heavy:
        places.sort(key=lambda place: (place[1], place[0]))
    latents: dict[tuple[int, int], LatentDict] = {}
    images: dict[tuple[int, int], Tensor] = {}
    for number, (column, row) in enumerate(places):
        cell = y.apply(x.apply(Cell(job, plot.wanted), plot.x.values[column]), plot.y.values[row])
        own = loaded_job(cell, plot.wanted, context)
        drawn = draw(own, others, _part(context, number, len(places)))
        latents[column, row] = drawn.latent
        images[column, row] = decoded(own, drawn, context)
    order = sorted(places)
    sheet = labelled_grid(
        [[to_pictures(images[column, row])[0] for row in range(len(plot.y.values))]
         for column in range(len(plot.x.values))],
        [x.label(value) for value in plot.x.values] if plot.x.kind != "Nothing" else None,
        [y.label(value) for value in plot.y.values] if plot.y.kind != "Nothing" else None,
        spacing=plot.spacing,
        vertical=plot.vertical_labels,
        letters=LABEL_SIZE,
    )  # fmt: skip
    samples = torch.cat([latents[place]["samples"] for place in order])
    return Plotted({"samples": samples}, torch.cat([images[place] for place in order]), to_tensor(sheet))


def loaded_job(cell: Cell, wanted: Wanted | None, context: RunContext) -> Job:
    """The cell's job with what its axes changed of the loading; what they left alone stays the node's own."""
    job = cell.job
    if cell.wanted is not wanted and cell.wanted is not None:
        base = load_base(cell.wanted, context)
        refiner = load_refiner(cell.wanted, context) if job.kind == "sdxl" else None
        job = replace(job, base=base, refiner=refiner)
        if wanted is not None and wanted.checkpoint != cell.wanted.checkpoint and wanted.vae == BAKED:
            job = replace(job, vae=load_vae(cell.wanted, context))
    if cell.vae is not None:
        vae = load_vae(replace(cell.loader, vae=BAKED), context) if cell.vae == BAKED else context.store.vae(cell.vae)
        job = replace(job, vae=vae)
    return job


def first_item(latent: LatentDict) -> LatentDict:
    """The first latent of a batch, with its mask and its row of the noise."""
    item: LatentDict = {"samples": latent["samples"][:1]}
    mask, rows = latent.get("noise_mask"), latent.get("batch_index")
    if mask is not None:
        item["noise_mask"] = mask[:1]
    if rows is not None:
        item["batch_index"] = rows[:1]
    return item


def _part(context: RunContext, number: int, count: int) -> RunContext:
    """The context of one cell: its progress is a share of the whole plot's."""
    view = copy.copy(context)
    report: Callable[[int, int, Any], None] | None = context._report
    if report is not None:
        view._report = lambda value, total, shown: report(number * total + value, count * total, shown)
    return view
