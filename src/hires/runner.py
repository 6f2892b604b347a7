"""Running workflows: settings in, results out, with models, results and sampler states shared between runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import torch

from hires.errors import Interrupted
from hires.graph.cache import CachedResult, ResultCache
from hires.graph.custom import CustomNodes, load_custom_nodes
from hires.graph.declare import Registry
from hires.graph.execute import NO_RESULTS, execute
from hires.graph.object_info import object_info
from hires.graph.report import Event, RunReport, Said
from hires.graph.seeds import with_drawn_seeds
from hires.graph.tree import tree_lines
from hires.graph.ui_write import editor_file
from hires.graph.validate import ValidatedWorkflow, validate
from hires.graph.workflow import Workflow
from hires.ground import MEGABYTE, kept_work, origin_of, place
from hires.metadata.files import Ledger
from hires.metadata.origin import KEY as ORIGIN
from hires.models.budget import free_bytes, stated_budget
from hires.models.inspection import ModelInfo
from hires.models.precision import WeightsPolicy
from hires.models.store import ModelStore
from hires.nodes.context import Counts, RunContext, TempFolder
from hires.nodes.forecast import Forecast, forecast
from hires.nodes.registry import node_registry
from hires.nodes.texts import EncodedTexts
from hires.pocket import BUILT_IN_FOLDER
from hires.preparing import Preparation
from hires.recipes.facts import ModelFacts
from hires.recipes.infotext import infotext
from hires.recipes.read_file import read_file, read_texts, request_in
from hires.recipes.read_workflow import request_of_workflow
from hires.recipes.request import Txt2Img
from hires.recipes.txt2img import txt2img
from hires.sampling.meeting import Meeting
from hires.sampling.trajectories import TrajectoryCache
from hires.settings import Settings, load_settings
from hires.workers.cluster import check_workers
from hires.workers.placing import Mixed
from hires.workers.pool import Workers
from hires.workers.runs import Elsewhere
from hires.workers.spread import in_order
from hires.workers.turns import Place
from hires.workers.units import Done, RunUnit

CACHED_SHARE = 10
"""Of a stated budget, one part in so many may be taken by kept results."""
OnEvent = Callable[[Event], None]
AnyWorkflow = Path | str | bytes | Mapping[str, Any] | Workflow
"""A file (JSON, or a picture that carries one), JSON text, a mapping, or one that is read already."""


class Runner:
    """One place where models, results and sampler states are kept, for any number of runs.

    `stop` may be set from another thread (or a signal handler): the run ends before the next denoiser call.
    """

    def __init__(self, settings: Settings | None = None, *, stop: threading.Event | None = None) -> None:
        self.settings = settings or load_settings()
        check_workers(self.settings.workers)
        self.stop = stop or threading.Event()
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        self.registry: Registry = node_registry()
        self.custom = CustomNodes(Registry())
        if self.settings.custom_nodes_dir is not None:
            self.custom = load_custom_nodes(self.settings.custom_nodes_dir, self.registry)
            self.registry |= self.custom.registry
        device, compute_dtype = place(self.settings)
        self.store = ModelStore(
            [self.settings.models_dir, BUILT_IN_FOLDER],
            device=device,
            weights=cast(WeightsPolicy, self.settings.weights),
            compute_dtype=compute_dtype,
            cache_dir=self.settings.cache_dir,
            loaded_bytes=self.settings.loaded_models_megabytes * MEGABYTE,
        )
        self.budget = stated_budget(self.settings.memory, device)
        limit = self.settings.cache_megabytes * MEGABYTE
        if self.budget.stated:
            limit = min(limit, self.budget.limit // CACHED_SHARE)
        self.results = ResultCache(limit)
        self.kept = kept_work(self.settings, device)
        self.trajectories = TrajectoryCache(limit // 4, self.kept)
        self.texts = EncodedTexts()
        self.temp = TempFolder()
        self.ledger: Ledger | None = None
        self.meeting: Meeting | None = None
        self.workers = Workers(self.settings, Runner) if self.settings.workers else None
        self.elsewhere = None if self.workers is None else Elsewhere(self.workers, self.registry, self.store, self.stop)
        self.preparation = Preparation(self.store, self.settings)
        self.origin = origin_of(self.settings, device, compute_dtype, self.together)

    def run(
        self,
        workflow: AnyWorkflow,
        *,
        targets: Iterable[str] | None = None,
        on_event: OnEvent | None = None,
        force_outputs: bool = False,
        counts: Counts | None = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
        given: Mapping[str, Path] | None = None,
        output_dir: Path | None = None,
        known: Mapping[str, CachedResult] = NO_RESULTS,
    ) -> RunReport:
        """Run a workflow: see `AnyWorkflow`.

        With `targets`, only these nodes and what they need. `given` are pictures by name that stand for the input
        folder, `known` results of nodes that were made before. A picture that carries infotext alone is drawn again.
        What is saved carries the workflow in both formats. Raises WorkflowError when nothing of it can be run, and
        Interrupted when it was stopped; a node that failed, and what could not be run, is told in the report, beside
        what the others gave.
        """
        counts = Counts() if counts is None else counts
        context = self._context(counts, given, output_dir)
        parsed = with_drawn_seeds(self._parse(workflow, context), self.registry)
        targets = None if targets is None else tuple(targets)
        parted = None if self.elsewhere is None else self.elsewhere.parted(parsed, context, targets)
        if self.elsewhere is not None and parted is None and self.elsewhere.takes(parsed):
            unit = self.elsewhere.unit(parsed, context, targets, extra_pnginfo)
            return self.elsewhere.placed(unit, self.elsewhere.performed(unit, on_event), context, counts, on_event)
        validated = validate(parsed, self.registry, context, targets)
        if validated.faults and not validated.outputs:
            validate(parsed, self.registry, context, targets, everything=True).raise_for_faults()
        extra = {ORIGIN: self.origin.stored(), **(extra_pnginfo or {})}
        with torch.inference_mode():
            needs = forecast(validated, context)
        if needs is not None and needs.budget.stated:
            extra["memory"] = needs.stored()
        if needs is not None and on_event is not None and (needs.budget.stated or needs.cuts):
            on_event(Said(needs.describe()))
        if "workflow" not in extra:
            extra["workflow"] = editor_file(parsed, self.registry, context)
        context.extra_pnginfo = extra
        with torch.inference_mode():
            report = execute(
                validated, self.registry, context, self.results, targets,
                force_outputs=force_outputs, on_event=on_event, known=known, elsewhere=parted,
            )  # fmt: skip
        if self.kept is not None:
            self.kept.leave() if report.interrupted or report.failures else self.kept.finish()
        if report.interrupted:
            raise Interrupted
        return report

    def run_in_order(
        self,
        runs: Iterable[tuple[dict[str, Any], Mapping[str, Path]]],
        *,
        on_event: OnEvent | None = None,
        counts: Counts | None = None,
    ) -> Iterator[RunReport]:
        """Run workflows of recipes, each with the pictures it is given: several at once where there are workers. What
        they write is numbered in their order."""
        counts = Counts() if counts is None else counts
        elsewhere = self.elsewhere
        if elsewhere is None or not elsewhere.is_shared:
            for flow, given in runs:
                yield self.run(flow, on_event=on_event, force_outputs=True, counts=counts, given=given)
            return

        mixed = None if on_event is None else Mixed(on_event)

        def units() -> Iterator[tuple[RunUnit, RunContext, OnEvent | None]]:
            for number, (flow, given) in enumerate(runs, start=1):
                context = self._context(counts, given)
                heard = None if mixed is None else mixed.of(f"run {number}")
                yield elsewhere.unit(self._parse(flow, context), context), context, heard

        def perform(
            one: tuple[RunUnit, RunContext, OnEvent | None],
        ) -> tuple[RunUnit, Done, RunContext, OnEvent | None]:
            unit, context, heard = one
            return unit, elsewhere.performed(unit, heard), context, heard

        for unit, done, context, heard in in_order(units(), perform, len(elsewhere.workers.lanes)):
            yield elsewhere.placed(unit, done, context, counts, heard)

    @contextmanager
    def each_lane(self, meeting: bool = False) -> Iterator[Sequence[Self]]:
        """Views of this engine, of which each draws by a worker of its own, for as many threads.

        Where there are no workers, itself alone; or with `meeting` as many views as the settings let draw together,
        each for a thread that is `taking_part`.
        """
        elsewhere = self.elsewhere
        if elsewhere is None or not elsewhere.is_shared:
            yield self._meeting_views() if meeting and self.together > 1 else [self]
            return
        with ExitStack() as stack:
            views = [copy(self) for _ in elsewhere.workers.lanes]
            for view in views:
                view.elsewhere = replace(elsewhere, lane=stack.enter_context(elsewhere.workers.lane()))
            yield views

    @property
    def together(self) -> int:
        """How many runs may go through the network at once; under a stated memory budget each has it for itself."""
        return 1 if self.budget.stated else self.settings.together

    def taking_part(self) -> AbstractContextManager[None]:
        """In which a thread draws by this view beside others."""
        return nullcontext() if self.meeting is None else self.meeting.taking_part()

    def _meeting_views(self) -> list[Self]:
        """Views whose runs meet at the network. What each keeps on disk is its own to let go of."""
        meeting = Meeting(self.together)
        views = [copy(self) for _ in range(self.together)]
        for view in views:
            view.meeting = meeting
            view.kept = kept_work(self.settings, self.store.placement.device)
            view.trajectories = TrajectoryCache(self.trajectories.limit_bytes // len(views), view.kept)
        return views

    def at(self, place: Place) -> Self:
        """A view of this engine whose runs are made by whichever worker is free, and written when their turn comes."""
        assert self.elsewhere is not None
        view = copy(self)
        view.stop = place.stop
        view.elsewhere = replace(self.elsewhere, place=place, stop=place.stop)
        return view

    def give_up(self) -> None:
        """Stop what the workers and other views do; what comes after is done."""
        if self.meeting is not None:
            self.meeting.give_up()
        if self.workers is not None:
            for lane in self.workers.lanes:
                lane.give_up()

    def validate(
        self, workflow: AnyWorkflow, targets: Iterable[str] | None = None, output_dir: Path | None = None
    ) -> ValidatedWorkflow:
        """Check a workflow, or what these nodes of it need, without running it."""
        context = self._context(Counts(), output_dir=output_dir)
        return validate(self._parse(workflow, context), self.registry, context, targets)

    def object_info(self, class_type: str | None = None, output_dir: Path | None = None) -> dict[str, Any]:
        """The nodes, or one of them, as ComfyUI's clients have them described; {} for one that is not there."""
        names = self.registry if class_type is None else [class_type] * (class_type in self.registry)
        return object_info(Registry(self.registry[name] for name in names), self._context(Counts(), None, output_dir))

    def forecast(
        self,
        workflow: AnyWorkflow | Txt2Img,
        given: Mapping[str, Path] | None = None,
    ) -> Forecast:
        """What a workflow or request will need of memory and how its stages are made to fit.

        Models are loaded for it. MemoryLimitError, with the smallest budget that would do, if they cannot be made to.
        """
        if isinstance(workflow, Txt2Img):
            workflow = txt2img(*self.prepare(workflow))
        context = self._context(Counts(), given)
        with torch.inference_mode():
            needs = forecast(validate(self._parse(workflow, context), self.registry, context), context)
        assert needs is not None
        return needs

    def read(self, file: Path) -> Workflow:
        """The workflow of a file of any kind, without checking it; models that an infotext names may be missing."""
        return self._parse(file, self._context(Counts()), lenient=True)

    def read_texts(self, texts: Mapping[str, str], name: str) -> Workflow | Txt2Img:
        """What the texts of a file of that name ask for: its workflow, else the request of its infotext."""
        return read_texts(texts, name, self.registry, self._context(Counts()))

    def editor_file(self, workflow: Workflow) -> dict[str, Any]:
        """A workflow as the node editor saves it."""
        return editor_file(workflow, self.registry, self._context(Counts()))

    def tree(self, workflow: Workflow) -> list[str]:
        """A workflow as lines to read."""
        return tree_lines(workflow, self.registry)

    def infotext_of(self, workflow: Workflow) -> str:
        """The infotext of a workflow that draws as txt2img does. SettingError says what does not fit."""
        request, facts = self.prepare(request_of_workflow(workflow, self.registry), lenient=True)
        return infotext(request, facts)

    def request_of(self, picture: Path) -> Txt2Img:
        """The request that a file's infotext describes, or its workflow where it has that alone."""
        return request_in(picture, self.registry, self._context(Counts()))

    def prepare(self, request: Txt2Img, lenient: bool = False) -> tuple[Txt2Img, dict[str, ModelFacts]]:
        """The request with names found, size and seeds filled in and everything checked; and its models' facts.

        With `lenient`, models that are not there keep the name and hash that the request states.
        """
        return self.preparation.prepared(request, lenient)

    def default_checkpoint(self) -> str:
        """The first checkpoint in the user's folders; the built-in model when there is none."""
        return self.preparation.default_checkpoint()

    def models(self) -> list[ModelInfo]:
        """Every model file in the folders, the built-in one included."""
        return self.store.models()

    def saved(self, report: RunReport, output_dir: Path | None = None) -> list[Path]:
        """The pictures and latents that a run wrote, in the order they were written."""
        entries = [entry for ui in report.ui.values() for key in ("images", "latents") for entry in ui.get(key, [])]
        written = [entry for entry in entries if entry["type"] == "output"]
        folder = output_dir or self.settings.output_dir
        return [folder / entry["subfolder"] / entry["filename"] for entry in written]

    @contextmanager
    def writing_to(self, folder: Path) -> Iterator[None]:
        """Within the block, results are written to another folder."""
        own = self.settings
        self.settings = replace(own, output_dir=folder)
        try:
            yield
        finally:
            self.settings = own

    @contextmanager
    def recording(self, ledger: Ledger | None) -> Iterator[None]:
        """Within the block, a ledger keeps account of the files that are written, or none does."""
        own, self.ledger = self.ledger, ledger
        try:
            yield
        finally:
            self.ledger = own

    def context(self, counts: Counts, given: Mapping[str, Path]) -> RunContext:
        """What a node of a run is given."""
        return self._context(counts, given)

    def _context(
        self, counts: Counts, given: Mapping[str, Path] | None = None, output_dir: Path | None = None
    ) -> RunContext:
        if not self.budget.stated:  # other programs come and go
            self.budget = replace(self.budget, limit=free_bytes(self.budget.device))
        shared = self.elsewhere if self.elsewhere is not None and self.elsewhere.is_shared else None
        context = RunContext(
            store=self.store,
            input_dir=self.settings.input_dir,
            output_dir=output_dir or self.settings.output_dir,
            given=given or {},
            trajectories=self.trajectories,
            max_megapixels=self.settings.max_megapixels,
            counts=counts,
            temp=self.temp,
            budget=self.budget,
            kept=self.kept,
            ledger=self.ledger,
            texts=self.texts,
            share=None if shared is None else shared.share,
            apart=None if shared is None else shared.apart,
            together=self.together,
            meeting=self.meeting,
        )
        context.stop = self.stop
        return context

    def _parse(
        self,
        workflow: AnyWorkflow,
        context: RunContext,
        lenient: bool = False,
    ) -> Workflow:
        if isinstance(workflow, Workflow):
            return workflow
        if not isinstance(workflow, Path):
            return Workflow.parse(workflow, registry=self.registry, context=context)
        found = read_file(workflow, self.registry, context)
        if isinstance(found, Workflow):
            return found
        request, facts = self.prepare(found, lenient)
        return Workflow.parse(txt2img(request, facts), source=workflow.name)
