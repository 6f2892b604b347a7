"""Bringing faces upright and putting them back: closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from hires.imaging.faces import (
    BORDER,
    FADE,
    MASK_SIGMA,
    OUTSIDE,
    TEMPLATE,
    Matrix,
    composed,
    covered,
    inverse,
    moved,
    put_back,
    scale_of,
    similarity,
    soft_mask,
    upright,
)

angles, scales = st.floats(-math.pi, math.pi), st.floats(0.05, 20)
shifts = st.floats(-2000, 2000)


def turned(angle: float, scale: float, x: float, y: float) -> Matrix:
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[a, -b, x], [b, a, y]])


def ramp(height: int, width: int) -> torch.Tensor:
    """Colours that are linear in the place: what bilinear reading and averaging keep exactly."""
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    return torch.stack([x / 1000, y / 1000, (x + y) / 2000], dim=-1)


@given(angle=angles, scale=scales, x=shifts, y=shifts)
def test_the_similarity_of_moved_points_is_the_move(angle: float, scale: float, x: float, y: float) -> None:
    matrix = turned(angle, scale, x, y)
    points = moved(TEMPLATE, inverse(matrix))
    np.testing.assert_allclose(similarity(points), matrix, rtol=1e-6, atol=1e-6 * (1 + abs(x) + abs(y)))
    np.testing.assert_allclose(composed(matrix, inverse(matrix)), [[1, 0, 0], [0, 1, 0]], atol=1e-8)
    assert scale_of(matrix) == pytest.approx(scale)


@given(noise=st.lists(st.floats(-20, 20), min_size=10, max_size=10), nudge=st.floats(-0.05, 0.05))
def test_no_other_similarity_comes_nearer(noise: list[float], nudge: float) -> None:
    points = TEMPLATE * 0.7 + np.array(noise).reshape(5, 2)
    best = similarity(points)

    def distance(matrix: Matrix) -> float:
        return float(((moved(points, matrix) - TEMPLATE) ** 2).sum())

    least = distance(best)
    for change in (turned(nudge, 1, 0, 0), turned(0, 1 + nudge, 0, 0), turned(0, 1, 100 * nudge, 0)):
        assert distance(composed(change, best)) >= least - 1e-6


def test_points_that_are_one_have_no_similarity() -> None:
    with pytest.raises(ValueError, match="must differ"):
        similarity(np.ones((5, 2)))


def test_a_whole_shift_copies_pixels() -> None:
    picture = torch.rand(600, 640, 3, generator=torch.Generator().manual_seed(0))
    face = upright(picture, turned(0, 1, -40, -20))
    torch.testing.assert_close(face, picture[20:532, 40:552], rtol=0, atol=1e-4)
    beyond = upright(picture, turned(0, 1, 100, 0))
    torch.testing.assert_close(beyond[:, :99], torch.tensor(OUTSIDE).expand(512, 99, 3))
    nowhere = upright(picture, turned(0, 1, 5000, 0))
    torch.testing.assert_close(nowhere, torch.tensor(OUTSIDE).expand(512, 512, 3))


@hypothesis_settings(max_examples=12)
@given(angle=st.floats(-0.6, 0.6), scale=st.floats(0.28, 3))
def test_each_pixel_is_read_from_where_the_matrix_takes_it(angle: float, scale: float) -> None:
    """Also where a face of thousands of pixels is averaged before it is read."""
    size = 64
    picture = ramp(400, 420)
    middle = np.array([210.0, 200.0])
    matrix = turned(angle, scale, 0, 0)
    matrix[:, 2] = (size - 1) / 2 - matrix[:, :2] @ middle
    y, x = np.mgrid[0:size, 0:size]
    back = moved(np.stack([x.ravel(), y.ravel()], axis=1).astype(float), inverse(matrix)).reshape(size, size, 2)
    face = upright(picture, matrix, size)
    np.testing.assert_allclose(face[..., 0].numpy() * 1000, back[..., 0], atol=2e-2)
    np.testing.assert_allclose(face[..., 1].numpy() * 1000, back[..., 1], atol=2e-2)


@hypothesis_settings(max_examples=8)
@given(angle=angles, scale=st.floats(0.5, 4), x=st.floats(140, 180), y=st.floats(140, 160))
def test_out_and_back_gives_the_picture(angle: float, scale: float, x: float, y: float) -> None:
    size = 96
    picture = ramp(300, 320)
    matrix = turned(angle, scale, 0, 0)
    matrix[:, 2] = (size - 1) / 2 - matrix[:, :2] @ np.array([x, y])
    face = upright(picture, matrix, size)
    mask = torch.zeros(size, size)
    mask[BORDER:-BORDER, BORDER:-BORDER] = 1
    done = torch.cat([picture.clone(), torch.full((300, 320, 1), 0.25)], dim=-1)
    put_back(done, face, mask, matrix)
    torch.testing.assert_close(done[..., :3], picture, rtol=0, atol=5e-4)
    assert torch.equal(done[..., 3], torch.full((300, 320), 0.25))


def test_beyond_the_mask_nothing_changes_and_visibility_is_a_share() -> None:
    picture = torch.rand(300, 300, 3, generator=torch.Generator().manual_seed(1))
    matrix = turned(0.3, 1.0, 0, 0)
    matrix[:, 2] = 47.5 - matrix[:, :2] @ np.array([150.0, 150.0])
    mask = torch.zeros(96, 96)
    mask[20:76, 20:76] = 1
    white = torch.ones(96, 96, 3)
    whole, half, none = picture.clone(), picture.clone(), picture.clone()
    put_back(whole, white, mask, matrix)
    put_back(half, white, mask, matrix, 0.5)
    put_back(none, white, mask, matrix, 0.0)
    box = covered(matrix, 300, 300, 96)
    outside = torch.ones(300, 300, dtype=torch.bool)
    outside[box.top : box.bottom, box.left : box.right] = False
    assert outside.any() and torch.equal(whole[outside], picture[outside])
    assert torch.equal(none, picture)
    assert torch.equal(whole[150, 150], torch.ones(3)) and not torch.equal(whole, picture)
    torch.testing.assert_close(half, (picture + whole) / 2)
    away = picture.clone()
    put_back(away, white, mask, turned(0, 1, 9000, 0))
    assert torch.equal(away, picture)


def test_the_masks_edge_is_a_gaussians_integral() -> None:
    """Two blurs of 11 pixels are one of 11 * sqrt(2)."""
    face = torch.zeros(512, 512)
    face[:, 256:] = 1
    mask = soft_mask(face)
    for distance in (-30, -10, 0, 10, 30):
        expected = 0.5 * (1 + math.erf((distance + 0.5) / (MASK_SIGMA * math.sqrt(2) * math.sqrt(2))))
        assert float(mask[256, 256 + distance]) == pytest.approx(expected, abs=2e-3)
    assert not mask[:BORDER].any() and not mask[:, -BORDER:].any()
    whole = soft_mask(torch.ones(512, 512))
    assert float(whole[BORDER + FADE :, BORDER + FADE :][: -BORDER - FADE, : -BORDER - FADE].min()) == pytest.approx(1)
    assert float(whole.diff(dim=0).abs().max()) < 0.05, "no edge shows where a face fills its square"
    torch.testing.assert_close(whole, whole.flip(0, 1))
