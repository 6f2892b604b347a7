"""Regions: places, layers, noise, JSON."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hires.errors import SettingError
from hires.sampling.guidance import Cond, Guidance
from hires.sampling.levels import standard_levels
from hires.tiling.joint import JointTiling
from hires.tiling.regions import Region, parse_region, read_regions, region_noise, uncovered, write_regions

LEVELS, SIGMA = standard_levels(), torch.tensor(2.0)
FRACTION = st.floats(0, 0.99)
REGIONS = st.builds(
    Region,
    x=FRACTION.map(lambda value: round(value, 4)),
    y=FRACTION.map(lambda value: round(value, 4)),
    width=st.floats(0.01, 1).map(lambda value: round(value, 4)),
    height=st.floats(0.01, 1).map(lambda value: round(value, 4)),
    prompt=st.text(max_size=20),
    negative=st.text(max_size=20),
    blend=st.sampled_from(("Background", "Foreground")),
    feather=st.floats(0, 1),
    seed=st.integers(-1, 2**32),
)


class Says:
    """A network that answers the number its text holds."""

    identity, prediction = "says", "x0"

    def predict(self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x) + context[:, :1, :1, None]


def said(conds: list[Cond], tiles: JointTiling | None = None) -> Tensor:
    guidance = Guidance(Says(), LEVELS, conds, [], 1.0, tiles=tiles)
    return guidance(torch.zeros(1, 4, 24, 32), SIGMA, 0).denoised[0, 0]


def text(number: float) -> Tensor:
    return torch.full((1, 1, 1), number)


@settings(max_examples=40, deadline=None)
@given(st.lists(REGIONS, max_size=6))
def test_json_comes_back(regions: list[Region]) -> None:
    assert read_regions(write_regions(regions)) == regions


def test_the_extensions_records_are_read() -> None:
    records = [
        {"enable": True, "x": 0.4, "y": 0.4, "w": 0.2, "h": 0.2, "prompt": "a", "neg_prompt": "b",
         "blend_mode": "Foreground", "feather_ratio": 0.3, "seed": 7},
        {"enable": False, "x": 5},
    ]  # fmt: skip
    found = read_regions(json.dumps({"bbox_controls": records}))
    assert found == [Region(0.4, 0.4, 0.2, 0.2, "a", "b", "Foreground", 0.3, 7)]


@pytest.mark.parametrize(
    "wrong",
    [
        "", "[1]", "{}", '{"bbox_controls": 3}', '[{"x": 2}]', '[{"w": 0}]', '[{"blend_mode": "Over"}]', "[" * 9999,
        '[{"x": "left"}]', '[{"seed": 1.5}]', '[{"prompt": 3}]', '[{"x": NaN}]', '[{"feather_ratio": 2}]',
        json.dumps([{}] * 65),
    ],
)  # fmt: skip
def test_what_is_no_region_is_said(wrong: str) -> None:
    with pytest.raises(SettingError):
        read_regions(wrong)


def test_a_region_on_the_command_line() -> None:
    region = parse_region(r"0,0.5,0.5,1:(red\:1.2) hat:blue:foreground:0.5:9")
    assert region == Region(0.0, 0.5, 0.5, 1.0, "(red:1.2) hat", "blue", "Foreground", 0.5, 9)
    assert parse_region("0,0,1,1:a") == Region(0, 0, 1, 1, "a")
    for wrong in ("", "0,0:a", "a,b,c,d:x", "0,0,1,1:a:b:Background:x", "0,0,1,1:a:b:c:0:1:2:3"):
        with pytest.raises(SettingError):
            parse_region(wrong)


def test_places_are_in_cells_and_never_empty() -> None:
    assert Region(0.25, 0.5, 0.3, 0.9).place(24, 32) == (12, 10, 12, 8)
    assert Region(0.99, 0.99, 0.001, 0.001).place(8, 8) == (1, 1, 7, 7)


def test_bare_canvas_is_found() -> None:
    half = Region(0, 0, 0.5, 1)
    assert int(uncovered([half], 10, 10).sum()) == 50
    assert not uncovered([half, Region(0.5, 0, 0.5, 1)], 10, 10).any()
    assert uncovered([Region(0, 0, 1, 1, blend="Foreground")], 10, 10).all()
    assert not uncovered([Region(0, 0, 1, 1, blend="Foreground", feather=0)], 10, 10).any()


def test_the_noise_of_overlapping_regions_has_unit_variance() -> None:
    def draw(seed: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    noise = draw(0, (2, 4, 160, 160))
    regions = [Region(0, 0, 0.8, 0.8, seed=1), Region(0.2, 0.2, 0.8, 0.8, seed=2), Region(0.3, 0.3, 0.5, 0.5, seed=3)]
    mixed = region_noise(noise, [*regions, Region(0.9, 0, 0.1, 0.1, seed=-1)], draw)
    assert abs(float(mixed[:, :, 50:120, 50:120].var()) - 1) < 0.03
    assert torch.equal(mixed[0, :, 48:128, 48:128], mixed[1, :, 48:128, 48:128])
    assert torch.equal(mixed[:, :, :30, 130:], noise[:, :, :30, 130:])
    over = region_noise(noise, [regions[0], Region(0.2, 0.2, 0.5, 0.5, seed=9, blend="Foreground")], draw)
    assert torch.equal(over[0, :, 32:112, 32:112], draw(9, (4, 80, 80)))


@pytest.mark.parametrize("tiles", [None, JointTiling("MultiDiffusion", (24, 16), 0)])
def test_a_background_region_joins_the_average(tiles: JointTiling | None) -> None:
    canvas = Cond(text(1.0), windowed=True)
    region = Cond(text(3.0), area=(12, 16, 0, 0), windowed=True)
    answer = said([canvas, region], tiles)
    torch.testing.assert_close(answer[:12, :16], torch.full((12, 16), 2.0))
    torch.testing.assert_close(answer[12:], torch.ones(12, 32))


def test_tiles_that_overlap_outweigh_a_region() -> None:
    canvas, region = Cond(text(1.0), windowed=True), Cond(text(4.0), area=(24, 32, 0, 0), windowed=True)
    answer = said([canvas, region], JointTiling("MultiDiffusion", (24, 20), 8))
    torch.testing.assert_close(answer[:, 15], torch.full((24,), 2.5))  # two tiles and the region's own two
    narrow = Cond(text(4.0), area=(24, 16, 0, 8), windowed=True)
    answer = said([canvas, narrow], JointTiling("MultiDiffusion", (24, 20), 8))
    torch.testing.assert_close(answer[:, 15], torch.full((24,), 2.0))
    torch.testing.assert_close(answer[:, 9], torch.full((24,), 2.5))


@pytest.mark.parametrize("feather", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("tile", [8, 96])
def test_a_foreground_region_is_laid_over(feather: float, tile: int) -> None:
    region = Region(0.25, 0.25, 0.5, 0.5, blend="Foreground", feather=feather)
    place, opacity = region.place(24, 32), region.opacity(24, 32)
    over = Cond(text(3.0), area=place, opacity=opacity[None])
    answer = said([Cond(text(1.0), windowed=True), over], JointTiling("Cosine", (tile, tile), 2))
    h, w, y, x = place
    torch.testing.assert_close(answer[y : y + h, x : x + w], 1.0 + 2.0 * opacity, rtol=0, atol=1e-5)
    assert feather == 1.0 or float(opacity.max()) == 1.0
    assert (feather == 0.0) == bool((opacity == 1).all())
    assert float(answer[0, 0]) == pytest.approx(1.0)


def test_overlapping_foregrounds_count_half_each() -> None:
    entries = [Cond(text(value), area=(24, 32, 0, 0), opacity=torch.ones(1, 24, 32)) for value in (3.0, 5.0)]
    torch.testing.assert_close(said([Cond(text(1.0)), *entries]), torch.full((24, 32), 4.0))
