from __future__ import annotations

import math

import torch

from hires.text.vectors import sinusoids, size_vector_refiner, size_vector_sdxl


def test_sinusoids_closed_form() -> None:
    (row,) = sinusoids(torch.tensor([1024.0]))
    assert row.shape == (256,)
    for index in (0, 1, 2, 64, 127):
        angle = 1024 * 10000 ** (-index / 128)
        assert math.isclose(row[index].item(), math.cos(angle), abs_tol=2e-4)
        assert math.isclose(row[128 + index].item(), math.sin(angle), abs_tol=2e-4)
    expected = torch.tensor([0.987354, -0.537617, 0.683457, -0.158533, -0.843189, 0.729991])
    # The published values were rounded to half precision.
    torch.testing.assert_close(row[[0, 1, 2, 128, 129, 130]], expected, atol=5e-4, rtol=0)


def test_sdxl_vector_order() -> None:
    pooled = torch.arange(8.0).reshape(2, 4)
    vector = size_vector_sdxl(pooled, 768, 1024, 8, 16, 1536, 2048)
    assert vector.shape == (2, 4 + 6 * 256)
    assert vector[:, :4].equal(pooled)
    expected = sinusoids(torch.tensor([768.0, 1024, 8, 16, 1536, 2048])).flatten()
    assert vector[0, 4:].equal(expected)
    assert vector[1, 4:].equal(expected)
    assert size_vector_sdxl(torch.zeros(1, 1280), 1024, 768).shape == (1, 2816)
    assert size_vector_sdxl(pooled, 768, 1024).equal(size_vector_sdxl(pooled, 768, 1024, 0, 0, 768, 1024))


def test_refiner_vector_order() -> None:
    vector = size_vector_refiner(torch.zeros(1, 1280), 768, 1024, 8, 16, 2.5)
    assert vector.shape == (1, 2560)
    assert vector[0, 1280:].equal(sinusoids(torch.tensor([768.0, 1024, 8, 16, 2.5])).flatten())
