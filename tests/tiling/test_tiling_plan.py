"""Plans: what is processed, kept and said."""

from __future__ import annotations

import pytest

from hires.tiling.grid import Box, even_boxes
from hires.tiling.plan import cheapest_tile, plan_cells, plan_tiles


def test_a_plan_of_overlapping_tiles() -> None:
    plan = plan_tiles(256, 256, (96, 96), 48, method="MultiDiffusion", tile_batch=4, unit="latent cells")
    assert len(plan.boxes) == 25 and plan.cores == plan.boxes
    assert plan.area_ratio == pytest.approx(3.52, abs=0.005)
    assert plan.effective_overlap == 56
    assert plan.batches == 7
    assert plan.borders[0] == [68, 108, 148, 188]  # the middles of 40..96, 80..136, ...
    assert plan.describe() == (
        "MultiDiffusion: 256x256 latent cells in 25 tiles (5x5) of up to 96x96, overlap 56, 3.52 times the area, "
        "cosine window, 4 tiles at a time"
    )


def test_a_plan_of_cells_with_a_halo() -> None:
    plan = plan_cells(100, 64, (32, 64), (2, 2, 5, 5), method="exact", predicted_peak=12_000_000)
    assert plan.cores == (Box(0, 0, 25, 64), Box(25, 0, 50, 64), Box(50, 0, 75, 64), Box(75, 0, 100, 64))
    assert plan.boxes[1] == Box(23, 0, 55, 64)
    assert plan.borders == ([25, 50, 75], [])
    assert plan.effective_overlap == 7
    assert plan.describe().endswith("12 MB at most")


def test_one_tile_is_one_piece() -> None:
    plan = plan_tiles(64, 80, (96, 96), 8, method="Mixture of Diffusers", tile_batch=8)
    assert (plan.tile, plan.tile_batch, plan.area_ratio, plan.effective_overlap) == ((64, 80), 1, 1.0, 0)
    assert plan.describe() == "Mixture of Diffusers: 80x64 in one piece"


def test_the_jittered_plan_moves() -> None:
    plans = [plan_tiles(512, 512, (128, 128), 0, method="jitter", grid="jitter", step=step) for step in (0, 1)]
    assert len(plans[0].boxes) == 16 and len(plans[1].boxes) == 25


def test_the_cheapest_tile_beats_its_neighbours() -> None:
    """2048 pixels with tiles of 96 cells and overlap 32 take 16 tiles; a slightly longer tile takes 9."""
    tall, wide = cheapest_tile(256, 256, 96, 32)
    assert tall == wide and 72 <= tall <= 120 and tall % 8 == 0
    cost = sum(box.area for box in even_boxes(256, 256, (tall, wide), 32))
    for side in range(72, 121, 8):
        assert cost <= sum(box.area for box in even_boxes(256, 256, (side, side), 32))
