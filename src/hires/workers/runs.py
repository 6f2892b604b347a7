"""An engine's runs, made by workers: what is sent of each, and what comes back taken over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from hires.errors import Interrupted
from hires.graph.declare import Registry
from hires.graph.report import Event, RunReport
from hires.graph.validate import validate
from hires.graph.workflow import Workflow
from hires.models.store import ModelStore
from hires.nodes.context import Counts, RunContext
from hires.tiling.plan import TilePlan
from hires.tiling.upscale import Edge, Kept, Pixels
from hires.workers.apart import Apart
from hires.workers.cutting import IN_TILES, REDRAWN, Cutting, samples
from hires.workers.parting import Parted
from hires.workers.placing import Renaming, models_of, pictures_of, place, renamed
from hires.workers.pool import Lane, Workers
from hires.workers.tiles import SharedTiles
from hires.workers.turns import Place
from hires.workers.units import Done, MadeRun, ModelFile, RunUnit

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Elsewhere:
    """Workers as one engine uses them; with a `lane`, always the same one; with a `place`, whoever is free, and what is
    finished before its turn waits."""

    workers: Workers
    registry: Registry
    store: ModelStore
    stop: threading.Event
    lane: Lane | None = None
    place: Place | None = None

    @property
    def is_shared(self) -> bool:
        """Whether all workers may be handed parts of one run; else the run is a unit itself."""
        return self.lane is None and self.place is None

    def takes(self, workflow: Workflow) -> bool:
        """Whether a workflow is run by one worker, unless it can be `parted`; else it is run here, and its tiles are
        handed to all of them."""
        kinds = {node.class_type or "" for node in workflow.nodes.values()}
        return not self.is_shared or not kinds & IN_TILES or any(map(samples, kinds))

    def parted(self, workflow: Workflow, context: RunContext, targets: tuple[str, ...] | None) -> Parted | None:
        """What has parts of a workflow made that come before or after tiles; None for one that has no such parts."""
        if not self.is_shared or not {node.class_type for node in workflow.nodes.values()} & REDRAWN:
            return None
        validated = validate(workflow, self.registry, context, targets)
        chosen = [target for target in (targets or validated.outputs) if target in validated.nodes]
        parting = Cutting(validated.nodes, chosen).parting()
        if parting is None:
            return None
        return Parted(parting, validated.prompt, self.registry, context, self.performed, self._is_here())

    def unit(
        self,
        parsed: Workflow,
        context: RunContext,
        targets: tuple[str, ...] | None = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
    ) -> RunUnit:
        """What is sent of a workflow."""
        flow = parsed.as_json()
        return RunUnit(
            flow,
            None if parsed.ui is None else dict(parsed.ui),
            parsed.notes,
            parsed.source,
            targets,
            dict(extra_pnginfo or {}),
            pictures_of(flow, self.registry, context),
            () if self._is_here() else models_of(flow, self.registry, context),
        )

    def performed(self, unit: RunUnit, on_event: OnEvent | None) -> Done:
        """The run of a worker that is free. Raises what went wrong, Interrupted where it was stopped."""
        if self.place is not None and (known := self.place.known(unit)) is not None:
            return known
        hear = None if on_event is None else Renaming(on_event)
        with nullcontext(self.lane) if self.lane is not None else self.workers.lane() as lane:
            if self.stop.is_set():
                raise Interrupted
            done = lane.perform(unit, stop=self.stop, on_event=hear)
        if self.place is not None:
            self.place.keep(unit, done)
        return done if hear is None else replace(done, events=(*hear.held, *done.events))

    def placed(
        self, unit: RunUnit, done: Done, context: RunContext, counts: Counts, on_event: OnEvent | None
    ) -> RunReport:
        """Its files written here, and its report."""
        made = done.made
        assert isinstance(made, MadeRun)
        if self.place is not None:
            self.place.wait()
        report, names = place(made, unit.workflow, context, counts)
        if on_event is not None:
            for event in done.events:
                on_event(renamed(event, names))
        return report

    def share(
        self, source: Pixels, plan: TilePlan, upscaler: str, scale: int, *, edge: Edge, kept: Kept | None
    ) -> Kept:
        """The tiles of one large picture, made by all workers."""
        models: tuple[ModelFile, ...] = ()
        if not self._is_here():
            digest = self.store.hashes.sha256(self.store.find("upscale_models", upscaler))
            models = (ModelFile("upscale_models", upscaler, digest),)
        return SharedTiles(
            self.workers, source, plan, upscaler, scale, edge=edge, kept=kept, models=models, stop=self.stop
        )

    @property
    def apart(self) -> Apart:
        """What has tiles redrawn by all workers."""
        return Apart(self.workers, self.registry, self.stop)

    def _is_here(self) -> bool:
        """Whether the workers see this machine's files."""
        return self.workers.lanes[0].cluster.is_local
