"""ControlNet in the dialect of the web UI's extension: its lists, and the units of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends

from hires.errors import SettingError
from hires.models.names import stem
from hires.server.state import Server, server_of

if TYPE_CHECKING:
    from hires.recipes.controlnets import ControlNetUnit

router = APIRouter(prefix="/controlnet", tags=["controlnet"])
ServerHere = Annotated[Server, Depends(server_of)]
VERSION = 3
"""The version of the interface that clients look at."""
MOST_UNITS = 10
SHORT_HASH = 8
RESIZE_NAMES: Mapping[str, str] = {
    "0": "Just Resize",
    "1": "Crop and Resize",
    "2": "Resize and Fill",
    "just resize": "Just Resize",
    "crop and resize": "Crop and Resize",
    "resize and fill": "Resize and Fill",
    "scale to fit (inner fit)": "Crop and Resize",
    "envelope (outer fit)": "Resize and Fill",
}
PASS_NAMES: Mapping[str, str] = {"both": "Both", "low res only": "Low res only", "high res only": "High res only"}
BALANCED = ("", "0", "balanced")
NONE = ("", "none")


@router.get("/version")
def version() -> dict[str, int]:
    """Of the extension's interface."""
    return {"version": VERSION}


@router.get("/model_list")
def model_list(server: ServerHere, update: bool = True) -> dict[str, list[str]]:
    """ControlNets and T2I-Adapters, with their hashes where these are known."""
    found = []
    for entry in server.files.entries("controlnet"):
        known = server.files.hashes.known_sha256(entry.path) if entry.path.is_file() else None
        found.append(f"{stem(entry.name)} [{known[:SHORT_HASH]}]" if known else stem(entry.name))
    return {"model_list": found}


@router.get("/module_list")
def module_list(alias_names: bool = False) -> dict[str, Any]:
    """Preprocessors: none. A picture is sent as the network is to see it."""
    return {"module_list": ["none"], "module_detail": {"none": {"model_free": False, "sliders": []}}}


@router.get("/control_types")
def control_types(server: ServerHere) -> dict[str, Any]:
    """One type, which holds everything."""
    models = ["None", *model_list(server)["model_list"]]
    every = {"module_list": ["none"], "model_list": models, "default_option": "none", "default_model": "None"}
    return {"control_types": {"All": every}}


@router.get("/settings")
def settings() -> dict[str, int]:
    """How many units a request may have."""
    return {"control_net_unit_count": MOST_UNITS}


def units_of(args: Sequence[Any], folder: Path, most_pixels: int, behind: Path | None) -> tuple[ControlNetUnit, ...]:
    """The units of a request that are on. `behind` is the picture of an img2img request, for units without one."""
    found = []
    for number, given in enumerate(args):
        if not isinstance(given, Mapping):
            if given in (False, None):
                continue
            raise SettingError(f"ControlNet unit {number} is no object", 'Send {"image": ..., "model": ...}.')
        if given.get("enabled", True) and _text(given, "model").lower() not in NONE:
            found.append(_unit(number, given, folder, most_pixels, behind))
    return tuple(found)


def _unit(number: int, given: Mapping[str, Any], folder: Path, most_pixels: int, behind: Path | None) -> ControlNetUnit:
    from hires.recipes.controlnets import ControlNetUnit
    from hires.server.pictures import stored

    _refuse_absent(number, given)
    image = given.get("image") or given.get("input_image")
    if isinstance(image, Mapping):  # the extension takes {"image": ..., "mask": ...} as well
        image = image.get("image")
    if not image and behind is None:
        raise SettingError(f"ControlNet unit {number} has no picture", "Send `image`.")
    path = stored(str(image), folder, most_pixels) if image else behind
    return ControlNetUnit(
        model=_text(given, "model"),
        image=str(path),
        weight=_number(given, "weight", 1.0),
        guidance_start=_number(given, "guidance_start", 0.0),
        guidance_end=_number(given, "guidance_end", 1.0),
        resize_mode=_named(number, given, "resize_mode", RESIZE_NAMES, "Crop and Resize"),
        passes=_named(number, given, "hr_option", PASS_NAMES, "Both"),
    )


def _refuse_absent(number: int, given: Mapping[str, Any]) -> None:
    """What would draw another picture than is asked for."""
    module = _text(given, "module") or "none"
    if module.lower() not in NONE:
        raise SettingError(
            f"ControlNet unit {number} names the preprocessor {module}, and there is none here",
            'Send the picture as the network is to see it, and "module": "none".',
        )
    if _text(given, "control_mode").lower() not in BALANCED:
        raise SettingError(f"ControlNet unit {number} can only be balanced", 'Send "control_mode": "Balanced".')
    if given.get("mask") or given.get("mask_image"):
        raise SettingError(f"ControlNet unit {number} acts on the whole picture", "Leave out its mask.")


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    return "" if value is None else str(value).strip()


def _number(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name)
    try:
        return default if value is None else float(value)
    except (TypeError, ValueError):
        raise SettingError(f"{name} of a ControlNet unit must be a number, not {str(value)[:80]!r}") from None


def _named(number: int, given: Mapping[str, Any], name: str, known: Mapping[str, str], default: str) -> str:
    text = _text(given, name)
    if text and text.lower() not in known:
        listed = ", ".join(dict.fromkeys(known.values()))
        raise SettingError(f"ControlNet unit {number} has an unknown {name} {text!r}", f"Use one of {listed}.")
    return known[text.lower()] if text else default
