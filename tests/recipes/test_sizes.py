"""Hires fix's target size and crop, against A1111's table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hires.recipes.sizes import hires_size


@pytest.mark.parametrize(
    ("first", "scale", "to", "enlarged", "crop", "delivered"),
    [
        ((512, 512), 2.0, (0, 0), (1024, 1024), (0, 0), (1024, 1024)),
        ((512, 512), 2.0, (1024, 768), (1024, 1024), (0, 32), (1024, 768)),
        ((768, 512), 2.0, (1024, 1024), (1536, 1024), (64, 0), (1024, 1024)),
        ((600, 400), 2.0, (0, 900), (1350, 900), (0, 0), (1344, 896)),
        ((500, 750), 2.05, (0, 0), (1025, 1537), (0, 0), (1024, 1536)),
    ],
)
def test_the_web_uis_table(
    first: tuple[int, int],
    scale: float,
    to: tuple[int, int],
    enlarged: tuple[int, int],
    crop: tuple[int, int],
    delivered: tuple[int, int],
) -> None:
    size = hires_size(*first, scale, *to)
    assert (size.width, size.height) == enlarged
    assert (size.crop_x_latent, size.crop_y_latent) == crop
    assert size.delivered == delivered


@given(st.integers(64, 2048), st.integers(64, 2048), st.integers(8, 256), st.integers(8, 256))
def test_a_target_of_both_sides_is_met_to_a_latent_cell(width: int, height: int, x: int, y: int) -> None:
    delivered = hires_size(width, height, 2.0, x * 8, y * 8).delivered
    assert abs(delivered[0] - x * 8) <= 8
    assert abs(delivered[1] - y * 8) <= 8
