"""Tiles: the grid, the weights, and that joining them gives back what was cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.errors import Interrupted, MemoryLimitError
from hires.tiling.blend import (
    feathered,
    mean_of_tilings,
    smaller_until_it_fits,
    three_tilings,
    tile_count,
    tile_starts,
    tiled_scale,
)


def enlarged(part: torch.Tensor) -> torch.Tensor:
    """A function of single cells, so that tiles of it are exact."""
    return part.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)


def test_the_grid_is_comfyuis() -> None:
    assert tile_starts(512, 512, 32) == [0]
    assert tile_starts(1000, 512, 32) == [0, 480, 960]  # the last tile is 40 long
    assert tile_starts(992, 512, 32) == [0, 480]
    assert tile_count((3, 4, 1000, 512), (512, 512), 32) == 9


def test_the_weights_rise_over_the_overlap_from_every_side() -> None:
    weight = feathered(8, 6, 2)[0, 0]
    assert weight[3].tolist() == [0.5, 1, 1, 1, 1, 0.5]
    assert weight[0].tolist() == [0.25, 0.5, 0.5, 0.5, 0.5, 0.25]
    assert torch.equal(feathered(3, 3, 3), torch.ones(1, 1, 3, 3))  # an axis no longer than the feather has none


def test_two_tiles_of_different_values_blend_over_the_overlap() -> None:
    seen: list[int] = []

    def numbered(part: torch.Tensor) -> torch.Tensor:
        seen.append(part.shape[-1])
        return torch.full_like(part, float(len(seen)))

    joined = tiled_scale(torch.zeros(1, 1, 4, 12), numbered, (4, 8), 4, 1)
    assert seen == [8, 8]
    # in the overlap tile 1 falls 4/4 .. 1/4 while tile 2 rises 1/4 .. 4/4: shares 1/5 .. 4/5 of tile 2
    assert joined[0, 0, 1].tolist() == pytest.approx([1] * 4 + [1.2, 1.4, 1.6, 1.8] + [2] * 4)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(4, 16), st.integers(0, 3), st.integers(1, 2), st.integers(0, 99)
)
def test_tiles_of_a_cellwise_function_give_the_whole(
    height: int, width: int, tile: int, overlap: int, batch: int, seed: int
) -> None:
    samples = torch.rand(batch, 2, height, width, generator=torch.Generator().manual_seed(seed))
    counted: list[tuple[int, int]] = []
    joined = tiled_scale(samples, enlarged, (tile, tile), overlap, 2, lambda *count: counted.append(count))
    assert torch.allclose(joined, enlarged(samples), atol=1e-6)
    total = tile_count(samples.shape, (tile, tile), overlap)
    assert counted == [(index + 1, total) for index in range(total)]
    assert torch.allclose(mean_of_tilings(samples, enlarged, max(tile, 8), overlap, 2), enlarged(samples), atol=1e-6)


def test_an_encoder_shrinks() -> None:
    samples = torch.rand(1, 3, 64, 96)
    joined = tiled_scale(samples, lambda part: part[..., ::8, ::8], (32, 32), 16, 1 / 8)
    assert torch.allclose(joined, samples[..., ::8, ::8], atol=1e-6)


def test_the_three_tilings_are_counted_as_one_work() -> None:
    assert three_tilings(64) == ((128, 32), (32, 128), (64, 64))
    counted: list[tuple[int, int]] = []
    mean_of_tilings(torch.zeros(1, 1, 32, 32), enlarged, 16, 4, 2, lambda *count: counted.append(count))
    assert counted[-1][0] == counted[-1][1] == len(counted)
    assert len({total for _, total in counted}) == 1


def test_work_stops_between_tiles() -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        tiled_scale(torch.zeros(1, 1, 32, 32), enlarged, (16, 16), 4, 2, stop)


def test_tiles_are_halved_until_they_fit() -> None:
    tried: list[int] = []

    def work(tile: int) -> int:
        tried.append(tile)
        if tile > 128:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return tile

    assert smaller_until_it_fits(work, 512, 128, "the picture") == 128
    assert tried == [512, 256, 128]


def test_what_never_fits_is_said_in_one_line() -> None:
    def work(tile: int) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with pytest.raises(MemoryLimitError, match="the picture does not fit the memory, even in tiles of 128 pixels"):
        smaller_until_it_fits(work, 512, 128, "the picture")


def test_other_errors_pass() -> None:
    def work(tile: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        smaller_until_it_fits(work, 512, 128, "the picture")
