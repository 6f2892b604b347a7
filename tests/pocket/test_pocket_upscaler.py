"""The upscaler: its layout, its measures against closed forms, and the shipped weights against bicubic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("skia", reason="drawings need skia-python (hires[train])")

from hires.models.upscale import load_upscaler
from hires.pocket import BUILT_IN_FOLDER
from hires.pocket.upscaler import Compact, as_pictures, as_pixels, as_table, edge_distance, held_out, measure, resampled

SHIPPED = BUILT_IN_FOLDER / "upscale_models" / "hires-pocket-x4.safetensors"


def random_picture(seed: int, side: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_training_starts_from_the_nearest_neighbour() -> None:
    network = Compact(8, 2)
    network.start(torch.Generator().manual_seed(0))
    picture = random_picture(3, 12)
    with torch.inference_mode():
        result = as_pictures(network(as_pixels([picture])))[0]
    assert np.array_equal(result, resampled("nearest")(picture))


def test_the_layout_is_spandrels(tmp_path: Path) -> None:
    from hires.pocket.export import write

    network = Compact(8, 2)
    write(network.state_dict(), tmp_path / "x4.safetensors", {})
    loaded = load_upscaler(tmp_path / "x4.safetensors")
    assert (loaded.scale, loaded.architecture) == (4, "RealESRGAN Compact")
    pixels = as_pixels([random_picture(4, 16)])
    with torch.inference_mode():
        expected = network(pixels).clamp(0, 1)
    assert torch.allclose(loaded.upscale(pixels), expected, atol=1e-5)


def test_edge_distance_forgets_brightness() -> None:
    pixels = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert float(edge_distance(pixels, pixels + 0.3)) == pytest.approx(0, abs=1e-6)
    assert float(edge_distance(pixels, 2 * pixels)) > 0.1


def test_held_out_drawings_are_reproducible() -> None:
    assert np.array_equal(held_out(0, 64), held_out(0, 64))
    assert not np.array_equal(held_out(0, 64), held_out(1, 64))


@pytest.mark.parametrize(("count", "side"), [(3, 512), (8, 256)])
def test_the_shipped_upscaler_beats_bicubic_on_drawings_it_never_saw(count: int, side: int) -> None:
    assert SHIPPED.stat().st_size < 2.5e6
    scores = measure(load_upscaler(SHIPPED).upscale, count=count, side=side)
    for methods in scores.values():
        ours, bicubic = methods["hires-pocket-x4"], methods["bicubic"]
        assert ours.psnr >= bicubic.psnr + 1.5
        assert ours.ssim > bicubic.ssim
    lines = as_table(scores).splitlines()
    assert len(lines) == 2 + 2 * 5 and lines[2].startswith("| bicubic | nearest |")
