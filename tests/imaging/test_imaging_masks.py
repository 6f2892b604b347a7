"""Masks: growing against SciPy's morphology, ComfyUI's feathering, and how two masks combine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from hires.imaging import masks

PLUS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
SQUARE = np.ones((3, 3))


def random_mask(height: int, width: int, seed: int, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, height, width, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(-4, 4), st.booleans(), st.integers(0, 99))
def test_growing_is_scipys_grey_morphology(height: int, width: int, amount: int, tapered: bool, seed: int) -> None:
    mask = random_mask(height, width, seed)
    expected = mask[0].numpy()
    operation = ndimage.grey_dilation if amount >= 0 else ndimage.grey_erosion
    for _ in range(abs(amount)):
        expected = operation(expected, footprint=PLUS if tapered else SQUARE)
    assert np.array_equal(masks.grow(mask, amount, tapered)[0].numpy(), expected)


def test_growing_without_end_stops_at_the_border() -> None:
    mask = torch.zeros(1, 5, 7)
    mask[0, 0, 0] = 1
    assert masks.grow(mask, 16384, True).min() == 1


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7])
def test_the_square_for_inpainting_is_a_convolution(size: int) -> None:
    mask = (random_mask(16, 24, 5) > 0.97).float()[:, None]
    padding = -(-(size - 1) // 2)
    grown = torch.nn.functional.conv2d(mask, torch.ones(1, 1, size, size), padding=padding)
    assert torch.equal(masks.grow_square(mask, size), grown.clamp(0, 1)[:, :, :16, :24])


def test_no_growth_leaves_the_mask() -> None:
    mask = random_mask(8, 8, 1)[:, None]
    assert torch.equal(masks.grow_square(mask, 0), mask)


def test_feathering_repeats_comfyuis_far_sides() -> None:
    faded = masks.feather(torch.ones(1, 1, 6), 2, 0, 3, 0)[0, 0]
    # left: columns 0, 1 by 1/2, 1; right: columns 0, 5, 4 by 1/3, 2/3, 1
    assert faded.tolist() == pytest.approx([1 / 6, 1, 1, 1, 1, 2 / 3])
    rows = masks.feather(torch.ones(1, 4, 1), 0, 9, 0, 0)[0, :, 0]
    assert rows.tolist() == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("multiply", 0.3),
        ("add", 1.0),
        ("subtract", 0.0),
        ("and", 0.0),
        ("or", 1.0),
        ("xor", 1.0),
    ],
)
def test_masks_combine_where_they_overlap(operation: str, expected: float) -> None:
    destination, source = torch.full((1, 4, 4), 0.4), torch.full((1, 3, 3), 0.75)
    result = masks.composite(destination, source, 2, 3, operation)
    assert result[0, 3, 2:].tolist() == pytest.approx([expected] * 2)
    assert torch.equal(result[0, :3], destination[0, :3]) and torch.equal(destination, torch.full((1, 4, 4), 0.4))


def test_a_mask_beyond_the_border_changes_nothing() -> None:
    mask = random_mask(4, 4, 3)
    assert torch.equal(masks.composite(mask, torch.ones(1, 2, 2), 9, 0, "add"), mask)


def test_one_colour_is_found_exactly() -> None:
    image = torch.tensor([[[[1.0, 0.5, 0.0], [1.0, 127 / 255, 0.0], [1.2, 0.5, -1.0]]]])
    assert masks.of_colour(image, 0xFF8000).tolist() == [[[1, 0, 1]]]


def test_a_mask_as_a_picture_is_grey() -> None:
    mask = random_mask(3, 4, 2, batch=2)
    grey = masks.as_grey(mask)
    assert grey.shape == (2, 3, 4, 3) and all(torch.equal(grey[..., channel], mask) for channel in range(3))
