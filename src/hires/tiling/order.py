"""In which order tiles may be drawn by several at once, so that each sees what it would see one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from itertools import groupby
from typing import TypeVar

from hires.tiling.grid import Box
from hires.tiling.redraw import Round

Tile = TypeVar("Tile")
SECONDS_BETWEEN_LOOKS = 0.1


def overlap(one: Box, other: Box) -> bool:
    """Whether two boxes have a pixel in common."""
    return (
        one.top < other.bottom and other.top < one.bottom and one.left < other.right and other.left < one.right
    )  # fmt: skip


def awaited(crops: Sequence[Box]) -> list[set[int]]:
    """Of each crop the earlier ones that it has pixels in common with. What those lay on the canvas it sees; what all
    others lay it does not, and neither does it change what they saw."""
    return [{first for first in range(index) if overlap(crops[first], crop)} for index, crop in enumerate(crops)]


def merged(rounds: Sequence[Round]) -> list[Round]:
    """Rounds that paste over the canvas one after the other, as one of all their jobs in this order: the same."""
    found: list[Round] = []
    for alike, group in groupby(rounds, lambda each: (each.joined, each.seam, each.sees_former, each.from_source)):
        same = list(group)
        if alike[0] == "over":
            same = [replace(same[0], jobs=tuple(job for each in same for job in each.jobs))]
        found += same
    return found


def draw_awaited(
    waits: Sequence[set[int]],
    begin: Callable[[int], Future[Tile]],
    finish: Callable[[int, Tile], None],
    at_once: int,
    look: Callable[[], None],
) -> None:
    """begin(i) for each i once all that it waits for are finished, up to `at_once` at a time, the least first, and
    finish(i, what it gave) when it ends. look() is called again and again meanwhile and may raise, as either may."""
    left = list(range(len(waits)))
    over: set[int] = set()
    going: dict[Future[Tile], int] = {}
    try:
        while left or going:
            for index in [index for index in left if waits[index] <= over][: at_once - len(going)]:
                going[begin(index)] = index
                left.remove(index)
            for ended in wait(going, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED).done:
                index = going.pop(ended)
                finish(index, ended.result())
                over.add(index)
            look()
    finally:
        for future in going:
            future.cancel()
