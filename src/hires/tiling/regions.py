"""Regions of a picture with prompts of their own: where they lie, how they are laid over each other, their noise.

The records, their JSON and the rules of layers are those of the Tiled Diffusion extension for the A1111 web UI.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hires.errors import SettingError
from hires.tiling.joint import Place
from hires.tiling.windows import feather

BACKGROUND, FOREGROUND = "Background", "Foreground"
BLENDS = (BACKGROUND, FOREGROUND)
MOST_REGIONS = 64
JSON_KEY = "bbox_controls"
LARGEST_SEED = 2**64 - 1


@dataclass(frozen=True)
class Region:
    """A rectangle in fractions of the canvas. A Background region joins the common average; a Foreground one is laid
    over it, faded in from its edges by `feather` (0 hard .. 1 to the middle). seed -1: the canvas's own noise."""

    x: float = 0.4
    y: float = 0.4
    width: float = 0.2
    height: float = 0.2
    prompt: str = ""
    negative: str = ""
    blend: str = BACKGROUND
    feather: float = 0.2
    seed: int = -1

    def __post_init__(self) -> None:
        for name in ("x", "y", "width", "height", "feather"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value)):
                raise SettingError(f"a region's {name} must be a number, not {value!r}")
        if not (0 <= self.x < 1 and 0 <= self.y < 1 and self.width > 0 and self.height > 0):
            raise SettingError(
                f"the region at {self.x}, {self.y} of {self.width} x {self.height} lies outside the picture",
                "Give x and y from 0 to below 1 and a width and height above 0, in fractions of the picture.",
            )
        if self.blend not in BLENDS:
            raise SettingError(f"unknown blend mode {self.blend!r} of a region", f"Use {' or '.join(BLENDS)}.")
        if not 0 <= self.feather <= 1:
            raise SettingError(f"a region's feather must be from 0 to 1, not {self.feather}")
        if not (isinstance(self.seed, int) and -1 <= self.seed <= LARGEST_SEED):
            raise SettingError(f"a region's seed must be -1 or a whole number above, not {self.seed!r}")

    def place(self, height: int, width: int) -> Place:
        """(height, width, y, x) in cells of a canvas; never empty."""
        y, x = min(int(self.y * height), height - 1), min(int(self.x * width), width - 1)
        return min(math.ceil(self.height * height), height - y), min(math.ceil(self.width * width), width - x), y, x

    def opacity(self, height: int, width: int) -> Tensor:
        """Of a Foreground region on its own place of a canvas, (h, w)."""
        tall, wide, _, _ = self.place(height, width)
        return feather(tall, wide, self.feather).float()


def uncovered(regions: Sequence[Region], height: int, width: int) -> Tensor:
    """Where a canvas is left without any picture if only regions are drawn, (height, width) bool."""
    bare = torch.ones(height, width, dtype=torch.bool)
    for region in regions:
        if region.blend == BACKGROUND or region.feather == 0:
            h, w, y, x = region.place(height, width)
            bare[y : y + h, x : x + w] = False
    return bare


def region_noise(noise: Tensor, regions: Sequence[Region], draw: Callable[[int, tuple[int, ...]], Tensor]) -> Tensor:
    """The noise (batch, channels, height, width) with that of regions that have a seed written over it.

    draw(seed, shape) gives unit noise. Background regions first, then Foreground ones; where k of a layer overlap
    their sum is divided by the root of k, so that the variance stays one. The same for every image of a batch.
    """
    height, width = noise.shape[2:]
    result = noise
    for blend in BLENDS:
        total = torch.zeros(noise.shape[1:])
        count = torch.zeros(height, width)
        for region in regions:
            if region.blend != blend or region.seed < 0:
                continue
            h, w, y, x = region.place(height, width)
            total[:, y : y + h, x : x + w] += draw(region.seed, (noise.shape[1], h, w))
            count[y : y + h, x : x + w] += 1
        if bool(count.any()):
            result = torch.where(count > 0, (total / count.clamp(min=1).sqrt()).to(noise), result)
    return result


def read_regions(text: str) -> list[Region]:
    """The regions of JSON `{"bbox_controls": [...]}` (or of the bare list); those not enabled are left out.

    Raises SettingError for anything else.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingError(f"the regions are no JSON: {str(error)[:200]}") from error
    records = data.get(JSON_KEY) if isinstance(data, dict) else data
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise SettingError("the regions have no list of records", f'Write {{"{JSON_KEY}": [{{"x": 0, ...}}]}}.')
    found = [_region(record) for record in records if record.get("enable", True)]
    if len(found) > MOST_REGIONS:
        raise SettingError(f"{len(found)} regions are too many", f"There may be {MOST_REGIONS}.")
    return found


def _region(record: dict[str, Any]) -> Region:
    for name in ("prompt", "neg_prompt", "blend_mode"):
        if not isinstance(record.get(name, ""), str):
            raise SettingError(f"a region's {name} must be a text, not {record[name]!r}")
    seed = record.get("seed", -1)
    return Region(
        x=record.get("x", 0.4),
        y=record.get("y", 0.4),
        width=record.get("w", 0.2),
        height=record.get("h", 0.2),
        prompt=record.get("prompt", ""),
        negative=record.get("neg_prompt", ""),
        blend=record.get("blend_mode", BACKGROUND),
        feather=record.get("feather_ratio", 0.2),
        seed=int(seed) if isinstance(seed, float) and seed.is_integer() else seed,
    )


def write_regions(regions: Sequence[Region]) -> str:
    """JSON that `read_regions` and the extension read."""
    records = [
        {
            "enable": True,
            "x": round(region.x, 4),
            "y": round(region.y, 4),
            "w": round(region.width, 4),
            "h": round(region.height, 4),
            "prompt": region.prompt,
            "neg_prompt": region.negative,
            "blend_mode": region.blend,
            "feather_ratio": region.feather,
            "seed": region.seed,
        }
        for region in regions
    ]
    return json.dumps({JSON_KEY: records}, ensure_ascii=False)


def parse_region(text: str) -> Region:
    """A region as the command line has it: "x,y,width,height:prompt[:negative[:blend[:feather[:seed]]]]".

    A colon within a prompt, as in (word:1.2), is kept by writing it `\\:`.
    """
    place, *rest = [part.replace("\0", ":") for part in text.replace("\\:", "\0").split(":")]
    try:
        x, y, width, height = (float(number) for number in place.split(","))
        named = dict(zip(("prompt", "negative", "blend", "feather", "seed"), rest, strict=False))
        if len(rest) > len(named):
            raise ValueError
        numbers: dict[str, Any] = {}
        if named.get("feather"):
            numbers["feather"] = float(named["feather"])
        if named.get("seed"):
            numbers["seed"] = int(named["seed"])
    except ValueError as error:
        raise SettingError(
            f"the region {text!r} cannot be read",
            r'Write "0,0,0.5,1:a red castle", then perhaps :negative:Foreground:0.2:seed; a colon in a prompt is "\:".',
        ) from error
    blend = named.get("blend", "").strip().capitalize() or BACKGROUND
    return Region(
        x, y, width, height, named.get("prompt", "").strip(), named.get("negative", "").strip(), blend, **numbers
    )
