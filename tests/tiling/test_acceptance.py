"""What must hold of tiles whatever draws them: noise that knows no tiles, and networks of short reach."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from hires.sampling import run
from hires.sampling.guidance import Cond, Guidance
from hires.sampling.jobs import cut
from hires.sampling.levels import standard_levels
from hires.sampling.noise import initial_noise
from hires.sampling.samplers import SAMPLERS
from hires.sampling.schedules import run_sigmas
from hires.tiling.joint import Crop, JointTiling, spot_shifts

LEVELS = standard_levels()
TEXT = torch.zeros(1, 1, 4)


class Nothing:
    """A network to which every picture is empty: what is left of a run is its noise."""

    identity, prediction = "nothing", "x0"

    def predict(self, x: Tensor, *rest: Any, **named: Any) -> Tensor:
        return torch.zeros_like(x)


class Smooths:
    """The mean of 3 x 3, zeros beyond the border."""

    identity, prediction = "smooths", "x0"

    def predict(self, x: Tensor, *rest: Any, **named: Any) -> Tensor:
        return conv2d(0.5 * x, torch.full((4, 1, 3, 3), 1 / 9), padding=1, groups=4)


def drawn(sampler: str, tiles: Any, network: Any, steps: int = 4, size: tuple[int, int] = (24, 40)) -> Tensor:
    plan = run.make_plan(sampler, run_sigmas(sampler, "karras", steps, LEVELS), 5, levels=LEVELS)
    begun = run.start(plan, torch.zeros(1, 4, *size), initial_noise(5, (1, 4, *size)))
    needs = SAMPLERS[sampler].needs_uncond
    sides = {"positive": [Cond(TEXT, windowed=True)], "negative": [Cond(TEXT, windowed=True)]}
    guidance = Guidance(network, LEVELS, cfg=3.0, needs_uncond=needs, tiles=tiles, **sides)  # type: ignore[arg-type]
    return run.sample(plan, begun, guidance, clock=guidance.clock, until=steps - 1).x


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "lcm"])
def test_the_noise_is_the_same_whatever_the_tiles(sampler: str) -> None:
    """The state before the last step, to the bit: noise from the seed and the steps, and nothing of the picture."""
    size = (136, 160)
    whole = drawn(sampler, None, Nothing(), size=size)
    assert float(whole.std()) > 0
    for side in (64, 96, 128):
        for grid in ("even", "jitter"):
            tiles = JointTiling("MultiDiffusion", (side, side), 16, grid=grid)  # type: ignore[arg-type]
            assert torch.equal(drawn(sampler, tiles, Nothing(), size=size), whole), (side, grid)


def test_adaptive_steps_are_the_same_for_a_pointwise_network() -> None:
    class Half(Nothing):
        def predict(self, x: Tensor, *rest: Any, **named: Any) -> Tensor:
            return 0.5 * x

    sides = {"positive": [Cond(TEXT)], "negative": [Cond(TEXT)]}
    plan = run.make_plan("dpm_adaptive", run_sigmas("dpm_adaptive", "karras", 4, LEVELS), 5, levels=LEVELS)
    begun = run.start(plan, torch.zeros(1, 4, 24, 40), initial_noise(5, (1, 4, 24, 40)))
    results = []
    for tiles in (
        None,
        JointTiling("Mixture of Diffusers", (12, 16), 4),
        JointTiling("Cosine", (16, 16), 4, grid="jitter"),
    ):
        guidance = Guidance(Half(), LEVELS, cfg=3.0, tiles=tiles, **sides)  # type: ignore[arg-type]
        results.append(run.sample(plan, begun, guidance, clock=guidance.clock).x)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-4, atol=1e-5)


@dataclass(frozen=True)
class Cores:
    """Tiles of which only what no border reaches counts; tiles at the canvas's border keep that border."""

    tiling: JointTiling
    halo: int
    tile_batch: int = 4

    def key(self, step: int) -> bytes:
        return self.tiling.key(step)

    def crops(self, height: int, width: int, step: int, wraps: bool = True) -> list[Crop]:
        found = []
        for crop in self.tiling.crops(height, width, step, wraps):
            h, w, y, x = crop.place
            inner = torch.zeros(h, w)
            rows = slice(self.halo if y else 0, h - self.halo if y + h != height else h)
            columns = slice(self.halo if x else 0, w - self.halo if x + w != width else w)
            inner[rows, columns] = 1
            found.append(replace(crop, window=inner))
        return found

    def vector(self, vector: Tensor, place: Any, size: Any) -> Tensor:
        return vector


@pytest.mark.parametrize("sampler", ["euler_ancestral", "heun", "dpmpp_2m_sde"])
@pytest.mark.parametrize("grid", ["even", "jitter"])
def test_a_network_of_short_reach_draws_the_same_through_all_steps(sampler: str, grid: Any) -> None:
    """A 3 x 3 convolution reaches one cell: with a halo of one, tiles that stand or move give the untiled picture."""
    tiles = JointTiling("MultiDiffusion", (16, 16), 4, grid=grid, granularity=1)
    whole = drawn(sampler, None, Smooths())
    torch.testing.assert_close(drawn(sampler, Cores(tiles, 1), Smooths()), whole, rtol=1e-4, atol=1e-4)
    without = drawn(sampler, Cores(tiles, 0), Smooths())
    assert float((without - whole).abs().max()) > 1e-2  # the halo is what does it


def test_a_wrapped_tile_sees_the_other_side() -> None:
    """A rolling grid reads the canvas as a ring: cells inside the tiles are those of the rolled picture."""
    x = torch.randn(1, 4, 16, 32, generator=torch.Generator().manual_seed(1))
    tiles = JointTiling("SpotDiffusion", (16, 16), 0, grid="roll", shifts=spot_shifts("random", 3, 9, (16, 16)))
    for step in range(4):
        for crop in tiles.crops(16, 32, step):
            _, _, y, left = crop.place
            torch.testing.assert_close(cut(x, crop.place), x.roll((-y, -left), (2, 3))[..., :16, :16])


def test_joins_lie_where_the_method_shows_them() -> None:
    averaged = JointTiling("MultiDiffusion", (16, 16), 4).joins(16, 40)
    assert averaged == ((), (96, 128, 192, 224))  # tiles from 0, 12 and 24 to 16, 28 and 40 cells: both ends
    assert JointTiling("Cosine", (16, 16), 4).joins(16, 40) == ((), (112, 208))
    assert JointTiling("SpotDiffusion", (8, 8), 0, grid="roll").joins(16, 24) == ((64,), (64, 128))
    assert JointTiling("Cosine", (64, 64), 8).joins(16, 40) == ((), ())
