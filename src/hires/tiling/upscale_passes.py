"""Any factor from a network of a fixed one: passes until the size is reached, then one Lanczos to the exact size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image

from hires.errors import SettingError
from hires.imaging.lanczos import lanczos_pixels
from hires.imaging.strips import as_stored, new_pixels, rows_at_once
from hires.tiling.plan import TilePlan
from hires.tiling.upscale import (
    Edge,
    Enlarger,
    Kept,
    Pixels,
    as_planes,
    enlarge_tiles,
    enlarging_plan,
)

Rule = Literal["exact", "webui"]
RULES: tuple[Rule, ...] = ("exact", "webui")
WEBUI_PASSES, MOST_PASSES = 3, 6
OnTile = Callable[[int, int], None]
OnPlan = Callable[[TilePlan], None]
Keep = Callable[[int, TilePlan, Pixels], Kept | None]
"""Makes the store of a run's tiles, of the run's number (from 0), its plan and what it enlarges."""


@dataclass(frozen=True)
class Passes:
    """How a target is reached: the size (height, width) after each run of the network, then the target."""

    sizes: tuple[tuple[int, int], ...]
    target: tuple[int, int]


def passes(
    size: tuple[int, int], target: tuple[int, int], scale: int, *, restore: bool, rule: Rule, most_pixels: int
) -> Passes:
    """Which sizes a network of factor `scale` goes through from `size` to `target`, both (height, width).

    With `restore` it runs once even when nothing is to be enlarged (a factor of 1). "webui" stops after three runs.
    SettingError when a picture on the way has more than `most_pixels`.
    """
    sizes: list[tuple[int, int]] = []
    most = WEBUI_PASSES if rule == "webui" else MOST_PASSES
    now = size
    while len(sizes) < most:
        if now[0] >= target[0] and now[1] >= target[1] and (sizes or not restore):
            break
        now = (now[0] * scale, now[1] * scale)
        sizes.append(now)
        if scale == 1:
            break
        if now[0] * now[1] > most_pixels:
            raise SettingError(
                f"enlarging {size[1]}x{size[0]} to {target[1]}x{target[0]} in steps of {scale} goes through "
                f"{now[1]}x{now[0]} pixels, more than the limit of {most_pixels / 1e6:.0f} megapixels",
                "Choose a smaller size, an upscaler of a smaller factor, or raise max_megapixels in the settings.",
            )
    return Passes(tuple(sizes), target)


def enlarge_to(
    source: Pixels,
    enlarger: Enlarger,
    steps: Passes,
    *,
    rule: Rule = "exact",
    tile: int | None = None,
    edge: Edge = "clip",
    available: int | None = None,
    on_plan: OnPlan | None = None,
    on_tile: OnTile | None = None,
    keep: Keep | None = None,
) -> Pixels:
    """source (h, w, channels) to the target of `steps`, float32 in 0..1.

    "webui" rounds to 8 bits after each run and for Lanczos, as the A1111 web UI does.
    """
    picture = source
    plans = []
    for height, width in [source.shape[:2], *steps.sizes[:-1]][: len(steps.sizes)]:
        plans.append(enlarging_plan(height, width, enlarger, tile, edge=edge, available=available))
    totals = [len(plan.cores) for plan in plans]
    for index, plan in enumerate(plans):
        if on_plan is not None:
            on_plan(plan)
        before, after = sum(totals[:index]), sum(totals[index + 1 :])
        report = None if on_tile is None else _shifted(on_tile, before, after)
        kept = None if keep is None else keep(index, plan, picture)
        picture = enlarge_tiles(picture, enlarger, plan, edge=edge, on_tile=report, kept=kept)
        if rule == "webui":
            picture = as_stored(picture, np.dtype(np.uint8))
    return resized(picture, steps.target[1], steps.target[0], "Lanczos", rule=rule, edge=edge)


def enlarge_whole(
    source: Pixels, enlarge: Callable[[Pixels], Pixels], steps: Passes, *, rule: Rule = "exact"
) -> Pixels:
    """As `enlarge_to`, by something that enlarges whole pictures and cuts them up itself."""
    picture = source
    for _ in steps.sizes:
        picture = enlarge(picture)
        if rule == "webui":
            picture = as_stored(as_floats(picture), np.dtype(np.uint8))
    return resized(picture, steps.target[1], steps.target[0], "Lanczos", rule=rule)


def _shifted(on_tile: OnTile, before: int, after: int) -> OnTile:
    return lambda done, total: on_tile(before + done, before + total + after)


def resized(
    picture: Pixels, width: int, height: int, name: str, *, rule: Rule = "exact", edge: Edge = "clip"
) -> Pixels:
    """By Lanczos or Nearest, float32 in 0..1; "webui" does it in 8 bits. Wrapped, the borders see the opposite side."""
    if picture.shape[:2] == (height, width):
        return as_floats(picture)
    if name == "Nearest":
        rows = np.minimum((np.arange(height) + 0.5) * (picture.shape[0] / height), picture.shape[0] - 1).astype(int)
        columns = np.minimum((np.arange(width) + 0.5) * (picture.shape[1] / width), picture.shape[1] - 1).astype(int)
        return as_floats(picture[np.ix_(rows, columns)])
    if rule == "webui":
        return _eight_bit_lanczos(picture, width, height)
    if edge == "wrap":
        return _wrapped_lanczos(as_floats(picture), width, height)
    return lanczos_pixels(as_floats(picture), width, height, new_pixels(height, width, picture.shape[2]))


def _eight_bit_lanczos(picture: Pixels, width: int, height: int) -> Pixels:
    whole = as_stored(as_floats(picture), np.dtype(np.uint8))
    planes = [Image.fromarray(np.ascontiguousarray(whole[..., k])) for k in range(whole.shape[2])]
    made = [np.asarray(plane.resize((width, height), Image.Resampling.LANCZOS)) for plane in planes]
    return as_floats(np.stack(made, axis=-1))


def _wrapped_lanczos(picture: Pixels, width: int, height: int) -> Pixels:
    """Lanczos of a picture that goes on at its opposite side: with a whole number of lines more on both."""
    old_height, old_width = picture.shape[:2]
    more_y, more_x = _whole_border(old_height, height), _whole_border(old_width, width)
    around = np.pad(picture, ((more_y, more_y), (more_x, more_x), (0, 0)), mode="wrap")
    top, left = round(more_y * height / old_height), round(more_x * width / old_width)
    large = lanczos_pixels(around, width + 2 * left, height + 2 * top)
    return large[top : top + height, left : left + width]


def _whole_border(old: int, new: int) -> int:
    """Lines to add to a side of `old` such that they become a whole number of lines when it becomes `new`."""
    step = old // int(np.gcd(old, new))
    wanted = 4 * max(1, -(-old // new))
    return min(old, -(-wanted // step) * step)


def as_floats(pixels: Pixels) -> Pixels:
    """float32 in 0..1, made strip by strip; itself where it is that already."""
    if pixels.dtype == np.float32:
        return pixels
    made = new_pixels(*pixels.shape)
    step = rows_at_once(pixels[0])
    for top in range(0, len(pixels), step):
        made[top : top + step] = as_planes(pixels[top : top + step])[0].movedim(0, -1).numpy()
    return made


def as_tensor(pixels: Pixels) -> torch.Tensor:
    """(h, w, channels) -> (1, h, w, channels) float32, without a copy where there is none to make."""
    return torch.from_numpy(as_floats(pixels))[None]
