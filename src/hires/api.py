"""The engine: settings in, workflows and requests run, with everything shared between them.

from hires.api import Engine
engine = Engine()
engine.txt2img(prompt="1girl, smile, beach", scale=2).pictures[0].show()
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image

from hires.errors import HiresError, Interrupted, ModelFileError, SettingError, WorkflowError
from hires.graph.cache import ResultCache
from hires.graph.custom import CustomNodes, load_custom_nodes
from hires.graph.declare import Registry
from hires.graph.execute import execute
from hires.graph.report import Event, RunReport
from hires.graph.tree import tree_lines
from hires.graph.ui_write import editor_file
from hires.graph.validate import ValidatedWorkflow, validate
from hires.graph.workflow import Workflow
from hires.imaging.pictures import open_picture
from hires.imaging.upscalers import LATENT_UPSCALERS, PLAIN, find_name
from hires.metadata.files import picture_texts
from hires.models.inspection import ModelInfo, inspect
from hires.models.native import native_size
from hires.models.precision import WeightsPolicy
from hires.models.store import ModelStore
from hires.nodes.context import Counts, RunContext, TempFolder
from hires.nodes.registry import node_registry
from hires.pocket import BUILT_IN_FOLDER, BUILT_IN_NAME
from hires.recipes.facts import ModelFacts, stated_facts
from hires.recipes.infotext import infotext, request_from
from hires.recipes.networks import fact_key, lora_names
from hires.recipes.read_file import read_file
from hires.recipes.read_workflow import request_of_workflow
from hires.recipes.request import HiresFix, Txt2Img, check_request, delivered_size, with_seeds
from hires.recipes.samplers import check_names
from hires.recipes.txt2img import txt2img
from hires.sampling.trajectories import TrajectoryCache
from hires.settings import Settings, load_settings

MEGABYTE = 1_000_000
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Drawn:
    """What a request gave: the files, the pictures in the same order, and what it cost."""

    request: Txt2Img
    paths: list[Path]
    pictures: list[Image.Image]
    reports: list[RunReport]
    counts: Counts

    @property
    def summary(self) -> str:
        """One line: size, seed, denoiser calls, time."""
        width, height = delivered_size(self.request)
        seconds = sum(report.seconds for report in self.reports)
        reused = f", {self.counts.reused_steps} steps reused" if self.counts.reused_steps else ""
        return (
            f"{len(self.paths)} x {width}x{height}, seed {self.request.seed}, "
            f"{self.counts.denoiser_calls} denoiser calls{reused}, {seconds:.1f} s"
        )


class Engine:
    """One place where models, results and sampler states are kept, for any number of runs.

    `stop` may be set from another thread (or a signal handler): the run ends before the next denoiser call.
    """

    def __init__(self, settings: Settings | None = None, *, stop: threading.Event | None = None) -> None:
        self.settings = settings or load_settings()
        self.stop = stop or threading.Event()
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
        limit = self.settings.cache_megabytes * MEGABYTE
        self.results = ResultCache(limit)
        self.trajectories = TrajectoryCache(limit // 4)
        self.temp = TempFolder()

    def run(
        self,
        workflow: Path | str | bytes | Mapping[str, Any] | Workflow,
        *,
        targets: Iterable[str] | None = None,
        on_event: OnEvent | None = None,
        force_outputs: bool = False,
        counts: Counts | None = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
    ) -> RunReport:
        """Run a workflow: a file (JSON, or a picture that carries one), JSON text, a mapping, or a `Workflow`.

        With `targets`, only these nodes and what they need. A picture that carries infotext alone is drawn again.
        What is saved carries the workflow in both formats. Raises WorkflowError when nothing of it can be run, and
        Interrupted when it was stopped; a node that failed, and what could not be run, is told in the report, beside
        what the others gave.
        """
        context = self._context(counts or Counts())
        parsed = self._parse(workflow, context)
        targets = None if targets is None else tuple(targets)
        validated = validate(parsed, self.registry, context, targets)
        if validated.faults and not validated.outputs:
            validate(parsed, self.registry, context, targets, everything=True).raise_for_faults()
        extra = dict(extra_pnginfo or {})
        if "workflow" not in extra:
            extra["workflow"] = editor_file(parsed, self.registry, context)
        context.extra_pnginfo = extra
        with torch.inference_mode():
            report = execute(
                validated, self.registry, context, self.results, targets, force_outputs=force_outputs, on_event=on_event
            )
        if report.interrupted:
            raise Interrupted
        return report

    def validate(self, workflow: Path | str | bytes | Mapping[str, Any] | Workflow) -> ValidatedWorkflow:
        """Check a workflow without running it."""
        context = self._context(Counts())
        return validate(self._parse(workflow, context), self.registry, context)

    def read(self, file: Path) -> Workflow:
        """The workflow of a file of any kind, without checking it; models that an infotext names may be missing."""
        return self._parse(file, self._context(Counts()), lenient=True)

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

    def txt2img(
        self,
        request: Txt2Img | None = None,
        *,
        on_event: OnEvent | None = None,
        hires: HiresFix | None = None,
        **fields: Any,
    ) -> Drawn:
        """Draw a request, given whole or as its fields. Raises the user's errors as HiresError."""
        request = replace(request or Txt2Img(), **fields)
        if hires is not None:
            request = replace(request, hires=hires)
        request, facts = self.prepare(request)
        counts = Counts()
        reports, paths = [], []
        for batch in range(request.batch_count):
            flow = txt2img(request, facts, batch)
            report = self.run(flow, on_event=on_event, force_outputs=True, counts=counts)
            raise_failure(report)
            reports.append(report)
            paths += self.saved(report)
        return Drawn(request, paths, [open_picture(path) for path in paths], reports, counts)

    def prepare(self, request: Txt2Img, lenient: bool = False) -> tuple[Txt2Img, dict[str, ModelFacts]]:
        """The request with names found, size and seeds filled in and everything checked; and its models' facts.

        With `lenient`, models that are not there keep the name and hash that the request states.
        """
        checkpoint = request.checkpoint or self._default_checkpoint()
        facts: dict[str, ModelFacts] = {}

        def find(kind: str, name: str) -> str:
            try:
                found = self._facts(kind, name)
            except ModelFileError:
                if not lenient:
                    raise
                found = stated_facts(name)
            facts[found.name] = found
            return found.name

        request = with_seeds(replace(request, checkpoint=find("checkpoints", checkpoint)))
        if request.vae:
            request = replace(request, vae=find("vae", request.vae))
        if request.refiner is not None:
            refiner = find("checkpoints", request.refiner.checkpoint)
            request = replace(request, refiner=replace(request.refiner, checkpoint=refiner))
        if request.hires is not None and request.hires.checkpoint:
            second = find("checkpoints", request.hires.checkpoint)
            request = replace(request, hires=replace(request.hires, checkpoint=second))
        for name in lora_names(request):
            with suppress(ModelFileError):  # an unknown LoRA is noted, and the picture drawn without it, as in A1111
                facts[fact_key(name)] = self._facts("loras", name)
        native = facts[request.checkpoint or ""].native_size
        request = replace(request, width=request.width or native, height=request.height or native)
        check_names(request)
        if request.hires is not None:
            names = [*LATENT_UPSCALERS, *PLAIN, *self.store.names("upscale_models")]
            names += [request.hires.upscaler] * lenient
            request = replace(request, hires=replace(request.hires, upscaler=find_name(request.hires.upscaler, names)))
        check_request(request, self.settings.max_megapixels)
        return request, facts

    def request_of(self, picture: Path) -> Txt2Img:
        """The request that a picture's infotext describes."""
        texts = picture_texts(open_picture(picture))
        if "parameters" not in texts:
            raise SettingError(f"{picture.name} carries no generation parameters")
        return request_from(texts["parameters"])

    def models(self) -> list[ModelInfo]:
        """Every model file in the folders, the built-in one included."""
        return self.store.models()

    def saved(self, report: RunReport) -> list[Path]:
        """The pictures and latents that a run wrote, in the order they were written."""
        entries = [entry for ui in report.ui.values() for key in ("images", "latents") for entry in ui.get(key, [])]
        written = [entry for entry in entries if entry["type"] == "output"]
        return [self.settings.output_dir / entry["subfolder"] / entry["filename"] for entry in written]

    def _context(self, counts: Counts) -> RunContext:
        context = RunContext(
            store=self.store,
            input_dir=self.settings.input_dir,
            output_dir=self.settings.output_dir,
            trajectories=self.trajectories,
            max_megapixels=self.settings.max_megapixels,
            counts=counts,
            temp=self.temp,
        )
        context.stop = self.stop
        return context

    def _parse(
        self,
        workflow: Path | str | bytes | Mapping[str, Any] | Workflow,
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

    def _default_checkpoint(self) -> str:
        """The first checkpoint in the user's folders; the built-in model when there is none."""
        own = [name for name in self.store.names("checkpoints") if name != BUILT_IN_NAME]
        return own[0] if own else BUILT_IN_NAME

    def _facts(self, kind: str, name: str) -> ModelFacts:
        path = self.store.find(kind, name)
        listed = next(entry.name for entry in self.store.entries(kind) if entry.path == path)
        info = inspect(path, self.store.hashes, name=listed, with_hash=False)
        if info.problem:
            raise ModelFileError(info.problem)
        return ModelFacts(listed, self.store.hash(kind, listed), info.family, native_size(path, info.family))


def place(settings: Settings) -> tuple[torch.device, torch.dtype]:
    """The device that the settings name and the precision to compute in there: half on a GPU, single on a CPU."""
    name = settings.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"device {name!r} is not there: {error}", "Use auto, cpu, cuda or mps.") from error
    return device, torch.float32 if device.type == "cpu" else torch.float16


def raise_failure(report: RunReport) -> None:
    """Raise the first failure of a run as what it was: the user's mistake with its own words, or our fault."""
    for failure in report.failures:
        if isinstance(failure.error, HiresError):
            raise failure.error
    report.raise_for_failure()


__all__ = ["Drawn", "Engine", "HiresFix", "Txt2Img", "WorkflowError", "raise_failure"]
