"""A Ray of this machine with two workers: the same bytes as in this process, whoever is lost on the way."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.workers.test_parting import FIRST, ends, pictures, seeded, with_rest

from hires.api import Engine, Extras, HiresFix, Txt2Img
from hires.errors import Interrupted, SettingError
from hires.graph.report import Event, NodeFinished, NodeProgress, NodeStarted
from hires.gridding.drawing import Gridded
from hires.recipes.grids.request import AxisValues, GridRequest
from hires.settings import Settings
from hires.workers.pool import Lane, Workers
from hires.workers.units import RedrawUnit, TileUnit

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.slow,  # three programs load torch, and Ray's own need half a minute
]

BASE = Txt2Img(
    prompt="a fox",
    checkpoint="thin_sd15",
    width=64,
    height=64,
    steps=12,
    seed=7,
    hires=HiresFix(upscaler="Lanczos", scale=1.5, steps=2, denoise=0.5),
)
GRID = GridRequest(BASE, (AxisValues("Seed", "7, 8"), AxisValues("Denoising", "0.4, 0.6")))


def engine_at(models: Path, folder: Path, workers: str = "") -> Engine:
    return Engine(
        Settings(
            models_dir=models,
            output_dir=folder / "out",
            cache_dir=folder / "cache",
            device="cpu",
            threads=1,
            workers=workers,
        )
    )


@pytest.fixture(scope="module")
def here(thin_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return engine_at(thin_models, tmp_path_factory.mktemp("here"))


@pytest.fixture(scope="module")
def two(thin_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = engine_at(thin_models, tmp_path_factory.mktemp("two"), workers="2")
    assert engine.workers is not None
    try:
        assert len(engine.workers.lanes) == 2
    except SettingError as error:
        if "Ray did not start" not in str(error):
            raise
        pytest.skip(str(error))
    yield engine
    engine.workers.close()


@pytest.fixture
def one(two: Engine, thin_models: Path, tmp_path: Path) -> Engine:
    """An engine with the first of the two alone."""
    engine = engine_at(thin_models, tmp_path, workers="1")
    assert two.workers is not None and engine.elsewhere is not None
    engine.workers = Workers(engine.settings, Engine)
    engine.workers._lanes = two.workers.lanes[:1]
    engine.workers._free.put(two.workers.lanes[0])
    engine.elsewhere = replace(engine.elsewhere, workers=engine.workers)
    return engine


def contents(made: Gridded) -> dict[str, bytes]:
    assert not made.failed, made.failed[0].error
    names = [name for cell in made.record.cells for name in (*cell.pictures, cell.first_pass) if name]
    return {name: (made.folder / name).read_bytes() for name in [*names, *made.record.parts]}


def test_a_grid_ends_in_the_same_bytes_where_a_worker_is_killed_in_the_middle(
    here: Engine, two: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert two.workers is not None
    killed: list[tuple[Lane, int]] = []
    perform = Lane.perform

    def killing(lane: Lane, unit: Any, *, stop: Any, on_event: Any) -> Any:
        process = lane.greet().process

        def hear(event: Event) -> None:
            if isinstance(event, NodeProgress) and event.value > 1 and not killed:
                killed.append((lane, process))
                os.kill(process, signal.SIGKILL)
            on_event(event)

        return perform(lane, unit, stop=stop, on_event=hear)

    monkeypatch.setattr(Lane, "perform", killing)
    begun: Counter[str] = Counter()

    def count(event: Event) -> None:
        if isinstance(event, NodeStarted):
            begun[event.node_id] += 1

    made = two.grid(GRID, on_event=count)
    assert contents(made) == contents(here.grid(GRID))
    (lane, process) = killed[0]
    assert lane.greet().process != process
    again = {name.split()[0] for name, times in begun.items() if times > 1}
    assert len(again) <= 1 and max(begun.values()) <= 2
    assert {name.split()[0] for name in begun} == {"0-0-0", "1-0-0", "0-1-0", "1-1-0"}


def test_cells_that_share_steps_are_drawn_by_the_same_worker(two: Engine) -> None:
    plain = replace(BASE, steps=2)
    made = two.grid(GridRequest(plain, (AxisValues("Denoising", "0.4, 0.6"), AxisValues("Seed", "17, 18"))))
    calls = [cell.calls for cell in made.record.cells]
    assert sorted(calls) == [2, 2, 4, 4], "the first pass of each seed is made once"


def test_one_worker_draws_the_same_grid_too(here: Engine, one: Engine) -> None:
    grid = GridRequest(replace(BASE, steps=2), (AxisValues("Seed", "27, 28"), AxisValues("Denoising", "0.4, 0.6")))
    assert contents(one.grid(grid)) == contents(here.grid(grid))


def test_batches_are_numbered_in_their_order(here: Engine, two: Engine) -> None:
    request = replace(BASE, hires=None, steps=2, batch_count=3, seed=37)
    finished: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, NodeFinished) and event.ui:
            finished.extend(entry["filename"] for entry in event.ui["images"])

    expected, made = here.txt2img(request), two.txt2img(request, on_event=hear)
    assert [path.read_bytes() for path in made.paths] == [path.read_bytes() for path in expected.paths]
    assert finished == [path.name for path in made.paths] == sorted(finished)
    assert made.counts.denoiser_calls == expected.counts.denoiser_calls


def test_the_tiles_of_one_picture_are_made_by_both(
    here: Engine, two: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "wide.png"
    Image.fromarray(np.random.default_rng(4).integers(0, 255, (40, 72, 3), np.uint8)).save(picture)
    request = Extras(upscaler="upscaler_compact_x4", scale=4, tile=16)
    used: list[Lane] = []
    perform = Lane.perform

    def noting(lane: Lane, unit: Any, **more: Any) -> Any:
        assert isinstance(unit, TileUnit)
        used.append(lane)
        return perform(lane, unit, **more)

    monkeypatch.setattr(Lane, "perform", noting)
    made, expected = two.upscale(picture, request), here.upscale(picture, request)
    assert made.path.read_bytes() == expected.path.read_bytes()
    assert len(used) == 15 and len(set(used)) == 2


def test_tiles_are_redrawn_by_both_and_again_where_one_is_killed(
    here: Engine, two: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "small.png"
    Image.fromarray(np.random.default_rng(5).integers(0, 255, (40, 48, 3), np.uint8)).save(picture)
    request: dict[str, Any] = {"prompt": "a fox", "checkpoint": "thin_sd15", "steps": 8, "seed": 57, "denoise": 0.9}
    request |= {"upscaler": "Lanczos", "tile_width": 64, "tile_height": 64, "overlap": 16}
    used: list[Lane] = []
    killed: list[int] = []
    perform = Lane.perform

    def killing(lane: Lane, unit: Any, *, stop: Any, on_event: Any) -> Any:
        assert isinstance(unit, RedrawUnit)
        used.append(lane)
        process = lane.greet().process

        def hear(event: Event) -> None:
            if isinstance(event, NodeProgress) and not killed:
                killed.append(process)
                os.kill(process, signal.SIGKILL)
            on_event(event)

        return perform(lane, unit, stop=stop, on_event=hear)

    monkeypatch.setattr(Lane, "perform", killing)
    made, expected = two.sd_upscale(picture, **request), here.sd_upscale(picture, **request)
    assert made.paths[0].read_bytes() == expected.paths[0].read_bytes()
    assert len(used) == 4 and len(set(used)) == 2 and killed


def test_a_workflow_that_samples_before_its_tiles_costs_one_unit_where_a_worker_is_killed(
    here: Engine, two: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = with_rest(seeded(FIRST, 67))
    begun: list[str] = []
    killed: list[str] = []
    perform = Lane.perform

    def killing(lane: Lane, unit: Any, *, stop: Any, on_event: Any) -> Any:
        (name,) = ends([unit])
        begun.append(name)
        process = lane.greet().process

        def hear(event: Event) -> None:
            if isinstance(event, NodeProgress) and name not in killed:
                killed.append(name)
                os.kill(process, signal.SIGKILL)
            on_event(event)

        return perform(lane, unit, stop=stop, on_event=hear)

    monkeypatch.setattr(Lane, "perform", killing)
    assert pictures(two, two.run(flow)) == pictures(here, here.run(flow))
    assert begun == ["seen", "tile", "tile", "end"] and "seen" in killed


def test_work_is_stopped_at_its_next_step_and_the_workers_stay(two: Engine) -> None:
    assert two.workers is not None
    processes = {lane.greet().process for lane in two.workers.lanes}
    heard: list[int] = []

    def stop(event: Event) -> None:
        if isinstance(event, NodeProgress):
            heard.append(event.value)
            two.stop.set()

    request = replace(BASE, hires=None, steps=400, seed=47)
    try:
        with pytest.raises(Interrupted):
            two.txt2img(request, on_event=stop)
    finally:
        two.stop.clear()
    assert max(heard) < 400
    assert {lane.greet().process for lane in two.workers.lanes} == processes
    assert len(two.txt2img(replace(request, steps=1)).paths) == 1


def test_ray_listens_at_the_loopback_address_alone(two: Engine) -> None:
    assert two.workers is not None and two.workers._cluster is not None
    ours = {os.getpid(), *children_of(os.getpid())}
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {link for process in ours for link in sockets_of(process)}
    found = {fields[1].split(":")[0] for fields in listening if fields[3] == "0A" and fields[9] in inodes}
    assert found == {"0100007F"}, "127.0.0.1, as the kernel writes it"
    six = [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    open_to_all = {fields[1] for fields in six if fields[3] == "0A" and fields[9] in inodes}
    assert not [place for place in open_to_all if place.startswith("0" * 32)], "nor at any address of IPv6"


def children_of(process: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rsplit(")", 1)[1].split()
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, left = list[int](), [process]
    while left:
        found += (own := parents.get(left.pop(), []))
        left += own
    return found


def sockets_of(process: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for path in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                name = os.readlink(path)
                if name.startswith("socket:["):
                    found.add(name[8:-1])
    return found
