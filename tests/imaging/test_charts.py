"""Charts: round ticks, where values land, gaps, and the same layout as SVG and as a picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.imaging.charts import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    LEFT,
    SHARPER,
    TOP,
    WIDTH,
    Chart,
    Dot,
    Line,
    Series,
    Text,
    as_picture,
    as_svg,
    marks,
    round_ticks,
)


def chart(*values: tuple[float | None, ...], noise: float | None = None, title: str = "detail") -> Chart:
    count = len(values[0])
    series = tuple(Series(f"line {at}" if len(values) > 1 else "", line) for at, line in enumerate(values))
    places = tuple(float(at) for at in range(count))
    return Chart(title, "Denoising", places, tuple(f"{place:g}" for place in places), series, noise)


def dots(of: Chart) -> list[Dot]:
    return [mark for mark in marks(of) if isinstance(mark, Dot)]


def test_ticks_of_known_ranges() -> None:
    assert round_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert round_ticks(-1, 7.6) == [-2, 0, 2, 4, 6, 8]
    assert round_ticks(0.512, 0.987) == [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_enclose_the_range_evenly(low: float, spread: float) -> None:
    high = low + spread
    ticks = round_ticks(low, high)
    assert ticks[0] <= low + 1e-6 * (1 + abs(low)) and ticks[-1] >= high - 1e-6 * (1 + abs(high))
    steps = [second - first for first, second in pairwise(ticks)]
    assert 2 <= len(ticks) <= 9 and max(steps) == pytest.approx(min(steps), rel=1e-3)


def test_values_land_between_the_ticks_that_enclose_them() -> None:
    found = dots(chart((0.0, 5.0, 10.0)))
    assert [dot.y for dot in found] == pytest.approx([HEIGHT - BOTTOM, (HEIGHT - BOTTOM + TOP) / 2, TOP])
    assert found[1].x == pytest.approx((found[0].x + found[2].x) / 2)
    assert found[1].said == "1: 5"


def test_places_need_not_be_even_nor_in_order() -> None:
    uneven = Chart("", "Steps", (40.0, 10.0, 20.0), ("40", "10", "20"), (Series("", (3.0, 1.0, 2.0)),))
    by_name = {dot.said.split(":")[0]: dot for dot in dots(uneven)}
    assert (by_name["20"].x - by_name["10"].x) * 2 == pytest.approx(by_name["40"].x - by_name["20"].x)
    line = next(mark for mark in marks(uneven) if isinstance(mark, Line) and mark.colour == 0)
    assert [x for x, _ in line.points] == sorted(x for x, _ in line.points)


def test_a_missing_value_breaks_its_line_only() -> None:
    broken = chart((1.0, 2.0, None, 4.0, 5.0), (2.0, 3.0, 4.0, 5.0, 6.0))
    lines = [mark for mark in marks(broken) if isinstance(mark, Line) and isinstance(mark.colour, int)]
    assert sorted(len(line.points) for line in lines) == [2, 2, 5]
    assert len(dots(broken)) == 9


def test_noise_is_a_band_about_a_single_line_and_a_bar_beside_several() -> None:
    band = next(mark for mark in marks(chart((1.0, 5.0), noise=1.0)) if isinstance(mark, Line) and mark.closed)
    over, under = band.points[0][1], band.points[-1][1]
    middle = dots(chart((1.0, 5.0), noise=1.0))[0].y
    assert middle - over == pytest.approx(under - middle) and over < middle
    assert not any(isinstance(mark, Line) and mark.closed for mark in marks(chart((1.0, 5.0), (2.0, 3.0), noise=1.0)))
    texts = [mark.text for mark in marks(chart((1.0, 5.0), (2.0, 3.0), noise=1.0)) if isinstance(mark, Text)]
    assert "± seed noise" in texts
    assert "± seed noise" not in [mark.text for mark in marks(chart((1.0, 5.0))) if isinstance(mark, Text)]


def test_names_that_would_overlap_are_left_out() -> None:
    crowded = chart(tuple(float(at) for at in range(60)))
    below = [mark for mark in marks(crowded) if isinstance(mark, Text) and mark.y == HEIGHT - BOTTOM + 14]
    assert 5 < len(below) < 40
    assert all(second.x - first.x > 10 for first, second in pairwise(below))


def test_svg_is_well_formed_whatever_it_is_called() -> None:
    evil = chart((1.0, None, 3.0), (2.0, 2.0, 2.0), noise=0.5, title='<script>"&')
    root = ET.fromstring(as_svg(evil))
    assert root.get("aria-label") == '<script>"&'
    assert len(root.findall(".//circle")) == 5 and len(root.findall(".//circle/title")) == 5
    assert not root.findall(".//script")


def test_a_value_that_is_the_same_everywhere_and_no_value_at_all_are_drawn() -> None:
    assert {dot.y for dot in dots(chart((2.0, 2.0)))} == {dots(chart((2.0, 2.0)))[0].y}
    assert dots(chart((None, None))) == []
    ET.fromstring(as_svg(chart((None, 1.0))))


def test_the_picture_has_each_line_in_its_colour_where_the_layout_puts_it() -> None:
    two = chart((0.0, 10.0), (10.0, 0.0))
    picture = as_picture([two, two, two], "A title")
    assert picture.size[0] == (2 * WIDTH + 16) * SHARPER
    pixels = np.asarray(picture)
    top = picture.height // SHARPER - 8 - 2 * HEIGHT
    for index, dot in enumerate(dots(two)[::2]):
        colour = [int(COLOURS[index][start : start + 2], 16) for start in (1, 3, 5)]
        assert pixels[round((top + dot.y) * SHARPER), round(dot.x * SHARPER)] == pytest.approx(colour, abs=2)
    assert (pixels[:, -1] == 255).all() and pixels[round(22 * SHARPER), LEFT * SHARPER :].min() < 90
