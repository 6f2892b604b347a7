"""Which parts of a prompt a tile is told."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.tiling.grid import Box
from hires.tiling.words import PartMaps

CANVAS = (80, 160)


def left_and_right() -> PartMaps:
    """A part on the left, one on the right, one everywhere, one that no place looks for."""
    maps = torch.zeros(4, 8, 16)
    maps[0, :, :8], maps[1, :, 8:], maps[2] = 0.4, 0.2, 0.1
    return PartMaps(("cat", "dog", "oil painting", "<lora:x:1>"), maps)


def test_each_side_is_told_its_own() -> None:
    places = left_and_right()
    assert places.shares(Box(0, 0, 80, 80), CANVAS) == pytest.approx([2, 0, 1, 1])
    assert places.kept(Box(0, 0, 40, 60), CANVAS) == ("cat", "oil painting", "<lora:x:1>")
    assert places.kept(Box(10, 100, 80, 160), CANVAS) == ("dog", "oil painting", "<lora:x:1>")
    assert places.kept(Box(0, 40, 80, 120), CANVAS) == places.parts
    assert places.kept(Box(0, 0, *CANVAS), CANVAS) == places.parts


def test_a_box_that_cuts_through_a_cell_counts_its_part() -> None:
    places = PartMaps(("cat",), torch.tensor([[[1.0, 3.0]]]))
    assert places.shares(Box(0, 40, 80, 120), CANVAS) == pytest.approx([1.0])
    assert places.shares(Box(0, 60, 80, 100), CANVAS) == pytest.approx([1.0])
    assert places.shares(Box(0, 0, 80, 120), CANVAS) == pytest.approx([(2 * 1 + 3) / 3 / 2])


def test_what_is_looked_for_least_is_told_where_nothing_else_is() -> None:
    maps = torch.zeros(2, 1, 2)
    maps[0, 0], maps[1, 0] = torch.tensor([0.3, 1.0]), torch.tensor([0.1, 1.0])
    assert PartMaps(("cat", "dog"), maps).kept(Box(0, 0, 80, 80), CANVAS) == ("cat",)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 9), st.integers(0, 60), st.integers(0, 120))
def test_no_tile_is_told_nothing(seed: int, parts: int, side: int, top: int, left: int) -> None:
    maps = torch.rand(parts, side, side + 1, generator=torch.Generator().manual_seed(seed)) ** 4
    places = PartMaps(tuple(f"part {number}" for number in range(parts)), maps)
    box = Box(top, left, top + 20, left + 40)
    assert places.kept(box, CANVAS)
    found = dict(zip(places.parts, places.shares(box, CANVAS), strict=True))
    assert max(found, key=found.__getitem__) in places.kept(box, CANVAS)
    halves = [places.shares(Box(0, x, 80, x + 80), CANVAS) for x in (0, 80)]
    assert [sum(pair) / 2 for pair in zip(*halves, strict=True)] == pytest.approx([1.0] * parts)
