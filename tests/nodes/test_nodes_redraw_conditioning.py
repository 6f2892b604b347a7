"""Conditioning of one tile: hints, areas and masks cut to it, whatever the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hires.nodes.redraw_conditioning import Canvas, cropped, stacked
from hires.nodes.steering import ControlLink
from hires.tiling.grid import Box
from hires.tiling.redraw import Ultimate, sd_upscale_plan, ultimate_plan

SIZE = (96, 160)


def ramp(height: int = SIZE[0], width: int = SIZE[1]) -> torch.Tensor:
    """Each pixel says where it lies: (1, height, width, 3) of row, column and 0."""
    rows = torch.arange(height).float()[:, None].expand(-1, width)
    columns = torch.arange(width).float()[None].expand(height, -1)
    return torch.stack([rows, columns, torch.zeros(height, width)], dim=-1)[None]


def link(image: torch.Tensor) -> Any:
    """A link whose picture alone matters here."""
    empty = ControlLink.__new__(ControlLink)
    for name in ControlLink.__dataclass_fields__:
        object.__setattr__(empty, name, None)
    object.__setattr__(empty, "image", image)
    return empty


def options(**given: Any) -> list[tuple[torch.Tensor, dict[str, Any]]]:
    return [(torch.zeros(1, 1, 4), given)]


@pytest.mark.parametrize(
    "plan", [sd_upscale_plan(*SIZE, (64, 64), 16), ultimate_plan(*SIZE, Ultimate((48, 48), 16, seams="Half Tile"))]
)
def test_a_tile_sees_its_own_part_of_the_hint(plan: Any) -> None:
    canvas = Canvas(SIZE, SIZE, "as given")
    for job in (job for each in plan.rounds for job in each.jobs):
        seen = cropped(options(control=link(ramp())), canvas, job.crop, job.size)[0][1]["control"].image[0]
        assert tuple(seen.shape[:2]) == job.size
        assert float(seen[0, 0, 0]) == job.crop.top and float(seen[0, 0, 1]) == job.crop.left
        assert float(seen[-1, -1, 0]) == job.crop.bottom - 1 and float(seen[-1, -1, 1]) == job.crop.right - 1


@pytest.mark.parametrize("images", [1, 2])
def test_four_tiles_in_a_batch_see_one_part_each(images: int) -> None:
    crops = [Box(0, 0, 48, 80), Box(0, 80, 48, 160), Box(48, 0, 96, 80), Box(48, 80, 96, 160)]
    found = stacked(options(control=link(ramp())), Canvas(SIZE, SIZE), crops, (48, 80), images)[0][1]["control"].image
    assert tuple(found.shape) == (4 * images, 48, 80, 3)
    corners = [(int(seen[0, 0, 0]), int(seen[0, 0, 1])) for seen in found]
    assert corners == [(crop.top, crop.left) for crop in crops for _ in range(images)]


def test_a_hint_of_another_size_is_brought_to_the_canvas() -> None:
    small = cropped(options(control=link(ramp(48, 80))), Canvas(SIZE, SIZE), Box(32, 64, 96, 128), (64, 64))
    seen = small[0][1]["control"].image[0]
    assert float(seen[0, 0, 0]) == 16 and float(seen[-1, -1, 1]) == 63  # half the rows and columns


def test_areas_and_masks_are_cut_and_those_elsewhere_are_left_out() -> None:
    canvas, left, right = Canvas(SIZE, SIZE, "as given"), Box(0, 0, 96, 80), Box(0, 80, 96, 160)
    mask = torch.zeros(1, *SIZE)
    mask[:, :48, :40] = 1
    entries = options(name="all") + options(name="area", area=("percentage", 0.5, 0.25, 0.0, 0.125))
    entries += options(name="mask", mask=mask)
    named = {entry["name"]: entry for _, entry in cropped(entries, canvas, left, (96, 80))}
    assert named["area"]["area"] == (6, 6, 0, 2)  # of the tile's 12 x 10 cells: rows 0-6, columns 2.5-7.5 rounded
    assert named["mask"]["mask"][0, :6, :5].min() == 1 and named["mask"]["mask"][0, 7:].max() == 0
    assert [entry["name"] for _, entry in cropped(entries, canvas, right, (96, 80))] == ["all"]
    alone = cropped(options(name="area", area=("percentage", 0.5, 0.25, 0.0, 0.125)), canvas, right, (96, 80))
    assert [set(entry) for _, entry in alone] == [{"name"}]  # never nothing
