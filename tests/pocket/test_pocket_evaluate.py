"""Evaluation: detail in closed forms, the rules of the ranges, and a run with random weights that stops and goes on."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("skia", reason="drawings need skia-python (hires[train])")

from PIL import Image
from scipy.ndimage import gaussian_filter

from hires.api import Engine
from hires.errors import Interrupted, SettingError
from hires.evaluating import Evaluation, EvaluationPlan, run, sheet
from hires.pocket.checking import held_out_group
from hires.pocket.classifier import tag_scores
from hires.pocket.evaluate import (
    BLURRY,
    CHANGED,
    RIGHT,
    Pass,
    best,
    detail,
    lanczos,
    pass_csv,
    plot_passes,
    ranges_line,
    tag_table,
    yield_table,
)
from hires.pocket.tag_groups import GROUPS
from hires.settings import Settings

GOOD = Pass(2, 0.5, 10, detail=0.8, decoded=0.9, lanczos=0.1, distance=0.1, other=0.5, same_tags=0.9,
            yielded=1.0, base_yield=1.0)  # fmt: skip


def test_detail_is_what_the_base_size_cannot_hold() -> None:
    rows, columns = np.mgrid[:128, :128]
    checks = np.where((rows + columns) % 2, 108, 148).astype(np.uint8)[..., None].repeat(3, 2)
    # a pattern of single pixels vanishes when halved, so all of its variance, 20², is detail
    assert detail(checks, 64) == pytest.approx(400, rel=0.05)
    assert detail(np.full((128, 128, 3), 90, np.uint8), 64) == pytest.approx(0, abs=1e-6)
    assert detail(checks[:64, :64], 64) == 0


def test_a_blurred_picture_and_an_enlarged_one_have_less_detail() -> None:
    picture = held_out_group(0, 1, 256)
    whole = detail(picture, 128)
    blurred = gaussian_filter(picture.astype(float), (1.5, 1.5, 0)).astype(np.uint8)
    assert detail(blurred, 128) < 0.2 * whole
    assert detail(lanczos(lanczos(picture, 128), 256), 128) < 0.1 * whole


def test_the_ranges_follow_their_rules() -> None:
    assert GOOD.range == RIGHT
    assert replace(GOOD, detail=0.44).range == BLURRY
    assert replace(GOOD, distance=0.26).range == CHANGED
    assert replace(GOOD, yielded=0.8).range == CHANGED
    soft, far = replace(GOOD, denoise=0.2, detail=0.1), replace(GOOD, denoise=0.9, distance=0.4, detail=1.2)
    assert best([soft, GOOD, far]) == GOOD
    assert best([soft, far]) == soft
    assert ranges_line([soft, GOOD, far]) == "Denoising by range. blurry: 0.2; right: 0.5; changed: 0.9."


def test_tables_and_plot(tmp_path: Path) -> None:
    rows = list(csv.DictReader(pass_csv([GOOD]).splitlines()))
    assert rows[0]["range"] == RIGHT and float(rows[0]["detail"]) == 0.8
    assert "| hires fix 2x | 4 | 75 % | 1.25 |" in yield_table({"hires fix 2x": (3, 4, 1.25)})
    zeros = np.zeros((2, len(GROUPS)), int)
    assert "| subject | 2 | 50 % | 100 % |" in tag_table(
        tag_scores(zeros + 1, zeros + np.array([[1], [0]])), tag_scores(zeros + 1, zeros + 1)
    )
    plot_passes([replace(GOOD, denoise=0.2, detail=0.1), GOOD], tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as plot:
        colors = {color for _, color in plot.convert("RGB").getcolors(1 << 20)}
    assert {(222, 230, 246), (218, 242, 220)} <= colors
    assert (250, 224, 218) in colors  # in the legend


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The built-in model alone."""
    folder = tmp_path_factory.mktemp("engine")
    return Engine(Settings(models_dir=folder, output_dir=folder / "out", cache_dir=folder / "cache", device="cpu"))


QUICK = EvaluationPlan(steps=1, hires_steps=1)


def evaluation(engine: Engine, folder: Path, count: int = 2, said: list[str] | None = None) -> Evaluation:
    return Evaluation(engine, QUICK, count, folder, (said if said is not None else []).append)


def test_a_stopped_evaluation_goes_on(engine: Engine, tmp_path: Path) -> None:
    said: list[str] = []

    first = evaluation(engine, tmp_path)
    first.picture(0)
    engine.stop.set()
    try:
        with pytest.raises(Interrupted):
            run(first, [0.5], upscalers=False)
    finally:
        engine.stop.clear()
    kept = sorted(tmp_path.glob("*/*.png"))
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert [path.relative_to(tmp_path) for path in kept] == [Path("direct-1x/0000.png")]
    report = run(evaluation(engine, tmp_path, said=said), [0.5], upscalers=False)
    assert "1 of 8 pictures are there already" in said
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert not list(tmp_path.rglob("*.new")) and not list(engine.settings.output_dir.rglob("*.png"))
    again = evaluation(engine, tmp_path)
    assert run(again, [0.5], upscalers=False) == report and again.drawn == 0
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["yields"]["directly at 1x"][1] == 2 and len(results["passes"]) == 2
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "plan.json", "report.md", "results.json", "hires.csv", "hires.png",
    }  # fmt: skip
    with Image.open(tmp_path / "hires-3x-0.5" / "0001.png") as largest:
        assert largest.size == (3 * again.base, 3 * again.base)


def test_a_folder_of_another_plan_is_refused(engine: Engine, tmp_path: Path) -> None:
    evaluation(engine, tmp_path)
    with pytest.raises(SettingError, match="another plan"):
        Evaluation(engine, replace(QUICK, seed=5), 2, tmp_path)


def test_a_sheet_has_a_cell_for_each_caption(engine: Engine, tmp_path: Path) -> None:
    some = evaluation(engine, tmp_path, count=3)
    whole = np.asarray(sheet(some, columns=2))
    side = some.base
    assert whole.shape == (2 * (side + 20) + 4, 2 * (side + 4) + 4, 3)
    assert np.array_equal(whole[4 : 4 + side, 8 + side : 8 + 2 * side], some.picture(1))
    assert (whole[28 + side :, 8 + side :] == 255).all()  # no fourth caption
