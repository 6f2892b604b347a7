"""How far the pictures of a grid's cells look alike, pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hires.errors import ImageFileError
from hires.imaging.pictures import open_picture
from hires.imaging.visible import View, view, visible_area

MOST_CELLS = 100
"""Of a grid with more, only neighbours along an axis are compared: pairs grow with the square."""

Index = tuple[int, int, int]


def visible_areas(pictures: Mapping[Index, Path]) -> dict[tuple[Index, Index], float]:
    """The share of the area that differs visibly, by pair of cells; `pictures` are the cells' first ones.

    Pairs are in the order of the mapping. Pictures that cannot be read are left out.
    """
    views = {index: seen for index, path in pictures.items() if (seen := _view(path)) is not None}
    few = len(views) <= MOST_CELLS
    places = list(views)
    return {
        (first, second): visible_area(views[first], views[second])
        for number, first in enumerate(places)
        for second in places[number + 1 :]
        if few or _neighbours(first, second)
    }


def _view(path: Path) -> View | None:
    try:
        return view(open_picture(path))
    except ImageFileError:
        return None


def _neighbours(first: Index, second: Index) -> bool:
    return sorted(abs(one - other) for one, other in zip(first, second, strict=True)) == [0, 0, 1]
