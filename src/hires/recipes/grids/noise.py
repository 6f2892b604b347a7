"""What another seed changes: the noise floor of a grid's measures, and when two cells do not differ visibly.

The floor. One cell, drawn N times with other seeds, gives N numbers of each measure: their mean and deviation, and how
far two of them lie apart in the mean over all pairs.

The rule. Two cells have "no visible difference" when both hold:

1. The pictures look alike: at most ALIKE of their area differs by more than a just visible ΔE, at 256 pixels
   (`imaging.visible`). This judges composition and colour, picture against picture.
2. No measure differs by more than two seeds do in the mean. This judges what is too fine for the first: a change of
   detail or sharpness that is smaller than what the seed alone brings is none that a setting can be chosen by.

The rule errs towards "visible": of two draws that differ by their seed alone, 42 in 100 lie farther apart than the mean
(normal measures), and their pictures never look alike. Few repeats make the mean of the pairs a rough one: 4 or more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

ALIKE = 0.02
"""The share of two pictures' area that may differ visibly."""
FEWEST = 2
"""Repeats without which there is no deviation."""

Measures = Mapping[str, float]
Floor = Mapping[str, Mapping[str, float]]
"""By measure: "mean", "deviation" (of a sample: divided by N - 1) and "count" of the repeats, "difference_mean" and
"difference_deviation" of the absolute differences between all pairs of them."""


def noise_floor(repeats: Sequence[Measures]) -> dict[str, dict[str, float]]:
    """The floor from the measures of one cell drawn with other seeds, as it stands in grid.json (see `Floor`).

    Measures that fewer than two repeats have are left out; so the floor of fewer than two repeats is empty.
    """
    samples: dict[str, list[float]] = {}
    for measures in repeats:
        for name, value in measures.items():
            samples.setdefault(name, []).append(value)
    return {name: _described(values) for name, values in samples.items() if len(values) >= FEWEST}


def _described(values: Sequence[float]) -> dict[str, float]:
    apart = [abs(first - second) for first, second in combinations(values, 2)]
    return {
        "mean": float(np.mean(values)),
        "deviation": float(np.std(values, ddof=1)),
        "count": len(values),
        "difference_mean": float(np.mean(apart)),
        "difference_deviation": float(np.std(apart, ddof=1)) if len(apart) > 1 else 0.0,
    }


def thresholds(floor: Floor | None) -> dict[str, float]:
    """How far two cells may lie apart in each measure: as far as two seeds do in the mean.

    For a floor that does not say so, what the deviation s of normal measures makes of it: 2s/√π.
    """
    return {
        name: known.get("difference_mean", 2 * known["deviation"] / math.sqrt(math.pi))
        for name, known in (floor or {}).items()
    }


def beyond_the_floor(first: Measures, second: Measures, floor: Floor | None) -> dict[str, bool]:
    """Whether two cells lie farther apart than two seeds do, by measure; only what both and the floor have."""
    return {
        name: abs(first[name] - second[name]) > limit
        for name, limit in thresholds(floor).items()
        if name in first and name in second
    }


def no_visible_difference(first: Measures, second: Measures, floor: Floor | None, area: float) -> bool | None:
    """What the grid says of two cells whose pictures differ visibly on so much of their area (`visible_area`).

    None where nobody can say: the pictures look alike, but there is no floor to judge fine detail by.
    """
    if area > ALIKE:
        return False
    beyond = beyond_the_floor(first, second, floor)
    return not any(beyond.values()) if beyond else None
