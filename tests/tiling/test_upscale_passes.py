"""Any factor from a fixed one: which runs are made, and the resize to the exact size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from hires.errors import SettingError
from hires.tiling.plan import TilePlan
from hires.tiling.upscale import Enlarger, Pixels
from hires.tiling.upscale_passes import enlarge_to, enlarge_whole, passes, resized

ROOMY = {"restore": False, "most_pixels": 10**9}


def test_runs_go_on_until_the_size_is_reached() -> None:
    assert passes((100, 100), (400, 400), 4, rule="exact", **ROOMY).sizes == ((400, 400),)
    assert passes((100, 100), (250, 250), 4, rule="exact", **ROOMY).sizes == ((400, 400),)
    assert passes((100, 100), (500, 500), 4, rule="exact", **ROOMY).sizes == ((400, 400), (1600, 1600))
    assert passes((10, 10), (160, 160), 2, rule="exact", **ROOMY).sizes[-1] == (160, 160)
    assert len(passes((10, 10), (160, 160), 2, rule="webui", **ROOMY).sizes) == 3, "the web UI stops after three"
    assert passes((100, 100), (50, 50), 4, rule="exact", **ROOMY).sizes == ()
    restoring = {**ROOMY, "restore": True}
    assert passes((100, 100), (100, 100), 4, rule="webui", **restoring).sizes == ((400, 400),)
    assert passes((100, 100), (200, 200), 1, rule="webui", **ROOMY).sizes == ((100, 100),)


def test_a_picture_on_the_way_may_not_be_too_large() -> None:
    with pytest.raises(SettingError, match=r"goes through 16000x16000 pixels, more than the limit of 200"):
        passes((1000, 1000), (5000, 5000), 4, restore=False, rule="exact", most_pixels=200_000_000)


def twice(part: torch.Tensor) -> torch.Tensor:
    return interpolate(part, scale_factor=2, mode="nearest")


def test_a_flat_colour_stays_and_progress_counts_all_runs() -> None:
    source = np.full((20, 30, 3), 0.25, dtype=np.float32)
    steps = passes((20, 30), (70, 105), 2, rule="exact", **ROOMY)
    reports: list[tuple[int, int]] = []
    made = enlarge_to(source, Enlarger(twice, 2, 1), steps, tile=16, on_tile=lambda *r: reports.append(r))
    assert made.shape == (70, 105, 3)
    assert np.abs(made - 0.25).max() < 1e-6
    assert [done for done, _ in reports] == list(range(1, len(reports) + 1))
    assert len({total for _, total in reports}) == 1 and reports[-1][0] == reports[-1][1]


def test_full_precision_and_eight_bits_differ_by_what_is_rounded() -> None:
    source = np.linspace(0, 1, 40 * 40 * 3, dtype=np.float32).reshape(40, 40, 3)
    exact, webui = (resized(source, 61, 53, "Lanczos", rule=rule) for rule in ("exact", "webui"))
    assert 0 < np.abs(exact - webui).max() < 1.5 / 255
    assert np.allclose(webui * 255, np.rint(webui * 255), atol=1e-4)


def test_nearest_repeats_pixels() -> None:
    source = np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 12
    assert np.array_equal(resized(source, 4, 4, "Nearest"), source.repeat(2, axis=0).repeat(2, axis=1))


def test_wrapped_lanczos_equals_that_of_many_side_by_side() -> None:
    source = np.random.default_rng(0).random((24, 36, 1), dtype=np.float32)
    made = resized(source, 54, 36, "Lanczos", edge="wrap")
    nine = resized(np.tile(source, (3, 3, 1)), 162, 108, "Lanczos")
    assert np.abs(made - nine[36:72, 54:108]).max() < 1e-5


def test_each_run_keeps_its_tiles_apart() -> None:
    asked: list[tuple[int, tuple[int, int]]] = []
    shelves: dict[int, dict[int, torch.Tensor]] = {}

    class Shelf:
        def __init__(self, number: int) -> None:
            self.tiles = shelves.setdefault(number, {})

        def get(self, index: int) -> torch.Tensor | None:
            return self.tiles.get(index)

        def put(self, index: int, tensor: torch.Tensor) -> None:
            self.tiles[index] = tensor.clone()

    def keep(number: int, plan: TilePlan, picture: Pixels) -> Shelf:
        asked.append((number, plan.canvas))
        return Shelf(number)

    def refused(part: torch.Tensor) -> torch.Tensor:
        raise AssertionError("everything was kept")

    source = np.random.default_rng(0).random((20, 30, 3), dtype=np.float32)
    steps = passes((20, 30), (80, 120), 2, rule="exact", **ROOMY)
    made = enlarge_to(source, Enlarger(twice, 2, 1), steps, tile=16, keep=keep)
    assert asked == [(0, (20, 30)), (1, (40, 60))]
    again = enlarge_to(source, Enlarger(refused, 2, 1), steps, tile=16, keep=keep)
    assert np.array_equal(made, again)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_what_enlarges_whole_pictures_goes_through_the_same_runs(dtype: type) -> None:
    source = (np.random.default_rng(3).random((10, 15, 3)) * 255).astype(np.uint8)
    given = source if dtype == np.uint8 else (source / np.float32(255)).astype(np.float32)
    sizes: list[tuple[int, ...]] = []

    def enlarge(part: np.ndarray) -> np.ndarray:
        sizes.append(part.shape)
        return part.repeat(2, axis=0).repeat(2, axis=1)

    steps = passes((10, 15), (40, 60), 2, rule="webui", **ROOMY)
    made = enlarge_whole(given, enlarge, steps, rule="webui")
    assert sizes == [(10, 15, 3), (20, 30, 3)]
    assert np.array_equal(np.rint(made * 255), source.repeat(4, axis=0).repeat(4, axis=1))
