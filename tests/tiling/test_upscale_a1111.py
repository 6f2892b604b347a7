"""The web UI's way of enlarging: 8 bits a tile, blue first, its grid, the later tile fading in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hires.tiling.upscale_a1111 import a1111_plan, enlarge_as_a1111


def twice(part: Tensor) -> Tensor:
    return part.repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.mark.parametrize(("height", "width"), [(192, 192), (300, 193), (200, 500)])
def test_a_network_that_looks_at_no_neighbour_gives_the_whole(height: int, width: int) -> None:
    source = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    made = enlarge_as_a1111(source, twice, 2)
    assert np.array_equal(made, source.repeat(2, axis=0).repeat(2, axis=1))


def test_the_grid_is_the_web_uis() -> None:
    plan = a1111_plan(192, 500)
    assert [box.left for box in plan.boxes] == [0, 154, 308], "ceil(492 / 184) = 3 tiles, spread over 308"
    assert plan.rows == [0] and plan.effective_overlap == 38


def test_the_network_is_given_blue_first() -> None:
    seen: list[Tensor] = []

    def run(part: Tensor) -> Tensor:
        seen.append(part)
        return twice(part)

    source = np.zeros((192, 192, 3), dtype=np.uint8)
    source[..., 0] = 255
    made = enlarge_as_a1111(source, run, 2)
    assert seen[0][0, :, 0, 0].tolist() == [0, 0, 1]
    assert np.array_equal(made[0, 0], [255, 0, 0])


def test_the_later_tile_fades_in_over_eight_pixels_times_the_factor() -> None:
    """Tiles of one grey each: 0, then 1; the web UI's ramp is floor(255 i / 16) / 255."""
    level = iter([0.0, 1.0])
    made = enlarge_as_a1111(
        np.zeros((192, 300, 3), dtype=np.uint8), lambda part: torch.full_like(twice(part), next(level)), 2
    )
    start = (300 - 192) * 2
    assert made[0, start - 1, 0] == 0 and made[0, start + 16, 0] == 255
    assert made[0, start : start + 16, 0].tolist() == [255 * i // 16 for i in range(16)]


def test_rows_fade_in_as_columns_do() -> None:
    source = np.random.default_rng(1).integers(0, 256, (300, 192, 3), dtype=np.uint8)

    def blurred(part: Tensor) -> Tensor:
        return twice(torch.nn.functional.avg_pool2d(part, 21, 1, 10))

    upright = enlarge_as_a1111(source, blurred, 2)
    lying = enlarge_as_a1111(source.swapaxes(0, 1), lambda part: blurred(part.mT).mT, 2)
    assert np.array_equal(upright, lying.swapaxes(0, 1))


def test_each_tile_is_rounded_to_eight_bits() -> None:
    made = enlarge_as_a1111(np.zeros((192, 192, 3), dtype=np.uint8), lambda part: twice(part) + 0.4999 / 255, 2)
    assert not made.any()
    made = enlarge_as_a1111(np.zeros((192, 192, 3), dtype=np.uint8), lambda part: twice(part) + 0.5001 / 255, 2)
    assert (made == 1).all()


def test_a_picture_smaller_than_a_tile_lies_in_its_corner_on_black() -> None:
    seen: list[Tensor] = []

    def run(part: Tensor) -> Tensor:
        seen.append(part)
        return twice(part)

    source = np.full((100, 192, 3), 200, dtype=np.uint8)
    made = enlarge_as_a1111(source, run, 2)
    assert made.shape == (200, 384, 3) and (made == 200).all()
    assert float(seen[0][..., :92, :].max()) == 0 and float(seen[0][..., 92:, :].min()) > 0
