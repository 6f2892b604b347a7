"""Jobs that the page's tabs hand in: grids gone on with and given more values, enlarged pictures that are kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import HERE, PATIENCE, SMALL, coded, settings_in, shades

from hires.errors import HiresError, SettingError
from hires.jobs.record import Job, State
from hires.recipes.grids.record import read_record
from hires.server.app import create_app
from hires.server.desk import Desk

ARGS = ["Seed", "1, 2", [], "Nothing", "", [], "Nothing", "", []]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    app = create_app(settings_in(tmp_path_factory.mktemp("jobs")))
    with TestClient(app, base_url=HERE) as found:
        yield found


@pytest.fixture(scope="module")
def desk(client: TestClient) -> Desk:
    found: Desk = client.app.state.server.desk  # type: ignore[attr-defined]
    return found


@pytest.fixture(scope="module")
def grid(desk: Desk) -> Path:
    """A grid of two seeds."""
    script = {"script_name": "x/y/z plot", "script_args": ARGS, "save_images": True}
    job = ended(desk, desk.submit("txt2img", {**SMALL, "steps": 1, **script}))
    assert job.state is State.DONE, job.error
    return desk.settings.output_dir / "grid_00001"


def ended(desk: Desk, job: Job) -> Job:
    """The job once it has ended."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if (found := desk.store.get(job.id)).state.has_ended:
            return found
        time.sleep(0.02)
    raise AssertionError("the job never came to its end")


def test_a_missing_cell_is_drawn_again_with_the_same_bytes(desk: Desk, grid: Path) -> None:
    cell = sorted((grid / "cells").glob("*.png"))[1]
    before = cell.read_bytes()
    cell.unlink()
    job = ended(desk, desk.submit("grid", {"folder": "grid_00001", "axes": []}))
    assert job.state is State.DONE and job.results and (job.error, job.share) == ("", 1.0)
    assert cell.read_bytes() == before
    assert not list(grid.parent.glob("grid_00002"))


def test_more_values_add_their_cells_alone(desk: Desk, grid: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (grid / "cells").glob("*.png")}
    job = ended(desk, desk.submit("grid", {"folder": "grid_00001", "axes": [["Seed", "1-3"], None, None]}))
    assert job.state is State.DONE
    assert [cell.state for cell in read_record(grid).cells] == ["done"] * 3
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    "request_",
    [{}, {"folder": 3}, {"folder": "../x"}, {"folder": "none"}, {"folder": "grid_00001", "axes": [["Seed"]]},
     {"folder": "grid_00001", "axes": [None] * 4}, {"folder": "grid_00001", "axes": "Seed"},
     {"folder": "grid_00001", "axes": [["Seed", "1," * 20000]]}],
)  # fmt: skip
def test_what_is_no_grid_is_refused_at_the_door(desk: Desk, grid: Path, request_: dict[str, object]) -> None:
    waiting = desk.store.counts()
    with pytest.raises((SettingError, HiresError)) as told:
        desk.submit("grid", request_)
    assert "\n" not in str(told.value) and desk.store.counts() == waiting


def test_enlarged_pictures_are_kept_by_their_names_where_that_is_asked(desk: Desk) -> None:
    names = ["../my photo, 1.PNG", "a%date%b.png", "...", "C:\\x\\등대.jpeg"]
    pictures = [{"data": coded(shades(16)), "name": name} for name in names]
    body = {"imageList": pictures, "upscaler_1": "Lanczos", "upscaling_resize": 2, "save_images": True}
    job = ended(desk, desk.submit("extras", body))
    assert job.state is State.DONE
    found = [Path(name) for name in job.results]
    assert all(len(path.parts) == 1 for path in found) and len(found) == 4
    assert found[0].name.startswith("my photo_ 1_") and found[1].name.startswith("a_date_b_")
    assert found[3].name.startswith("등대_")
    kept = ended(desk, desk.submit("extras", {**body, "save_images": False}))
    assert kept.state is State.DONE and kept.results == ()
