"""A picture drawn by a diffusion upscaler: every denoiser call goes over tiles whose answers are weighed together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from hires.tiling.plan import TilePlan, plan_tiles
from hires.tiling.windows import normalised, windows

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x, picture) of one tile -> the network's answer, of x's shape."""


def drawing_plan(height: int, width: int, tile: int, overlap: int, method: str) -> TilePlan:
    """Tiles of a latent, even and blended by a cosine; one where the tile is no smaller than the latent."""
    return plan_tiles(height, width, (tile, tile), overlap, method=method, window="cosine", unit="latent cells")


def shares(plan: TilePlan) -> list[Tensor]:
    """The weight of each tile (h, w); they sum to one everywhere."""
    return normalised(plan.boxes, windows("cosine", plan.boxes), *plan.canvas)


def fused(plan: TilePlan, weights: Sequence[Tensor], x: Tensor, picture: Tensor, predict: Predict) -> Tensor:
    """One call over the tiles of a plan; x and picture (1, channels, height, width) are cut alike.

    A single tile's answer is handed on untouched.
    """
    if len(plan.boxes) == 1:
        return predict(x, picture)
    total = x.new_zeros(x.shape)
    for box, weight in zip(plan.boxes, weights, strict=True):
        part = (..., *box.slices)
        total[part] += predict(x[part], picture[part]) * weight
    return total
