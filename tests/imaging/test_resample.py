"""Resizing against the values that the originals give."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hires.errors import SettingError
from hires.imaging.resample import EXTRA_METHODS, IMAGE_METHODS, LATENT_METHODS, resample

FIRST_ROWS = {
    "bilinear": [0, 0.5, 1.1667, 1.8333, 2.5, 3],
    "area": [0, 0.5, 1, 2, 2.5, 3],
    "bicubic": [-0.4340, 0.0590, 0.8657, 1.4398, 2.2465, 2.7396],
    "nearest-exact": [0, 1, 1, 2, 3, 3],
}
ONE_DIMENSION = {
    "bilinear": [0, 0.5, 1.1667, 1.8333, 2.5, 3],
    "bilinear antialiased": [0, 0.5, 1.1667, 1.8333, 2.5, 3],
    "bicubic": [-0.0868, 0.4062, 1.213, 1.787, 2.5938, 3.0868],
    "bicubic antialiased": [-0.0658, 0.4118, 1.1667, 1.8333, 2.5882, 3.0658],
    "nearest": [0, 0, 1, 2, 2, 3],
    "nearest-exact": [0, 1, 1, 2, 3, 3],
}


@pytest.mark.parametrize("method", FIRST_ROWS)
def test_four_to_six_gives_comfyui_numbers(method: str) -> None:
    samples = torch.arange(16.0).reshape(1, 1, 4, 4)
    row = resample(samples, 6, 6, method)[0, 0, 0]
    torch.testing.assert_close(row, torch.tensor(FIRST_ROWS[method], dtype=torch.float32), atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", ONE_DIMENSION)
def test_four_to_six_gives_the_web_uis_numbers(method: str) -> None:
    samples = torch.arange(4.0).expand(1, 1, 4, 4)
    row = resample(samples, 6, 4, method)[0, 0, 0]
    torch.testing.assert_close(row, torch.tensor(ONE_DIMENSION[method], dtype=torch.float32), atol=1e-4, rtol=0)


def test_bislerp_gives_comfyuis_numbers() -> None:
    ramp = torch.arange(16.0).reshape(4, 4)
    samples = torch.stack([ramp, ramp.flip(1) * 0.5 - 2])[None]
    row = resample(samples, 6, 6, "bislerp")[0, 0, 0]
    expected = torch.tensor([0, 0.366269, 1.154319, 1.821806, 2.492101, 3])
    torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-5)


@given(
    method=st.sampled_from([*LATENT_METHODS, *EXTRA_METHODS]),
    value=st.floats(0.1, 3),
    size=st.tuples(st.integers(2, 12), st.integers(2, 12)),
)
def test_a_constant_stays_constant(method: str, value: float, size: tuple[int, int]) -> None:
    resized = resample(torch.full((1, 4, 5, 7), value), *size, method)
    assert resized.shape == (1, 4, size[1], size[0])
    torch.testing.assert_close(resized, torch.full_like(resized, value), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", [*LATENT_METHODS, *IMAGE_METHODS])
def test_the_same_size_changes_nothing(method: str) -> None:
    samples = torch.rand(2, 3, 8, 6, generator=torch.Generator().manual_seed(1))
    tolerance = 1 / 255 if method == "lanczos" else 1e-5
    torch.testing.assert_close(resample(samples, 6, 8, method), samples, atol=tolerance, rtol=0)


def test_centre_crop_keeps_the_aspect() -> None:
    samples = torch.arange(8.0).expand(1, 1, 4, 8)
    cropped = resample(samples, 4, 4, "nearest-exact", "center")
    assert cropped[0, 0, 0].tolist() == [2, 3, 4, 5]


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(SettingError, match=r"unknown resize method 'cubic'.*bicubic"):
        resample(torch.zeros(1, 1, 2, 2), 4, 4, "cubic")
