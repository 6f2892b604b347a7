"""Workflows that sample before, after and beside the tiles that they redraw: cut there, and drawn by two workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hires.api import Engine
from hires.errors import Interrupted, WorkerError
from hires.graph.cache import CachedResult, ResultCache
from hires.graph.kept import KeptWork
from hires.graph.parting import Parting
from hires.graph.report import Event, NodeFailed, NodeFinished, NodeProgress, NodeStarted, RunReport
from hires.workers.bench import Bench
from hires.workers.cutting import Cutting
from hires.workers.pool import Lane
from hires.workers.results import from_values, on_cpu, to_values
from hires.workers.units import Done, RedrawUnit, RunUnit, Unit

Flow = dict[str, Any]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[Unit]:
    """What workers do, in the order in which they begin."""
    found: list[Unit] = []
    made = Bench._made

    def noting(bench: Bench, engine: Any, unit: Unit) -> Any:
        found.append(unit)
        return made(bench, engine, unit)

    monkeypatch.setattr(Bench, "_made", noting)
    return found


def node(class_type: str, **inputs: Any) -> Flow:
    return {"class_type": class_type, "inputs": inputs}


def sampled(latent: Any, denoise: float = 1.0, steps: int = 2) -> Flow:
    ways = {"seed": 5, "steps": steps, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal"}
    linked = {"model": ["m", 0], "positive": ["p", 0], "negative": ["n", 0]}
    return node("KSampler", **ways, **linked, latent_image=latent, denoise=denoise)


def redrawn(image: Any, positive: Any = ("p", 0), **fields: Any) -> Flow:
    linked = {"upscaled_image": image, "model": ["m", 0], "positive": list(positive), "negative": ["n", 0]}
    ways = {"seed": 6, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 0.6}
    tiles = {"mode_type": "Linear", "tile_width": 64, "tile_height": 64, "mask_blur": 4, "tile_padding": 8}
    seams = {"seam_fix_mode": "None", "seam_fix_denoise": 1.0, "seam_fix_width": 16, "seam_fix_mask_blur": 4}
    last = {"seam_fix_padding": 8, "force_uniform_tiles": True, "tiled_decode": False}
    whole = {**linked, "vae": ["m", 2], **ways, **tiles, **seams, **last, **fields}
    return node("UltimateSDUpscaleNoUpscale", **whole)


FIRST: Flow = {
    "m": node("CheckpointLoaderSimple", ckpt_name="thin_sd15.safetensors"),
    "p": node("CLIPTextEncode", text="a fox", clip=["m", 1]),
    "n": node("CLIPTextEncode", text="rain", clip=["m", 1]),
    "empty": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    "drawn": sampled(["empty", 0]),
    "seen": node("VAEDecode", samples=["drawn", 0], vae=["m", 2]),
    "large": node("ImageScale", image=["seen", 0], upscale_method="lanczos", width=128, height=64, crop="disabled"),
    "tiles": redrawn(["large", 0]),
    "saved": node("SaveImage", images=["tiles", 0], filename_prefix="a"),
}


def with_rest(flow: Flow) -> Flow:
    """Drawn over once more behind the tiles, and the first picture saved as well."""
    return {
        **flow,
        "again": node("VAEEncode", pixels=["tiles", 0], vae=["m", 2]),
        "over": sampled(["again", 0], denoise=0.5),
        "end": node("VAEDecode", samples=["over", 0], vae=["m", 2]),
        "saved": node("SaveImage", images=["end", 0], filename_prefix="a"),
        "small": node("SaveImage", images=["seen", 0], filename_prefix="b"),
    }


def pictures(engine: Engine, report: RunReport) -> dict[str, bytes]:
    assert not report.failures, report.failures
    return {path.name: path.read_bytes() for path in engine.saved(report)}


def seeded(flow: Flow, seed: int) -> Flow:
    """The workflow with seeds of its own, so that no test finds what another has drawn."""
    own = {"seed": seed}
    return {id: node(one["class_type"], **one["inputs"] | (own if "seed" in one["inputs"] else {}))
            for id, one in flow.items()}  # fmt: skip


def ends(done: list[Unit]) -> list[str]:
    return [unit.targets[0] if isinstance(unit, RunUnit) and unit.targets else "tile" for unit in done]


def test_what_comes_before_and_behind_the_tiles_is_a_unit_each(here: Engine, two: Engine, done: list[Unit]) -> None:
    flow, told = with_rest(seeded(FIRST, 11)), list[Event]()
    expected, made = here.run(flow), two.run(flow, on_event=told.append)
    assert pictures(two, made) == pictures(here, expected) and len(made.ui) == 2
    assert ends(done) == ["seen", "tile", "tile", "end"]
    first, *tiles, last = done
    assert isinstance(first, RunUnit) and set(first.workflow) == {"m", "p", "n", "empty", "drawn", "seen"}
    assert all(isinstance(unit, RedrawUnit) and set(unit.workflow) == {"m", "p", "n"} for unit in tiles)
    assert isinstance(last, RunUnit) and set(last.known) == {"tiles"}
    assert made.with_status("computed") and set(made.with_status("computed")) == set(expected.with_status("computed"))
    for kind in (NodeStarted, NodeFinished):
        assert sorted(event.node_id for event in told if isinstance(event, kind)) == sorted(flow), "each once"
    assert any(isinstance(event, NodeProgress) and event.node_id == "drawn" for event in told)


def test_conditioning_that_is_made_from_the_first_picture(here: Engine, two: Engine, done: list[Unit]) -> None:
    flow = seeded(FIRST, 12) | {
        "mask": node("ImageToMask", image=["large", 0], channel="red"),
        "there": node("ConditioningSetMask", conditioning=["p", 0], mask=["mask", 0], strength=0.8,
                      set_cond_area="default"),
        "tiles": redrawn(["large", 0], ["there", 0], seed=12),
    }  # fmt: skip
    expected, made = here.run(flow), two.run(flow)
    assert pictures(two, made) == pictures(here, expected)
    assert ends(done) == ["seen", "tile", "tile"], "no worker draws the first picture again"
    assert all(set(unit.known) == {"mask"} for unit in done[1:] if isinstance(unit, RedrawUnit))


def test_stopped_among_the_tiles_it_makes_no_part_again(
    here: Engine, two: Engine, done: list[Unit], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = seeded(FIRST, 13)

    def stop(event: Event) -> None:
        if isinstance(event, NodeProgress) and event.node_id == "tiles" and event.value:
            two.stop.set()

    try:
        with pytest.raises(Interrupted):
            two.run(flow, on_event=stop)
    finally:
        two.stop.clear()
    assert ends(done)[0] == "seen"
    done.clear()
    monkeypatch.setattr(two, "results", ResultCache(0))  # as another process
    report = two.run(flow)
    assert pictures(two, report) == pictures(here, here.run(flow))
    assert set(ends(done)) <= {"tile"} and report.nodes["seen"].notes == ("it was made before",)
    assert two.kept is not None and not list(two.kept.folder.glob("*.safetensors")), "nothing is left of it"


def test_a_part_that_fails_is_told_of_and_the_rest_is_made(two: Engine, done: list[Unit]) -> None:
    flow = seeded(FIRST, 14) | {
        "wide": node("CheckpointLoaderSimple", ckpt_name="thin_sdxl_base.safetensors"),
        "plain": node("EmptyImage", width=16, height=16, batch_size=1, color=255),
        "other": node("SaveImage", images=["plain", 0], filename_prefix="c"),
    }
    flow["drawn"]["inputs"]["model"] = ["wide", 0]
    told: list[Event] = []
    report = two.run(flow, on_event=told.append)
    assert [failure.node_id for failure in report.failures] == ["drawn"] and ends(done) == ["seen"]
    assert [event.node_id for event in told if isinstance(event, NodeFailed)] == ["drawn"]
    assert report.nodes["saved"].status == "skipped" and report.nodes["saved"].because == "drawn"
    assert report.nodes["other"].status == "computed"


def test_a_worker_that_fails_is_told_of_too(two: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any, **__: Any) -> Done:
        raise WorkerError("it was lost three times")

    monkeypatch.setattr(Lane, "perform", lost)
    report = two.run(seeded(FIRST, 15))
    assert [(failure.node_id, failure.error.__class__) for failure in report.failures] == [("seen", WorkerError)]


def parted(engine: Engine, flow: Flow) -> Parting | None:
    checked = engine.validate(flow)
    assert not checked.faults, checked.faults
    return Cutting(checked.nodes, checked.outputs).parting()


def test_where_it_is_cut(here: Engine) -> None:
    """Through pictures that something else than a sampler reads, and not where tiles are not shared."""
    assert parted(here, FIRST) == Parting({"seen": ()})
    assert parted(here, with_rest(FIRST)) == Parting({"seen": (), "end": ("tiles",)})
    both = {**FIRST, "more": redrawn(["tiles", 0]), "saved": node("SaveImage", images=["more", 0], filename_prefix="a")}
    assert parted(here, both) == Parting({"seen": ()})
    again = {**FIRST, "drawn": sampled(["half", 0]), "half": sampled(["empty", 0])}
    assert parted(here, again) == Parting({"seen": ()}), "two samplers in a row are one part"
    larger = node("LatentUpscale", samples=["half", 0], upscale_method="bilinear", width=64, height=64, crop="disabled")
    assert parted(here, {**again, "up": larger, "drawn": sampled(["up", 0])}) == Parting({"seen": ()})
    assert parted(here, {**FIRST, "tiles": redrawn(["large", 0], batch_size=2)}) is None


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(6.0).reshape(1, 2, 3),
        {"samples": torch.zeros(1, 4, 2, 2), "batch_index": [0, 1], "noise_mask": torch.ones(2, 2, dtype=torch.bool)},
        None,
        [1, 2.5, "text", True],
    ],
)
def test_a_result_is_kept_whole(value: Any, tmp_path: Path) -> None:
    kept = KeptWork(tmp_path)
    values = to_values(on_cpu(CachedResult(([value], [value, value]))))
    assert values is not None
    kept.put("part", values)
    found = kept.get("part")
    assert found is not None
    first, second = from_values(found).outputs
    assert repr(first) == repr([value]) and repr(second) == repr([value, value])


def test_what_is_more_than_numbers_is_not_kept() -> None:
    assert to_values(CachedResult(([object()],))) is None
    assert to_values(CachedResult(([{"samples": torch.zeros(1), "masking": (1, 2)}],))) is None
