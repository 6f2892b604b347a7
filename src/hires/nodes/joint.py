"""Tiled Diffusion in a run: what nodes set on a model, made ready for guidance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hires.models.handles import PIXELS_PER_LATENT, DiffusionModel
from hires.sampling.jobs import Place
from hires.text.vectors import sinusoids
from hires.tiling.joint import JointTiling, SizeVector, spot_shifts

OPTION, SPOT_OPTION = "tiled_diffusion", "spot_diffusion"
NUMBER = 256
"""Width of one number in SDXL's vector."""
LARGEST_CROP = 1024
"""Pixels: crop offsets are scaled so that the shorter side's stay within what SDXL was trained on."""


@dataclass(frozen=True)
class Spot:
    """How SpotDiffusion's shifts are drawn; seed None is the run's."""

    method: str = "random"
    seed: int | None = None


def joint_tiles(model: DiffusionModel, sigmas: Tensor, seed: int, first_step: int = 0) -> JointTiling | None:
    """The tiling of a run over noise levels, of what nodes set on its model; None where they set none."""
    tiling: JointTiling | None = model.options.get(OPTION)
    if tiling is None:
        return None
    if tiling.grid == "roll":
        spot: Spot = model.options.get(SPOT_OPTION) or Spot()
        shifts = spot_shifts(
            spot.method, seed if spot.seed is None else spot.seed, max(first_step + len(sigmas) - 1, 1), tiling.tile
        )
        tiling = replace(tiling, shifts=shifts)
    return replace(tiling, first_step=first_step, size_vector=_size_vector(model, tiling.micro_cond))


def _size_vector(model: DiffusionModel, mode: str) -> SizeVector | None:
    if not model.vector_width or mode == "canvas":
        return None
    given: Callable[[Place, tuple[int, int]], tuple[float, ...]] = _as_crop if mode == "crop" else _as_picture
    kept = 2 if model.family == "sdxl_refiner" else 0  # the refiner has a score where the base has the target size
    total = 5 if model.family == "sdxl_refiner" else 6

    def vector(entry: Tensor, place: Place, size: tuple[int, int]) -> Tensor:
        numbers = given(place, size)[: 4 if kept else 6]
        sizes = sinusoids(torch.tensor(numbers, dtype=torch.float32)).flatten().to(entry)
        pooled, score = entry[:, : -total * NUMBER], entry[:, entry.shape[1] - NUMBER :]
        parts = [pooled, sizes.expand(len(entry), -1), *([score] if kept else [])]
        return torch.cat(parts, dim=-1)

    return vector


def _as_crop(place: Place, size: tuple[int, int]) -> tuple[float, ...]:
    """A part of the whole picture, at its offset."""
    height, width = (side * PIXELS_PER_LATENT for side in size)
    h, w, y, x = (side * PIXELS_PER_LATENT for side in place)
    scale = min(1.0, LARGEST_CROP / min(height, width))
    return (height, width, y * scale, x * scale, h, w)


def _as_picture(place: Place, size: tuple[int, int]) -> tuple[float, ...]:
    """A picture of its own."""
    h, w = place[0] * PIXELS_PER_LATENT, place[1] * PIXELS_PER_LATENT
    return (h, w, 0, 0, h, w)
