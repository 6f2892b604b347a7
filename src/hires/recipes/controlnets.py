"""ControlNets as part of a request: pictures that steer both sides of a prompt."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from hires.errors import ImageFileError, SettingError
from hires.recipes.draft import Draft, Link
from hires.recipes.facts import ModelFacts

if TYPE_CHECKING:
    from hires.recipes.request import Txt2Img

RESIZE_MODES = ("Just Resize", "Crop and Resize", "Resize and Fill")
"""In the order of the numbers 0 to 2 that the extension's interface gives them."""
PASSES = ("Both", "Low res only", "High res only")
MOST_UNITS = 10


@dataclass(frozen=True)
class ControlNetUnit:
    """One picture that steers: the model's file, and the picture as it is given to the network, with no preprocessing.

    image is a file, or a name in the input folder. weight 0..2; it acts from guidance_start to guidance_end, shares
    0..1 of the schedule. passes says in which of hires fix's passes.
    """

    model: str
    image: str
    weight: float = 1.0
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    resize_mode: str = "Crop and Resize"
    passes: str = "Both"


def parse_unit(text: str) -> ControlNetUnit:
    """A unit as the command line has it: "MODEL,PICTURE[,weight[,start[,end[,resize mode[,passes]]]]]".

    A name that holds a comma stands in double quotes.
    """
    parts = next(csv.reader([text], skipinitialspace=True), [])
    names = ("model", "image", "weight", "guidance_start", "guidance_end", "resize_mode", "passes")
    given: dict[str, Any] = {name: part.strip() for name, part in zip(names, parts, strict=False) if part.strip()}
    try:
        numbers = {name: float(given[name]) for name in names[2:5] if name in given}
        if not {"model", "image"} <= set(given) or len(parts) > len(names):
            raise ValueError
    except ValueError as error:
        hint = 'Write "canny,edges.png", then perhaps ,0.8,0,0.5,Crop and Resize,High res only.'
        raise SettingError(f"the ControlNet {text!r} cannot be read", hint) from error
    return ControlNetUnit(**(given | numbers))


def check_units(units: Sequence[ControlNetUnit]) -> None:
    """Raise SettingError for the first value that is out of range."""
    if len(units) > MOST_UNITS:
        raise SettingError(f"{len(units)} ControlNets are too many", f"There may be {MOST_UNITS}.")
    for number, unit in enumerate(units):
        for name, value, low, high in (
            ("weight", unit.weight, 0, 2),
            ("start", unit.guidance_start, 0, 1),
            ("end", unit.guidance_end, 0, 1),
        ):
            if not low <= value <= high:
                raise SettingError(f"the {name} of ControlNet {number} must be from {low} to {high}, not {value}")
        if unit.guidance_start > unit.guidance_end:
            raise SettingError(f"ControlNet {number} starts after its end", "Give a start below the end.")
        for name, chosen, known in (
            ("resize mode", unit.resize_mode, RESIZE_MODES),
            ("passes", unit.passes, PASSES),
        ):
            if chosen not in known:
                raise SettingError(
                    f"unknown {name} {chosen!r} of ControlNet {number}", f"Use one of {', '.join(known)}."
                )


def fact_key(model: str) -> str:
    """Where a request's facts hold a ControlNet's file."""
    return f"controlnet:{model}"


def picture_name(number: int, unit: ControlNetUnit) -> str:
    """The name by which the workflow loads a unit's picture."""
    return f"controlnet {number} {PurePath(unit.image.replace(chr(92), '/')).name}"


def control_pictures(request: Txt2Img, input_dir: Path) -> dict[str, Path]:
    """The pictures of a request's units by their names in the workflow. ImageFileError for one that is not there."""
    found = {}
    for number, unit in enumerate(request.controlnets):
        path = Path(unit.image)
        if not path.is_file():
            path = (input_dir / unit.image).resolve()
            if not path.is_relative_to(input_dir.resolve()) or not path.is_file():
                raise ImageFileError(f"there is no picture {unit.image} for ControlNet {number}", "Name a file.")
        found[picture_name(number, unit)] = path.absolute()
    return found


def steered(
    draft: Draft, request: Txt2Img, positive: Link, negative: Link, size: tuple[int, int], *, second: bool
) -> tuple[Link, Link]:
    """Both sides with the units that act in a pass laid over them. size (width, height) is that of the result."""
    for number, unit in enumerate(request.controlnets):
        if unit.weight == 0 or unit.passes == ("Low res only" if second else "High res only"):
            continue
        image = draft.add("LoadImage", image=picture_name(number, unit)).out()
        frame: dict[str, Any] = {"width": size[0], "height": size[1], "upscaler": "None"}
        image = draft.add("HiresResizeMode", image=image, mode=unit.resize_mode.capitalize(), **frame).out()
        net = draft.add("ControlNetLoader", control_net_name=unit.model).out()
        applied = draft.add(
            "ControlNetApplyAdvanced",
            positive=positive,
            negative=negative,
            control_net=net,
            image=image,
            strength=unit.weight,
            start_percent=unit.guidance_start,
            end_percent=unit.guidance_end,
        )
        positive, negative = applied.out(0), applied.out(1)
    return positive, negative


def controlnet_fields(request: Txt2Img, facts: Mapping[str, ModelFacts]) -> dict[str, str]:
    """What infotext says of the units, as the web UI's extension writes it."""
    return {
        f"ControlNet {number}": (
            f"Module: none, Model: {facts[fact_key(unit.model)].title}, Weight: {unit.weight}, "
            f"Resize Mode: {unit.resize_mode}, Guidance Start: {unit.guidance_start}, "
            f"Guidance End: {unit.guidance_end}, Pixel Perfect: False, Control Mode: Balanced, "
            f"Hr Option: {unit.passes}"
        )
        for number, unit in enumerate(request.controlnets)
    }
