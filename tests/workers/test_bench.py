"""What runs in a worker, without Ray around it."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hires.api import Engine, Extras
from hires.errors import Interrupted, MemoryLimitError, ModelFileError, PromptError
from hires.graph.report import NodeFinished
from hires.models.store import ModelStore
from hires.nodes.context import Counts
from hires.recipes.extras import extras
from hires.settings import Settings
from hires.tiling.grid import Box
from hires.tiling.upscale import as_planes
from hires.workers.bench import Bench, check_models
from hires.workers.placing import Renaming, models_of, pictures_of, place, renamed
from hires.workers.units import MadeRun, ModelFile, RunUnit, TileUnit


@pytest.fixture
def settings(thin_models: Path, tmp_path: Path) -> Settings:
    folders: dict[str, Any] = {f"{name}_dir": tmp_path / name for name in ("input", "output", "cache")}
    return Settings(models_dir=thin_models, device="cpu", **folders)


@pytest.fixture
def bench(settings: Settings) -> Bench:
    return Bench(Engine, settings, torch.get_num_threads(), is_local=True)


def upscaling(tmp_path: Path, **fields: Any) -> tuple[dict[str, Any], dict[str, bytes], Path]:
    picture = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (12, 20, 3), np.uint8)).save(picture)
    request = Extras(upscaler="upscaler_compact_x4", scale=4, **fields)
    return extras(request, "a.png", "a", numbered=True), {"a.png": picture.read_bytes()}, picture


def test_a_run_that_was_carried_leaves_the_same_files_as_one_made_here(
    bench: Bench, settings: Settings, tmp_path: Path
) -> None:
    flow, given, picture = upscaling(tmp_path)
    engine = Engine(settings)
    here = engine.run(flow, force_outputs=True, given={"a.png": picture}, output_dir=tmp_path / "here")
    expected = engine.saved(here, tmp_path / "here")[0]

    done = bench.do(0, pickle.loads(pickle.dumps(RunUnit(flow, given=given))))
    done = pickle.loads(pickle.dumps(done))
    assert isinstance(done.made, MadeRun)
    taken = tmp_path / "there" / expected.name
    taken.parent.mkdir()
    taken.write_bytes(b"somebody else's")
    context = engine._context(Counts(), {}, tmp_path / "there")
    report, names = place(done.made, flow, context, Counts())
    made = engine.saved(report, tmp_path / "there")[0]
    assert made.read_bytes() == expected.read_bytes()
    assert made != taken and taken.read_bytes() == b"somebody else's"
    heard: list[Any] = []
    for event in done.events:
        heard.append(renamed(event, names))
    shown = [event.ui for event in heard if isinstance(event, NodeFinished) and event.ui]
    assert [ui["images"][0]["filename"] for ui in shown] == [made.name]
    assert list(report.nodes) == list(here.nodes)


def test_a_tile_is_the_same_part_of_what_the_network_makes(bench: Bench, thin_models: Path) -> None:
    pixels = np.random.default_rng(0).random((14, 10, 3), dtype=np.float32)
    done = bench.do(0, TileUnit("upscaler_compact_x4.safetensors", pixels, Box(8, 4, 40, 36)))
    with torch.inference_mode():
        whole = ModelStore([thin_models]).upscaler("upscaler_compact_x4.safetensors").upscale(as_planes(pixels))
    assert isinstance(done.made, torch.Tensor)
    assert torch.equal(done.made, whole[0, :, 8:40, 4:36])


def test_a_unit_is_stopped_before_it_begins_and_the_next_is_done(bench: Bench) -> None:
    pixels = np.zeros((8, 8, 3), np.float32)
    unit = TileUnit("upscaler_compact_x4.safetensors", pixels, Box(0, 0, 32, 32))
    bench.do(0, unit)
    bench.stop(1)
    assert bench.do(2, unit).error is None
    bench.stop(3)
    bench._stop.set()
    assert isinstance(bench.do(3, unit).error, Interrupted)
    assert bench.do(4, unit).error is None


def test_events_are_asked_for_from_where_one_was(bench: Bench, tmp_path: Path) -> None:
    flow, given, _ = upscaling(tmp_path)
    done = bench.do(5, RunUnit(flow, given=given))
    assert bench.told(5, 0).events == done.events
    assert bench.told(5, 2).events == done.events[2:]
    assert bench.told(4, 0).events == ()
    assert bench.told(5, 0).life == done.life


def test_a_model_that_is_missing_or_another_is_told_by_name(thin_models: Path) -> None:
    store = ModelStore([thin_models])
    path = store.find("checkpoints", "thin_sd15")
    check_models(store, (ModelFile("checkpoints", "thin_sd15.safetensors", store.hashes.sha256(path)),))
    with pytest.raises(
        ModelFileError, match=r"has another thin_sd15\.safetensors than the one asked for \(0000000000\)"
    ):
        check_models(store, (ModelFile("checkpoints", "thin_sd15.safetensors", "0" * 64),))
    with pytest.raises(ModelFileError, match=r"the worker on .*no_such"):
        check_models(store, (ModelFile("checkpoints", "no_such.safetensors", "0" * 64),))


def test_what_a_workflow_reads_is_found_in_it(settings: Settings, tmp_path: Path) -> None:
    flow, given, picture = upscaling(tmp_path, upscaler_2="Lanczos", visibility=0.5)
    engine = Engine(settings)
    context = engine._context(Counts(), {"a.png": picture})
    assert pictures_of(flow, engine.registry, context) == given
    path = engine.store.find("upscale_models", "upscaler_compact_x4")
    models = models_of(flow, engine.registry, context)
    assert models == (ModelFile("upscale_models", path.name, engine.store.hashes.sha256(path)),)
    settings.input_dir.mkdir()
    (settings.input_dir / "a.png").write_bytes(b"of the input folder")
    assert pictures_of(flow, engine.registry, engine._context(Counts())) == {"a.png": b"of the input folder"}


@pytest.mark.parametrize(
    "error", [PromptError("too many", "Fewer.", 3), MemoryLimitError("too large", needed=5), Interrupted()]
)
def test_errors_arrive_as_they_were(error: Exception) -> None:
    carried = pickle.loads(pickle.dumps(error))
    assert type(carried) is type(error) and str(carried) == str(error) and carried.__dict__ == error.__dict__


def test_events_behind_one_that_names_files_wait_with_it() -> None:
    heard: list[Any] = []
    hear = Renaming(heard.append)
    plain = NodeFinished("1", "VAEDecode", "1", "computed")
    saved = replace(plain, node_id="2", ui={"images": []})
    for event in (plain, saved, plain):
        hear(event)
    assert heard == [plain] and hear.held == [saved, plain]
