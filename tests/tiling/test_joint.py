"""Joint denoising: what is pointwise or of short reach is the same with tiles and without, for every sampler."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv2d

from hires.errors import SettingError
from hires.sampling import run
from hires.sampling.guidance import Cond, Guidance, Seen
from hires.sampling.jobs import Clock, cut
from hires.sampling.levels import standard_levels
from hires.sampling.noise import initial_noise
from hires.sampling.samplers import SAMPLERS
from hires.sampling.schedules import run_sigmas
from hires.sampling.webui import webui_plan
from hires.tiling.joint import METHODS, JointTiling, spot_shifts

LEVELS = standard_levels()
SIGMA = torch.tensor(3.0)
TEXT = torch.zeros(1, 1, 4)


@dataclass(frozen=True, eq=False)
class Network:
    """x0 = 0.5 x of what it sees, or that smoothed by a 3 x 3 mean of zero-padded surroundings."""

    smooths: bool = False
    identity: str = "network"
    prediction: str = "x0"
    calls: list[tuple[int, ...]] = field(default_factory=list)

    def predict(
        self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None, **named: Any
    ) -> Tensor:
        self.calls.append(tuple(x.shape))
        answer = 0.5 * x
        if self.smooths:
            kernel = torch.full((4, 1, 3, 3), 1 / 9)
            answer = conv2d(answer, kernel, padding=1, groups=4)
        return answer + context[:, :1, :1, None] if context.any() else answer


def guided(tiles: JointTiling | None, network: Network | None = None, **rest: Any) -> Guidance:
    given = {"positive": [Cond(TEXT)], "negative": [Cond(TEXT)], "cfg": 3.0} | rest
    return Guidance(network or Network(), LEVELS, tiles=tiles, **given)


def latent(height: int = 24, width: int = 40, batch: int = 1, seed: int = 1) -> Tensor:
    return 3.0 * initial_noise(seed, (batch, 4, height, width))


TILINGS = {
    "multi": JointTiling("MultiDiffusion", (12, 16), 6),
    "mixture": JointTiling("Mixture of Diffusers", (12, 16), 4, tile_batch=3),
    "cosine": JointTiling("Cosine", (10, 14), 0, tile_batch=1),
    "jitter": JointTiling("Cosine", (16, 16), 0, grid="jitter"),
    "jitter overlapping": JointTiling("Cosine", (16, 16), 4, grid="jitter", seed_offset=0.3),
    "spot": JointTiling("SpotDiffusion", (8, 16), 0, grid="roll", shifts=spot_shifts("random", 3, 9, (8, 16))),
    "linear": JointTiling("Cosine", (12, 12), 4, window="linear"),
}
ALL_SAMPLERS = [name for name in SAMPLERS if "adaptive" not in name]


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_a_pointwise_denoiser_gives_the_same_tiled(sampler: str) -> None:
    if sampler == "uni_pc_timesteps":
        plan = webui_plan("UniPC", "Automatic", 4, LEVELS, [5])
    else:
        plan = run.make_plan(sampler, run_sigmas(sampler, "karras", 4, LEVELS), 5, levels=LEVELS)
    begun = run.start(plan, torch.zeros(1, 4, 24, 40), initial_noise(5, (1, 4, 24, 40)))

    def final(tiles: JointTiling | None) -> Tensor:
        guidance = guided(tiles, needs_uncond=SAMPLERS[sampler].needs_uncond)
        return run.sample(plan, begun, guidance, clock=guidance.clock).x

    whole = final(None)
    for name in ("multi", "jitter overlapping", "spot"):
        torch.testing.assert_close(final(TILINGS[name]), whole, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(8, 50), st.integers(8, 50)),
    st.tuples(st.integers(5, 60), st.integers(5, 60)),
    st.integers(0, 30),
    st.integers(1, 9),
    st.sampled_from(("even", "jitter", "roll")),
    st.sampled_from(tuple(METHODS)),
    st.integers(0, 20),
)
def test_any_tiling_fuses_a_pointwise_denoiser_exactly(
    size: tuple[int, int], tile: tuple[int, int], overlap: int, batch: int, grid: Any, method: str, step: int
) -> None:
    shifts = spot_shifts("random", 1, 21, tile)
    tiles = JointTiling(method, tile, overlap, batch, grid, shifts=shifts)
    x = latent(*size)
    guidance = guided(tiles)
    guidance.clock.step = step
    torch.testing.assert_close(guidance(x, SIGMA, 0).denoised, guided(None)(x, SIGMA, 0).denoised, rtol=0, atol=4e-6)
    crops = tiles.crops(*size, step, wraps=True)
    total = torch.zeros(size)
    for crop in crops:
        h, w, y, left = crop.place
        rows, columns = torch.arange(y, y + h) % size[0], torch.arange(left, left + w) % size[1]
        total[rows[:, None], columns] += crop.share
    torch.testing.assert_close(total, torch.ones(size), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", TILINGS)
def test_one_tile_is_the_whole_to_the_bit(name: str) -> None:
    x = latent(24, 40, batch=2)
    tiles = replace(TILINGS[name], tile=(24, 40))
    plain, tiled = Network(smooths=True), Network(smooths=True)
    whole = guided(None, plain)(x, SIGMA, 0).denoised
    assert torch.equal(guided(tiles, tiled)(x, SIGMA, 0).denoised, whole)
    assert plain.calls == tiled.calls


@pytest.mark.parametrize("name", TILINGS)
def test_the_tile_batch_changes_nothing(name: str) -> None:
    x = latent(batch=2)
    results = []
    for batch in (1, 2, 4, 99):
        network = Network(smooths=True)
        results.append(guided(replace(TILINGS[name], tile_batch=batch), network)(x, SIGMA, 0).denoised)
        assert max(shape[0] for shape in network.calls) <= 2 * 2 * batch
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=1e-6)


def test_tiles_are_dealt_evenly_over_the_calls() -> None:
    network = Network()
    guided(JointTiling("MultiDiffusion", (8, 8), 0, tile_batch=4), network, cfg=1.0)(latent(8, 40), SIGMA, 0)
    assert [shape[0] for shape in network.calls] == [3, 2]


def test_what_reaches_no_further_than_the_halo_is_the_whole() -> None:
    """A 3 x 3 convolution is right one cell inside of a tile; a paste of such cores is the untiled answer."""
    x = latent(24, 24)
    whole = guided(None, Network(smooths=True))(x, SIGMA, 0).denoised
    tiles = JointTiling("MultiDiffusion", (12, 12), 4)
    inner = torch.zeros(12, 12)
    inner[1:-1, 1:-1] = 1.0
    crops = [replace(crop, window=inner) for crop in tiles.crops(24, 24, 0)]

    @dataclass(frozen=True)
    class Cores:
        tile_batch: int = 4

        def key(self, step: int) -> bytes:
            return b""

        def crops(self, height: int, width: int, step: int, wraps: bool) -> Any:
            return crops

        def vector(self, vector: Tensor, place: Any, size: Any) -> Tensor:
            return vector

    entries = {"positive": [Cond(TEXT, windowed=True)], "negative": [Cond(TEXT, windowed=True)]}
    fused = Guidance(Network(smooths=True), LEVELS, cfg=3.0, tiles=Cores(), **entries)(x, SIGMA, 0).denoised  # type: ignore[arg-type]
    torch.testing.assert_close(fused[:, :, 1:-1, 1:-1], whole[:, :, 1:-1, 1:-1], rtol=0, atol=1e-5)


# ---- what is cut with the tiles -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Ramp:
    """A control whose picture is the coordinates of the latent; it checks that it is asked for x's own."""

    key: bytes = b"ramp"
    asked: list[int] = field(default_factory=list)

    def residuals(self, seen: Seen) -> Tensor:
        height, width = seen.size
        ramp = torch.arange(height * width, dtype=torch.float32).reshape(height, width)
        parts = [cut(ramp, place).expand(seen.batch, 1, -1, -1) for place in seen.places]
        shown = torch.cat(parts)
        if len(seen.places) == 1:
            shown = shown.repeat(len(seen.x) // len(shown), 1, 1, 1)
        torch.testing.assert_close(seen.x[:, :1] * (float(seen.sigma) ** 2 + 1) ** 0.5, shown)
        self.asked.append(len(seen.places))
        return shown


@dataclass(frozen=True, eq=False)
class Steered(Network):
    def predict(
        self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None, **named: Any
    ) -> Tensor:
        return named["control"].expand(-1, 4, -1, -1)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", TILINGS)
def test_controls_are_cut_to_each_tile(name: str, batch: int) -> None:
    height, width = 24, 40
    ramp = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width).expand(2, 4, -1, -1)
    control = Ramp()
    entries = {"positive": [Cond(TEXT, control=control)], "negative": [Cond(TEXT, control=control)]}
    for step in range(3):
        guidance = guided(replace(TILINGS[name], tile_batch=batch), Steered(), **entries)
        guidance.clock.step = step
        torch.testing.assert_close(guidance(ramp.contiguous(), SIGMA, 0).denoised, ramp, rtol=1e-6, atol=1e-3)
    assert control.asked and (batch == 1 or max(control.asked) > 1)


@pytest.mark.parametrize("name", TILINGS)
def test_extra_channels_and_masks_are_cut_to_each_tile(name: str) -> None:
    x = latent()
    concat, mask = torch.rand(1, 5, 24, 40), torch.rand(1, 24, 40)

    class Extra(Network):
        def predict(self, x: Tensor, *rest: Any, **named: Any) -> Tensor:
            return x[:, 4:8] + rest[1][:, :1, :1, None]

    texts = [
        Cond(TEXT, concat=concat, mask=mask),
        Cond(TEXT + 2, concat=concat),
        Cond(TEXT + 5, area=(13, 17, 6, 9), concat=concat),
    ]
    both = {"positive": texts, "negative": [Cond(TEXT, concat=concat)]}
    whole = guided(None, Extra(), **both)(x, SIGMA, 0).denoised
    torch.testing.assert_close(guided(TILINGS[name], Extra(), **both)(x, SIGMA, 0).denoised, whole, rtol=0, atol=1e-5)


# ---- the moving grids -----------------------------------------------------------------------------------------------


def test_the_jittered_grid_moves_by_grains_and_keeps_to_the_canvas() -> None:
    tiles = JointTiling("Cosine", (32, 32), 8, grid="jitter", granularity=8)
    seen = set()
    for step in range(20):
        boxes = tiles.boxes(80, 112, step)
        seen.add(tuple(boxes))
        assert all(box.within(80, 112) == box for box in boxes)
        assert all(box.height == 32 and box.width == 32 for box in boxes)
        covered = torch.zeros(80, 112)
        for box in boxes:
            covered[box.slices] += 1
        assert bool((covered > 0).all())
        tops = sorted({box.top for box in boxes})
        assert all(after - before <= 24 for before, after in pairwise(tops))
    assert len(seen) > 6


def test_both_calls_of_a_second_order_step_see_the_same_grid() -> None:
    tiles = TILINGS["jitter"]
    asked: list[int] = []

    @dataclass(frozen=True)
    class Watched(JointTiling):
        def crops(self, height: int, width: int, step: int, wraps: bool = True) -> Any:
            asked.append(step)
            return tiles.crops(height, width, step, wraps)

    plan = run.make_plan("heun", run_sigmas("heun", "karras", 4, LEVELS), 5, levels=LEVELS)
    guidance = guided(Watched("Cosine", (16, 16), 0), cfg=1.0)
    run.sample(plan, run.start(plan, torch.zeros(1, 4, 24, 40), latent()), guidance, clock=guidance.clock)
    assert asked == [0, 0, 1, 1, 2, 2, 3]


def test_a_run_that_begins_later_goes_on_with_the_grid() -> None:
    tiles = TILINGS["jitter"]
    later = replace(tiles, first_step=5)
    assert later.key(2) == tiles.key(7) != tiles.key(2)
    assert [crop.place for crop in later.crops(48, 64, 2)] == [crop.place for crop in tiles.crops(48, 64, 7)]


def test_spot_shifts_are_those_of_the_seed() -> None:
    drawn = torch.randint(0, 96, (20,), generator=torch.Generator().manual_seed(7)).tolist()
    assert [row for row, _ in spot_shifts("random", 7, 20, (96, 64))] == drawn
    assert [row for row, _ in spot_shifts("sorted", 7, 20, (96, 64))] == sorted(drawn)
    dealt = [row for row, _ in spot_shifts("fibonacci", 7, 20, (96, 64))]
    ascending = sorted(drawn)
    assert dealt[:4] == [ascending[0], ascending[1], ascending[2], ascending[3]] and sorted(dealt) == ascending


def test_a_roll_moves_one_axis_at_a_time_and_none_that_one_tile_covers() -> None:
    tiles = JointTiling("SpotDiffusion", (8, 8), 0, grid="roll", shifts=((3, 5), (3, 5)))
    odd, even = (tiles.crops(16, 16, step)[0].place for step in (1, 0))
    assert {odd, even} == {(8, 8, 13, 0), (8, 8, 0, 11)}
    assert tiles.crops(8, 16, 0)[0].place == (8, 8, 0, 11)


# ---- keys and errors ------------------------------------------------------------------------------------------------


def test_every_setting_is_part_of_the_key() -> None:
    base = JointTiling()
    others = [
        replace(base, **change)
        for change in (
            {"method": "MultiDiffusion"},
            {"tile": (96, 64)},
            {"overlap": 8},
            {"tile_batch": 1},
            {"grid": "jitter"},
            {"window": "linear"},
            {"granularity": 4},
            {"published": True},
            {"micro_cond": "native"},
            {"grid": "jitter", "seed_offset": 0.5},
        )
    ]
    keys = {guided(tiles).key(3, 3, 5.0, 4.0) for tiles in (None, base, *others)}
    assert len(keys) == len(others) + 2


@pytest.mark.parametrize(
    "wrong", [{"method": "Best"}, {"tile": (1, 96)}, {"overlap": -1}, {"tile_batch": 0}, {"window": "square"}]
)
def test_impossible_settings_are_said(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        JointTiling(**wrong)


def test_calls_over_tiles_are_told_before_they_are_made() -> None:
    told: list[tuple[int, int]] = []
    network = Network()
    guidance = replace(
        guided(JointTiling("MultiDiffusion", (8, 8), 0, 1), network), on_call=lambda *counts: told.append(counts)
    )
    guidance(latent(8, 24), SIGMA, 0)
    assert told == [(0, 3), (1, 3), (2, 3)] and len(network.calls) == 3
    assert Clock().step == 0
