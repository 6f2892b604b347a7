"""Grids: the starts that are known, and what holds for every size."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.tiling.grid import (
    Box,
    cell_boxes,
    cells,
    even_boxes,
    even_starts,
    jitter_offset,
    jittered_boxes,
    jittered_starts,
)


@st.composite
def lines(draw: st.DrawFn) -> tuple[int, int, int]:
    """(length, tile, overlap) with length in tile .. 40 tiles."""
    tile = draw(st.integers(2, 160))
    return draw(st.integers(tile, 40 * tile)), tile, draw(st.integers(0, tile - 1))


def covered(spans: list[tuple[int, int]], length: int) -> bool:
    reached = 0
    for start, end in sorted(spans):
        if start > reached:
            return False
        reached = max(reached, end)
    return reached == length


def test_the_known_starts() -> None:
    assert even_starts(256, 96, 48) == [0, 40, 80, 120, 160]
    assert even_starts(512, 96, 8) == [0, 83, 166, 249, 332, 416]
    assert even_starts(96, 96, 48) == [0]
    assert even_starts(40, 96, 48) == [0]
    assert even_starts(10, 4, 9) == [0, 1, 2, 3, 4, 5, 6]  # an overlap of 9 comes down to 3


@pytest.mark.parametrize(
    ("side", "tile", "overlap", "count", "ratio"),
    [(128, 96, 48, 4, 2.25), (256, 96, 48, 25, 3.52), (384, 96, 16, 25, 1.56), (512, 128, 32, 25, 1.56),
     (1024, 96, 8, 144, 1.27), (1024, 128, 64, 225, 3.52)],
)  # fmt: skip
def test_the_known_costs(side: int, tile: int, overlap: int, count: int, ratio: float) -> None:
    boxes = even_boxes(side, side, (tile, tile), overlap)
    assert len(boxes) == count
    assert sum(box.area for box in boxes) / side**2 == pytest.approx(ratio, abs=0.005)


@given(lines())
@settings(max_examples=200, deadline=None)
def test_even_tiles_cover_and_overlap_enough(line: tuple[int, int, int]) -> None:
    length, tile, overlap = line
    starts = even_starts(length, tile, overlap)
    assert covered([(start, start + tile) for start in starts], length)
    assert starts[0] == 0 and starts[-1] == length - tile
    overlaps = [before + tile - after for before, after in pairwise(starts)]
    assert all(found >= overlap for found in overlaps)
    assert not overlaps or max(overlaps) - min(overlaps) <= 1


@given(lines(), st.integers(0, 60), st.sampled_from(["y", "x"]), st.integers(1, 8), st.floats(0, 0.999))
@settings(max_examples=200, deadline=None)
def test_jittered_tiles_cover_and_keep_inside(
    line: tuple[int, int, int], step: int, axis: str, granularity: int, seed_offset: float
) -> None:
    length, tile, _ = line
    starts = jittered_starts(length, tile, step, axis, granularity, seed_offset)
    assert covered([(start, start + tile) for start in starts], length)
    assert len(set(starts)) == len(starts)
    offset = jitter_offset(tile, step, axis, granularity, seed_offset)
    assert 0 <= offset < tile and offset % granularity == 0
    assert all((start + offset) % tile == 0 for start in starts[1:-1])  # no overlap away from the border


def test_the_jitter_is_the_plastic_sequence() -> None:
    assert [jitter_offset(128, step, "y", 8) for step in range(4)] == [0, 96, 64, 32]  # 0, 96.6, 65.2, 33.8
    assert [jitter_offset(128, step, "x", 4) for step in range(3)] == [0, 72, 16]  # 0, 72.9, 17.9
    assert jittered_starts(512, 128, 1, "y", 8) == [0, 32, 160, 288, 384]


def test_the_jitter_costs_five_by_five_at_4096_pixels() -> None:
    assert max(len(jittered_boxes(512, 512, (128, 128), step, 8)) for step in range(30)) == 25


@given(lines(), st.integers(1, 8))
@settings(max_examples=200, deadline=None)
def test_cells_are_disjoint_and_even(line: tuple[int, int, int], granularity: int) -> None:
    length, tile, _ = line
    tile = max(tile, granularity)
    spans = cells(length, tile, granularity)
    assert spans[0][0] == 0 and spans[-1][1] == length
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    sizes = [end - start for start, end in spans]
    assert max(sizes) <= tile and min(sizes) > 0
    assert max(sizes[:-1], default=0) - min(sizes[:-1], default=0) <= granularity
    assert min(sizes) >= max(sizes) - 2 * granularity + 1


def test_cells_have_no_sliver() -> None:
    assert cells(1088, 512) == [(0, 362), (362, 725), (725, 1088)]
    assert cells(1088, 512, 64) == [(0, 320), (320, 704), (704, 1088)]
    assert sum(box.area for box in cell_boxes(1088, 700, (512, 512))) == 1088 * 700


def test_boxes() -> None:
    box = Box(2, 3, 6, 10)
    assert (box.height, box.width, box.area, box.slices) == (4, 7, 28, (slice(2, 6), slice(3, 10)))
    assert box.scaled(8) == Box(16, 24, 48, 80)
    assert box.grown(4).within(8, 9) == Box(0, 0, 8, 9)
    assert box.grown(1, 2, 3, 4) == Box(1, 1, 9, 14)
    assert box.relative_to(Box(1, 1, 20, 20)) == Box(1, 2, 5, 9)
    assert Box(0, 0, 6, 10).contains(box) and not box.contains(Box(0, 0, 6, 10))
    assert even_boxes(4, 6, (4, 4), 2) == [Box(0, 0, 4, 4), Box(0, 2, 4, 6)]


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="covers"):
        even_starts(0, 8, 2)
    with pytest.raises(ValueError, match="granularity"):
        cells(100, 4, 8)
