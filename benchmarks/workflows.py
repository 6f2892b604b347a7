"""What editing a workflow costs, in denoiser calls: queued again, one node changed at a time, and in sweeps.

Each row says how many calls the run made in an engine that had the runs before it, and how many it takes alone.

    python -m benchmarks.workflows
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import make_checkpoint
from hires.api import Engine
from hires.graph.workflow import Workflow
from hires.nodes.context import Counts
from hires.settings import Settings

FILES = Path(__file__).parent.parent / "tests" / "workflows"
LAYOUTS = ("thin_sd15", "thin_sdxl_base", "thin_sdxl_refiner")
SWITCHES = (5, 6, 7, 8, 9)
DENOISINGS = (0.3, 0.4, 0.5, 0.6, 0.7)

FIRST, SECOND, ENLARGE, CANVAS, NEGATIVE, SAVE = "5", "7", "6", "4", "3", "11"
"""Node ids of two_pass.json."""
EDITS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("file name", SAVE, {"filename_prefix": "renamed"}),
    ("size of the second pass", ENLARGE, {"width": 128, "height": 96}),
    ("enlarging", ENLARGE, {"upscale_method": "bilinear"}),
    ("denoising of the second pass", SECOND, {"denoise": 0.7}),
    ("steps of the second pass", SECOND, {"steps": 4}),
    ("guidance of the second pass", SECOND, {"cfg": 5.0}),
    ("seed of the first pass", FIRST, {"seed": 1}),
    ("sampler of the first pass", FIRST, {"sampler_name": "euler"}),
    ("negative prompt", NEGATIVE, {"text": "ugly"}),
    ("size of the first pass", CANVAS, {"height": 64}),
)


@dataclass(frozen=True)
class Row:
    """One run: calls made behind the runs before it, and calls of the same run alone."""

    what: str
    calls: int
    alone: int


EngineMaker = Callable[[], Engine]


def twice(make: EngineMaker) -> list[Row]:
    """The same workflow, queued again."""
    flow = read(make, "two_pass")
    return list(measured(make, [("first time", flow), ("second time", flow)]))


def edits(make: EngineMaker) -> list[Row]:
    """Ten edits of one node each, every one of the workflow as it was."""
    flow = read(make, "two_pass")
    changed = [(what, flow.with_inputs(node, **inputs)) for what, node, inputs in EDITS]
    return list(measured(make, [("as it was", flow), *changed]))


def switches(make: EngineMaker) -> list[Row]:
    """The refiner takes over at one step after the other."""
    flow = read(make, "sdxl_refiner")
    base, refiner = flow.find("KSamplerAdvanced")
    flows = [
        (f"refiner from step {step}", flow.with_inputs(base, end_at_step=step).with_inputs(refiner, start_at_step=step))
        for step in SWITCHES
    ]
    return list(measured(make, flows))


def denoisings(make: EngineMaker) -> list[Row]:
    """The second pass at several strengths."""
    flow = read(make, "two_pass")
    return list(measured(make, [(f"denoising {d}", flow.with_inputs(SECOND, denoise=d)) for d in DENOISINGS]))


def read(make: EngineMaker, name: str) -> Workflow:
    return make().read(FILES / f"{name}.json")


def measured(make: EngineMaker, flows: list[tuple[str, Workflow]]) -> Iterator[Row]:
    together = make()
    for what, flow in flows:
        yield Row(what, calls(together, flow), calls(make(), flow))


def calls(engine: Engine, flow: Workflow) -> int:
    counts = Counts()
    engine.run(flow, counts=counts).raise_for_failure()
    return counts.denoiser_calls


TABLES = {"the same again": twice, "edits": edits, "switching point": switches, "hires denoising": denoisings}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for layout in LAYOUTS:
            make_checkpoint(layout, folder / "models")

        def make() -> Engine:
            out, cache = folder / "out", folder / "cache"
            return Engine(Settings(models_dir=folder / "models", output_dir=out, cache_dir=cache, device="cpu"))

        for title, table in TABLES.items():
            rows = table(make)
            print(f"\n{title:<32}{'calls':>7}{'alone':>7}")
            for row in rows:
                print(f"  {row.what:<30}{row.calls:>7}{row.alone:>7}")
            shared, alone = sum(row.calls for row in rows), sum(row.alone for row in rows)
            print(f"  {'in all':<30}{shared:>7}{alone:>7}   {alone / shared:.2f} times as many alone")


if __name__ == "__main__":
    main()
