"""ControlNets as part of a request: pictures that steer both sides of a prompt."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from hires.errors import ImageFileError, SettingError
from hires.imaging.preprocessors import INPAINT, LEAST, MOST, RESOLUTION, check_preprocessor
from hires.recipes.draft import Draft, Link
from hires.recipes.facts import ModelFacts

if TYPE_CHECKING:
    from hires.recipes.request import Txt2Img

RESIZE_MODES = ("Just Resize", "Crop and Resize", "Resize and Fill")
"""In the order of the numbers 0 to 2 that the extension's interface gives them."""
PASSES = ("Both", "Low res only", "High res only")
CONTROL_MODES = ("Balanced", "My prompt is more important", "ControlNet is more important")
"""In the order of their numbers."""
MOST_UNITS = 10
IN_ORDER = ("model", "image", "weight", "guidance_start", "guidance_end", "resize_mode", "passes")
SOFT_WHEN_LARGE = ("canny",)
"""Preprocessors with which the extension weighs the outer layers less in the hires pass."""
YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class ControlNetUnit:
    """One picture that steers: the model's file, and the picture that `module` makes into what the network sees.

    image is a file, or a name in the input folder; "" where a picture is enlarged and redrawn: that one. weight 0..2;
    it acts from guidance_start to guidance_end, shares 0..1 of the schedule. passes says in which of hires fix's
    passes. control_mode is one of CONTROL_MODES.

    processor_res is the shorter side on which `module` works (pixel_perfect: what the picture drawn needs),
    threshold_a and threshold_b are its numbers, None its own. mask names a file of what is repainted, for the module
    inpaint_global_harmonious; region one of where the unit acts. White counts in both.
    """

    model: str
    image: str
    weight: float = 1.0
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    resize_mode: str = "Crop and Resize"
    passes: str = "Both"
    module: str = "none"
    processor_res: int = RESOLUTION
    threshold_a: float | None = None
    threshold_b: float | None = None
    pixel_perfect: bool = False
    control_mode: str = "Balanced"
    mask: str = ""
    region: str = ""


@dataclass(frozen=True)
class Shown:
    """What is drawn, as units see it: its size (width, height) where that is not the request's, and, over a picture,
    its mask and the area that it takes in it."""

    size: tuple[int, int] | None = None
    mask: Link | None = None
    area: Link | None = None


def parse_unit(text: str, own: bool = False) -> ControlNetUnit:
    """A unit as the command line has it: "MODEL,PICTURE[,weight[,start[,end[,resize mode[,passes]]]]]", and behind the
    picture any field as name=value. With `own` the picture may be left out.

    A name that holds a comma stands in double quotes.
    """
    parts = [part.strip() for part in next(csv.reader([text], skipinitialspace=True), [])]
    kinds = {entry.name: str(entry.type) for entry in fields(ControlNetUnit)}
    pairs = [part.split("=", 1) for part in parts[2:] if part.partition("=")[0] in kinds and "=" in part]
    plain = [part for number, part in enumerate(parts) if number < 2 or part.split("=", 1) not in pairs]
    given = {name: part for name, part in zip(IN_ORDER, plain, strict=False) if part} | dict(pairs)
    try:
        if not {"model", *(() if own else ("image",))} <= set(given) or len(plain) > len(IN_ORDER):
            raise ValueError
        read = {name: _read(kinds[name], value) for name, value in given.items()}
    except ValueError as error:
        hint = 'Write "canny,photo.png", then perhaps ,0.8,0,0.5,Crop and Resize,High res only,module=canny.'
        raise SettingError(f"the ControlNet {text!r} cannot be read", hint) from error
    return ControlNetUnit(**{"image": "", **read})


def shown_itself(request: Txt2Img, picture: str) -> Txt2Img:
    """The request, its units that name no picture being shown this one."""
    units = (unit if unit.image else replace(unit, image=picture) for unit in request.controlnets)
    return replace(request, controlnets=tuple(units))


def _read(kind: str, text: str) -> Any:
    """A field's value. ValueError where the text is none."""
    if kind == "bool":
        if text.lower() not in (*YES, *NO):
            raise ValueError(text)
        return text.lower() in YES
    return int(text) if kind == "int" else float(text) if kind.startswith("float") else text


def check_units(units: Sequence[ControlNetUnit]) -> None:
    """Raise SettingError for the first value that is out of range."""
    if len(units) > MOST_UNITS:
        raise SettingError(f"{len(units)} ControlNets are too many", f"There may be {MOST_UNITS}.")
    for number, unit in enumerate(units):
        for name, value, low, high in (
            ("weight", unit.weight, 0, 2),
            ("start", unit.guidance_start, 0, 1),
            ("end", unit.guidance_end, 0, 1),
            ("preprocessor's resolution", unit.processor_res, LEAST, MOST),
        ):
            if not low <= value <= high:
                raise SettingError(f"the {name} of ControlNet {number} must be from {low} to {high}, not {value}")
        if unit.guidance_start > unit.guidance_end:
            raise SettingError(f"ControlNet {number} starts after its end", "Give a start below the end.")
        for name, chosen, known in (
            ("resize mode", unit.resize_mode, RESIZE_MODES),
            ("passes", unit.passes, PASSES),
            ("control mode", unit.control_mode, CONTROL_MODES),
        ):
            if chosen not in known:
                raise SettingError(
                    f"unknown {name} {chosen!r} of ControlNet {number}", f"Use one of {', '.join(known)}."
                )
        _check_module(number, unit)


def _check_module(number: int, unit: ControlNetUnit) -> None:
    """Its preprocessor, and the numbers that it is given."""
    entry = check_preprocessor(unit.module)
    given = (unit.threshold_a, unit.threshold_b)
    for slider, value in zip(entry.sliders, given, strict=False):
        if value is not None and not slider.low <= value <= slider.high:
            limits = f"from {slider.low:g} to {slider.high:g}"
            raise SettingError(f"the {slider.name} of ControlNet {number} must be {limits}, not {value:g}")
    if unit.mask and entry.name != INPAINT:
        raise SettingError(
            f"the mask of ControlNet {number} is for the preprocessor {INPAINT}", "Give a region for where it acts."
        )


def fact_key(model: str) -> str:
    """Where a request's facts hold a ControlNet's file."""
    return f"controlnet:{model}"


def picture_name(number: int, file: str, of: str = "") -> str:
    """The name by which the workflow loads a unit's picture, or its "mask" or "region"."""
    return f"controlnet {number} {of}{' ' * bool(of)}{PurePath(file.replace(chr(92), '/')).name}"


def control_pictures(request: Txt2Img, input_dir: Path) -> dict[str, Path]:
    """The pictures of a request's units by their names in the workflow. ImageFileError for one that is not there."""
    found = {}
    for number, unit in enumerate(request.controlnets):
        for of, file in (("", unit.image), ("mask", unit.mask), ("region", unit.region)):
            if of and not file:
                continue
            if not file:
                raise ImageFileError(f"ControlNet {number} names no picture", "Name a file.")
            path = Path(file)
            if not path.is_file():
                path = (input_dir / file).resolve()
                if not path.is_relative_to(input_dir.resolve()) or not path.is_file():
                    raise ImageFileError(f"there is no picture {file} for ControlNet {number}", "Name a file.")
            found[picture_name(number, file, of)] = path.absolute()
    return found


def steered(
    draft: Draft,
    request: Txt2Img,
    positive: Link,
    negative: Link,
    size: tuple[int, int],
    *,
    second: bool,
    shown: Shown | None = None,
) -> tuple[Link, Link]:
    """Both sides with the units that act in a pass laid over them. size (width, height) is that of the result."""
    shown = shown or Shown()
    for number, unit in enumerate(request.controlnets):
        if unit.weight == 0 or unit.passes == ("Low res only" if second else "High res only"):
            continue
        fitted = _Fitted(draft, number, unit, shown.size or size, (request.width, request.height), shown)
        inputs: dict[str, Any] = {
            "positive": positive,
            "negative": negative,
            "control_net": draft.add("ControlNetLoader", control_net_name=unit.model).out(),
            "image": fitted.hint(),
            "strength": unit.weight,
            "start_percent": unit.guidance_start,
            "end_percent": unit.guidance_end,
        }
        soft = second and check_preprocessor(unit.module).name in SOFT_WHEN_LARGE
        if unit.control_mode == CONTROL_MODES[0] and not soft and not unit.region:
            applied = draft.add("ControlNetApplyAdvanced", **inputs)
        else:
            inputs |= {"control_mode": unit.control_mode, "soft_weights": soft}
            inputs |= {"region": fitted.mask("region", unit.region)} if unit.region else {}
            applied = draft.add("HiresControlNetApply", **inputs)
        positive, negative = applied.out(0), applied.out(1)
    return positive, negative


@dataclass(frozen=True)
class _Fitted:
    """A unit's pictures brought to the size (width, height) of what is drawn; `first` is that of the first pass."""

    draft: Draft
    number: int
    unit: ControlNetUnit
    size: tuple[int, int]
    first: tuple[int, int]
    shown: Shown

    def hint(self) -> Link:
        """What the network sees. Where a part of a picture is repainted, that part is cut out before it is worked on;
        else the picture is worked on as it is."""
        module = check_preprocessor(self.unit.module).name
        image, area = self._loaded("", self.unit.image), self.shown.area
        if area is not None:
            image = self._to_frame(image)
        if module not in ("none", INPAINT):
            image = self._worked_on(image, module)
        if area is None or module not in ("none", INPAINT):
            image = self._resized(image)
        if module != INPAINT:
            return image
        mask = self.mask("mask", self.unit.mask) if self.unit.mask else self.shown.mask
        if mask is None:
            raise SettingError(f"ControlNet {self.number} has no mask that says what is repainted", "Give its mask.")
        return self.draft.add("HiresInpaintHint", image=image, mask=mask).out()

    def mask(self, of: str, file: str) -> Link:
        """One of its masks, at the size of what is drawn."""
        return self.draft.add("ImageToMask", image=self._to_frame(self._loaded(of, file)), channel="red").out()

    def _loaded(self, of: str, file: str) -> Link:
        return self.draft.add("LoadImage", image=picture_name(self.number, file, of)).out()

    def _to_frame(self, image: Link) -> Link:
        if self.shown.area is None:
            return self._resized(image)
        mode = self.unit.resize_mode.capitalize()
        return self.draft.add("HiresAreaOfPicture", image=image, area=self.shown.area, mode=mode).out()

    def _resized(self, image: Link) -> Link:
        frame: dict[str, Any] = {"width": self.size[0], "height": self.size[1], "upscaler": "None"}
        mode = self.unit.resize_mode.capitalize()
        return self.draft.add("HiresResizeMode", image=image, mode=mode, **frame).out()

    def _worked_on(self, image: Link, module: str) -> Link:
        unit = self.unit
        given: dict[str, Any] = {"module": module}
        for name, value in (("threshold_a", unit.threshold_a), ("threshold_b", unit.threshold_b)):
            given |= {} if value is None else {name: value}
        if unit.pixel_perfect:
            frame: dict[str, Any] = {"width": self.first[0], "height": self.first[1]}
            given |= {"pixel_perfect": True, "mode": unit.resize_mode.capitalize(), **frame}
        elif unit.processor_res != RESOLUTION:
            given["resolution"] = unit.processor_res
        return self.draft.add("HiresControlHint", image=image, **given).out()


def controlnet_fields(request: Txt2Img, facts: Mapping[str, ModelFacts]) -> dict[str, str]:
    """What infotext says of the units, as the web UI's extension writes it."""
    return {
        f"ControlNet {number}": (
            f"Module: {unit.module}, Model: {facts[fact_key(unit.model)].title}, Weight: {unit.weight}, "
            f"Resize Mode: {unit.resize_mode}, {_numbers(unit)}Guidance Start: {unit.guidance_start}, "
            f"Guidance End: {unit.guidance_end}, Pixel Perfect: {unit.pixel_perfect}, "
            f"Control Mode: {unit.control_mode}, Hr Option: {unit.passes}"
        )
        for number, unit in enumerate(request.controlnets)
    }


def _numbers(unit: ControlNetUnit) -> str:
    """What a unit's preprocessor was told, of what it heeds."""
    entry = check_preprocessor(unit.module)
    said = f"Processor Res: {unit.processor_res}, " if entry.sized and not unit.pixel_perfect else ""
    for letter, slider, value in zip("AB", entry.sliders, (unit.threshold_a, unit.threshold_b), strict=False):
        said += f"Threshold {letter}: {slider.value if value is None else value:g}, "
    return said
