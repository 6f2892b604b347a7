"""What is sent to a worker, and what comes back: plain data, pictures and files as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor

from hires.errors import Fault
from hires.graph.cache import CachedResult
from hires.graph.report import Event, Failure, NodeReport
from hires.graph.workflow import Workflow
from hires.nodes.context import Counts
from hires.nodes.redraw_brush import Cut
from hires.tiling.grid import Box


@dataclass(frozen=True)
class ModelFile:
    """A file that a unit reads of the worker's own models folder: its kind, its name, its SHA-256."""

    kind: str
    name: str
    sha256: str


@dataclass(frozen=True)
class RunUnit:
    """A workflow to run, in API format. `given` are the pictures that it loads, by name, `known` results of nodes of it
    that were made before; the results of nodes in `wanted` come back."""

    workflow: dict[str, Any]
    ui: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    source: str = "the workflow"
    targets: tuple[str, ...] | None = None
    extra_pnginfo: dict[str, Any] = field(default_factory=dict)
    given: Mapping[str, bytes] = field(default_factory=dict)
    models: tuple[ModelFile, ...] = ()
    known: Mapping[str, CachedResult] = field(default_factory=dict)
    wanted: tuple[str, ...] = ()

    def parsed(self) -> Workflow:
        """The workflow as it was read where it came from."""
        read = Workflow.parse(self.workflow, source=self.source)
        return Workflow(read.nodes, self.ui, self.notes, self.source)


@dataclass(frozen=True)
class TileUnit:
    """A tile to enlarge by a network: its pixels (h, w, channels) with their surroundings, the box of them to keep."""

    upscaler: str
    pixels: NDArray[Any]
    keep: Box
    models: tuple[ModelFile, ...] = ()


@dataclass(frozen=True)
class RedrawUnit:
    """Tiles to redraw: the part of a workflow (API format) that makes what they are drawn with, where in it each such
    thing is (its name -> node, output), and the rest of the brush. `known` as in RunUnit."""

    workflow: dict[str, Any]
    links: Mapping[str, tuple[str, int]]
    brush: Mapping[str, Any]
    cut: Cut
    given: Mapping[str, bytes] = field(default_factory=dict)
    models: tuple[ModelFile, ...] = ()
    known: Mapping[str, CachedResult] = field(default_factory=dict)


Unit = RunUnit | TileUnit | RedrawUnit


@dataclass(frozen=True)
class MadeFile:
    """A file that a run wrote: for the output folder, or that of previews."""

    place: Literal["output", "temp"]
    subfolder: str
    filename: str
    data: bytes


@dataclass(frozen=True)
class MadeRun:
    """What a run gave: the parts of its report, its files, what it cost, and the results that were wanted."""

    nodes: dict[str, NodeReport]
    outputs: tuple[str, ...]
    failures: tuple[Failure, ...]
    seconds: float
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]
    files: tuple[MadeFile, ...]
    counts: Counts
    results: Mapping[str, CachedResult] = field(default_factory=dict)


@dataclass(frozen=True)
class MadeTiles:
    """Tiles that were redrawn, (batch, height, width, 3) each, and what that cost."""

    tiles: list[Tensor]
    counts: Counts


@dataclass(frozen=True)
class Done:
    """A unit is over: what it gave, or why it gave nothing; its events, and the life of the process that had them. A
    tile is (channels, H, W) float32."""

    made: MadeRun | MadeTiles | Tensor | None
    error: Exception | None = None
    events: tuple[Event, ...] = ()
    life: str = ""


@dataclass(frozen=True)
class Told:
    """Events of a unit that goes on. Another life: the process was lost, and the unit begun again by another."""

    life: str
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Greeting:
    """Who a worker is."""

    version: str
    host: str
    process: int
    threads: int
