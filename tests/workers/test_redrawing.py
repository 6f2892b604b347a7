"""Tiles redrawn by two workers: the same picture as in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from hires.api import Engine
from hires.errors import Interrupted
from hires.graph.report import Event, NodeProgress
from hires.tiling.regions import Region
from hires.workers.bench import Bench
from hires.workers.units import RedrawUnit

BASE: dict[str, Any] = {
    "prompt": "a fox, snow",
    "checkpoint": "thin_sd15",
    "steps": 3,
    "seed": 7,
    "upscaler": "Lanczos",
}
TILED: dict[str, Any] = {**BASE, "tile_width": 64, "tile_height": 64, "denoise": 0.9}
ULTIMATE: dict[str, Any] = {**TILED, "padding": 8}
Drawn = list[tuple[Bench, RedrawUnit]]


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "a.png"
    Image.fromarray(np.random.default_rng(4).integers(0, 255, (72, 96, 3), np.uint8)).resize((48, 40)).save(path)
    return path


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The tiles that workers draw."""
    found: Drawn = []
    made = Bench._made

    def noting(bench: Bench, engine: Any, unit: Any) -> Any:
        assert isinstance(unit, RedrawUnit)
        found.append((bench, unit))
        return made(bench, engine, unit)

    monkeypatch.setattr(Bench, "_made", noting)
    return found


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("method", "fields", "tiles"),
    [
        ("sd_upscale", {"overlap": 16}, 4),
        ("ultimate", {"mode": "Chess", "seams": "Band Pass", "seam_width": 16}, 8),
        pytest.param("sd_upscale", {"overlap": 8, "preset": "a1111", "lock": 0.0}, 4, marks=SLOW),
        pytest.param("sd_upscale", {"overlap": 16, "mend_above": 0.1}, 8, marks=SLOW),
        pytest.param("sd_upscale", {"overlap": 16, "tile_prompts": "attention"}, 4, marks=SLOW),
        pytest.param("ultimate", {}, 4, marks=SLOW),
        pytest.param("ultimate", {"preset": "a1111", "seams": "Half Tile + Intersections"}, 9, marks=SLOW),
        pytest.param("ultimate", {"preset": "comfyui", "dialect": "comfyui"}, 4, marks=SLOW),
    ],
)
def test_the_bytes_are_the_same(
    here: Engine, two: Engine, picture: Path, drawn: Drawn, method: str, fields: dict[str, Any], tiles: int
) -> None:
    own = {"seed": crc32(repr((method, fields)).encode())}  # so that none finds steps of another test
    given = (ULTIMATE if method == "ultimate" else TILED) | fields | own
    expected, made = (getattr(engine, method)(picture, **given) for engine in (here, two))
    assert [path.read_bytes() for path in made.paths] == [path.read_bytes() for path in expected.paths]
    if "mend_above" in fields:  # a tile that could not grow is known where it was drawn before, not to the other worker
        assert made.counts.denoiser_calls >= expected.counts.denoiser_calls
    else:
        assert made.counts.denoiser_calls == expected.counts.denoiser_calls
    assert made.notes == expected.notes
    assert len(drawn) == tiles and len({bench for bench, _ in drawn}) == 2


@pytest.mark.slow
def test_regions_and_loras_are_made_by_each_worker(here: Engine, two: Engine, picture: Path, drawn: Drawn) -> None:
    words = "fox, snow <lora:lora_thin_sd15:0.7>"
    given = {**TILED, "prompt": words, "regions": (Region(0.0, 0.0, 0.5, 0.5, "a fox", "rain"),), "steps": 1}
    expected, made = (engine.sd_upscale(picture, **given) for engine in (here, two))
    assert made.paths[0].read_bytes() == expected.paths[0].read_bytes()
    assert {len(unit.links) for _, unit in drawn} == {4}
    assert not any(node["class_type"] == "HiresUpscale" for _, unit in drawn for node in unit.workflow.values()), (
        "the picture is enlarged once, here"
    )


def test_a_tile_is_sent_alone(two: Engine, picture: Path, drawn: Drawn) -> None:
    two.sd_upscale(picture, **{**TILED, "seed": 8, "steps": 1})
    for _, unit in drawn:
        (tile,) = unit.cut.tiles
        assert tile.untyped_storage().nbytes() == tile.nbytes == 64 * 64 * 3 * 4


def test_stopped_in_the_middle_it_goes_on_with_the_tiles_that_are_left(
    here: Engine, two: Engine, picture: Path, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**TILED, "seed": 9}
    shown: list[int] = []
    made = Bench._made

    def waiting(bench: Bench, engine: Any, unit: Any) -> Any:
        if len(drawn) == 3:
            bench._stop.wait(60)
        return made(bench, engine, unit)

    monkeypatch.setattr(Bench, "_made", waiting)

    def stop(event: Event) -> None:
        if isinstance(event, NodeProgress):
            shown.append(event.value)
            if event.value > event.total // 2:  # more than two can have come to in their middle
                two.stop.set()

    try:
        with pytest.raises(Interrupted):
            two.sd_upscale(picture, on_event=stop, **given)
    finally:
        two.stop.clear()
    before = len(drawn)
    assert shown == sorted(shown), "it never goes back"
    whole = two.sd_upscale(picture, **given)
    assert 0 < len(drawn) - before < 4, "some were kept"
    assert whole.paths[0].read_bytes() == here.sd_upscale(picture, **given).paths[0].read_bytes()
    assert any("tiles were drawn before" in note for note in whole.notes)
