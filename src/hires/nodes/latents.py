"""Latents: making, resizing, cutting and joining them. Sizes in inputs are pixels, 8 to a latent cell."""

from __future__ import annotations

from typing import Annotated, cast

import torch
from torch import Tensor

from hires.graph.declare import node
from hires.graph.inputs import Float, Int
from hires.imaging.resample import resample
from hires.imaging.sizes import LATENT, check_size
from hires.nodes.context import RunContext
from hires.nodes.types import (
    MAX_RESOLUTION,
    BatchSize,
    Crop,
    FlipMethod,
    Latent,
    LatentDict,
    LatentMethod,
    LatentSide,
    Rotation,
    Side,
)

CropSide = Annotated[int, Int(64, MAX_RESOLUTION, 8)]
Items = Annotated[int, Int(1, 64)]


def changed(latent: LatentDict, samples: Tensor) -> LatentDict:
    """The latent with other samples; mask and noise rows are kept, the state of a stopped run and noise that was found
    for the samples are not, nor is what they began as where they have another shape."""
    result = cast(LatentDict, {**latent, "samples": samples})
    result.pop("sampler_state", None)
    result.pop("inverted", None)
    if samples.shape != latent["samples"].shape:
        result.pop("masking", None)
    return result


@node("EmptyLatentImage", title="Empty Latent Image", category="latent", outputs=("LATENT",))
def empty_latent(
    *, width: LatentSide = 512, height: LatentSide = 512, batch_size: BatchSize = 1, context: RunContext
) -> LatentDict:
    """Zeros of the size of a picture."""
    check_size(width, height, context.max_megapixels, "the empty latent", batch_size)
    return {"samples": torch.zeros(batch_size, 4, height // LATENT, width // LATENT)}


@node("LatentUpscale", title="Upscale Latent", category="latent", outputs=("LATENT",))
def latent_upscale(
    *,
    samples: Latent,
    upscale_method: LatentMethod,
    width: Side = 512,
    height: Side = 512,
    crop: Crop,
    context: RunContext,
) -> LatentDict:
    """Resize to a size in pixels; one side 0 keeps the aspect, both 0 change nothing."""
    if width == 0 and height == 0:
        return samples
    old_height, old_width = samples["samples"].shape[2:]
    if width == 0:
        height = max(64, height)
        width = max(64, round(old_width * height / old_height))
    elif height == 0:
        width = max(64, width)
        height = max(64, round(old_height * width / old_width))
    else:
        width, height = max(64, width), max(64, height)
    check_size(width, height, context.max_megapixels, "the enlarged latent", len(samples["samples"]))
    resized = resample(samples["samples"], width // LATENT, height // LATENT, upscale_method, crop)
    return changed(samples, resized)


@node("LatentUpscaleBy", title="Upscale Latent By", category="latent", outputs=("LATENT",))
def latent_upscale_by(
    *,
    samples: Latent,
    upscale_method: LatentMethod,
    scale_by: Annotated[float, Float(0.01, 8.0, 0.01)] = 1.5,
    context: RunContext,
) -> LatentDict:
    """Resize both sides by a factor."""
    old_height, old_width = samples["samples"].shape[2:]
    width, height = round(old_width * scale_by), round(old_height * scale_by)
    size = (width * LATENT, height * LATENT)
    check_size(*size, context.max_megapixels, "the enlarged latent", len(samples["samples"]))
    return changed(samples, resample(samples["samples"], width, height, upscale_method))


@node("LatentCrop", title="Crop Latent", category="latent/transform", outputs=("LATENT",))
def latent_crop(
    *, samples: Latent, width: CropSide = 512, height: CropSide = 512, x: Side = 0, y: Side = 0
) -> LatentDict:
    """Cut a rectangle out; what lies beyond the latent is left off, at least 8 cells remain."""
    tensor = samples["samples"]
    left = min(x // LATENT, max(tensor.shape[3] - 8, 0))
    top = min(y // LATENT, max(tensor.shape[2] - 8, 0))
    return changed(samples, tensor[:, :, top : top + height // LATENT, left : left + width // LATENT])


@node("LatentFlip", title="Flip Latent", category="latent/transform", outputs=("LATENT",))
def latent_flip(*, samples: Latent, flip_method: FlipMethod) -> LatentDict:
    """Mirror the latent."""
    axis = 2 if flip_method.startswith("x") else 3
    return changed(samples, torch.flip(samples["samples"], dims=[axis]))


@node("LatentRotate", title="Rotate Latent", category="latent/transform", outputs=("LATENT",))
def latent_rotate(*, samples: Latent, rotation: Rotation) -> LatentDict:
    """Turn the latent clockwise."""
    quarters = ("none", "90 degrees", "180 degrees", "270 degrees").index(rotation)
    return changed(samples, torch.rot90(samples["samples"], k=quarters, dims=[3, 2]))


@node("LatentFromBatch", title="Latent From Batch", category="latent/batch", outputs=("LATENT",))
def latent_from_batch(*, samples: Latent, batch_index: Annotated[int, Int(0, 63)] = 0, length: Items = 1) -> LatentDict:
    """Take items out of a batch; they keep the noise of their row."""
    tensor = samples["samples"]
    first = min(tensor.shape[0] - 1, batch_index)
    last = first + min(tensor.shape[0] - first, length)
    result = changed(samples, tensor[first:last].clone())
    mask = samples.get("noise_mask")
    if mask is not None and mask.shape[0] > 1:
        result["noise_mask"] = mask[first:last].clone()
    if samples.get("masking") is not None:
        result["masking"] = samples["masking"].items(first, last)
    rows = samples.get("batch_index", list(range(tensor.shape[0])))
    result["batch_index"] = rows[first:last]
    return result


@node("RepeatLatentBatch", title="Repeat Latent Batch", category="latent/batch", outputs=("LATENT",))
def repeat_latent_batch(*, samples: Latent, amount: Items = 1) -> LatentDict:
    """Repeat the whole batch; noise rows go on counting."""
    result = changed(samples, samples["samples"].repeat(amount, 1, 1, 1))
    mask = samples.get("noise_mask")
    if mask is not None and mask.shape[0] > 1:
        result["noise_mask"] = mask.repeat(amount, *(1 for _ in mask.shape[1:]))
    rows = samples.get("batch_index")
    if rows is not None:
        offset = max(rows) - min(rows) + 1
        result["batch_index"] = [row + offset * i for i in range(amount) for row in rows]
    return result


@node("LatentComposite", title="Latent Composite", category="latent", outputs=("LATENT",))
def latent_composite(
    *, samples_to: Latent, samples_from: Latent, x: Side = 0, y: Side = 0, feather: Side = 0
) -> LatentDict:
    """Paste one latent onto another, with edges that fade where they do not meet the border."""
    target, source = samples_to["samples"].clone(), samples_from["samples"]
    left, top, feather = x // LATENT, y // LATENT, feather // LATENT
    height = min(source.shape[2], target.shape[2] - top)
    width = min(source.shape[3], target.shape[3] - left)
    if height <= 0 or width <= 0:
        return changed(samples_to, target)
    source = source[:, :, :height, :width]
    area = (slice(None), slice(None), slice(top, top + height), slice(left, left + width))
    ramp = _feather(height, width, feather, top, left, target.shape[2], target.shape[3])
    target[area] = source * ramp + target[area] * (1.0 - ramp)
    return changed(samples_to, target)


def _feather(height: int, width: int, feather: int, top: int, left: int, rows: int, columns: int) -> Tensor:
    ramp = torch.ones(1, 1, height, width)
    for t in range(min(feather, height)):
        if top != 0:
            ramp[:, :, t] *= (t + 1) / feather
        if top + height < rows:
            ramp[:, :, height - 1 - t] *= (t + 1) / feather
    for t in range(min(feather, width)):
        if left != 0:
            ramp[:, :, :, t] *= (t + 1) / feather
        if left + width < columns:
            ramp[:, :, :, width - 1 - t] *= (t + 1) / feather
    return ramp
