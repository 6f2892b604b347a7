"""How the measures look at a picture: reduced to one size, through a small residual network with a wide view.

The classifier and the detector share this network's shape, not its weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from hires.errors import ModelFileError
from hires.pocket.training import read_checkpoint

SIDE = 128
"""Pixels of a picture's shorter side when it is looked at. A picture of any size shows its subjects as large as the
same composition at any other size does, so what is counted does not depend on how large it was drawn."""
FACTS = "hires.measure"
"""The metadata key under which a file of weights says what it measures."""

Picture = NDArray[np.uint8]
"""(height, width, 3), 0..255."""


def reduced(picture: Picture, side: int = SIDE) -> Picture:
    """The picture with its shorter side at `side`, antialiased; one of that size as it is."""
    height, width = picture.shape[:2]
    scale = side / min(height, width)
    size = (round(width * scale), round(height * scale))
    if size == (width, height):
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def looked_at(pictures: Sequence[Picture] | NDArray[np.uint8]) -> Tensor:
    """Pictures of one size -> (batch, 3, height, width) in -1..1."""
    stacked = np.ascontiguousarray(np.stack(list(pictures)))
    pixels = torch.from_numpy(stacked).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    return pixels.contiguous(memory_format=torch.channels_last)


class Block(nn.Module):
    """Two convolutions round which the input is led; the first one may reduce."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.GroupNorm(8, outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.GroupNorm(8, outputs)
        self.lead = nn.Conv2d(inputs, outputs, stride, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """(batch, inputs, h, w) -> (batch, outputs, h / stride, w / stride)."""
        inner = silu(self.first_norm(self.first(features)))
        return silu(self.second_norm(self.second(inner)) + self.lead(features))


class Trunk(nn.Module):
    """Features at a half, a quarter, an eighth and a sixteenth of the size."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 5, 2, 2)
        self.blocks = nn.ModuleList(Block(inputs, outputs, 2) for inputs, outputs in pairwise(widths))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(batch, 3, h, w) in -1..1 -> maps from the largest to the smallest."""
        maps = [silu(self.stem(pixels))]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps


class Merge(nn.Module):
    """A small map with a wide view, and the picture's mean, added to a larger map that knows places."""

    def __init__(self, small: int, large: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(small, large, 1)
        self.whole = nn.Linear(small, large)
        self.block = Block(large, large)

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        """(batch, small, h', w'), (batch, large, h, w) -> (batch, large, h, w)."""
        wide = interpolate(self.narrow(small), size=large.shape[-2:], mode="nearest")
        whole = self.whole(small.mean((2, 3)))[:, :, None, None]
        merged: Tensor = self.block(large + wide + whole)
        return merged


def start(network: nn.Module, seed: int) -> None:
    """He et al. 2015 for convolutions and linear maps, from a seed."""
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def write_weights(stage_folder: Path, learner: str, path: Path) -> None:
    """The averaged weights of a stage's folder in half precision, with the stage's facts."""
    from hires.pocket.export import LICENSE, write

    state = read_checkpoint(stage_folder)
    tensors = {key: value.half() for key, value in state["learners"][learner]["average"].items()}
    write(tensors, path, {FACTS: json.dumps(state["facts"]), "modelspec.license": LICENSE})


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A measure's weights as float32, and its facts. ModelFileError for a file that is none."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        return tensors, dict(json.loads(metadata[FACTS]))
    except Exception as problem:  # safetensors raises types of its own for bytes that are none
        raise ModelFileError(f"{path} holds no measure's weights ({type(problem).__name__})") from None
