"""ControlNet in the dialect of the web UI's extension: its lists, its preprocessors, and the units of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Depends

from hires.errors import SettingError
from hires.imaging.preprocessors import (
    INPAINT,
    LEAST,
    MOST,
    PREPROCESSORS,
    RESOLUTION,
    Preprocessor,
    check_preprocessor,
)
from hires.models.names import stem
from hires.server.encoding import encoded
from hires.server.faults import Refused
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
MODE_NAMES: Mapping[str, str] = {
    "0": "Balanced",
    "1": "My prompt is more important",
    "2": "ControlNet is more important",
    "balanced": "Balanced",
    "my prompt is more important": "My prompt is more important",
    "controlnet is more important": "ControlNet is more important",
}
NONE = ("", "none")
TYPES: Mapping[str, tuple[str, ...]] = {
    "All": (),
    "Canny": ("canny",),
    "Depth": ("depth",),
    "NormalMap": ("normal",),
    "OpenPose": ("openpose",),
    "MLSD": ("mlsd",),
    "Lineart": ("lineart",),
    "SoftEdge": ("softedge", "hed"),
    "Scribble/Sketch": ("scribble", "sketch"),
    "Segmentation": ("seg",),
    "Shuffle": ("shuffle",),
    "Tile/Blur": ("tile", "blur"),
    "Inpaint": ("inpaint",),
    "InstructP2P": ("ip2p", "instructp2p"),
    "Recolor": ("recolor",),
    "T2I-Adapter": ("t2i", "adapter"),
}
"""The extension's kinds of ControlNet, and what stands in the names of their files."""
MOST_DETECTED = 16
"""Pictures of one request to the preprocessors."""


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
    """Preprocessors: those that need no network of their own, with the numbers that they take."""
    named = {entry.title if alias_names else name: entry for name, entry in PREPROCESSORS.items()}
    detail = {name: {"model_free": False, "sliders": _sliders(entry)} for name, entry in named.items()}
    return {"module_list": list(named), "module_detail": detail}


def _sliders(entry: Preprocessor) -> list[dict[str, Any] | None]:
    """The first is the resolution, None where there is none and others follow."""
    resolution = {"name": "Preprocessor Resolution", "value": RESOLUTION, "min": LEAST, "max": MOST}
    own = [{"name": one.name, "value": one.value, "min": one.low, "max": one.high, "step": one.step}
           for one in entry.sliders]  # fmt: skip
    return [resolution, *own] if entry.sized else [None, *own] if own else []


@router.get("/control_types")
def control_types(server: ServerHere) -> dict[str, Any]:
    """The extension's types: which preprocessors and files belong to each. One that is not listed under its type has
    "none", and files are known by their names."""
    models = model_list(server)["model_list"]
    return {"control_types": {kind: _type(kind, words, models) for kind, words in TYPES.items()}}


def _type(kind: str, words: Sequence[str], models: Sequence[str]) -> dict[str, Any]:
    own = [name for name, entry in PREPROCESSORS.items() if name != "none" and kind in entry.types]
    listed = [name for name in models if not words or any(word in name.lower() for word in words)]
    special = [name for name in own if name != "invert"]
    return {
        "module_list": list(PREPROCESSORS) if kind == "All" else ["none", *own],
        "model_list": ["None", *listed],
        "default_option": special[0] if special else "none",
        "default_model": listed[0] if words and listed else "None",
    }


@router.post("/detect")
def detect(
    server: ServerHere,
    controlnet_module: Annotated[str, Body()] = "none",
    controlnet_input_images: Annotated[list[str] | None, Body()] = None,
    controlnet_processor_res: Annotated[int, Body()] = RESOLUTION,
    controlnet_threshold_a: Annotated[float, Body()] = -1.0,
    controlnet_threshold_b: Annotated[float, Body()] = -1.0,
) -> dict[str, Any]:
    """What a preprocessor makes of pictures. Numbers that it cannot take stand for its own."""
    try:
        entry = check_preprocessor(controlnet_module)
    except SettingError as error:
        raise Refused(422, "Module not available", error.message, error.hint) from error
    images = controlnet_input_images or []
    if not images:
        raise Refused(422, "No image selected")
    if len(images) > MOST_DETECTED:
        raise Refused(413, f"{len(images)} pictures are too many", f"at most {MOST_DETECTED} at once")
    given = (controlnet_threshold_a, controlnet_threshold_b)
    return {
        "images": [_detected(server, entry, text, controlnet_processor_res, given) for text in images],
        "info": "Success",
    }


def _detected(server: Server, entry: Preprocessor, text: str, resolution: int, given: Sequence[float]) -> str:
    from io import BytesIO

    import numpy as np
    from PIL import Image

    from hires.imaging.preprocessors import preprocessed
    from hires.imaging.sizes import check_size
    from hires.server.pictures import opened

    picture = opened(text, server.most_pixels)[1].convert("RGB")
    size = resolution if LEAST <= resolution <= MOST else RESOLUTION
    if entry.sized:
        factor = size / min(picture.size)
        worked_on = round(picture.width * factor), round(picture.height * factor)
        check_size(*worked_on, server.most_pixels / 1e6, "what a preprocessor works on")
    made = preprocessed(np.asarray(picture), entry.name, size, *_taken(entry, given))
    file = BytesIO()
    Image.fromarray(made).save(file, "PNG")
    return encoded(file.getvalue())


def _taken(entry: Preprocessor, given: Sequence[float | None]) -> list[float | None]:
    """The numbers that a preprocessor can take; None, its own, for all others, as in the extension."""
    pairs = zip(entry.sliders, given, strict=False)
    taken = [value if value is not None and one.low <= value <= one.high else None for one, value in pairs]
    return [*taken, None, None][:2]


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

    module = _module(number, given)
    image, mask = given.get("image") or given.get("input_image"), given.get("mask") or given.get("mask_image")
    if isinstance(image, Mapping):  # the extension takes {"image": ..., "mask": ...} as well
        mask = mask or (image.get("mask") if module.name == INPAINT else None)
        image = image.get("image")
    if mask and module.name != INPAINT:
        hint = f'Send "module": "{INPAINT}", or "effective_region_mask" for where the unit acts.'
        raise SettingError(f"the mask of ControlNet unit {number} says what is repainted: it is for inpainting", hint)
    region = given.get("effective_region_mask")
    layers = {
        name: str(stored(str(text), folder, most_pixels)) for name, text in (("mask", mask), ("region", region)) if text
    }
    first, second = _taken(module, [_number(given, f"threshold_{letter}", -1.0) for letter in "ab"])
    resolution = int(_number(given, "processor_res", RESOLUTION))
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
        module=module.name,
        processor_res=resolution if LEAST <= resolution <= MOST else RESOLUTION,
        threshold_a=first,
        threshold_b=second,
        pixel_perfect=bool(given.get("pixel_perfect", False)),
        control_mode=_named(number, given, "control_mode", MODE_NAMES, "Balanced"),
        **layers,
    )


def _module(number: int, given: Mapping[str, Any]) -> Preprocessor:
    """The preprocessor; what would draw another picture than is asked for is refused."""
    if given.get("advanced_weighting"):
        raise SettingError(f"ControlNet unit {number} weighs its layers one by one", "Use `weight` and `control_mode`.")
    try:
        return check_preprocessor(_text(given, "module") or "none")
    except SettingError as error:
        raise SettingError(f"ControlNet unit {number}: {error.message}", error.hint) from error


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
