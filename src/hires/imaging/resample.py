"""Resizing of latents and images, with the methods and numbers of ComfyUI and the A1111 web UI.

Tensors here are (batch, channels, height, width), as `torch.nn.functional.interpolate` takes them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from hires.errors import SettingError

LATENT_METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "bislerp")
IMAGE_METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
EXTRA_METHODS = ("nearest", "bilinear antialiased", "bicubic antialiased")
"""Methods of the A1111 web UI's latent upscalers that ComfyUI's nodes do not have."""


def resample(samples: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """Resize (batch, channels, h, w) to (batch, channels, height, width).

    crop "center" first cuts the middle to the new aspect ratio. Source: ComfyUI's common_upscale; the antialiased
    and "nearest" methods are A1111's.
    """
    if crop == "center":
        samples = _centre_crop(samples, width, height)
    elif crop != "disabled":
        raise SettingError(f"unknown crop {crop!r}", "Use disabled or center.")
    own: dict[str, Callable[[Tensor, int, int], Tensor]] = {"bislerp": bislerp, "lanczos": lanczos}
    if method in own:
        return own[method](samples, width, height)
    if method not in (*LATENT_METHODS, *IMAGE_METHODS, *EXTRA_METHODS):
        choices = ", ".join(dict.fromkeys((*LATENT_METHODS, *IMAGE_METHODS, *EXTRA_METHODS)))
        raise SettingError(f"unknown resize method {method!r}", f"Use one of {choices}.")
    mode, _, antialias = method.partition(" ")
    return interpolate(samples, size=(height, width), mode=mode, antialias=bool(antialias))


def _centre_crop(samples: Tensor, width: int, height: int) -> Tensor:
    old_height, old_width = samples.shape[-2:]
    old_aspect, new_aspect = old_width / old_height, width / height
    x = y = 0
    if old_aspect > new_aspect:
        x = round((old_width - old_width * (new_aspect / old_aspect)) / 2)
    elif old_aspect < new_aspect:
        y = round((old_height - old_height * (old_aspect / new_aspect)) / 2)
    return samples[:, :, y : old_height - y, x : old_width - x]


def lanczos(samples: Tensor, width: int, height: int) -> Tensor:
    """Pillow's Lanczos on 8-bit images, so the result is quantised to 256 levels as in both originals.

    samples (batch, 1, 3 or 4 channels, h, w) in 0..1.
    """
    resized = []
    for image in samples.movedim(1, -1).cpu().numpy():
        bytes_ = np.clip(255.0 * image, 0, 255).astype(np.uint8)
        picture = Image.fromarray(bytes_.squeeze(-1) if bytes_.shape[-1] == 1 else bytes_)
        pixels = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float32) / 255.0
        resized.append(torch.from_numpy(pixels.reshape(height, width, -1)).movedim(-1, 0))
    return torch.stack(resized).to(samples.device, samples.dtype)


def bislerp(samples: Tensor, width: int, height: int) -> Tensor:
    """Along each axis, spherical interpolation of direction and linear of magnitude over the channels (ComfyUI)."""
    original = samples.dtype
    widened = _slerp_last_axis(samples.float(), width)
    return _slerp_last_axis(widened.movedim(2, 3), height).movedim(3, 2).to(original)


def _slerp_last_axis(samples: Tensor, size: int) -> Tensor:
    """samples (batch, channels, a, b) -> (batch, channels, a, size)."""
    first, second, ratio = _source_positions(samples.shape[-1], size)
    ratio = ratio.to(samples.device)
    return _slerp(samples[..., first], samples[..., second], ratio)


def _source_positions(old: int, new: int) -> tuple[Tensor, Tensor, Tensor]:
    places = interpolate(torch.arange(old, dtype=torch.float32).reshape(1, 1, 1, -1), (1, new), mode="bilinear")
    following = torch.arange(old, dtype=torch.float32).reshape(1, 1, 1, -1) + 1
    following[..., -1] -= 1
    following = interpolate(following, (1, new), mode="bilinear")
    return places.long().flatten(), following.long().flatten(), (places - places.floor()).flatten()


def _slerp(a: Tensor, b: Tensor, ratio: Tensor) -> Tensor:
    """Between vectors over the channel axis 1; ratio (size,) along the last axis."""
    norm_a, norm_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    unit_a = torch.where(norm_a == 0, torch.zeros_like(a), a / norm_a)
    unit_b = torch.where(norm_b == 0, torch.zeros_like(b), b / norm_b)
    dot = (unit_a * unit_b).sum(dim=1, keepdim=True)
    omega = torch.acos(dot)
    sine = torch.sin(omega)
    mixed = torch.sin((1.0 - ratio) * omega) / sine * unit_a + torch.sin(ratio * omega) / sine * unit_b
    mixed = mixed * (norm_a * (1.0 - ratio) + norm_b * ratio)
    mixed = torch.where(dot > 1 - 1e-5, a, mixed)
    return torch.where(dot < -1 + 1e-5, a * (1.0 - ratio) + b * ratio, mixed)
