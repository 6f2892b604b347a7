"""Soft inpainting: schedule and blend by closed forms, the filter against a slow one, the masks by their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.errors import SettingError
from hires.imaging.soft_inpainting import (
    SoftInpainting,
    blended,
    changed,
    kernel,
    overlay_masks,
    schedule_weights,
    smootherstep,
    weighted_percentiles,
)

SOFT = SoftInpainting()


def latent(seed: int, batch: int = 1, height: int = 6, width: int = 8) -> torch.Tensor:
    return torch.randn(batch, 4, height, width, generator=torch.Generator().manual_seed(seed))


def test_the_sliders_have_the_webuis_defaults_and_ranges() -> None:
    assert SoftInpainting(1, 0.5, 4, 0, 0.5, 2) == SOFT
    with pytest.raises(SettingError, match=r"soft inpainting's difference contrast must be from 2 to 8, not 1\.5"):
        SoftInpainting(difference_contrast=1.5)


@pytest.mark.parametrize(("bias", "strength", "sigma"), [(1, 0.5, 14.6), (0, 2, 3.0), (2, 0.5, 0.03)])
def test_the_schedule_is_a_power(bias: float, strength: float, sigma: float) -> None:
    nmask = torch.tensor([0.0, 0.25, 0.5, 1.0]).reshape(1, 1, 1, 4)
    made = schedule_weights(nmask, sigma, SoftInpainting(bias, strength)).flatten().tolist()
    assert made == pytest.approx([value ** (sigma**bias * strength) for value in (0.0, 0.25, 0.5, 1.0)])


def test_the_blend_is_the_one_or_the_other_at_its_ends() -> None:
    original, current = latent(0), latent(1)
    ends = [blended(original, current, torch.full((1, 1, 6, 8), share), SOFT) for share in (0.0, 1.0)]
    assert torch.allclose(ends[0], original, atol=1e-4) and torch.allclose(ends[1], current, atol=1e-4)


@settings(max_examples=30)
@given(st.floats(0, 1), st.floats(1, 32), st.integers(0, 99))
def test_the_magnitude_is_the_power_mean(share: float, contrast: float, seed: int) -> None:
    original, current = latent(seed), latent(seed + 1)
    made = blended(
        original, current, torch.full((1, 1, 6, 8), share), SoftInpainting(transition_contrast_boost=contrast)
    )
    norms = [each.norm(dim=1).double() for each in (original, current)]
    wanted = ((1 - share) * norms[0] ** contrast + share * norms[1] ** contrast) ** (1 / contrast)
    mixed = (1 - share) * original + share * current
    clear = mixed.norm(dim=1) > 0.05  # what the 1e-5 against division by 0 does not touch
    assert torch.allclose(made.norm(dim=1).double()[clear], wanted[clear], rtol=1e-3)
    turned = torch.nn.functional.cosine_similarity(made, mixed, dim=1)
    assert torch.allclose(turned[clear], torch.ones(()), atol=1e-4)


def test_the_blend_stays_within_half_precision() -> None:
    soft = SoftInpainting(transition_contrast_boost=32)
    made = blended(latent(0).half() * 30, latent(1).half() * 30, torch.full((1, 1, 6, 8), 0.5).half(), soft)
    assert made.dtype == torch.float16 and bool(made.isfinite().all())
    assert not blended(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2), torch.full((1, 1, 2, 2), 0.5), soft).any()


def test_smootherstep() -> None:
    x = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    assert smootherstep(x).tolist() == pytest.approx([0, 0.103515625, 0.5, 0.896484375, 1])


def test_the_kernel_is_a_gaussian_lowered_to_zero() -> None:
    weights = kernel()
    assert weights.shape == (5, 5) and torch.equal(weights, weights.T) and torch.equal(weights, weights.flip(0))
    at_three = np.exp(-9 / 2.25)
    for row, column, square in ((2, 2, 0), (2, 3, 1), (1, 1, 2), (0, 2, 4), (0, 1, 5), (0, 0, 8)):
        expected = (np.exp(-square / 2.25) - at_three) / (1 - at_three)
        assert float(weights[row, column]) == pytest.approx(expected, abs=1e-12)
    assert float(weights.sum()) == pytest.approx(6.5281, abs=1e-4)


def slow_percentiles(values: np.ndarray, weights: np.ndarray, low: float, high: float) -> np.ndarray:
    """One place at a time: the neighbours as bars in the order of their values, the mean of a band of them."""
    made = np.empty_like(values)
    reach = len(weights) // 2
    for (y, x), _ in np.ndenumerate(values):
        near = [
            (values[row, column], weights[row - y + reach, column - x + reach])
            for row in range(max(0, y - reach), min(values.shape[0], y + reach + 1))
            for column in range(max(0, x - reach), min(values.shape[1], x + reach + 1))
        ]
        total = sum(weight for _, weight in near)
        first, last = total * low, total * high
        if last - first < 1:
            first = min(max((first + last) / 2 - 0.5, 0), max(total - 1, 0))
            last = first + 1
        start = seen = summed = 0.0
        for value, weight in sorted(near):
            part = max(min(last, start + weight) - max(first, start), 0)
            start, seen, summed = start + weight, seen + part, summed + part * value
        made[y, x] = summed / seen
    return made


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.0), (0.25, 0.75), (0.0, 0.02), (0.0, 1.0)])
def test_percentiles_are_those_of_the_slow_filter(low: float, high: float) -> None:
    values = torch.rand(2, 7, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    made = weighted_percentiles(values, kernel(), low, high)
    for item, expected in zip(made, values, strict=True):
        assert np.allclose(item.numpy(), slow_percentiles(expected.numpy(), kernel().numpy(), low, high), atol=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 99), st.floats(0, 1), st.floats(0, 1))
def test_percentiles_stay_among_the_values(seed: int, a: float, b: float) -> None:
    values = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(seed))
    made = weighted_percentiles(values, kernel(), min(a, b), max(a, b))
    assert float(made.min()) >= float(values.min()) - 1e-6 and float(made.max()) <= float(values.max()) + 1e-6


def test_what_did_not_change_is_not_shown() -> None:
    original, nmask = latent(0, batch=2, height=12, width=12), torch.ones(1, 1, 12, 12)
    result = original.clone()
    result[:, :, 3:9, 3:9] += 5
    shown = changed(original, result, nmask, SOFT)
    assert shown.shape == (2, 12, 12) and shown.min() == 0 and float(shown[:, 6, 6].min()) > 0.99
    assert float(shown[:, 0, 0].max()) == 0
    assert not changed(original, original, nmask, SoftInpainting(difference_threshold=0, mask_influence=1)).any()


def test_half_of_the_threshold_is_half_shown() -> None:
    """Without the mask's influence a change by the threshold everywhere has half its opacity."""
    original = torch.zeros(1, 4, 8, 8)
    for threshold, contrast in ((0.5, 2.0), (2.0, 8.0)):
        soft = SoftInpainting(difference_threshold=threshold, difference_contrast=contrast)
        shown = changed(original, original + threshold / 2, torch.ones(1, 1, 8, 8), soft)  # |(t/2) * 4| = t
        assert torch.allclose(shown, torch.full((1, 8, 8), 0.5), atol=1e-3)


def test_with_the_masks_influence_faintly_masked_cells_must_move_further() -> None:
    original, soft = torch.zeros(1, 4, 8, 8), SoftInpainting(mask_influence=1)
    nmask = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    shown = changed(original, original + 0.5, nmask, soft)[0, 0]
    assert (shown.diff() >= 0).all() and float(shown[0]) < 0.01 and float(shown[-1]) > 0.99


def test_masks_are_brought_to_the_picture_or_into_its_box() -> None:
    shown = torch.zeros(2, 8, 8)
    shown[0, 1:7, 1:7] = 1
    masks = overlay_masks(shown, (64, 64))
    assert [mask.size for mask in masks] == [(64, 64)] * 2 and not np.asarray(masks[1]).any()
    assert masks[0].getpixel((32, 32)) > 250 and masks[0].getpixel((0, 0)) < 10
    boxed = np.asarray(overlay_masks(torch.ones(1, 8, 8), (64, 64), (100, 80), (10, 20, 42, 52))[0])
    assert boxed.shape == (80, 100) and (boxed[20:52, 10:42] == 255).all() and boxed.sum() == 255 * 32 * 32
