"""Enlarging in tiles: equal to the whole picture, whatever the tile; continued after memory ran out; wrapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spandrel import ImageModelDescriptor, ModelLoader
from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact
from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet
from spandrel.architectures.SwinIR.__arch.SwinIR import SwinIR
from torch import Tensor, nn

from hires.errors import Interrupted, MemoryLimitError
from hires.imaging.strips import as_stored
from hires.models.upscale_reach import cell, measure, reach
from hires.tiling.upscale import Enlarger, as_planes, enlarge_tiles, enlarging_plan, fitting_tile

Network = ImageModelDescriptor[Any]


def network(module: nn.Module) -> Network:
    """The module with strong weights, so that a halo that is too small shows, as spandrel tells it from its tensors."""
    torch.manual_seed(0)
    for weight in module.parameters():
        if weight.ndim > 1:
            nn.init.kaiming_normal_(weight, a=0.2)
    found = ModelLoader().load_from_state_dict(module.state_dict()).eval()
    assert isinstance(found, ImageModelDescriptor)
    return found


@pytest.fixture(scope="module")
def compact() -> Network:
    return network(SRVGGNetCompact(num_feat=8, num_conv=6))


def swin() -> Network:
    return network(
        SwinIR(
            upscale=2,
            img_size=(32, 32),
            window_size=8,
            depths=[2],
            embed_dim=12,
            num_heads=[2],
            mlp_ratio=2,
            upsampler="pixelshuffle",
        )
    )


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).random((height, width, 3), dtype=np.float32)


def whole(net: Callable[[Tensor], Tensor], source: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net(as_planes(source))[0].movedim(0, -1).numpy()


def largest_error(net: Network, source: np.ndarray, halo: int, step: int, tile: int = 32) -> float:
    enlarger = Enlarger(net, net.scale, halo, step)
    plan = enlarging_plan(*source.shape[:2], enlarger, tile)
    assert len(plan.cores) > 1
    with torch.inference_mode():
        return float(np.abs(enlarge_tiles(source, enlarger, plan) - whole(net, source)).max())


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (lambda: RRDBNet(num_filters=8, num_blocks=23), 349),
        (lambda: RRDBNet(num_filters=8, num_blocks=6), 94),
        (lambda: SRVGGNetCompact(num_feat=8, num_conv=32), 34),
        (lambda: SRVGGNetCompact(num_feat=8, num_conv=16), 18),
    ],
)
def test_the_reach_follows_from_the_layers(module: Callable[[], nn.Module], expected: int) -> None:
    assert reach(network(module())) == expected


def test_a_random_rrdb_of_six_blocks_in_tiles_equals_the_whole() -> None:
    net = network(RRDBNet(num_filters=8, num_blocks=6))
    source = picture(230, 16)
    assert largest_error(net, source, 94, 1, 115) < 1e-5
    assert largest_error(net, source, 8, 1, 115) > 1e-3


def test_a_compact_network_needs_its_whole_reach(compact: Network) -> None:
    assert reach(compact) == 8
    source = picture(70, 83)
    assert largest_error(compact, source, 8, 1) < 1e-5
    assert largest_error(compact, source, 7, 1) > 1e-3


def test_windows_must_fall_as_in_the_whole() -> None:
    net = swin()
    step, far = cell(net), reach(net)
    assert step == 8 and far is not None
    source = picture(90, 101)
    assert largest_error(net, source, far, step) < 1e-4
    assert largest_error(net, source, far + 1, 1, 30) > 1e-2


def test_an_unshuffled_network_keeps_its_grid() -> None:
    net = network(RRDBNet(in_nc=12, num_filters=8, num_blocks=1, scale=4, shuffle_factor=2))
    far = reach(net)
    assert net.scale == 2 and far is not None and cell(net) == 4
    assert largest_error(net, picture(101, 57), far, cell(net)) < 1e-4
    with torch.inference_mode():
        found = measure(net, 3, net.scale, cell(net), 0.5 / 255)
    assert found.exact and found.pixels < far, "what reaches far counts little"
    assert largest_error(net, picture(101, 57), found.pixels, cell(net)) < 1 / 255


@settings(max_examples=12, deadline=None)
@given(height=st.integers(9, 70), width=st.integers(9, 70), tile=st.integers(8, 48))
def test_any_size_and_any_tile_give_the_whole(compact: Network, height: int, width: int, tile: int) -> None:
    source = picture(height, width)
    enlarger = Enlarger(compact, compact.scale, 8)
    with torch.inference_mode():
        made = enlarge_tiles(source, enlarger, enlarging_plan(height, width, enlarger, tile))
    assert np.abs(made - whole(compact, source)).max() < 1e-5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_whole_numbers_in_and_out_are_within_one_level(compact: Network, dtype: type) -> None:
    source = as_stored(picture(50, 60), np.dtype(dtype))
    enlarger = Enlarger(compact, compact.scale, 8)
    out = np.zeros((200, 240, 3), dtype=dtype)
    with torch.inference_mode():
        made = enlarge_tiles(source, enlarger, enlarging_plan(50, 60, enlarger, 20), out)
        expected = as_stored(whole(compact, source), np.dtype(dtype))
    assert made is out
    assert np.abs(out.astype(int) - expected.astype(int)).max() <= 1


def test_when_memory_runs_out_what_is_left_is_done_in_smaller_tiles(compact: Network) -> None:
    seen: list[int] = []
    reports: list[tuple[int, int]] = []

    def small_memory(part: Tensor) -> Tensor:
        if len(seen) >= 1 and part.shape[-1] * part.shape[-2] > 44 * 44:
            raise torch.OutOfMemoryError("CUDA out of memory")
        seen.append(part.shape[-1])
        return compact(part)

    source = picture(90, 90)
    enlarger = Enlarger(small_memory, compact.scale, 8)
    with torch.inference_mode():
        made = enlarge_tiles(
            source, enlarger, enlarging_plan(90, 90, enlarger, 45), on_tile=lambda *r: reports.append(r)
        )
    assert np.abs(made - whole(compact, source)).max() < 1e-5
    assert reports[0] == (1, 4) and reports[-1] == (13, 13), "the first of four was kept, three became twelve"


def test_memory_that_never_suffices_is_an_error(compact: Network) -> None:
    def no_memory(part: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    enlarger = Enlarger(no_memory, 4, 8)
    with pytest.raises(MemoryLimitError, match="does not fit the memory"):
        enlarge_tiles(picture(64, 64), enlarger, enlarging_plan(64, 64, enlarger, 64))


def test_the_tile_is_the_largest_that_fits_and_the_plan_says_what_it_takes() -> None:
    enlarger = Enlarger(lambda part: part, 4, 10, bytes_per_pixel=1000)
    assert fitting_tile(4000, 4000, enlarger, None) == 1024
    assert fitting_tile(4000, 4000, enlarger, 100_000_000) == 256
    assert fitting_tile(100, 100, enlarger, 11_000_000) == 1024, "a picture smaller than the tile takes less"
    plan = enlarging_plan(1000, 1000, enlarger, None, available=100_000_000)
    assert plan.predicted_peak is not None and plan.predicted_peak <= 100_000_000
    with pytest.raises(MemoryLimitError, match="tiles of 32 pixels"):
        fitting_tile(4000, 4000, enlarger, 1_000_000)


def test_wrapped_a_texture_can_be_laid_side_by_side(compact: Network) -> None:
    """Enlarging a wrapped picture equals cutting the middle out of nine of it enlarged together."""
    source = picture(30, 26)
    enlarger = Enlarger(compact, compact.scale, 8)
    with torch.inference_mode():
        plan = enlarging_plan(30, 26, enlarger, 16, edge="wrap")
        made = enlarge_tiles(source, enlarger, plan, edge="wrap")
    nine = whole(compact, np.tile(source, (3, 3, 1)))
    assert np.abs(made - nine[120:240, 104:208]).max() < 1e-5


def test_the_work_can_be_stopped_between_tiles(compact: Network) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Interrupted

    calls: list[int] = []

    def counted(part: Tensor) -> Tensor:
        calls.append(1)
        return compact(part)

    enlarger = Enlarger(counted, compact.scale, 8)
    with pytest.raises(Interrupted), torch.inference_mode():
        enlarge_tiles(picture(64, 64), enlarger, enlarging_plan(64, 64, enlarger, 16), on_tile=stop)
    assert len(calls) == 2


class Shelf:
    """Tiles that outlive a run."""

    def __init__(self) -> None:
        self.tiles: dict[int, Tensor] = {}

    def get(self, index: int) -> Tensor | None:
        return self.tiles.get(index)

    def put(self, index: int, tensor: Tensor) -> None:
        self.tiles[index] = tensor.clone()


@pytest.mark.parametrize("edge", ["clip", "wrap"])
def test_finished_tiles_are_kept_and_not_computed_again(compact: Network, edge: Literal["clip", "wrap"]) -> None:
    source, shelf, calls = picture(50, 70), Shelf(), 0

    def run(part: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return compact(part)

    enlarger = Enlarger(run, 4, 8)
    plan = enlarging_plan(50, 70, enlarger, 32, edge=edge)
    expected = enlarge_tiles(source, Enlarger(compact, 4, 8), plan, edge=edge)
    with torch.inference_mode():
        with pytest.raises(KeyboardInterrupt):
            enlarge_tiles(source, enlarger, plan, edge=edge, kept=shelf)
        assert sorted(shelf.tiles) == [0, 1, 2]
        core = plan.cores[1].scaled(4)
        assert shelf.tiles[1].shape == (3, core.height, core.width)
        reports: list[tuple[int, int]] = []
        made = enlarge_tiles(source, enlarger, plan, edge=edge, kept=shelf, on_tile=lambda *r: reports.append(r))
    assert np.array_equal(made, expected)
    assert calls == 4 + len(plan.cores) - 3, "the three finished tiles were not computed again"
    assert reports[-1] == (len(plan.cores), len(plan.cores)) and len(reports) == len(plan.cores)


def test_tiles_that_were_cut_smaller_are_not_kept(compact: Network) -> None:
    shelf, calls = Shelf(), 0

    def run(part: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if part.shape[-1] > 32 and calls > 1:
            raise MemoryError("out of memory")
        return compact(part)

    enlarger = Enlarger(run, 4, 8)
    plan = enlarging_plan(64, 64, enlarger, 32)
    made = enlarge_tiles(picture(64, 64), enlarger, plan, kept=shelf)
    assert sorted(shelf.tiles) == [0] and calls > 4
    assert np.array_equal(made[:128, :128], shelf.tiles[0].movedim(0, -1).numpy().clip(0, 1))
