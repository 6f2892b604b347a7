"""From CONDITIONING lists to the entries that guidance evaluates: areas, sigma ranges, vectors, extra channels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hires.errors import ModelFileError
from hires.imaging.batches import repeat_to, spread_to
from hires.imaging.resample import resample
from hires.models.handles import DiffusionModel
from hires.nodes.regions import placed
from hires.nodes.steering import Steerings, spread_to_negative
from hires.nodes.types import ConditioningList
from hires.sampling.guidance import ALWAYS, Cond
from hires.sampling.levels import NoiseLevels
from hires.text.vectors import size_vector_refiner, size_vector_sdxl

AESTHETIC = {"positive": 6.0, "negative": 2.5}
"""The refiner's aesthetic scores where the conditioning names none (ComfyUI and A1111 alike)."""

EMPTY_INPAINT_LATENT = (0.8223, -0.6876, 0.6364, 0.1380)
"""What an inpainting network is shown as the masked picture when there is none, per channel of its input."""


def resolve(
    model: DiffusionModel,
    levels: NoiseLevels,
    positive: ConditioningList,
    negative: ConditioningList,
    shape: Sequence[int],
    shown: tuple[Tensor, Tensor] | None = None,
) -> tuple[list[Cond], list[Cond]]:
    """Both sides for a latent of `shape` (batch, 4, h, w). Entries with an area get a counterpart on the other side.

    `shown` is what an inpainting network sees where an entry does not say: the scaled latent and its noise mask, both
    of the latent's size.
    """
    sides = resolve_sides(model, levels, {"positive": positive, "negative": negative}, shape, shown)
    return sides["positive"], sides["negative"]


def resolve_sides(
    model: DiffusionModel,
    levels: NoiseLevels,
    entries: Mapping[str, ConditioningList],
    shape: Sequence[int],
    shown: tuple[Tensor, Tensor] | None = None,
) -> dict[str, list[Cond]]:
    """`resolve` for any number of sides, of which "positive" and "negative" are two; all others count as negative."""
    steerings = Steerings(model, levels)
    sides = {
        name: [
            cond
            for tensor, options in side
            if (cond := placed(_cond(model, levels, tensor, options, shape, name, shown, steerings), options, shape))
        ]
        for name, side in entries.items()
    }
    for name, conds in sides.items():
        for cond in list(conds):
            for other in (others for key, others in sides.items() if key != name):
                counterpart = _counterpart(cond, other)
                if counterpart is not None:
                    other.append(counterpart)
    asks = [bool(options.get("control_apply_to_uncond")) for _, options in entries["positive"]]
    sides["negative"] = spread_to_negative(sides["positive"], asks, sides["negative"])
    return sides


def _cond(
    model: DiffusionModel,
    levels: NoiseLevels,
    tensor: Tensor,
    options: dict[str, Any],
    shape: Sequence[int],
    side: str,
    shown: tuple[Tensor, Tensor] | None,
    steerings: Steerings,
) -> Cond:
    mask = _mask(options, shape)
    area = _area(options, shape)
    if mask is not None:
        if options.get("set_area_to_bounds"):
            area = _bounds(mask)
        mask = repeat_to(mask, shape[0]) * float(options.get("mask_strength", 1.0))
    start, end = options.get("start_percent"), options.get("end_percent")
    return Cond(
        context=tensor,
        vector=_vector(model, options, shape, side),
        concat=_concat(model, options, shape, shown),
        strength=float(options.get("strength", 1.0)),
        area=area,
        mask=mask,
        sigma_start=math.inf if start is None else levels.percent_to_sigma(start),
        sigma_end=0.0 if end is None else levels.percent_to_sigma(end),
        calls=options.get("calls", ALWAYS),
        and_weight=options.get("and_weight"),
        control=steerings.of(options),
    )


def _area(options: dict[str, Any], shape: Sequence[int]) -> tuple[int, int, int, int] | None:
    """(height, width, y, x) in latent cells, from cells or from fractions of the latent."""
    area = options.get("area")
    if area is None:
        return None
    height, width = shape[2:]
    if area[0] == "percentage":
        _, h, w, y, x = area
        return max(1, round(h * height)), max(1, round(w * width)), round(y * height), round(x * width)
    h, w, y, x = area
    return h, w, y, x


def _mask(options: dict[str, Any], shape: Sequence[int]) -> Tensor | None:
    mask = options.get("mask")
    if mask is None:
        return None
    height, width = shape[2:]
    if tuple(mask.shape[-2:]) != (height, width):
        mask = interpolate(mask[:, None], size=(height, width), mode="bilinear")[:, 0]
    return mask


def _bounds(mask: Tensor) -> tuple[int, int, int, int]:
    """The box of a mask's non-zero cells, at least 8 by 8; (8, 8, 0, 0) for an empty mask."""
    rows, columns = torch.nonzero(mask.amax(dim=0) != 0, as_tuple=True)
    if len(rows) == 0:
        return 8, 8, 0, 0
    y, x = int(rows.min()), int(columns.min())
    return max(8, int(rows.max()) - y + 1), max(8, int(columns.max()) - x + 1), y, x


def _vector(model: DiffusionModel, options: dict[str, Any], shape: Sequence[int], side: str) -> Tensor | None:
    if not model.vector_width:
        return None
    pooled = options.get("pooled_output")
    if pooled is None:
        raise ModelFileError(
            "this model needs a pooled text vector, which the conditioning lacks",
            "Encode the prompt with the text encoder of an SDXL checkpoint.",
        )
    height, width = options.get("height", shape[2] * 8), options.get("width", shape[3] * 8)
    crop_h, crop_w = options.get("crop_h", 0), options.get("crop_w", 0)
    if model.family == "sdxl_refiner":
        score = options.get("aesthetic_score", AESTHETIC["positive" if side == "positive" else "negative"])
        vector = size_vector_refiner(pooled, height, width, crop_h, crop_w, score)
    else:
        target_h, target_w = options.get("target_height", height), options.get("target_width", width)
        vector = size_vector_sdxl(pooled, height, width, crop_h, crop_w, target_h, target_w)
    if vector.shape[-1] != model.vector_width:
        raise ModelFileError(
            f"the text vector has {vector.shape[-1]} numbers, the model wants {model.vector_width}",
            "The prompt was encoded by another model's text encoder.",
        )
    return vector


def _concat(
    model: DiffusionModel, options: dict[str, Any], shape: Sequence[int], shown: tuple[Tensor, Tensor] | None
) -> Tensor | None:
    """The extra channels of an inpainting or InstructPix2Pix network, (batch, channels, h, w); None for all others."""
    if model.in_channels == 9:
        return _inpainting_channels(model, options, shape, shown)
    if model.in_channels == 8:
        picture = options.get("concat_latent_image")
        return torch.zeros(tuple(shape)) if picture is None else _fitted(picture, shape)
    return None


def _inpainting_channels(
    model: DiffusionModel, options: dict[str, Any], shape: Sequence[int], shown: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Mask, rounded unless it is soft, and masked picture: the entry's, else the latent and its noise mask; without any
    mask all is masked."""
    batch, _, height, width = shape
    mask, picture = options.get("concat_mask"), options.get("concat_latent_image")
    if mask is None and shown is not None:
        mask = shown[1]
    if mask is None:
        empty = torch.tensor(EMPTY_INPAINT_LATENT).reshape(1, 4, 1, 1).expand(batch, 4, height, width)
        return torch.cat([torch.ones(batch, 1, height, width), empty], dim=1)
    if picture is not None:
        picture = picture * model.latent_scale
    elif shown is not None:
        picture = shown[0]
    else:
        picture = torch.zeros(tuple(shape))
    mask = mask.reshape(-1, 1, *mask.shape[-2:])
    fitted = _fitted(mask, shape)
    share = fitted if options.get("concat_mask_soft") else fitted.round()
    return torch.cat([share, _fitted(picture, shape)], dim=1)


def _fitted(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Brought to the latent's size, cut in the centre to its aspect, and spread over its batch."""
    if tuple(tensor.shape[-2:]) != tuple(shape[2:]):
        tensor = resample(tensor, shape[3], shape[2], "bilinear", "center")
    return spread_to(tensor, shape[0])


def _counterpart(cond: Cond, others: Sequence[Cond]) -> Cond | None:
    """For an entry with an area: the text of the smallest entry of the other side that covers it, on the same area.

    None when there is no area, nothing covers it, or an entry of exactly this area is there already (ComfyUI).
    """
    if cond.area is None:
        return None
    covering = [other for other in others if other.area is None or _covers(other.area, cond.area)]
    if not covering:
        return None
    smallest = min(covering, key=lambda other: math.inf if other.area is None else other.area[0] * other.area[1])
    if smallest.area == cond.area:
        return None
    return replace(cond, context=smallest.context, vector=smallest.vector, concat=smallest.concat)


def _covers(outer: tuple[int, int, int, int], inner: tuple[int, int, int, int]) -> bool:
    (h, w, y, x), (inner_h, inner_w, inner_y, inner_x) = outer, inner
    return y <= inner_y and x <= inner_x and y + h >= inner_y + inner_h and x + w >= inner_x + inner_w
