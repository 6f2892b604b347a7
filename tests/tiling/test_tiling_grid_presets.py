"""The numbers of the tools that people come from."""

from __future__ import annotations

import pytest

from hires.tiling.grid import Box
from hires.tiling.grid_presets import (
    JOINT_PRESETS,
    comfy_ultimate_crop_box,
    comfy_ultimate_processing_size,
    demofusion_starts,
    even_batch,
    sd_upscale_boxes,
    sd_upscale_ramp,
    sd_upscale_seeds,
    tiled_diffusion_boxes,
    ultimate_cells,
    ultimate_crop_box,
    ultimate_order,
    ultimate_processing_size,
)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_guides_rule_for_sd_upscale(scale: int) -> None:
    """A tile of size + overlap: scale x scale tiles, true overlap O k / (k - 1)."""
    boxes = sd_upscale_boxes(600 * scale, 600 * scale, (664, 664), 64)
    assert len(boxes) == scale**2
    overlap = boxes[0].right - boxes[1].left
    assert overlap == pytest.approx(64 * scale / (scale - 1), abs=1)


def test_sd_upscale_without_the_rule_and_too_large_tiles() -> None:
    assert len(sd_upscale_boxes(1024, 1024, (512, 512), 64)) == 9
    assert sd_upscale_boxes(400, 600, (512, 512), 64)[0] == Box(-112, 0, 400, 512)


def test_sd_upscale_seeds() -> None:
    assert sd_upscale_seeds(10, 4, 1) == [10, 11, 12, 13]
    assert sd_upscale_seeds(10, 5, 2) == [10, 11, 11, 12, 12]
    assert sd_upscale_seeds(10, 3, 1, run=2) == [12, 13, 14]


def test_sd_upscale_ramp() -> None:
    assert (sd_upscale_ramp(4) * 255).round().tolist() == [0, 63, 127, 191]
    assert len(sd_upscale_ramp(0)) == 0


@pytest.mark.parametrize(
    ("blur", "padding", "inner", "corner"),
    [(8, 32, 617, 565), (0, 32, 577, 545), (16, 32, 655, 584), (16, 64, 719, 616)],
)
def test_ultimate_crop_boxes(blur: int, padding: int, inner: int, corner: int) -> None:
    size = ultimate_processing_size((512, 512), padding)
    assert size == (576, 576)
    box = ultimate_crop_box(2048, 2048, (512, 512, 512, 512), blur, padding, size)
    assert (box.height, box.width) == (inner, inner)
    box = ultimate_crop_box(2048, 2048, (0, 0, 512, 512), blur, padding, size)
    assert (box.height, box.width) == (corner, corner)


def test_ultimate_slivers() -> None:
    """1088 pixels in tiles of 512: the last cell is 64 wide, its crop 116."""
    cells = ultimate_cells(1088, 1088, (512, 512))
    assert len(cells) == 9 and (cells[-1].height, cells[-1].width) == (64, 64)
    box = ultimate_crop_box(1088, 1088, (1024, 1024, 512, 512), 8, 32, (576, 576))
    assert (box.height, box.width) == (116, 116)


def test_ultimate_boxes_at_an_edge_take_the_processing_shape() -> None:
    box = ultimate_crop_box(2048, 2048, (0, 512, 512, 512), 8, 32, (576, 576))
    assert box.height == box.width == 617 and box.top == 0


def test_comfys_ultimate() -> None:
    assert comfy_ultimate_processing_size((512, 512), 32) == (544, 544)
    box = comfy_ultimate_crop_box(2048, 2048, (512, 512, 512, 512), 32, (544, 544))
    assert (box.height, box.width) == (576, 576)


def test_ultimate_orders() -> None:
    cells = ultimate_cells(2, 3, (1, 1))
    assert ultimate_order(cells, "Linear") == cells
    assert [(b.top, b.left) for b in ultimate_order(cells, "Chess")] == [(0, 0), (0, 2), (1, 1), (0, 1), (1, 0), (1, 2)]


def test_tiled_diffusions_clamps() -> None:
    assert tiled_diffusion_boxes(64, 200, (96, 96), 256)[0] == Box(0, 0, 64, 96)
    starts = sorted({box.left for box in tiled_diffusion_boxes(64, 200, (96, 96), 256)})
    assert len(starts) == -(-(200 - 60) // (96 - 60))  # the overlap comes down to 64 - 4
    assert even_batch(25, 4) == 4 and even_batch(9, 8) == 5
    assert demofusion_starts(256, 128, 64) == [0, 64, 128] and demofusion_starts(250, 128, 64) == [0, 64, 122]
    assert JOINT_PRESETS["tiled-diffusion-txt2img"].overlap == 48
