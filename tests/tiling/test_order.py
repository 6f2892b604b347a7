"""Tiles that are drawn by several at once see what they would see one after the other."""

from __future__ import annotations

import random
from concurrent.futures import Future
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hires.tiling.grid import Box
from hires.tiling.order import awaited, draw_awaited, merged
from hires.tiling.redraw import Job, Round, Ultimate, ultimate_plan
from hires.tiling.redraw_pixels import Canvas
from hires.tiling.redraw_presets import ultimate_preset


def redrawn(view: Tensor, number: int) -> Tensor:
    """Any function of what a tile sees and of its number."""
    return (view.roll(1, 1) * 0.7 + view.mean() * 0.2 + 0.1 * number % 1).clamp(0, 1)


def one_after_the_other(image: Tensor, round_: Round) -> Tensor:
    canvas = Canvas(image, round_)
    for number, job in enumerate(round_.jobs):
        canvas.lay(job, redrawn(canvas.view(job), number))
    return canvas.finished()


def at_once(image: Tensor, round_: Round, count: int, seed: int) -> tuple[Tensor, int]:
    """Ended in any order; and the most that were drawn at the same time."""
    canvas, chooser = Canvas(image, round_), random.Random(seed)
    going: dict[Future[Tensor], Tensor] = {}
    most = 0

    def begin(number: int) -> Future[Tensor]:
        nonlocal most
        future = Future[Tensor]()
        going[future] = redrawn(canvas.view(round_.jobs[number]), number)
        most = max(most, len(going))
        if len(going) == count:
            end()
        return future

    def end() -> None:
        if going:
            future = chooser.choice(list(going))
            future.set_result(going.pop(future))

    waits = awaited([job.crop for job in round_.jobs])
    look = end

    def finish(number: int, tile: Tensor) -> None:
        canvas.lay(round_.jobs[number], tile)
        end()

    draw_awaited(waits, begin, finish, count, look)
    return canvas.finished(), most


@st.composite
def rounds(draw: st.DrawFn) -> Round:
    jobs = []
    for _ in range(draw(st.integers(1, 8))):
        top, left = draw(st.integers(0, 20)), draw(st.integers(0, 20))
        crop = Box(top, left, top + draw(st.integers(1, 12)), left + draw(st.integers(1, 12)))
        mask = torch.rand(crop.height, crop.width, generator=torch.Generator().manual_seed(top * 31 + left)) * 0.25
        jobs.append(Job(crop, (crop.height, crop.width), crop, lambda mask=mask: mask))
    return Round(tuple(jobs), draw(st.sampled_from(["blend", "over"])))


@settings(max_examples=40)
@given(rounds(), st.integers(1, 4), st.integers(0, 99))
def test_any_tiles_ending_in_any_order_give_the_same_picture(round_: Round, count: int, seed: int) -> None:
    image = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(seed))
    made, most = at_once(image, round_, count, seed)
    assert torch.equal(made, one_after_the_other(image, round_)) and most <= count


@pytest.mark.parametrize("mode", ["Linear", "Chess"])
@pytest.mark.parametrize("preset", ["even", "a1111", "comfyui"])
def test_rows_are_drawn_beside_each_other(mode: str, preset: str) -> None:
    options = Ultimate((32, 32), padding=8, blur=2, mode=mode)  # type: ignore[arg-type]
    plan = ultimate_plan(160, 160, options) if preset == "even" else ultimate_preset(160, 160, options, preset)  # type: ignore[arg-type]
    (round_,) = merged(plan.rounds)
    image = torch.rand(1, 160, 160, 3, generator=torch.Generator().manual_seed(1))
    made, most = at_once(image, round_, 3, 0)
    expected = image
    number = 0
    for each in plan.rounds:
        canvas = Canvas(expected, each)
        for job in each.jobs:
            canvas.lay(job, redrawn(canvas.view(job), number))
            number += 1
        expected = canvas.finished()
    assert torch.equal(made, expected)
    assert most > 1, "some wait for none of those that are drawn"


def test_only_rounds_that_paste_alike_are_one() -> None:
    over = Round((), "over")
    found = merged([over, over, replace(over, seam=True), Round(()), Round(())])
    assert [(each.joined, each.seam) for each in found] == [("over", False), ("over", True), *[("blend", False)] * 2]


def test_a_failure_ends_what_waits() -> None:
    begun: list[int] = []

    def begin(number: int) -> Future[int]:
        begun.append(number)
        found = Future[int]()
        found.set_exception(ValueError("no"))
        return found

    with pytest.raises(ValueError, match="no"):
        draw_awaited([set(), {0}, set()], begin, lambda number, tile: None, 1, lambda: None)
    assert begun == [0]
