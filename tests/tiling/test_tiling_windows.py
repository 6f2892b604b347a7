"""Windows: their known numbers, and that their normalised sum is one everywhere."""

from __future__ import annotations

from math import cos, exp, pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.tiling.grid import Box, even_boxes, jittered_boxes
from hires.tiling.windows import WINDOWS, WindowKind, feather, normalised, overlaps_of, window, windows


def test_the_gaussians_numbers() -> None:
    weight = window("gaussian", 96, 96)
    peak = float(weight.max())
    assert float(weight[48, 0]) / peak == pytest.approx(4.8e-6, rel=0.02)
    assert float(weight[0, 0]) / peak == pytest.approx(2.3e-11, rel=0.02)
    published = window("gaussian", 64, 96, as_published=True)
    assert float(published[10, 40] / published[32, 40]) == pytest.approx(exp(-(22**2) / (0.02 * 96**2)), rel=1e-4)
    assert torch.equal(published, published.flip(1)) and not torch.allclose(published, published.flip(0))


def test_two_gaussians_blend_as_a_logistic() -> None:
    """Share of the right tile at a distance d of the middle: 1 / (1 + exp(-S d / (v T²)))."""
    boxes = [Box(0, 0, 1, 96), Box(0, 64, 1, 160)]
    share = normalised(boxes, windows("gaussian", boxes), 1, 160)[1][0]
    middle = (47.5 + 64 + 47.5) / 2
    for column in (70, 78, 80, 90):
        expected = 1 / (1 + exp(-64 * (column - middle) / (0.01 * 96**2)))
        assert float(share[column - 64]) == pytest.approx(expected, rel=1e-4)


def test_the_other_windows_by_hand() -> None:
    assert torch.equal(window("uniform", 3, 5), torch.ones(3, 5))
    assert float(window("cosine", 5, 4)[2, 0]) == pytest.approx(cos(pi * 1.5 / 4), rel=1e-6)
    linear = window("linear", 1, 8, overlaps=(0, 3, 0, 2))
    assert linear[0].tolist() == [0, 0.5, 1, 1, 1, 1, 1, 0]


def test_feathers() -> None:
    assert torch.equal(feather(6, 9, 0.0), torch.ones(6, 9))
    mask = feather(8, 12, 1.0)
    assert mask[4, :6].tolist() == pytest.approx([0, 1 / 16, 4 / 16, 9 / 16, 9 / 16, 9 / 16])
    assert float(feather(40, 40, 0.5)[20, 20]) == 1.0
    assert float(feather(9, 9, 0.5)[4, 0]) == 0.0  # the middle line of an odd side fades as the others do


def test_true_overlaps() -> None:
    boxes = even_boxes(10, 20, (10, 8), 2)
    assert [overlaps_of(box, boxes) for box in boxes] == [(0, 0, 0, 2), (0, 2, 0, 2), (0, 2, 0, 0)]


@given(
    st.sampled_from(WINDOWS), st.integers(1, 70), st.integers(1, 70), st.integers(1, 24), st.integers(1, 24),
    st.integers(0, 23), st.one_of(st.none(), st.integers(0, 30)),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_normalised_weights_sum_to_one(
    kind: WindowKind, height: int, width: int, tall: int, wide: int, overlap: int, step: int | None
) -> None:
    if step is None:
        boxes = even_boxes(height, width, (tall, wide), overlap)
    else:
        boxes = jittered_boxes(height, width, (tall, wide), step, 4)
    total = torch.zeros(height, width, dtype=torch.float64)
    for box, weight in zip(boxes, normalised(boxes, windows(kind, boxes), height, width), strict=True):
        assert weight.shape == (box.height, box.width)
        total[box.slices] += weight
    assert float((total - 1).abs().max()) <= 1e-6


def test_a_hole_is_refused() -> None:
    boxes = [Box(0, 0, 4, 4)]
    with pytest.raises(ValueError, match="without any weight"):
        normalised(boxes, windows("uniform", boxes), 4, 5)
