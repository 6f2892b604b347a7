"""The seam index: 1 without seams, and by how much it rises when one is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hires.tiling.seams import SeamReport, index_told, seam_index


def texture(height: int = 96, width: int = 128) -> torch.Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(1)) * 0.5


def test_a_texture_has_no_seams() -> None:
    report = seam_index(texture(), [32, 64], [64])
    assert report.index == pytest.approx(1.0, abs=0.05)
    assert report.drift < 0.03 and report.lines == 3


def test_a_ramp_has_index_one_and_its_own_drift() -> None:
    ramp = torch.linspace(0, 1, 128)[None, :, None].expand(64, 128, 3)
    report = seam_index(ramp, [], [64])
    assert report.index == pytest.approx(1.0, abs=1e-3)
    assert report.drift == pytest.approx(8 / 127, rel=1e-4)  # the strips' middles lie 8 columns apart


def test_a_tone_step_is_seen() -> None:
    image, source = texture(), texture()
    image[32:, :64] += 0.3
    report = seam_index(image, [32], [64], reference=source)
    assert report.index > 1.15
    # one of two pieces of the row's join steps by 0.3, and one of two of the column's
    assert report.drift == pytest.approx((0.3**2 / 2) ** 0.5, rel=0.05)
    assert report.reference_index == pytest.approx(1.0, abs=0.05)
    assert "reference" in report.describe()
    assert seam_index(image, [80], [20]).index < 1.1  # not where no tile ends


def test_bytes_and_edge_cases() -> None:
    picture = (texture().numpy() * 255).astype(np.uint8)
    assert seam_index(picture, [32], [64]).index == pytest.approx(seam_index(texture(), [32], [64]).index, rel=0.01)
    assert seam_index(picture, [0, 96, -3], []).lines == 0
    assert seam_index(picture, [], []).describe() == "no seams: one piece"
    flat = torch.zeros(32, 32, 3)
    assert seam_index(flat, [16], []).index == 1.0
    flat[16:] = 1
    assert seam_index(flat, [16], []).index == float("inf")
    with pytest.raises(ValueError, match="size"):
        seam_index(flat, [16], [], reference=flat[1:])


def test_the_index_is_read_back_from_the_line_that_was_said() -> None:
    image = texture()
    image[32:, :64] += 0.3
    for report in (seam_index(image, [32], [64]), seam_index(image, [32], [64], reference=texture())):
        assert index_told(report.describe()) == pytest.approx(report.index, abs=5e-4)
    assert index_told(seam_index(image, [], []).describe()) is None
    assert index_told(SeamReport(float("inf"), 0.1, 1).describe()) == float("inf")
    assert index_told("12 tiles, seam index 1.000") is None
