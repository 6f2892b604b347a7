"""From the flags of `hires txt2img` to a request: alone, or laid over the settings that a picture carries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hires.errors import SettingError, WorkflowError
from hires.graph.context import PlainContext
from hires.recipes.controlnets import parse_unit
from hires.recipes.fine_sampling import fine_from_words
from hires.recipes.read_file import request_in
from hires.recipes.request import HiresFix, Refiner, Txt2Img
from hires.recipes.tiled import DeepShrink, TiledDiffusion
from hires.recipes.tiled_img2img import NoiseInversion, TiledImg2Img
from hires.tiling.joint import METHODS
from hires.tiling.regions import parse_region, read_regions

PLAIN = (
    "prompt",
    "negative",
    "checkpoint",
    "vae",
    "vae_mode",
    "vae_tile",
    "seamless",
    "sampler",
    "schedule",
    "steps",
    "cfg",
    "seed",
    "batch_size",
    "batch_count",
    "clip_skip",
    "variation_seed",
    "variation_strength",
    "ensd",
    "rng",
    "emphasis",
    "comments",
    "comma_backtrack",
    "wildcards",
    "eta",
    "s_churn",
    "s_tmin",
    "s_tmax",
    "s_noise",
    "token_merging",
    "token_merging_hires",
    "fp8",
    "face_restoration",
    "face_weight",
    "dialect",
    "format",
    "quality",
)
HIRES = {
    "upscaler": "upscaler",
    "scale": "scale",
    "denoise": "denoise",
    "hires_steps": "steps",
    "hires_sampler": "sampler",
    "hires_schedule": "schedule",
    "hires_prompt": "prompt",
    "hires_negative": "negative",
    "hires_cfg": "cfg",
    "hires_checkpoint": "checkpoint",
}
REFINER = {
    "switch_at": "switch_at",
    "switch_by_steps": "by_steps",
    "switch_step": "switch_step",
    "refiner_passes": "passes",
}
TILED = {
    "tile_overlap": "overlap",
    "tile_batch": "tile_batch",
    "tile_method": "method",
    "jitter": "jitter",
    "tile_passes": "passes",
    "region_background": "background",
}
MOST_TEXT = 1_000_000


def request_from_options(given: Mapping[str, Any]) -> Txt2Img:
    """The request that flags describe; flags that are None were not given."""
    request = _from_file(given["from_"]) if given.get("from_") else Txt2Img()
    if given.get("from_") is None and given.get("prompt") is None:
        raise SettingError("there is no prompt", 'Write one: hires txt2img "a castle", or use --from PICTURE.png.')
    changes = {name: given[name] for name in PLAIN if given.get(name) is not None}
    if given.get("sampler") is not None and given.get("schedule") is None:
        changes["schedule"] = "Automatic"
    if any(given.get(name) is not None for name in ("prompt", "negative", "hires_prompt", "hires_negative")):
        changes = {"wildcards": True, "templates": None, **changes}
    if given.get("style"):
        changes["styles"] = tuple(given["style"])
    if given.get("control"):
        changes["controlnets"] = tuple(parse_unit(text) for text in given["control"])
    if given.get("size") is not None:
        changes["width"], changes["height"] = parse_size(given["size"], "--size")
    if given.get("seed_resize_from") is not None:
        width, height = parse_size(given["seed_resize_from"], "--seed-resize-from")
        changes |= {"seed_resize_width": width, "seed_resize_height": height}
    if given.get("sampling"):
        changes["fine"] = fine_from_words(given["sampling"], request.fine)
    request = replace(request, save_first_pass=bool(given.get("save_first_pass")), **changes)
    if given.get("deep_shrink") is not None:
        shrink = replace(request.deep_shrink or DeepShrink(), factor=given["deep_shrink"])
        request = replace(request, deep_shrink=None if shrink.factor == 1.0 else shrink)
    request = replace(request, tiled=tiled_from_options(request.tiled, given))
    return replace(request, hires=_hires(request.hires, given), refiner=_refiner(request.refiner, given))


def _from_file(path: Path) -> Txt2Img:
    """What a file's infotext asks for, or its workflow where it has that alone."""
    from hires.nodes.registry import node_registry

    try:
        return request_in(path, node_registry(), PlainContext())
    except WorkflowError as error:
        hint = "`hires info` says what is in it; `hires run` takes a ComfyUI picture."
        raise SettingError(f"{path.name} carries no settings of a txt2img: {error.faults[0].message}", hint) from error


def _hires(hires: HiresFix | None, given: Mapping[str, Any]) -> HiresFix | None:
    changes = {field: given[flag] for flag, field in HIRES.items() if given.get(flag) is not None}
    if given.get("hires_size") is not None:
        changes["width"], changes["height"] = parse_size(given["hires_size"], "--hires-size", zero=True)
    if given.get("hires") is False:
        if changes:
            raise SettingError(f"--no-hires and {', '.join(sorted(changes))} contradict each other", "Drop one.")
        return None
    if not changes and not given.get("hires"):
        return hires
    if "scale" in changes and "width" not in changes:
        changes |= {"width": 0, "height": 0}
    return replace(hires or HiresFix(), **changes)


def _refiner(refiner: Refiner | None, given: Mapping[str, Any]) -> Refiner | None:
    changes = {field: given[flag] for flag, field in REFINER.items() if given.get(flag) is not None}
    if given.get("refiner") is not None:
        refiner = replace(refiner, checkpoint=given["refiner"]) if refiner else Refiner(given["refiner"])
    if refiner is None:
        if changes:
            raise SettingError("a refiner switch was given but no refiner", "Name its checkpoint with --refiner.")
        return None
    return replace(refiner, **changes)


def tiled_from_options(tiled: TiledDiffusion | None, given: Mapping[str, Any]) -> TiledDiffusion | None:
    """Tiled Diffusion as flags describe it; any of its flags turns it on."""
    changes = {field: given[flag] for flag, field in TILED.items() if given.get(flag) is not None}
    if given.get("tile") is not None:
        changes["tile_width"], changes["tile_height"] = parse_size(given["tile"], "--tile")
    if "method" in changes:
        names = {name.lower().split()[0]: name for name in METHODS}
        changes["method"] = names.get(
            changes["method"].lower().split()[0] if changes["method"] else "", changes["method"]
        )
    found = [parse_region(text) for text in given.get("region") or ()]
    if given.get("regions") is not None:
        found += read_regions(_short_text(given["regions"]))
    if found:
        changes["regions"] = tuple(found)
    if given.get("tiled") is False:
        if changes:
            raise SettingError(f"--no-tiled and {', '.join(sorted(changes))} contradict each other", "Drop one.")
        return None
    return replace(tiled or TiledDiffusion(), **changes) if changes or given.get("tiled") else tiled


def tiled_img2img_from_options(given: Mapping[str, Any]) -> TiledImg2Img:
    """The request of `hires tiled`."""
    base = request_from_options({**given, "scale": None, "denoise": None, "upscaler": None, "tiled": True})
    request = TiledImg2Img(base=base, keep_input_size=given.get("size") is None)
    names = ("denoise", "scale", "upscaler")
    request = replace(request, **{name: given[name] for name in names if given.get(name) is not None})
    steps = given.get("invert_noise")
    if steps:
        changes = {name: given[name] for name in ("retouch", "renoise", "kernel") if given.get(name) is not None}
        request = replace(request, inversion=NoiseInversion(steps=steps, **changes))
    return request


def _short_text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_TEXT + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"the regions file {path} cannot be read: {error}") from error
    if len(text) > MOST_TEXT:
        raise SettingError(f"{path.name} is too long for a file of regions")
    return text


def parse_size(text: str, flag: str, zero: bool = False) -> tuple[int, int]:
    """WIDTHxHEIGHT or one number for a square."""
    match = re.fullmatch(r"\s*(\d{1,7})\s*(?:[xX×*]\s*(\d{1,7}))?\s*", text)
    if match is None:
        raise SettingError(f"{flag} must look like 768x512, not {text!r}")
    width, height = int(match[1]), int(match[2] or match[1])
    if not zero and (width == 0 or height == 0):
        raise SettingError(f"{flag} cannot be {width}x{height}", "Both sides must be at least 16 pixels.")
    return width, height
