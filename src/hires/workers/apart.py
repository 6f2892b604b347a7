"""Tiles that are redrawn by workers: what is sent of each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from hires.graph.declare import Registry
from hires.graph.report import Event, NodeProgress
from hires.graph.workflow import as_link
from hires.nodes.context import Counts, RunContext
from hires.nodes.redraw_brush import Brush, Cut
from hires.workers.cutting import LINKED
from hires.workers.placing import models_of, pictures_of
from hires.workers.pool import Workers
from hires.workers.results import on_cpu
from hires.workers.units import MadeTiles, RedrawUnit

OWN = ("custom", "words")
"""What of a brush is not sent: a sampler of its own, which is not shared, and words, which are in the cuts."""


@dataclass(frozen=True)
class Apart:
    """The workers, as the nodes that redraw ask for them."""

    workers: Workers
    registry: Registry
    stop: threading.Event

    @property
    def count(self) -> int:
        return len(self.workers.lanes)

    def draw(
        self, cut: Cut, brush: Brush, context: RunContext, told: Callable[[float, Any], None]
    ) -> tuple[list[Tensor], Counts]:
        """The tiles, redrawn by a worker that is free, and what that cost."""
        unit = self.unit(cut, brush, context)

        def hear(event: Event) -> None:
            if isinstance(event, NodeProgress):
                told(event.value / max(event.total, 1), event.preview)

        with self.workers.lane() as lane:
            made = lane.perform(unit, stop=self.stop, on_event=hear).made
        assert isinstance(made, MadeTiles)
        return [torch.as_tensor(tile) for tile in made.tiles], made.counts

    def unit(self, cut: Cut, brush: Brush, context: RunContext) -> RedrawUnit:
        """What is sent of tiles that the node of a context redraws."""
        inputs = context.prompt[context.node_id]["inputs"]
        links = {name: (link.node, link.slot) for name in LINKED if (link := as_link(inputs[name])) is not None}
        flow = needed(context.prompt, [node for node, _ in links.values()])
        rest = {entry.name: getattr(brush, entry.name) for entry in fields(brush)}
        is_here = self.workers.lanes[0].cluster.is_local
        return RedrawUnit(
            flow,
            links,
            {name: value for name, value in rest.items() if name not in (*LINKED, *OWN)},
            replace(cut, tiles=_alone(cut.tiles), sources=_alone(cut.sources)),
            pictures_of(flow, self.registry, context),
            () if is_here else models_of(flow, self.registry, context),
            {id: on_cpu(result) for id, result in context.known.items()},
        )


def needed(workflow: Mapping[str, Any], nodes: list[str]) -> dict[str, Any]:
    """The part of a workflow in API format that these nodes are made from, themselves included."""
    left, found = list(nodes), dict[str, Any]()
    while left:
        id = left.pop()
        if id in found or id not in workflow:
            continue
        found[id] = dict(workflow[id])
        left += [link.node for value in workflow[id]["inputs"].values() if (link := as_link(value)) is not None]
    return {id: found[id] for id in workflow if id in found}


def _alone(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Copies, for a part of a picture would be sent with the whole of it."""
    return tuple(tensor.detach().cpu().clone() for tensor in tensors)
