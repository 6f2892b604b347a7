"""`hires sd-upscale` and `hires ultimate`: from flags to requests, and what is said of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from hires.api import Engine, OnEvent, Redrawn
from hires.errors import SettingError
from hires.options import parse_size
from hires.recipes.controlnets import parse_unit
from hires.recipes.redraw import Redrawing
from hires.recipes.sd_upscale import SDUpscale
from hires.recipes.ultimate import UltimateUpscale
from hires.tiling.regions import parse_region

DisplayFactory = Callable[[], AbstractContextManager[OnEvent]]
R = TypeVar("R", bound=Redrawing)
SHARED = (
    "prompt", "negative", "checkpoint", "vae", "sampler", "schedule", "steps", "cfg", "seed", "batch_count",
    "clip_skip", "rng", "emphasis", "eta", "dialect", "upscaler", "denoise", "preset", "noise", "lock",
    "size_conditioning", "tile_prompts", "mend_above", "format", "quality",
)  # fmt: skip
"""Flags that are fields of the request, or of its base, under the same name."""
ULTIMATE = (
    "padding", "mask_blur", "mode", "seams", "seam_denoise", "seam_width", "seam_blur", "seam_padding",
)  # fmt: skip


def sd_upscale_request(given: Mapping[str, Any]) -> SDUpscale:
    """The request that the flags of `hires sd-upscale` describe; flags that are None were not given."""
    return _request(SDUpscale(), given, ("overlap", "batch_size"))


def ultimate_request(given: Mapping[str, Any]) -> UltimateUpscale:
    """The request that the flags of `hires ultimate` describe."""
    return _request(UltimateUpscale(), given, ULTIMATE)


def _request(request: R, given: Mapping[str, Any], own: Sequence[str]) -> R:
    if given.get("by") is not None and given.get("to") is not None:
        raise SettingError("--by and --to contradict each other", "Give one of them.")
    changes = {name: given[name] for name in (*SHARED, *own) if given.get(name) is not None}
    if given.get("sampler") is not None and given.get("schedule") is None:
        changes["schedule"] = "Automatic"
    if given.get("by") is not None:
        changes["scale"] = given["by"]
    if given.get("to") is not None:
        changes["width"], changes["height"] = parse_size(given["to"], "--to")
    if given.get("tile") is not None:
        changes["tile_width"], changes["tile_height"] = parse_size(given["tile"], "--tile")
    if given.get("region"):
        changes["regions"] = tuple(parse_region(text) for text in given["region"])
    if given.get("control"):
        changes["controlnets"] = tuple(parse_unit(text, own=True) for text in given["control"])
    return request.of(**changes)


def redraw_all(
    engine: Engine, pictures: Sequence[Path], request: Redrawing, display: DisplayFactory
) -> Iterator[Redrawn]:
    """One picture after the other."""
    for picture in pictures:
        with display() as on_event:
            yield engine.redraw(picture, request, on_event=on_event)
