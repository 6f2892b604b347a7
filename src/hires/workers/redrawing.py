"""How a worker redraws tiles that were sent to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from hires.graph.cache import CachedResult
from hires.graph.report import RunReport
from hires.graph.workflow import Workflow
from hires.nodes.context import Counts, RunContext
from hires.nodes.redraw_brush import Brush, draw_cut, seen_of
from hires.workers.units import MadeTiles, RedrawUnit


class Runs(Protocol):
    """What is asked of a worker's engine."""

    def run(
        self,
        workflow: Workflow,
        *,
        targets: tuple[str, ...],
        given: Mapping[str, Path],
        known: Mapping[str, CachedResult] = ...,
    ) -> RunReport: ...

    def context(self, counts: Counts, given: Mapping[str, Path]) -> RunContext: ...


def redrawn(
    engine: Runs, unit: RedrawUnit, given: Mapping[str, Path], hear: Callable[[int, int, Any], None]
) -> MadeTiles:
    """In a worker: the tiles of a unit. `hear` is told of steps: their number, of how many, and a preview."""
    counts = Counts()
    targets = tuple(dict.fromkeys(node for node, _ in unit.links.values()))
    report = engine.run(Workflow.parse(unit.workflow), targets=targets, given=given, known=unit.known)
    for failure in report.failures:
        raise failure.error
    linked = {name: report.value(node, slot) for name, (node, slot) in unit.links.items()}
    brush = Brush(**linked, **unit.brush)
    context = engine.context(counts, given).for_node("tile", "", {}, hear)
    try:
        with torch.inference_mode():
            tiles = draw_cut(unit.cut, brush, seen_of(brush, unit.cut.canvas), context)
    except BaseException:
        if context.kept is not None:
            context.kept.leave()
        raise
    if context.kept is not None:
        context.kept.finish()
    return MadeTiles([tile.cpu().contiguous() for tile in tiles], counts)
