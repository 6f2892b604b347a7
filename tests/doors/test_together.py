"""Pictures of a batch and cells of a grid drawn together are those of each alone but for rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hires.api import Engine, HiresFix
from hires.errors import SettingError
from hires.graph.report import Event, NodeProgress
from hires.metadata.origin import read_origin
from hires.models.handles import DiffusionModel
from hires.recipes.grids.request import AxisValues, GridRequest
from hires.recipes.request import Txt2Img
from hires.sampling import meeting as meetings
from hires.settings import Settings

SMALL: dict[str, Any] = {"prompt": "1girl, beach", "steps": 3, "width": 64, "height": 64, "seed": 7}
MakeEngine = Callable[..., Engine]


@pytest.fixture
def make_engine(tmp_path: Path) -> MakeEngine:
    def make(name: str = "one", **changes: Any) -> Engine:
        folders = {f"{kind}_dir": tmp_path / name / kind for kind in ("models", "output", "cache")}
        return Engine(Settings(**{**folders, "device": "cpu", **changes}))

    return make


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch of each call of the network; calls that may be joined are, whatever a measurement would say."""
    found: list[int] = []
    predict = DiffusionModel.predict

    def counted(self: DiffusionModel, x: Any, *rest: Any, **named: Any) -> Any:
        found.append(len(x))
        return predict(self, x, *rest, **named)

    monkeypatch.setattr(DiffusionModel, "predict", counted)
    monkeypatch.setattr(meetings, "_measured", lambda group: 2.0 * meetings._together(group))
    return found


def close(one: Path, other: Path) -> bool:
    """Whether two pictures differ by rounding at most."""
    first, second = (np.asarray(Image.open(path)).astype(int) for path in (one, other))
    return first.shape == second.shape and bool(np.abs(first - second).max() <= 1)


@pytest.mark.parametrize(
    "more",
    [
        {"sampler": "DPM++ 2M"},
        {"sampler": "Euler a", "hires": HiresFix(upscaler="Latent", denoise=0.6, scale=2.0, steps=2)},
    ],
    ids=["plain", "hires fix"],
)
def test_a_batch_together(more: dict[str, Any], make_engine: MakeEngine, batches: list[int]) -> None:
    fields = {**SMALL, **more, "batch_size": 3}
    alone = make_engine("alone").txt2img(**fields)
    calls, largest = len(batches), max(batches)
    batches.clear()
    heard: dict[str, list[float]] = {}

    def hear(event: Event) -> None:
        if isinstance(event, NodeProgress):
            heard.setdefault(event.node_id, []).append(event.value / event.total)

    drawn = make_engine("beside", together=2).txt2img(**fields, on_event=hear)
    assert drawn.counts == alone.counts
    assert max(batches) == 2 * largest and len(batches) < calls and sum(batches) >= 2 * calls
    assert all(close(one, other) for one, other in zip(alone.paths, drawn.paths, strict=True))
    assert heard and all(shares == sorted(shares) and shares[-1] == 1.0 for shares in heard.values())


def test_cells_together(make_engine: MakeEngine, batches: list[int]) -> None:
    grid = GridRequest(Txt2Img(**SMALL), (AxisValues("Steps", "2,3,4"), AxisValues("Sampler", "Euler a,DDIM")))
    alone = make_engine("alone").grid(grid)
    calls = len(batches)
    batches.clear()
    beside = make_engine("beside", together=3).grid(grid)
    assert max(batches) == 6 and len(batches) < calls
    for one, other in zip(alone.record.cells, beside.record.cells, strict=True):
        for name in ("calls", "reused", "infotext", "labels"):
            assert getattr(one, name) == getattr(other, name)
        assert close(alone.folder / one.pictures[0], beside.folder / other.pictures[0])


def test_cells_that_share_steps_are_drawn_after_one_another(make_engine: MakeEngine, batches: list[int]) -> None:
    base = Txt2Img(**SMALL, hires=HiresFix(upscaler="Lanczos", denoise=0.5, scale=2.0, steps=2))
    grid = GridRequest(base, (AxisValues("Denoising", "0.4,0.6"), AxisValues("Seed", "1,2")))
    alone = make_engine("alone").grid(grid)
    beside = make_engine("beside", together=4).grid(grid)
    for one, other in zip(alone.record.cells, beside.record.cells, strict=True):
        assert close(alone.folder / one.pictures[0], beside.folder / other.pictures[0])
    spent = [sum(cell.calls for cell in grid.record.cells) for grid in (alone, beside)]
    assert spent[0] == spent[1]


@pytest.mark.usefixtures("batches")
def test_a_failing_cell_harms_no_other(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(together=2)
    predict = meetings.Meeting.predict
    monkeypatch.setattr(
        meetings.Meeting,
        "predict",
        lambda self, network, x, *rest: predict(self, network, x * float("nan") if x.shape[2] == 16 else x, *rest),
    )
    drawn = engine.grid(GridRequest(Txt2Img(**SMALL), (AxisValues("Size", "64x64,128x128,72x64"),)))
    assert [cell.state for cell in drawn.record.cells] == ["done", "failed", "done"]


def test_the_picture_says_that_it_was_drawn_beside_others(make_engine: MakeEngine) -> None:
    texts = [
        Image.open(make_engine(str(count), together=count).txt2img(**SMALL).paths[0]).text  # type: ignore[attr-defined]
        for count in (1, 2)
    ]
    assert read_origin(texts[1]).differences(read_origin(texts[0])) == [
        "pictures through the network at once: 2 in the file, 1 here"
    ]


def test_under_a_stated_budget_each_has_the_network_for_itself(make_engine: MakeEngine, batches: list[int]) -> None:
    make_engine(together=2, memory="6GB").txt2img(**SMALL, batch_size=2)
    assert max(batches) <= 2


def test_none_together_is_a_users_mistake() -> None:
    with pytest.raises(SettingError, match="together must not be below 1"):
        Settings(together=0)
