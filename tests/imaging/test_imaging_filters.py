"""Filters, blend modes, edges, canvases: closed forms first."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.errors import SettingError
from hires.imaging import blending, edges, filters
from hires.imaging.batches import cut_into, fitted, repeat_to, same_channels, spread_to
from hires.imaging.canvas import pad_for_outpaint, paste


def picture(seed: int, height: int = 12, width: int = 16, channels: int = 3, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(seed))


def test_the_kernel_is_relative_to_its_radius() -> None:
    kernel = filters.gaussian_kernel(1, 1.0)
    corner, side = math.exp(-1.0), math.exp(-0.5)
    assert float(kernel[1, 1] / kernel[0, 1]) == pytest.approx(1 / side)
    assert float(kernel[0, 0] / kernel[1, 1]) == pytest.approx(corner)
    assert float(kernel.sum()) == pytest.approx(1.0)


def test_blur_spreads_one_pixel_by_the_kernel() -> None:
    image = torch.zeros(1, 9, 9, 2)
    image[0, 4, 4] = 1.0
    blurred = filters.blur(image, 2, 0.7)
    assert torch.allclose(blurred[0, 2:7, 2:7, 1], filters.gaussian_kernel(2, 0.7), atol=1e-7)


def test_flat_pictures_stay_flat() -> None:
    image = torch.full((1, 8, 8, 3), 0.3)
    assert torch.allclose(filters.blur(image, 3, 1.0), image, atol=1e-6)
    assert torch.allclose(filters.sharpen(image, 3, 1.0, 5.0), image, atol=1e-5)


def test_sharpening_is_the_picture_minus_its_blur() -> None:
    image = picture(1) * 0.2 + 0.4
    kernel = filters.gaussian_kernel(1, 1.0)
    alpha = 0.02  # so little that nothing is clamped
    expected = image * (1 + 10 * alpha) - 10 * alpha * filters.blur(image, 1, 1.0)
    assert kernel.shape == (3, 3)
    assert torch.allclose(filters.sharpen(image, 1, 1.0, alpha), expected, atol=1e-6)


def test_a_radius_beyond_the_picture_is_refused() -> None:
    with pytest.raises(SettingError, match="radius of 31 is too large for a picture of 16x12 pixels"):
        filters.blur(picture(1), 31, 1.0)


def test_bayers_matrix_by_hand() -> None:
    first = np.array([[-1.5, 0.5], [1.5, -0.5]]) / 4
    assert np.allclose(filters.bayer_matrix(1), first)
    assert filters.bayer_matrix(0).tolist() == [[0.0]]
    second = filters.bayer_matrix(2)
    assert second.shape == (4, 4) and len(np.unique(second)) == 16 and abs(second.sum()) < 1e-6


@pytest.mark.parametrize("dither", filters.DITHERS)
def test_palettes_have_no_more_colours_than_asked(dither: str) -> None:
    reduced = filters.quantize(picture(3, 32, 40), 5, dither)
    assert reduced.shape == (1, 32, 40, 3)
    assert 2 <= len(torch.unique(reduced.reshape(-1, 3), dim=0)) <= 5


def test_dithering_keeps_the_mean_of_a_ramp() -> None:
    ramp = torch.linspace(0, 1, 64)[None, None, :, None].expand(1, 64, 64, 3)
    for dither in ("floyd-steinberg", "bayer-8"):
        assert float(filters.quantize(ramp, 8, dither).mean()) == pytest.approx(0.5, abs=0.03)


def test_noise_is_torchs_of_the_seed() -> None:
    image = torch.full((2, 4, 4, 3), 0.5)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(7))
    assert torch.equal(filters.add_noise(image, 7, 0.1), (image + 0.1 * noise).clamp(0, 1))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("normal", 0.6),
        ("multiply", 0.12),
        ("screen", 0.68),
        ("overlay", 0.24),
        ("soft_light", 0.2 + 0.2 * (((16 * 0.2 - 12) * 0.2 + 4) * 0.2 - 0.2)),
        ("difference", 0.0),  # signed, then clamped
    ],
)
def test_blend_modes_by_hand(mode: str, expected: float) -> None:
    a, b = torch.full((1, 1, 1, 3), 0.2), torch.full((1, 1, 1, 3), 0.6)
    assert float(blending.blend(a, b, mode, 1.0)[0, 0, 0, 0]) == pytest.approx(expected, abs=1e-6)
    assert torch.equal(blending.blend(a, b, mode, 0.0), a)


@pytest.mark.parametrize("mode", blending.PORTER_DUFF)
def test_porter_duff_of_opaque_pictures(mode: str) -> None:
    source, destination = picture(1), picture(2)
    one = torch.ones(1, 12, 16)
    colour, alpha = blending.porter_duff(source, one, destination, one, mode)
    opaque = {
        "ADD": (source + destination).clamp(0, 1),
        "DARKEN": torch.minimum(source, destination),
        "LIGHTEN": torch.maximum(source, destination),
        "MULTIPLY": source * destination,
        "SCREEN": source + destination - source * destination,
        "OVERLAY": torch.where(destination < 0.5, 2 * source * destination, 1 - 2 * (1 - source) * (1 - destination)),
        "SRC": source,
        "SRC_ATOP": source,
        "SRC_IN": source,
        "SRC_OVER": source,
        "DST": destination,
        "DST_ATOP": destination,
        "DST_IN": destination,
        "DST_OVER": destination,
    }
    if mode in opaque:
        assert torch.allclose(colour, opaque[mode], atol=1e-6) and torch.equal(alpha, one)
    else:  # CLEAR, SRC_OUT, DST_OUT, XOR
        assert float(colour.abs().max()) == 0.0 and float(alpha.abs().max()) == 0.0


def test_over_a_half_transparent_picture() -> None:
    source, destination = torch.full((1, 1, 1, 3), 1.0), torch.full((1, 1, 1, 3), 0.0)
    half, whole = torch.full((1, 1, 1), 0.5), torch.full((1, 1, 1), 1.0)
    colour, alpha = blending.porter_duff(source, half, destination, whole, "SRC_OVER")
    assert float(colour[0, 0, 0, 0]) == pytest.approx(0.5) and float(alpha) == 1.0
    colour, alpha = blending.porter_duff(source, half, destination, whole, "XOR")
    assert float(colour[0, 0, 0, 0]) == 0.0 and float(alpha) == pytest.approx(0.5)


def test_edges_of_a_square_are_thin_and_where_the_step_is() -> None:
    image = torch.zeros(1, 32, 32, 3)
    image[:, 7:25, 7:25] = 0.5  # without it both pixels at a step are equally steep, and neither is an edge
    image[:, 8:24, 8:24] = 1.0
    found = edges.canny(image, 0.4, 0.8)[0]
    assert set(found.unique().tolist()) == {0.0, 1.0}
    inside = found[12:20]  # rows that cross the two upright sides only
    assert torch.equal(inside, inside[:1].expand_as(inside))
    columns = inside[0].nonzero().flatten().tolist()
    assert columns == [7, 24]


def test_weak_edges_need_a_strong_one() -> None:
    faint = torch.zeros(1, 24, 24, 3)
    faint[:, :, 12], faint[:, :, 13:] = 0.125, 0.25  # steeper than 0.3, less than 0.99
    assert float(edges.canny(faint, 0.3, 0.99).sum()) == 0
    image = faint * torch.linspace(4.0, 1.0, 24)[None, :, None, None]
    found = edges.canny(image, 0.3, 0.99)[0]
    assert float(found[18:].sum()) > 0  # reached from the strong end through weak pixels


def test_no_edges_in_a_flat_picture() -> None:
    assert float(edges.canny(torch.full((1, 9, 9, 3), 0.5), 0.01, 0.02).sum()) == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(-20, 20), st.integers(-20, 20), st.integers(0, 99))
def test_pasting_changes_the_overlap_only(x: int, y: int, seed: int) -> None:
    target, source = picture(seed).movedim(-1, 1), picture(seed + 1, 5, 7).movedim(-1, 1)
    pasted = paste(target, source, x, y)
    expected = target.clone()
    for row in range(5):
        for column in range(7):
            if 0 <= row + y < 12 and 0 <= column + x < 16:
                expected[:, :, row + y, column + x] = source[:, :, row, column]
    assert torch.equal(pasted, expected)


def test_pasting_through_a_mask_mixes() -> None:
    target, source = torch.zeros(2, 3, 4, 4), torch.ones(1, 3, 4, 4)
    mask = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    pasted = paste(target, source, 0, 0, mask)
    assert pasted[1, 0, 2].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_outpainting_room_is_grey_and_masked() -> None:
    image = picture(4, 20, 30)
    canvas, mask = pad_for_outpaint(image, 8, 0, 16, 8, 0)
    assert canvas.shape == (1, 28, 54, 3) and mask.shape == (1, 28, 54)
    assert torch.equal(canvas[:, :20, 8:38], image)
    assert float(canvas[0, 27, 0, 0]) == 0.5
    inside = torch.zeros(28, 54, dtype=torch.bool)
    inside[:20, 8:38] = True
    assert torch.equal(mask[0] == 0, inside)


def test_the_mask_of_outpainting_fades_by_the_nearest_padded_side() -> None:
    height, width, feathering = 20, 30, 9
    _, mask = pad_for_outpaint(picture(4, height, width), 0, 8, 8, 0, feathering)
    for i in range(height):
        for j in range(width):
            distance = min(i, width - j)  # from the top and the right
            value = max(feathering - distance, 0) / feathering
            assert float(mask[0, 8 + i, j]) == pytest.approx(value * value)


def test_feathering_that_does_not_fit_is_left_out() -> None:
    _, mask = pad_for_outpaint(picture(4, 20, 30), 8, 8, 8, 8, 10)
    assert float(mask[0, 8:28, 8:38].max()) == 0.0


def test_batches_repeat_and_spread_as_comfyuis() -> None:
    rows = torch.arange(3)
    assert repeat_to(rows, 7).tolist() == [0, 1, 2, 0, 1, 2, 0] and repeat_to(rows, 2).tolist() == [0, 1]
    assert spread_to(rows, 6).tolist() == [0, 0, 1, 1, 2, 2] and spread_to(rows, 2).tolist() == [0, 2]
    assert spread_to(rows, 1).tolist() == [0]
    assert spread_to(torch.arange(2), 3).tolist() == [0, 1, 1]


def test_a_batch_is_cut_where_the_size_changes() -> None:
    items = [torch.zeros(1, 4, 4, 3)] * 3 + [torch.zeros(1, 5, 4, 3)] * 2
    assert [tuple(batch.shape) for batch in cut_into(items, 2)] == [(2, 4, 4, 3), (1, 4, 4, 3), (2, 5, 4, 3)]


def test_alpha_is_added_opaque_and_sizes_are_fitted() -> None:
    plain, clear = same_channels(picture(1), picture(2, channels=4))
    assert plain.shape[-1] == clear.shape[-1] == 4 and float(plain[..., 3].min()) == 1.0
    samples = picture(1).movedim(-1, 1)
    assert fitted(samples, samples) is samples
    assert fitted(samples, torch.zeros(1, 1, 6, 6)).shape == (1, 3, 6, 6)
