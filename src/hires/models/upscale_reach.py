"""How far an enlarging network looks: from its layers where they tell, else measured once a file and remembered.

A tile whose surroundings are at least this wide gives the very numbers that the whole picture would.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from spandrel import ImageModelDescriptor
from torch import Tensor, nn

from hires.models.upscale import UpscaleModel

IN_ORDER = ("ESRGAN", "Compact")
"""Architectures whose convolutions follow one another in the order in which they are registered."""
WINDOW_NAMES = ("window_size", "split_size", "overlap_win_size")
CELL = {"SCUNet": 64}
"""What origins of parts must be divisible by where the module does not say: three halvings, windows of 8."""
LARGEST_CELL = 128
TOLERANCE = 0.5 / 255
HALF_TOLERANCE = 1 / 255
"""float16 rounds the same part differently in pictures of different sizes."""
WORTH_MEASURING = 64
"""Pixels; a reach up to this is used as it is."""
FALLBACK, WINDOW_FALLBACK = 32, 64
SAMPLE, CORE = 192, 32
CACHE_NAME = "upscaler-halos.json"


@dataclass(frozen=True)
class Halo:
    """Pixels of surroundings a side that a tile of a network needs.

    cell: what the origin of a part must be divisible by. error: the largest difference (of 1) from the whole picture
    that was found; 0 when it follows from the layers. exact: whether tiles are known to equal the whole picture.
    """

    pixels: int
    cell: int
    minimum: int
    error: float
    exact: bool


def reach(network: ImageModelDescriptor[Any]) -> int | None:
    """Pixels a side that an output pixel can depend on, by the layers; None where they do not tell."""
    if network.architecture.id == "SwinIR":
        return _window_reach(network.model)
    if network.architecture.id not in IN_ORDER:
        return None
    shuffled = getattr(network.model, "shuffle_factor", None) or 1
    return math.ceil(_reach_in_order(network.model, 1 / shuffled) + (shuffled - 1))


def _reach_in_order(module: nn.Module, resolution: float) -> float:
    """The sum of the convolutions' radii, each in pixels of the input."""
    total = 0.0
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            size, dilation = max(layer.kernel_size), max(int(d) for d in layer.dilation)
            total += (size - 1) / 2 * dilation / resolution
        elif isinstance(layer, nn.Upsample):
            resolution *= float(layer.scale_factor)  # type: ignore[arg-type]
        elif isinstance(layer, nn.PixelShuffle):
            resolution *= layer.upscale_factor
    return total


def _window_reach(model: Any) -> int | None:
    """SwinIR: a block sees the rest of its window, a convolution its neighbours. Enlarging convolutions count at the
    small size, which is more than they see."""
    windows = [layer.window_size for layer in model.modules() if isinstance(getattr(layer, "window_size", None), int)]
    blocks = [layer for layer in model.modules() if hasattr(layer, "shift_size") and hasattr(layer, "attn")]
    if not windows or not blocks:
        return None
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    radii = sum((max(layer.kernel_size) - 1) // 2 for layer in convolutions)
    return len(blocks) * (max(windows) - 1) + radii


def cell(network: ImageModelDescriptor[Any]) -> int:
    """Pixels by which a part's origin and size must be divisible for windows and halvings to fall as in the whole."""
    sides = {network.size_requirements.multiple_of, CELL.get(network.architecture.id, 1)}
    shuffled = getattr(network.model, "start_unshuffle", None) or getattr(network.model, "shuffle_factor", None) or 1
    for layer in network.model.modules():
        for name in WINDOW_NAMES:
            found = getattr(layer, name, None)
            numbers = found if isinstance(found, tuple | list) else (found,)
            sides |= {int(n) * shuffled for n in numbers if isinstance(n, int) and not isinstance(n, bool) and n > 0}
    together = math.lcm(*sides)
    return together if together <= LARGEST_CELL else max(sides)


def sample_picture(side: int, channels: int) -> Tensor:
    """(1, channels, side, side) in 0..1: slopes, edges and stripes, and noise of the whole range on the left half.

    Noise is the hardest: what lies far then counts as much as it ever does.
    """
    generator = torch.Generator().manual_seed(20)
    y, x = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing="ij")
    discs = ((x - 0.4) ** 2 + (y - 0.6) ** 2 < 0.07).float() - ((x - 0.62) ** 2 + (y - 0.45) ** 2 < 0.02).float()
    stripes = (torch.sin(x * side * 0.9 + y * side * 0.35) > 0).float() * (y > 0.5)
    planes = [x * 0.5 + discs * 0.3 + 0.2, y * 0.6 + stripes * 0.3, (x + y) * 0.3 + discs * stripes * 0.4]
    picture = torch.stack(planes[:channels])
    noise = torch.rand(channels, side, side, generator=generator)
    return torch.where(x < 0.5, noise, picture.clamp(0, 1))[None]


def measure(upscale: Callable[[Tensor], Tensor], channels: int, scale: int, step: int, tolerance: float) -> Halo:
    """The smallest halo with which a part of the sample picture comes out as it does in the whole one.

    Where none does (networks that average over the picture), the widest that was tried, with the difference left.
    """
    step = max(step, 8)
    core = math.ceil(CORE / step) * step
    around = max(1, (SAMPLE - core) // 2 // step) * step
    side = core + 2 * around
    sample = sample_picture(side, channels)
    expected = upscale(sample)[..., around * scale : (around + core) * scale, around * scale : (around + core) * scale]
    error, halo = math.inf, 0
    while error > tolerance and halo < around:
        halo = min(max(halo + step, math.ceil(halo * 1.25 / step) * step), around)
        part = slice(around - halo, around + core + halo)
        result = upscale(sample[..., part, part])
        inner = slice(halo * scale, (halo + core) * scale)
        error = float((result[..., inner, inner] - expected).abs().max()) if halo < around else error
    return Halo(halo, step, 1, error, error <= tolerance)


class HaloCache:
    """Halos by network; measured ones are kept in a JSON file in `folder`, or in memory only."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file = None if folder is None else folder / CACHE_NAME
        self._known: dict[str, list[float]] = {}

    def of(self, model: UpscaleModel) -> Halo:
        """The halo of a network: its reach, or a smaller one that was measured to do."""
        step, minimum = cell(model.network), max(1, model.network.size_requirements.minimum)
        known = reach(model.network)
        if known is not None and known <= WORTH_MEASURING:
            return Halo(known, step, minimum, 0.0, True)
        pixels, error = self._measured(model, step)
        tolerance = HALF_TOLERANCE if model.compute_dtype == torch.float16 else TOLERANCE
        if error > tolerance and pixels < (WINDOW_FALLBACK if step > 1 else FALLBACK):
            pixels = WINDOW_FALLBACK if step > 1 else FALLBACK
        return Halo(pixels if known is None else min(known, pixels), step, minimum, error, error <= tolerance)

    def _measured(self, model: UpscaleModel, step: int) -> tuple[int, float]:
        key = f"{model.identity} {step}"
        if key not in self._known:
            self._known |= self._stored()
        if key not in self._known:
            tolerance = HALF_TOLERANCE if model.compute_dtype == torch.float16 else TOLERANCE
            found = measure(model.upscale, model.network.input_channels, model.scale, step, tolerance)
            self._known[key] = [found.pixels, found.error if math.isfinite(found.error) else 1.0]
            self._store()
        pixels, error = self._known[key]
        return int(pixels), float(error)

    def _stored(self) -> dict[str, list[float]]:
        if self._file is None:
            return {}
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}  # not there yet, or damaged: measured again
        entries = stored.items() if isinstance(stored, dict) else ()
        return {key: value for key, value in entries if _is_entry(value)}

    def _store(self) -> None:
        if self._file is None:
            return
        self._known = self._stored() | self._known  # another process may have added some
        # A cache that cannot be written costs time, not correctness.
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._file.parent, prefix=CACHE_NAME, suffix=".part")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self._known, file)
            os.replace(name, self._file)


def _is_entry(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(n, int | float) and n >= 0 for n in value)
