"""Transparency through an enlarging network: colours under it filled, or two opaque backgrounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from hires.imaging.strips import new_pixels, rows_at_once

AlphaMode = Literal["keep", "two-background", "flatten"]
ALPHA_MODES: tuple[AlphaMode, ...] = ("keep", "two-background", "flatten")
SMALLEST_ALPHA = 1 / 255
WHITE = 1.0


def fill_transparent(colour: Tensor, alpha: Tensor) -> Tensor:
    """Colours grown from the visible parts into those of alpha 0, so that no edge is dark after enlarging.

    colour (h, w, channels) and alpha (h, w), both in 0..1; visible colours are untouched. What lies next to a visible
    pixel takes its neighbours' mean, what lies further the mean of a wider surrounding; nothing visible: as it was.
    """
    seen = (alpha > 0).to(colour.dtype)
    if bool((seen > 0).all()) or not bool((seen > 0).any()):
        return colour
    weight = seen[None, None]
    filled = _filled(colour.movedim(-1, 0)[None] * weight, weight)[0].movedim(0, -1)
    return torch.where(seen[..., None] > 0, colour, filled)


def _filled(total: Tensor, weight: Tensor) -> Tensor:
    """Sums and weights (1, channels, h, w) and (1, 1, h, w) -> means, coarser ones where the weight is 0."""
    mean = total / weight.clamp(min=1e-12)
    height, width = weight.shape[-2:]
    if bool((weight > 0).all()) or (height == 1 and width == 1):
        return mean
    halves = [avg_pool2d(part, 2, ceil_mode=True, count_include_pad=False) for part in (total, weight)]
    coarse = _filled(halves[0], halves[1])
    spread = interpolate(coarse, scale_factor=2, mode="nearest")[..., :height, :width]
    return torch.where(weight > 0, mean, spread)


def over(colour: Tensor, alpha: Tensor, background: float) -> Tensor:
    """colour (h, w, channels) with alpha (h, w) laid over a grey of 0 (black) to 1 (white)."""
    return colour * alpha[..., None] + background * (1 - alpha[..., None])


def from_two_backgrounds(black: Tensor, white: Tensor) -> tuple[Tensor, Tensor]:
    """Colour (h, w, channels) and alpha (h, w) of a picture seen over black and over white.

    Over white a pixel is brighter by 1 - alpha; the colour over black is divided by alpha, as it is premultiplied.
    """
    alpha = (1 - (white - black).mean(dim=-1)).clamp(0, 1)
    colour = (black / alpha.clamp(min=SMALLEST_ALPHA)[..., None]).clamp(0, 1)
    return colour, alpha


def enlarge_with_alpha(picture: Tensor, enlarge: Callable[[Tensor], Tensor], mode: AlphaMode) -> Tensor:
    """picture (h, w, 3 or 4) -> the same enlarged, by `enlarge` from (h, w, 3) to (H, W, 3).

    "keep" enlarges filled colours and alpha, as a grey picture, one after the other; "two-background" the picture over
    black and over white; "flatten" lays it over white and gives 3 channels. Alpha that is 1 everywhere stays so.
    """
    if picture.shape[-1] == 3:
        return enlarge(picture)
    colour, alpha = picture[..., :3], picture[..., 3]
    if mode == "flatten":
        return enlarge(over(colour, alpha, WHITE))
    if bool((alpha == alpha.flatten()[0]).all()):
        made = _with_room(enlarge(colour))
        made[..., 3] = float(alpha.flatten()[0])
        return made
    if mode == "two-background":
        black, white = enlarge(over(colour, alpha, 0.0)), enlarge(over(colour, alpha, WHITE))
        made = _with_room(black)
        for rows in _strips(made):
            made[rows, :, :3], made[rows, :, 3] = from_two_backgrounds(black[rows], white[rows])
        return made
    made = _with_room(enlarge(fill_transparent(colour, alpha)))
    grey = enlarge(alpha[..., None].expand(-1, -1, 3).contiguous())
    for rows in _strips(made):
        made[rows, :, 3] = grey[rows].mean(dim=-1).clamp(0, 1)
    return made


def _with_room(colour: Tensor) -> Tensor:
    """(h, w, 3) -> (h, w, 4), its alpha yet to be written; in a file where it is large."""
    made = torch.from_numpy(new_pixels(colour.shape[0], colour.shape[1], 4))
    made[..., :3] = colour
    return made


def _strips(picture: Tensor) -> Iterator[slice]:
    step = rows_at_once(picture[0].numpy())
    return (slice(top, top + step) for top in range(0, len(picture), step))
