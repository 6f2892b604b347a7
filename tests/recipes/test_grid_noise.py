"""The noise floor: its numbers, what its rule says of chance alone, and of pictures that do not look alike."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.recipes.grids.noise import ALIKE, beyond_the_floor, no_visible_difference, noise_floor, thresholds

NAMES = ("detail", "content", "sharpness", "drift", "seams")
SCALES = np.array([2.0, 0.01, 5.0, 0.3, 0.004])


def draws(rng: np.random.Generator, count: int, shift: float = 0.0, spread: float = 1.0) -> list[dict[str, float]]:
    """Measures of so many seeds, each normal about 10 + shift deviations."""
    values = 10 + SCALES * (spread * rng.standard_normal((count, len(NAMES))) + shift)
    return [dict(zip(NAMES, map(float, row), strict=True)) for row in values]


def test_numbers_of_a_floor() -> None:
    floor = noise_floor([{"detail": 1.0}, {"detail": 2.0}, {"detail": 4.0, "drift": 1.0}])
    assert set(floor) == {"detail"}  # one number has no deviation
    detail = floor["detail"]
    assert detail["mean"] == pytest.approx(7 / 3) and detail["count"] == 3
    assert detail["deviation"] == pytest.approx(math.sqrt(7 / 3))
    assert detail["difference_mean"] == pytest.approx((1 + 2 + 3) / 3)
    assert detail["difference_deviation"] == pytest.approx(1.0)
    assert thresholds(floor) == {"detail": pytest.approx(2.0)}
    assert json.loads(json.dumps(floor)) == floor
    assert noise_floor([{"detail": 1.0}, {"detail": 3.0}])["detail"]["difference_deviation"] == 0.0


def test_differences_of_normal_draws() -> None:
    """Two normal draws lie 2s/√π apart in the mean, which a floor that only states s is taken to mean."""
    floor = noise_floor(draws(np.random.default_rng(2), 400))
    for name, scale in zip(NAMES, SCALES, strict=True):
        assert floor[name]["difference_mean"] == pytest.approx(2 * scale / math.sqrt(math.pi), rel=0.08)
    bare = {name: {key: known[key] for key in ("mean", "deviation", "count")} for name, known in floor.items()}
    assert thresholds(bare) == pytest.approx(thresholds(floor), rel=0.03)


def test_chance_alone_goes_beyond_the_floor_as_often_as_normal_draws_do() -> None:
    """P(|Z| > √(2/π)) = 0.425; 500 pairs of five measures have a standard error of 1 %."""
    rng = np.random.default_rng(3)
    floor = noise_floor(draws(rng, 400))
    pairs = [draws(rng, 2) for _ in range(500)]
    beyond = [value for first, second in pairs for value in beyond_the_floor(first, second, floor).values()]
    assert np.mean(beyond) == pytest.approx(0.425, abs=0.04)


@pytest.mark.parametrize("repeats", [4, 8])
def test_small_changes_are_not_visible_and_large_ones_are(repeats: int) -> None:
    """A tenth of what seeds change is nearly never called visible, also by few repeats; four deviations always are."""
    rng = np.random.default_rng(repeats)
    small, large = [], []
    for _ in range(300):
        floor = noise_floor(draws(rng, repeats))
        small.append(no_visible_difference(*draws(rng, 2, spread=0.1), floor, area=0.0))
        large.append(no_visible_difference(draws(rng, 1)[0], draws(rng, 1, shift=4.0)[0], floor, area=0.0))
    assert np.mean(small) > 0.93 and np.mean(large) < 0.01


def test_pictures_that_do_not_look_alike_differ_whatever_is_measured() -> None:
    floor = noise_floor(draws(np.random.default_rng(1), 5))
    cell = draws(np.random.default_rng(2), 1)[0]
    assert no_visible_difference(cell, cell, floor, ALIKE) is True
    assert no_visible_difference(cell, cell, floor, ALIKE * 1.01) is False
    assert no_visible_difference(cell, cell, None, ALIKE * 1.01) is False


numbers = st.floats(-1e6, 1e6)


@given(st.dictionaries(st.sampled_from(NAMES), numbers), st.lists(st.dictionaries(st.sampled_from(NAMES), numbers)))
def test_a_cell_never_differs_from_itself(cell: dict[str, float], repeats: list[dict[str, float]]) -> None:
    floor = noise_floor(repeats)
    assert no_visible_difference(cell, cell, floor, 0.0) is (True if set(cell) & set(floor) else None)


def test_without_a_floor_nobody_can_say() -> None:
    assert no_visible_difference({"detail": 1.0}, {"detail": 9.0}, None, 0.0) is None
    assert noise_floor([{"detail": 1.0}]) == {} and thresholds(None) == {}
