"""Tiles that are redrawn: hires' own geometry, and the originals' by the numbers they are known for."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.tiling.grid import Box
from hires.tiling.redraw import (
    Job,
    RedrawPlan,
    Ultimate,
    mending_plan,
    partition,
    sd_upscale_plan,
    triangle,
    ultimate_plan,
    widened_plan,
)
from hires.tiling.redraw_pixels import (
    Canvas,
    crop_and_resize,
    locked,
    low_frequencies,
    on_cells,
    resize_and_fill,
)
from hires.tiling.redraw_presets import sd_upscale_preset, ultimate_preset

SIDES = st.integers(8, 60).map(lambda cells: cells * 8)


def jobs_of(plan: RedrawPlan) -> list[Job]:
    return [job for each in plan.rounds for job in each.jobs]


def covered(plan: RedrawPlan, number: int = 0) -> torch.Tensor:
    total = torch.zeros(plan.canvas)
    for job in plan.rounds[number].jobs:
        assert job.mask().shape == (job.crop.height, job.crop.width)
        total[job.crop.slices] += job.mask()
    return total


# ---- hires' own -----------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES, st.integers(8, 24), st.integers(0, 12), st.integers(0, 16))
def test_even_crops_have_one_size_and_cover_once(height: int, width: int, tile: int, padding: int, blur: int) -> None:
    plan = ultimate_plan(height, width, Ultimate((tile * 8, tile * 8), padding * 8, blur))
    jobs = jobs_of(plan)
    assert len({job.size for job in jobs}) == 1
    for job in jobs:
        assert job.size == (job.crop.height, job.crop.width) and not job.resized
        assert Box(0, 0, height, width).contains(job.crop) and job.crop.contains(job.core)
        assert job.crop.top % 8 == job.crop.left % 8 == 0
    assert torch.allclose(covered(plan), torch.ones(height, width), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES, st.integers(8, 24), st.integers(0, 7))
def test_sd_upscale_covers_once_with_the_overlap(height: int, width: int, tile: int, overlap: int) -> None:
    plan = sd_upscale_plan(height, width, (tile * 8, tile * 8), overlap * 8)
    assert torch.allclose(covered(plan), torch.ones(height, width), atol=1e-6)
    lefts = sorted({job.crop.left for job in jobs_of(plan)})
    wide = jobs_of(plan)[0].crop.width
    assert all(first + wide - second >= overlap * 8 for first, second in pairwise(lefts))


def test_no_sliver_where_the_original_has_one() -> None:
    even = jobs_of(ultimate_plan(1088, 1088, Ultimate()))
    assert len(even) == 9 and min(job.core.height for job in even) >= 360
    sliver = jobs_of(ultimate_preset(1088, 1088, Ultimate(), "a1111"))[-1]
    assert (sliver.crop.height, sliver.crop.width, sliver.size) == (116, 116, (576, 576))


@pytest.mark.parametrize(("overlap", "size", "tiles"), [(64, 1200, 4), (64, 2400, 16)])
def test_tile_plus_overlap_gives_the_fewest_tiles(overlap: int, size: int, tiles: int) -> None:
    """600 pixels enlarged two and four times, in tiles of 664."""
    assert sd_upscale_plan(size, size, (664, 664), overlap).jobs == tiles
    assert sd_upscale_preset(size, size, (664, 664), overlap).jobs == tiles


def test_chess_draws_one_colour_after_the_other() -> None:
    plan = ultimate_plan(512, 512, Ultimate((128, 128), mode="Chess"))
    colours = [(job.core.top // 128 + job.core.left // 128) % 2 for job in jobs_of(plan)]
    assert colours == [0] * 8 + [1] * 8
    preset = ultimate_preset(512, 512, Ultimate((128, 128), mode="Chess"), "a1111")
    assert [(j.core.top // 128 + j.core.left // 128) % 2 for j in jobs_of(preset)] == colours


@pytest.mark.parametrize(
    ("seams", "jobs"), [("Band Pass", 24), ("Half Tile", 24), ("Half Tile + Intersections", 33), ("None", 0)]
)
def test_seam_passes_weigh_most_on_the_joins(seams: str, jobs: int) -> None:
    plan = ultimate_plan(512, 512, Ultimate((128, 128), mode="None", seams=seams))  # type: ignore[arg-type]
    assert plan.jobs == plan.seam_jobs == jobs
    for number in range(len(plan.rounds)):
        total = covered(plan, number)
        assert float(total.max()) <= 1 + 1e-6 and float(total[64, 64]) < 0.02
    if jobs:
        assert float(covered(plan, 0)[128, 64]) > 0.95 and float(covered(plan, 1)[64, 128]) > 0.95
    if len(plan.rounds) == 3:
        assert float(covered(plan, 2)[128, 128]) > 0.95 and float(covered(plan, 2)[128, 64]) < 0.05


def test_mending_goes_over_the_named_joins_alone() -> None:
    plan = mending_plan(512, 512, Ultimate((128, 128)), [256], [])
    assert plan.jobs == 4 and {job.core for job in jobs_of(plan)} == {
        Box(224, x, 288, x + 128) for x in (0, 128, 256, 384)
    }


def test_a_partition_is_what_it_says() -> None:
    lines = partition(40, [10, 25], 4)
    assert torch.allclose(sum(lines), torch.ones(40)) and lines[1][:6].sum() == 0 and lines[1][14:21].min() == 1
    assert [float(line[9]) for line in lines] == pytest.approx([0.5625, 0.4375, 0])
    assert triangle(9, 4.5, 4.5).argmax() == 4


# ---- the originals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blur", "padding", "inner", "corner"),
    [(8, 32, 617, 565), (0, 32, 577, 545), (16, 32, 655, 584), (16, 64, 719, 616)],
)
def test_the_webuis_crops(blur: int, padding: int, inner: int, corner: int) -> None:
    jobs = jobs_of(ultimate_preset(2048, 2048, Ultimate(blur=blur, padding=padding), "a1111"))
    assert len(jobs) == 16 and {job.size for job in jobs} == {(576, 576)}
    assert (jobs[5].crop.height, jobs[5].crop.width) == (inner, inner)
    assert (jobs[0].crop.height, jobs[0].crop.width) == (corner, corner)


def test_the_webuis_seam_crops() -> None:
    options = Ultimate(seams="Half Tile + Intersections", seam_blur=4, mode="None")
    jobs = jobs_of(ultimate_preset(2048, 2048, options, "a1111"))
    assert len(jobs) == 12 + 12 + 9 and {job.size for job in jobs} == {(512, 512)}
    assert (jobs[5].crop.height, jobs[5].crop.width) == (564, 564)
    assert (jobs[-1].crop.height, jobs[-1].crop.width) == (530, 530)
    radial = jobs[-1].mask()
    assert float(radial[265, 265]) == pytest.approx(1.0, abs=0.03)
    assert float(radial[265, 29]) == pytest.approx(88 / 255, abs=0.02)  # 74 in the middle of an edge, 20 pixels on
    bands = jobs_of(ultimate_preset(2048, 1024, Ultimate(seams="Band Pass", mode="None"), "a1111"))
    assert [job.size for job in bands] == [(2048, 96)] + [(96, 1024)] * 3
    assert bands[0].core == Box(0, 480, 2048, 544)


def test_the_ports_crops() -> None:
    jobs = jobs_of(ultimate_preset(2048, 2048, Ultimate(), "comfyui"))
    assert jobs[5].crop == Box(480, 480, 1056, 1056) and jobs[5].size == (544, 544)
    assert {job.crop for job in jobs} == {
        job.crop for job in jobs_of(ultimate_preset(2048, 2048, Ultimate(blur=32), "comfyui"))
    }
    loose = jobs_of(ultimate_preset(1088, 1088, Ultimate(uniform=False), "comfyui"))
    assert loose[0].size == (544, 544) and not loose[0].resized and loose[-1].size == (96, 96)


def test_sd_upscales_joins_are_those_of_the_script() -> None:
    plan = sd_upscale_preset(512, 1000, (512, 564), 64)
    jobs = jobs_of(plan)
    assert [job.crop.left for job in jobs] == [0, 436]
    ramp = torch.tensor([math.floor(255 * index / 64) / 255 for index in range(64)])
    assert torch.allclose(jobs[1].mask()[0, :64], ramp, atol=1e-6) and jobs[1].mask()[0, 64:].min() == 1
    assert torch.allclose(jobs[0].mask()[0, 436:500], 1 - ramp, atol=1e-6) and jobs[0].mask()[0, 500:].max() == 0
    assert sd_upscale_preset(300, 300, (512, 512), 64).jobs == 1  # no black border: the tile is brought down


# ---- pixels ---------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(20, 60), st.integers(20, 60))
def test_filling_and_cropping_undo_each_other(height: int, width: int) -> None:
    ramp = torch.linspace(0.2, 0.8, width).expand(1, height, width)[..., None].expand(-1, -1, -1, 3)
    there = resize_and_fill(ramp, (64, 64))
    assert there.shape == (1, 64, 64, 3)
    back = crop_and_resize(there, (height, width))
    assert back.shape == ramp.shape and float((back - ramp).abs().max()) < 0.1


def test_the_lock_gives_the_sources_tone_and_keeps_detail() -> None:
    source = torch.full((1, 64, 64, 3), 0.4)
    detail = torch.zeros_like(source)
    detail[:, ::2] += 0.1
    drawn = source + 0.2 + detail
    assert torch.allclose(low_frequencies(source, 8.0), source, atol=1e-5)
    held = locked(drawn, source, 1.0, 8.0)
    assert float(held.mean()) == pytest.approx(0.4, abs=0.005)
    assert float(held[0, 20, 20, 0] - held[0, 21, 20, 0]) == pytest.approx(0.1, abs=0.01)
    assert torch.equal(locked(drawn, source, 0.0, 8.0), drawn)


@pytest.mark.parametrize(
    "plan",
    [
        ultimate_plan(96, 128, Ultimate((48, 48), 16, 4, seams="Half Tile")),
        ultimate_preset(96, 128, Ultimate((64, 64), 16, 4, seams="Half Tile"), "a1111"),
    ],
)
def test_tiles_laid_back_as_they_were_change_nothing(plan: RedrawPlan) -> None:
    picture = (torch.rand(1, 96, 128, 3, generator=torch.Generator().manual_seed(1)) * 255).round() / 255
    image = picture
    for each in plan.rounds:
        canvas = Canvas(image, each)
        for job in each.jobs:
            canvas.lay(job, canvas.view(job))
        image = canvas.finished()
    assert float((image - picture).abs().max()) < 1e-5


def test_a_later_tile_sees_what_the_former_drew() -> None:
    plan = ultimate_plan(64, 128, Ultimate((64, 64), 16, 4))
    canvas = Canvas(torch.zeros(1, 64, 128, 3), plan.rounds[0])
    first, second = plan.rounds[0].jobs
    canvas.lay(first, torch.ones(1, first.crop.height, first.crop.width, 3))
    seen = canvas.view(second)
    assert float(seen[0, 32, 0].max()) == 1 and float(seen[0, 32, -1].max()) == 0
    separate = sd_upscale_plan(64, 128, (64, 80), 16)
    apart = Canvas(torch.zeros(1, 64, 128, 3), separate.rounds[0])
    apart.lay(separate.rounds[0].jobs[0], torch.ones(1, 64, 80, 3))
    assert float(apart.view(separate.rounds[0].jobs[1]).max()) == 0


def test_sides_are_brought_to_cells() -> None:
    image = torch.rand(1, 13, 16, 3)
    assert on_cells(image).shape == (1, 16, 16, 3) and torch.equal(on_cells(image)[:, 15], image[:, 12])


def test_the_plan_is_said_in_a_line() -> None:
    line = ultimate_preset(2048, 2048, Ultimate(seams="Half Tile"), "a1111").describe(400)
    said = ("16 tiles (4x4)", "24 crops over the seams", "drawn at 0.877 to 1.021", "400 denoiser calls")
    assert all(part in line for part in said)


# ---- wider overlaps -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.integers(8, 24), st.integers(0, 7), st.data())
def test_wider_overlaps_are_where_the_joins_are(
    height: int, width: int, tile: int, overlap: int, data: st.DataObject
) -> None:
    options = (height, width, (tile * 8, tile * 8), overlap * 8)
    plain = sd_upscale_plan(*options)
    rows, columns = (data.draw(st.lists(st.sampled_from(axis or (0,)), unique=True)) for axis in plain.joins)
    rows, columns = ([join for join in chosen if join] for chosen in (rows, columns))
    plan = widened_plan(*options, rows, columns)
    total = covered(plan)
    assert float(total.max()) <= 1 + 1e-6 and plan.rounds[0].from_source
    beside = torch.zeros(height, width)
    for join in rows:
        beside[join - 4 : join + 4] = 1
    for join in columns:
        beside[:, join - 4 : join + 4] = 1
    assert torch.allclose(total[beside > 0], torch.ones(()), atol=1e-5)  # nothing of the join is left
    before = {(job.core.top, job.core.left): job.crop for job in jobs_of(plain)}
    for job in jobs_of(plan):
        assert Box(0, 0, height, width).contains(job.crop) and not job.resized
        assert job.crop.height % 8 == job.crop.width % 8 == 0
    if not rows and not columns:
        assert plan.jobs == 0
    elif rows == list(plain.joins[0]) and columns == list(plain.joins[1]):
        assert plan.jobs == len(before)


def test_only_tiles_beside_the_join_are_drawn_again() -> None:
    plan = widened_plan(64, 256, (64, 64), 16, [], [104])
    assert [(job.crop.left, job.crop.right) for job in jobs_of(plan)] == [(48, 120), (88, 160)]  # 16 pixels were shared
    assert float(covered(plan)[:, :48].max()) == 0 and float(covered(plan)[:, 64:144].min()) == 1
