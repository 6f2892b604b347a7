"""Limits of sizes; upscalers by name."""

import pytest
import torch

from hires.errors import SettingError
from hires.imaging.sizes import check_size, floor_to_latent
from hires.imaging.upscalers import LATENT_UPSCALERS, PLAIN, find_name, resize_pixels


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (0, 512, "width must be from 16 to 16384 pixels, not 0"),
        (512, 1_000_000, "height must be from 16 to 16384 pixels, not 1000000"),
        (16384, 16384, "268 megapixels; the limit is 200"),
    ],
)
def test_sizes_out_of_range_are_refused(width: int, height: int, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        check_size(width, height, 200)


def test_a_batch_counts_as_a_whole() -> None:
    check_size(1024, 1024, 10)
    with pytest.raises(SettingError, match=r"16 pictures of 1024x1024"):
        check_size(1024, 1024, 10, images=16)


def test_floor_to_latent() -> None:
    assert [floor_to_latent(side) for side in (512, 500, 750, 7)] == [512, 496, 744, 0]


def test_names_are_found_whatever_their_spelling() -> None:
    assert find_name("latent_(Nearest-Exact)", list(LATENT_UPSCALERS)) == "Latent (nearest-exact)"
    assert find_name("4x ultrasharp", [*PLAIN, "more/4x_UltraSharp.pth"]) == "more/4x_UltraSharp.pth"
    with pytest.raises(SettingError, match="could not find upscaler named 'Foo'"):
        find_name("Foo", PLAIN)


def test_pixels_are_resized_in_their_own_layout() -> None:
    images = torch.eye(2)[None, :, :, None].expand(1, 2, 2, 3)
    nearest = resize_pixels(images, 4, 6, "nearest-exact")
    assert nearest.shape == (1, 6, 4, 3)
    assert nearest[0, :, :, 0].tolist() == torch.eye(2).repeat_interleave(3, 0).repeat_interleave(2, 1).tolist()
