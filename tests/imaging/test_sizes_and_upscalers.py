"""Limits of sizes; upscalers by name."""

import pytest
import torch

from hires.errors import SettingError
from hires.imaging.sizes import check_size, floor_to_latent
from hires.imaging.upscalers import LATENT_UPSCALERS, PLAIN, enlarge, find_name


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
    with pytest.raises(SettingError, match="could not find upscaler named 'Foo'"):
        find_name("Foo", PLAIN)


class Doubling:
    """An upscaler that repeats pixels, as a network of factor 2 would be called."""

    name = "doubling"

    def upscale(self, images: torch.Tensor, factor: float) -> torch.Tensor:
        return images.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)


def test_enlarge_brings_any_upscaler_to_the_exact_size() -> None:
    images = torch.full((1, 8, 10, 3), 0.5)
    assert enlarge(images, 20, 16, Doubling()).shape == (1, 16, 20, 3)
    assert enlarge(images, 25, 20, Doubling()).shape == (1, 20, 25, 3)
    nearest = enlarge(torch.eye(2)[None, :, :, None].expand(1, 2, 2, 3), 4, 4, None, "Nearest")
    assert nearest[0, :, :, 0].tolist() == torch.eye(2).repeat_interleave(2, 0).repeat_interleave(2, 1).tolist()
