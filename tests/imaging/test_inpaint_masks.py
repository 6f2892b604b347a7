"""Masks for inpainting: the web UI's worked examples, OpenCV's bytes for the blur, and properties of the crop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.imaging.drawn_masks import masks

from hires.imaging.inpaint_masks import (
    Box,
    blur_kernel,
    blurred,
    blurred_line,
    crop_region,
    cropped,
    grey_mask,
    latent_mask,
    mask_from_alpha,
    only_masked,
    to_aspect,
    whole_picture,
)

# ---- blur -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sigma", "length"), [(1, 7), (2, 11), (4, 21), (8, 41), (16, 81), (32, 161), (64, 321)])
def test_kernels_have_the_webuis_lengths_and_sum_to_one(sigma: int, length: int) -> None:
    kernel = blur_kernel(sigma)
    assert len(kernel) == length and kernel.sum() == 256 and kernel.min() >= 0
    assert np.array_equal(kernel, kernel[::-1])
    exact = np.exp(-(np.arange(-(length // 2), length // 2 + 1) ** 2) / (2 * sigma**2))
    assert np.abs(np.cumsum(kernel) / 256 - np.cumsum(exact) / exact.sum()).max() < 2 / 256


@pytest.mark.parametrize(
    ("sigma", "edge"),
    [
        (1, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 15, 77]),
        (2, [0, 0, 0, 0, 0, 0, 0, 2, 9, 26, 57, 102]),
        (4, [0, 0, 1, 3, 7, 12, 21, 32, 48, 67, 90, 115]),
    ],
)
def test_an_edge_is_blurred_to_opencvs_bytes(sigma: int, edge: list[int]) -> None:
    pixels = np.zeros((1, 24), np.uint8)
    pixels[:, 12:] = 255
    assert blurred_line(pixels, sigma, axis=1)[0, :12].tolist() == edge
    assert blurred_line(pixels.T, sigma, axis=0)[:12, 0].tolist() == edge


def test_a_point_is_blurred_across_and_then_down() -> None:
    pixels = np.zeros((9, 9), np.uint8)
    pixels[4, 4] = 255
    made = np.asarray(blurred(Image.fromarray(pixels), 1))
    assert made[1:5, 1:5].tolist() == [[0, 0, 0, 0], [0, 1, 3, 6], [0, 3, 15, 25], [0, 6, 25, 41]]
    across = np.asarray(blurred(Image.fromarray(pixels), 1, 0))
    assert across[4].max() > 0 and not across[[0, 1, 2, 3, 5, 6, 7, 8]].any()


@settings(max_examples=30)
@given(masks(), st.integers(0, 12))
def test_blur_neither_fills_the_mask_nor_leaves_its_reach(mask: Image.Image, sigma: int) -> None:
    """White further inside than the kernel's half stays white, black further outside stays black."""
    reach = int(2.5 * sigma + 0.5)
    before, after = np.asarray(mask), np.asarray(blurred(mask, sigma))
    padded = np.pad(before, reach, mode="reflect") if reach < min(before.shape) else None
    assume(padded is not None)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1))
    assert (after[windows.min(axis=(2, 3)) == 255] == 255).all()
    assert not after[windows.max(axis=(2, 3)) == 0].any()


def test_a_picture_smaller_than_the_kernel_is_mirrored_again_and_again() -> None:
    assert np.array_equal(blurred_line(np.full((3, 5), 77, np.uint8), 64, axis=1), np.full((3, 5), 77, np.uint8))


# ---- the crop -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "frame", "expected"),
    [
        ((100, 200, 228, 232), (512, 512), (100, 152, 228, 280)),
        ((0, 900, 400, 1024), (512, 512), (0, 624, 400, 1024)),
        ((10, 10, 50, 300), (768, 512), (0, 10, 435, 300)),
    ],
)
def test_boxes_grow_to_the_frames_aspect(box: Box, frame: tuple[int, int], expected: Box) -> None:
    assert to_aspect(box, (1024, 1024), frame) == expected


@settings(max_examples=100)
@given(masks(), st.integers(0, 40), st.integers(8, 96), st.integers(8, 96))
def test_the_region_holds_the_mask_inside_the_picture_at_the_aspect(
    mask: Image.Image, padding: int, wide: int, tall: int
) -> None:
    region = crop_region(mask, padding)
    pixels = np.asarray(mask)
    if region is None:
        assert not pixels.any()
        return
    left, top, right, bottom = to_aspect(region, mask.size, (wide, tall))
    assert 0 <= left <= region[0] and region[2] <= right <= mask.width
    assert 0 <= top <= region[1] and region[3] <= bottom <= mask.height
    outside = pixels.copy()
    outside[region[1] : region[3], region[0] : region[2]] = 0
    assert not outside.any()
    width, height = right - left, bottom - top
    reached = abs(width - height * wide / tall) < max(1, wide / tall) + 1e-9
    assert reached or width == mask.width or height == mask.height


def test_padding_grows_the_box_as_far_as_the_picture() -> None:
    mask = Image.new("L", (60, 40))
    mask.putpixel((10, 35), 1)
    assert crop_region(mask) == (10, 35, 11, 36) and crop_region(mask, 8) == (2, 27, 19, 40)
    assert crop_region(Image.new("L", (60, 40)), 8) is None


# ---- what is drawn --------------------------------------------------------------------------------------------------


def test_the_whole_pictures_overlay_is_the_mask_doubled() -> None:
    mask = Image.fromarray(np.array([[0, 1, 100, 127, 128, 255]], np.uint8))
    made = whole_picture(mask, (6, 1), "Just resize")
    assert np.asarray(made.overlay).tolist() == [[0, 2, 200, 254, 255, 255]] and made.box is None
    assert np.array_equal(np.asarray(made.mask), np.asarray(mask))
    kept = whole_picture(Image.new("L", (64, 32), 255), (32, 32), "Just resize (latent upscale)")
    assert kept.mask.size == kept.overlay.size == (32, 32)


def test_only_masked_draws_the_box_and_covers_by_the_blurred_mask() -> None:
    mask = Image.new("L", (64, 48))
    mask.paste(255, (20, 10, 30, 20))
    soft = blurred(mask, 2)
    made = only_masked(soft, (64, 48), (32, 16), padding=4)
    assert made is not None and made.box is not None
    region = crop_region(soft, 4)
    assert region is not None and made.box == to_aspect(region, (64, 48), (32, 16))
    assert made.mask.size == (32, 16) and np.array_equal(np.asarray(made.overlay), np.asarray(soft))
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3)).astype(np.uint8))
    part = cropped(picture, made.box, (made.box[2] - made.box[0], made.box[3] - made.box[1]))
    assert np.array_equal(np.asarray(part), np.asarray(picture.crop(made.box)))


def test_an_empty_mask_has_no_part_to_draw() -> None:
    assert only_masked(Image.new("L", (64, 48)), (64, 48), (32, 32)) is None


def test_a_mask_of_another_size_is_brought_to_the_pictures() -> None:
    mask = Image.new("L", (32, 24))
    mask.paste(255, (8, 8, 16, 16))
    made = only_masked(mask, (64, 48), (16, 16), padding=0)
    assert made is not None and made.overlay.size == (64, 48) and made.box is not None
    assert made.box[0] <= 16 and made.box[2] >= 32


# ---- grey, alpha, latent --------------------------------------------------------------------------------------------


def test_a_layers_alpha_is_cut_and_a_pictures_luminance_is_not() -> None:
    layer = Image.fromarray(np.array([[[255, 0, 0, level] for level in (0, 128, 129, 255)]], np.uint8), "RGBA")
    assert np.asarray(grey_mask(layer)).tolist() == [[0, 0, 255, 255]]
    assert np.asarray(grey_mask(layer, rounding=False)).tolist() == [[0, 128, 129, 255]]
    opaque = layer.copy()
    opaque.putalpha(255)
    assert np.asarray(grey_mask(opaque)).tolist() == [[76] * 4]  # 0.299 of red
    grey = Image.fromarray(np.array([[3, 127, 200]], np.uint8))
    assert np.asarray(grey_mask(grey)).tolist() == [[3, 127, 200]]


def test_transparent_parts_are_a_mask() -> None:
    picture = Image.fromarray(np.array([[[1, 2, 3, level] for level in (0, 100, 255)]], np.uint8), "RGBA")
    assert np.asarray(mask_from_alpha(picture)).tolist() == [[255, 155, 0]]
    assert not np.asarray(mask_from_alpha(picture.convert("RGB"))).any()


def test_the_latents_mask_is_bicubic_and_rounded() -> None:
    mask = Image.new("L", (64, 32))
    mask.paste(255, (0, 0, 28, 32))
    expected = np.asarray(mask.resize((8, 4), Image.Resampling.BICUBIC), np.float32) / 255
    soft, hard = latent_mask(mask, rounding=False), latent_mask(mask)
    assert soft.shape == hard.shape == (1, 1, 4, 8) and soft.dtype == torch.float32
    assert np.array_equal(soft[0, 0].numpy(), expected) and 0.4 < float(soft[0, 0, 0, 3]) < 0.6
    assert set(hard.unique().tolist()) == {0.0, 1.0} and torch.equal(hard, soft.round())
    assert latent_mask(mask, (5, 7)).shape == (1, 1, 7, 5)
