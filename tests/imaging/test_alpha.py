"""Transparency through enlarging: filled colours, two backgrounds, alpha that is the same everywhere."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hires.imaging.alpha import ALPHA_MODES, enlarge_with_alpha, fill_transparent, from_two_backgrounds, over


def bilinear(picture: Tensor) -> Tensor:
    """Never above or below its input, so that nothing is clipped."""
    planes = picture.movedim(-1, 0)[None]
    return interpolate(planes, scale_factor=4, mode="bilinear")[0].movedim(0, -1)


def disc() -> tuple[Tensor, Tensor]:
    """A colour, and a disc of it with a soft border on clear black."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    alpha = (12.5 - torch.hypot(x - 19.5, y - 19.5)).clamp(0, 1)
    colour = torch.tensor([0.8, 0.5, 0.25])
    return colour, torch.cat([(alpha[..., None] > 0) * colour, alpha[..., None]], dim=-1)


def test_a_soft_disc_keeps_its_colour_up_to_its_edge() -> None:
    colour, picture = disc()
    for mode in ("keep", "two-background"):
        made = enlarge_with_alpha(picture, bilinear, mode)
        assert made.shape == (160, 160, 4)
        seen = made[..., 3] > 1 / 255
        assert (made[..., :3] - colour)[seen].abs().max() < 2 / 255, mode
        assert torch.allclose(made[..., 3], bilinear(picture[..., 3:].expand(-1, -1, 3))[..., 0], atol=1e-5)


def test_without_filling_the_edge_would_be_dark() -> None:
    colour, picture = disc()
    raw = bilinear(picture[..., :3])
    alpha = bilinear(picture[..., 3:].expand(-1, -1, 3))[..., 0]
    assert (raw - colour)[alpha > 1 / 255].abs().max() > 0.2


def test_flat_pictures_lie_over_white() -> None:
    _, picture = disc()
    made = enlarge_with_alpha(picture, bilinear, "flatten")
    assert made.shape == (160, 160, 3) and torch.allclose(made[0, 0], torch.ones(3))


def test_alpha_that_is_the_same_everywhere_is_copied() -> None:
    calls: list[int] = []

    def counted(part: Tensor) -> Tensor:
        calls.append(1)
        return bilinear(part)

    picture = torch.rand(8, 8, 4, generator=torch.Generator().manual_seed(0))
    picture[..., 3] = 0.5
    made = enlarge_with_alpha(picture, counted, "keep")
    assert len(calls) == 1 and bool((made[..., 3] == 0.5).all())
    assert enlarge_with_alpha(picture[..., :3], bilinear, "keep").shape == (32, 32, 3)


def test_filling_leaves_what_is_seen_and_takes_the_nearest_colours() -> None:
    colour = torch.zeros(16, 24, 3)
    alpha = torch.zeros(16, 24)
    colour[:, :4], alpha[:, :4] = torch.tensor([1.0, 0.0, 0.0]), 1.0
    colour[:, 20:], alpha[:, 20:] = torch.tensor([0.0, 0.0, 1.0]), 0.2
    filled = fill_transparent(colour, alpha)
    assert torch.equal(filled[alpha > 0], colour[alpha > 0])
    assert torch.allclose(filled[:, 4], torch.tensor([1.0, 0.0, 0.0]))
    assert torch.allclose(filled[:, 19], torch.tensor([0.0, 0.0, 1.0]))
    nothing = torch.zeros(16, 24)
    assert torch.equal(fill_transparent(colour, nothing), colour)


def test_two_backgrounds_give_back_colour_and_alpha() -> None:
    generator = torch.Generator().manual_seed(1)
    colour, alpha = torch.rand(9, 7, 3, generator=generator), torch.rand(9, 7, generator=generator) * 0.9 + 0.1
    again, clear = from_two_backgrounds(over(colour, alpha, 0.0), over(colour, alpha, 1.0))
    assert torch.allclose(again, colour, atol=1e-4) and torch.allclose(clear, alpha, atol=1e-5)
    assert ALPHA_MODES == ("keep", "two-background", "flatten")
