from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.dying import die
from typer.testing import CliRunner

from hires.api import Engine, HiresFix, Txt2Img
from hires.cli import app
from hires.errors import Interrupted, SettingError
from hires.graph.report import Event, NodeProgress
from hires.gridding.drawing import CellDone, Gridded, continued
from hires.gridding.planning import plan_grid
from hires.imaging.pictures import open_picture
from hires.metadata.infotext import read_infotext
from hires.recipes.grids.matrix import Matrix
from hires.recipes.grids.record import DONE, FAILED, FILE, WAITING, read_record
from hires.recipes.grids.request import AxisValues, GridOptions, GridRequest
from hires.recipes.img2img_request import Img2Img
from hires.recipes.infotext import request_from
from hires.recipes.request import Refiner
from hires.settings import Settings

BASE = Txt2Img(prompt="a fox", negative="dull", checkpoint="thin_sd15", width=64, height=64, steps=2, seed=7)
HIRES = replace(BASE, hires=HiresFix(upscaler="Lanczos", scale=1.5, steps=1, denoise=0.5))


@pytest.fixture
def engine(thin_models: Path, tmp_path: Path) -> Engine:
    return new_engine(thin_models, tmp_path)


def new_engine(models: Path, folder: Path, **settings: Any) -> Engine:
    return Engine(
        Settings(models_dir=models, output_dir=folder / "out", cache_dir=folder / "cache", device="cpu", **settings)
    )


def grid(base: Txt2Img | Img2Img, *axes: tuple[str, str], **options: Any) -> GridRequest:
    return GridRequest(base, tuple(AxisValues(*axis) for axis in axes), GridOptions(**options))


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(open_picture(path).convert("RGB"))


def saved(made: Gridded) -> dict[str, Any]:
    data = json.loads((made.folder / FILE).read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data


def test_every_cell_is_what_its_request_alone_draws(engine: Engine, thin_models: Path, tmp_path: Path) -> None:
    seen: list[CellDone] = []
    made = engine.grid(grid(BASE, ("Steps", "1-2"), ("Sampler", "Euler a, DPM++ 2M")), on_cell=seen.append)
    alone = new_engine(thin_models, tmp_path / "alone")
    for cell in made.record.cells:
        steps, sampler = 1 + cell.index[0], ("Euler a", "DPM++ 2M")[cell.index[1]]
        drawn = alone.txt2img(BASE, steps=steps, sampler=sampler)
        assert np.array_equal(pixels(made.folder / cell.pictures[0]), np.asarray(drawn.pictures[0]))
        assert cell.calls == steps and cell.settings["Sampler"] == sampler and cell.state == DONE
        assert request_from(cell.infotext).steps == steps
    assert [done.number for done in seen] == [1, 2, 3, 4] and seen[-1].seconds_left == 0
    assert made.record.cells[0].pictures == ["cells/00-00-00.png"]
    assert sorted(path.name for path in made.folder.iterdir()) == ["cells", FILE, "grid.png", "index.html"]
    assert read_record(made.folder) == made.record


def test_shared_work_is_done_once_and_was_predicted(engine: Engine) -> None:
    """Denoising strengths share the first pass; every cell is measured against it."""
    request = grid(HIRES, ("Denoising", "0.3, 0.6"), ("Hires upscaler", "Lanczos, Latent"))
    plan = plan_grid(engine, request)
    predicted = [plan.costs[cell.index].shared for cell in plan.left]
    assert predicted == [2 + 1, 1, 1, 1]
    assert [plan.costs[cell.index].alone for cell in plan.left] == [3] * 4
    made = engine.grid(request)
    assert [made.record.at(cell.index).calls for cell in plan.left] == predicted
    assert all(cell.first_pass and (made.folder / cell.first_pass).is_file() for cell in made.record.cells)
    assert all("sharpness" in cell.measures for cell in made.record.cells)
    firsts = [pixels(made.folder / str(cell.first_pass)) for cell in made.record.cells]
    assert all(np.array_equal(firsts[0], first) for first in firsts)
    assert (made.folder / "plot.png").is_file()


def test_steps_before_a_switch_are_shared_and_predicted(engine: Engine) -> None:
    base = replace(BASE, checkpoint="thin_sdxl_base", refiner=Refiner("thin_sdxl_refiner"), steps=4)
    request = grid(base, ("Refiner switch step", "1, 3, 4"))
    plan = plan_grid(engine, request)
    made = engine.grid(request)
    calls = [cell.calls for cell in made.record.cells]
    assert calls == [4, 2 + 1, 1] == [plan.costs[cell.index].shared for cell in plan.cells.cells]
    assert [cell.reused for cell in made.record.cells] == [0, 1, 3]
    edited = grid(replace(BASE, prompt="[dog:fox:1]", steps=4, sampler="Euler"), ("Prompt S/R", "1], 2]"))
    plan = plan_grid(engine, edited)
    made = engine.grid(edited)
    assert [cell.calls for cell in made.record.cells] == [plan.costs[cell.index].shared for cell in plan.cells.cells]
    assert sum(cell.calls for cell in made.record.cells) < 2 * 4


def test_a_grid_goes_on_after_a_stop(thin_models: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    engine = new_engine(thin_models, tmp_path)
    engine.stop = stop
    request = grid(replace(BASE, seed=-1), ("Seed", "1, -1"), ("CFG Scale", "2, 5"))

    def after_two(event: Event, done: list[int] = []) -> None:  # noqa: B006 - counts over the calls
        done += [1] if isinstance(event, NodeProgress) and event.value == event.total == 2 else []
        if len(done) == 2:
            stop.set()

    with pytest.raises(Interrupted):
        engine.grid(request, on_event=after_two)
    stop.clear()
    (folder,) = (tmp_path / "out").iterdir()
    before = {path.name: path.read_bytes() for path in (folder / "cells").glob("*.png")}
    states = [cell.state for cell in read_record(folder).cells]
    assert states.count(DONE) == len(before) >= 1 and states.count(WAITING) >= 2
    made = new_engine(thin_models, tmp_path).grid(folder)
    assert {cell.state for cell in made.record.cells} == {DONE}
    assert all((folder / "cells" / name).read_bytes() == content for name, content in before.items())
    assert made.record.request.axes[0].fixed == read_record(folder).request.axes[0].fixed
    assert not (folder / "cells" / ".drawing").exists()


def dying(models: Path, folder: Path) -> None:
    done: list[CellDone] = []

    def kill(cell: CellDone) -> None:
        done.append(cell)
        if len(done) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    new_engine(models, folder).grid(grid(BASE, ("Steps", "1-2"), ("CFG Scale", "2, 5")), on_cell=kill)


def test_a_grid_goes_on_after_it_was_killed(thin_models: Path, tmp_path: Path) -> None:
    die(dying, thin_models, tmp_path)
    folder = tmp_path / "out" / "grid_00001"
    leftover = folder / "cells" / ".drawing"
    leftover.mkdir(exist_ok=True)
    (leftover / "half.png").write_bytes(b"\x89PNG")
    before = {path: path.read_bytes() for path in (folder / "cells").glob("*.png")}
    assert len(before) == 2
    made = new_engine(thin_models, tmp_path).grid(folder)
    assert [cell.state for cell in made.record.cells] == [DONE] * 4 and not leftover.exists()
    assert all(path.read_bytes() == content for path, content in before.items())


def test_one_more_value_costs_its_cells(engine: Engine) -> None:
    made = engine.grid(grid(BASE, ("Steps", "1"), ("CFG Scale", "2, 5")))
    before = {path: path.read_bytes() for path in (made.folder / "cells").iterdir()}
    seen: list[CellDone] = []
    longer = engine.grid(made.folder, [AxisValues("Steps", "1, 2")], on_cell=seen.append)
    assert [done.cell.labels[0] for done in seen] == ["Steps: 2", "Steps: 2"]
    assert longer.record.shape == (2, 2, 1) and longer.folder == made.folder
    assert all(path.read_bytes() == content for path, content in before.items())
    in_front = engine.grid(made.folder, [AxisValues("Steps", "3, 1, 2")])
    names = [cell.pictures[0] for cell in in_front.record.cells]
    assert len(set(names)) == 6 and all(path.read_bytes() == content for path, content in before.items())
    assert [cell.settings["Steps"] for cell in in_front.record.cells] == ["3", "1", "2"] * 2
    plane = engine.grid(made.folder, [None, None, AxisValues("Seed", "7")])
    assert plane.record.shape == (3, 2, 1) and plane.record.title == "Steps x CFG Scale x Seed"
    for axis, said in ((AxisValues("Steps", "1, 3"), "has Steps 2 too"), (AxisValues("Eta", "1"), "is Steps, not Eta")):
        with pytest.raises(SettingError, match=said):
            continued(engine, made.folder, [axis])


def test_a_cell_that_fails_leaves_a_blank_and_is_tried_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    draw: Callable[..., Any] = engine.txt2img

    def failing(request: Txt2Img, **rest: Any) -> Any:
        if request.steps == 1:
            raise SettingError("no luck", "Try again.")
        return draw(request, **rest)

    monkeypatch.setattr(engine, "txt2img", failing)
    made = engine.grid(grid(BASE, ("Steps", "1-2")))
    assert [cell.state for cell in made.record.cells] == [FAILED, DONE]
    assert made.failed[0].error == "no luck. Try again." and "1 failed" in made.summary
    sheet = pixels(made.paths[0])
    assert (sheet[-64:, :64] == 255).all() and (sheet[-64:, 64:] != 255).any()
    monkeypatch.setattr(engine, "txt2img", draw)
    again = engine.grid(made.folder)
    assert [cell.state for cell in again.record.cells] == [DONE, DONE] and again.failed == []


def test_a_fault_of_ours_is_raised_when_the_others_are_drawn(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    draw: Callable[..., Any] = engine.txt2img

    def broken(request: Txt2Img, **rest: Any) -> Any:
        if request.steps == 1:
            raise ZeroDivisionError("oops")
        return draw(request, **rest)

    monkeypatch.setattr(engine, "txt2img", broken)
    with pytest.raises(ZeroDivisionError):
        engine.grid(grid(BASE, ("Steps", "1-2")))
    record = read_record(engine.settings.output_dir / "grid_00001")
    assert [cell.state for cell in record.cells] == [FAILED, DONE] and "oops" in str(record.cells[0].error)


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ([("Sampler", "Euler, Eular")], "X axis, Sampler: Sampler not found: 'Eular'"),
        ([("Steps", "3"), ("Checkpoint name", "nobody")], "Y axis, Checkpoint name: "),
        ([("Hires upscaler", "Lanczos, ESRGAN_9x")], "X axis, Hires upscaler: could not find upscaler"),
        ([("CFG Scale", "2, 5000")], "cell CFG Scale: 5000: cfg must be from 0 to 1000"),
        ([("Denoising", "0.5, 1.5")], "cell Denoising: 1.5: denoising strength must be"),
        ([("Size", "64x64, 99999x99999")], "cell Size: 99999x99999: "),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is(
    axes: list[tuple[str, str]], said: str, engine: Engine
) -> None:
    with pytest.raises(SettingError) as caught:
        engine.grid(grid(HIRES, *axes))
    assert str(caught.value).startswith(said) and not engine.settings.output_dir.exists()


def test_the_grids_picture_says_what_it_is_and_its_first_cell_can_be_drawn_from_it(engine: Engine) -> None:
    axes = [("Seed", "7,-1"), ("Prompt S/R", '"a fox", "a dog, wet"'), ("Steps", "1, 2")]
    made = engine.grid(grid(BASE, *axes, sub_grids=True, sub_images=True))
    fields = read_infotext(made.infotexts[0]).fields
    fixed = made.record.request.axes[0].fixed
    assert fields["Script"] == "X/Y/Z plot" and list(fields)[-1] == "Version"
    assert (fields["X Type"], fields["X Values"], fields["Fixed X Values"]) == ("Seed", "7,-1", fixed)
    assert (fields["Y Type"], fields["Y Values"]) == ("Prompt S/R", '"a fox", "a dog, wet"')
    assert (fields["Z Type"], fields["Z Values"]) == ("Steps", "1, 2")
    assert [path.name for path in made.paths[:3]] == ["grid.png", "grid-z1.png", "grid-z2.png"] and len(
        made.paths
    ) == 11
    planes = [read_infotext(text).fields for text in made.infotexts[1:3]]
    assert [plane["Steps"] for plane in planes] == ["1", "2"] and "Z Type" not in planes[0]
    drawn = engine.txt2img(replace(engine.request_of(made.paths[0]), extra_fields={}))
    assert np.array_equal(np.asarray(drawn.pictures[0]), pixels(made.folder / made.record.cells[0].pictures[0]))


def test_a_prompt_matrix(engine: Engine) -> None:
    base = replace(BASE, prompt="a fox | on snow | at night", steps=1)
    made = engine.grid(GridRequest(base, matrix=Matrix(different_seeds=True)))
    prompts = [cell.settings["Prompt"] for cell in made.record.cells]
    assert prompts == ["a fox", "a fox , on snow", "a fox , at night", "a fox , on snow, at night"]
    assert [cell.settings["Seed"] for cell in made.record.cells] == ["7", "8", "9", "10"]
    assert read_infotext(made.infotexts[0]).fields["Script"] == "Prompt matrix"
    assert engine.grid(made.folder).record.cells == made.record.cells


def test_grids_over_a_picture(engine: Engine, tmp_path: Path) -> None:
    source = engine.txt2img(BASE).paths[0]
    request = replace(grid(Img2Img(BASE), ("Denoising", "0.4, 0.7"), ("CFG Scale", "2")), pictures=(str(source),))
    made = engine.grid(request)
    assert [cell.settings["Denoising strength"] for cell in made.record.cells] == ["0.4", "0.7"]
    alone = engine.img2img(source, Img2Img(BASE, denoise=0.7), cfg=2.0)
    assert np.array_equal(pixels(made.folder / made.record.cells[1].pictures[0]), np.asarray(alone.pictures[0]))
    plan = plan_grid(engine, request)
    assert [cell.calls for cell in made.record.cells] == [plan.costs[cell.index].alone for cell in plan.cells.cells]
    assert read_record(made.folder).request.pictures == (str(source),)


def test_other_seeds_tell_how_much_is_noise(engine: Engine) -> None:
    made = engine.grid(grid(HIRES, ("Denoising", "0.3, 0.5")), noise_repeats=2)
    assert len(made.record.repeats) == 2
    seeds = {repeat.settings["Seed"] for repeat in made.record.repeats}
    assert len(seeds) == 2 and str(HIRES.seed) not in seeds
    floor = saved(made)["noise_floor"]
    assert floor["sharpness"]["count"] == 2 and floor["sharpness"]["deviation"] > 0
    again = engine.grid(made.folder)
    assert again.record.repeats == made.record.repeats


def test_the_commands(thin_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIRES_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HIRES_DEVICE", "cpu")
    shared = ["-m", "thin_sd15", "--size", "64", "--seed", "3", "--models-dir", str(thin_models)]
    shared += ["--output-dir", str(tmp_path / "out")]
    runner = CliRunner()
    args = ["grid", "a fox", *shared, "--steps", "1", "--x", "CFG Scale: 2, 5", "--y", "Sampler: Euler, Heun"]
    planned = runner.invoke(app, [*args, "--plan"])
    assert planned.exit_code == 0, planned.output
    assert "2 x 2 x 1 = 4 cells" in planned.stdout and "denoiser calls: at most 4" in planned.stdout
    assert not (tmp_path / "out").exists()
    drawn = runner.invoke(app, [*args, "--swap", "XY", "--margin", "4"])
    assert drawn.exit_code == 0, drawn.output
    folder = tmp_path / "out" / "grid_00001"
    assert drawn.stdout.splitlines()[-1] == str(folder / "grid.png")
    assert [axis["label"] for axis in read_record(folder).axes] == ["Sampler", "CFG Scale"]
    resumed = runner.invoke(app, ["grid", "--resume", str(folder), *shared[-4:], "--y", "CFG Scale: 2, 5, 8"])
    assert resumed.exit_code == 0 and "6 cells, 2 to draw" in resumed.output
    matrix = runner.invoke(app, ["matrix", "a fox | red", *shared, "--steps", "1", "--at-start"])
    assert matrix.exit_code == 0, matrix.output
    assert read_record(tmp_path / "out" / "grid_00002").cells[1].settings["Prompt"] == "red, a fox"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["a fox"], "the grid has no axes"),
        (["a fox", "--x", "Steps 3"], "--x should look like"),
        (["a fox", "--x", "Stepps: 3"], "there is no axis 'Stepps'"),
        (["a fox", "--x", "Steps: 3", "--swap", "AB"], "--swap takes"),
        (["a fox", "--x", "Steps: 3", "--vary-seeds", "W"], "--vary-seeds takes"),
        (["a fox", "--x", "Steps: 3", "--mask", "m.png"], "no picture for the mask"),
        (["--resume", "nowhere"], "there is no grid in nowhere"),
        (["--resume", "nowhere", "--steps", "4"], "has its own settings; --steps cannot change them"),
        (["--x", "Steps: 3"], "there is no prompt"),
    ],
)
def test_mistakes_are_one_line(args: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIRES_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HIRES_DEVICE", "cpu")
    result = CliRunner().invoke(app, ["grid", *args])
    assert result.exit_code == 2 and said in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_the_axes_can_be_listed() -> None:
    listed = CliRunner().invoke(app, ["grid", "--axes"])
    assert " 41 Size" in listed.stdout and "Refiner switch step" in listed.stdout
