"""A cell's measures from its files: against its first pass, else against what the grid is measured against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hires.errors import ImageFileError
from hires.recipes.grids.measuring import measure_cell


def written(path: Path, seed: int, side: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return path


def test_the_own_first_pass_comes_before_the_reference(tmp_path: Path) -> None:
    cell, first, other = (
        written(tmp_path / f"{seed}.png", seed % 2, side) for seed, side in ((0, 64), (2, 32), (3, 32))
    )
    assert measure_cell(cell, first)["content"] > 0.95
    assert measure_cell(cell, first, reference=other) == measure_cell(cell, first)
    assert measure_cell(cell, reference=other)["content"] < 0.6
    assert set(measure_cell(cell)) == {"sharpness"}


def test_the_worst_seam_that_was_told_counts(tmp_path: Path) -> None:
    cell = written(tmp_path / "a.png", 0, 32)
    notes = [
        "6 tiles",
        "seam index 1.010, colour drift 0.0010 over 2 joins",
        "seam index 1.024 (reference 1.000), colour",
    ]
    assert measure_cell(cell, notes=notes)["seams"] == 1.024
    assert "seams" not in measure_cell(cell, notes=["no seams: one piece"])


def test_a_missing_picture_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="there is no picture"):
        measure_cell(tmp_path / "none.png")
