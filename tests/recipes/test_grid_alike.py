"""Which cells of a grid are compared with which."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hires.recipes.grids import alike
from hires.recipes.grids.alike import Index, visible_areas


@pytest.fixture
def pictures(tmp_path: Path) -> dict[Index, Path]:
    """3 x 2 cells; columns get lighter, rows are alike."""
    found: dict[Index, Path] = {}
    for y in range(2):
        for x in range(3):
            found[x, y, 0] = tmp_path / f"{x}{y}.png"
            Image.new("RGB", (20, 20), (60 + 60 * x,) * 3).save(found[x, y, 0])
    return found


def test_every_pair_is_compared(pictures: dict[Index, Path]) -> None:
    areas = visible_areas(pictures)
    assert len(areas) == 15
    assert all(share == float(one[0] != other[0]) for (one, other), share in areas.items())


def test_of_many_cells_only_neighbours_are(pictures: dict[Index, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "MOST_CELLS", 5)
    areas = visible_areas(pictures)
    assert len(areas) == 7 and ((0, 0, 0), (2, 0, 0)) not in areas and areas[(1, 0, 0), (1, 1, 0)] == 0


def test_what_cannot_be_read_is_left_out(pictures: dict[Index, Path]) -> None:
    pictures[0, 0, 0].write_bytes(b"")
    assert len(visible_areas(pictures)) == 10
