"""What a picture is made into before a ControlNet sees it: the preprocessors that need no network of their own.

The numbers are those of the web UI's extension, which makes them with OpenCV. Pictures: uint8 (height, width, 3), RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hires.errors import SettingError

Pixels = NDArray[np.uint8]
Make = Callable[[Pixels, float, float], Pixels]
"""(picture, first threshold, second threshold) -> what the network sees"""
RESOLUTION = 512
LEAST, MOST = 64, 2048
"""Bounds of a preprocessor's resolution, the shorter side of the picture that it works on."""
PADDING = 64
"""Pictures are continued to multiples of this while they are worked on."""


@dataclass(frozen=True)
class Slider:
    """A number that a preprocessor takes."""

    name: str
    value: float
    low: float
    high: float
    step: float = 1.0


@dataclass(frozen=True)
class Preprocessor:
    """One line of the extension's list. `sized` ones work at a resolution, others on the picture as it is.

    padded: on a picture that goes on at its right and lower edge. types: the kinds of ControlNet it is listed with.
    """

    name: str
    make: Make
    sliders: tuple[Slider, ...] = ()
    sized: bool = True
    padded: bool = True
    types: tuple[str, ...] = ()
    label: str = ""

    @property
    def title(self) -> str:
        return self.label or self.name


def resolution_for(picture: tuple[int, int], frame: tuple[int, int], fill: bool) -> int:
    """The resolution at which a picture (width, height) has a pixel for each of a frame's ("pixel perfect").

    fill: it is laid into the frame whole; else it covers it.
    """
    ratios = [frame[axis] / picture[axis] for axis in (0, 1)]
    return round((min if fill else max)(ratios) * min(picture))


def check_preprocessor(name: str) -> Preprocessor:
    """The preprocessor of a name or title, in any letter case. SettingError for one that is not here."""
    found = BY_NAME.get(name.strip().lower())
    if found is None:
        raise SettingError(
            f"there is no preprocessor {name!r} here, as none that needs a network of its own",
            f"Use one of {', '.join(PREPROCESSORS)}; or give the picture that it would make, with none.",
        )
    return found


def preprocessed(
    picture: Pixels, name: str, resolution: int = RESOLUTION, first: float | None = None, second: float | None = None
) -> Pixels:
    """The picture as a ControlNet is to see it; None stands for a slider's own value.

    `resolution` is the shorter side of what comes out of those that work at one.
    """
    entry = check_preprocessor(name)
    usual = [slider.value for slider in entry.sliders] + [0.0, 0.0]
    values = [own if given is None else given for given, own in zip((first, second), usual, strict=False)]
    for slider, value in zip(entry.sliders, values, strict=False):
        if not slider.low <= value <= slider.high:
            limits = f"from {slider.low:g} to {slider.high:g}"
            raise SettingError(f"{slider.name} of the preprocessor {entry.name} must be {limits}, not {value:g}")
    if not entry.sized:
        return entry.make(picture, *values)
    if not LEAST <= resolution <= MOST:
        raise SettingError(f"a preprocessor's resolution must be from {LEAST} to {MOST}, not {resolution}")
    scaled = _at(picture, resolution)
    height, width = scaled.shape[:2]
    if entry.padded:
        sides = [(0, -side % PADDING) for side in (height, width)]
        scaled = np.pad(scaled, [*sides, (0, 0)], mode="edge")
    return np.ascontiguousarray(entry.make(scaled, *values)[:height, :width])


def _at(picture: Pixels, resolution: int) -> Pixels:
    """With its shorter side as long as the resolution."""
    cv2 = _cv2()
    factor = resolution / min(picture.shape[:2])
    size = tuple(round(side * factor) for side in (picture.shape[1], picture.shape[0]))
    made: Pixels = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA)
    return made


def _cv2() -> Any:
    import cv2

    return cv2


def _grey(levels: NDArray[Any]) -> Pixels:
    """(height, width) in 0..255 as a picture."""
    return np.repeat(levels.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _none(picture: Pixels, first: float, second: float) -> Pixels:
    return picture


def _invert(picture: Pixels, first: float, second: float) -> Pixels:
    return 255 - picture


def _canny(picture: Pixels, low: float, high: float) -> Pixels:
    return _grey(_cv2().Canny(picture, int(low), int(high)))


def _threshold(picture: Pixels, level: float, second: float) -> Pixels:
    return _grey((picture.min(axis=2) > level) * 255)


def _xdog(picture: Pixels, level: float, second: float) -> Pixels:
    """Where a picture blurred widely is brighter than one blurred a little (Winnemöller et al. 2012)."""
    cv2, plain = _cv2(), picture.astype(np.float32)
    narrow, wide = (cv2.GaussianBlur(plain, (0, 0), sigma) for sigma in (0.5, 5.0))
    difference = (255 - (wide - narrow).min(axis=2)).clip(0, 255).astype(np.uint8)
    return _grey((2 * (255 - difference.astype(np.int64)) > level) * 255)


def _lines(picture: Pixels, first: float, second: float) -> Pixels:
    """Dark lines on bright ground as bright ones, of the same strength in every picture."""
    plain = picture.astype(np.float32)
    strength = (_cv2().GaussianBlur(plain, (0, 0), 6.0) - plain).min(axis=2).clip(0, 255)
    seen = strength[strength > 8]
    usual = float(np.median(seen)) if seen.size else 0.0
    return _grey(strength / max(16.0, usual) * 127)


def _blur(picture: Pixels, sigma: float, second: float) -> Pixels:
    made: Pixels = _cv2().GaussianBlur(picture, (0, 0), float(sigma))
    return made


def _smaller(picture: Pixels, rate: float, second: float) -> Pixels:
    if rate < 1.1:
        return picture
    cv2 = _cv2()
    size = tuple(max(1, int(side / rate)) for side in (picture.shape[1], picture.shape[0]))
    made: Pixels = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return made


def _luminance(picture: Pixels, gamma: float, second: float) -> Pixels:
    # the extension takes red for blue here, and networks for recolouring are used with that
    cv2 = _cv2()
    return _gamma(cv2.cvtColor(picture, cv2.COLOR_BGR2LAB)[..., 0], gamma)


def _intensity(picture: Pixels, gamma: float, second: float) -> Pixels:
    return _gamma(picture.max(axis=2), gamma)


def _gamma(levels: Pixels, gamma: float) -> Pixels:
    return _grey((levels.astype(np.float32) / 255.0) ** np.float32(gamma) * 255.0)


def _slider(name: str, value: float, low: float, high: float, step: float = 1.0) -> tuple[Slider, ...]:
    return (Slider(name, value, low, high, step),)


LINES = ("Canny", "Lineart", "Scribble/Sketch", "MLSD")
GAMMA = _slider("Gamma Correction", 1.0, 0.1, 2.0, 0.001)
INPAINT = "inpaint_global_harmonious"
"""What is to be repainted is told to the network: see `hires.nodes.control_hints`."""
PREPROCESSORS: Mapping[str, Preprocessor] = {
    entry.name: entry
    for entry in (
        Preprocessor("none", _none, sized=False, types=("InstructP2P", "T2I-Adapter")),
        Preprocessor("invert", _invert, sized=False, types=LINES, label="invert (from white bg & black line)"),
        Preprocessor(
            "canny",
            _canny,
            (*_slider("Canny Low Threshold", 100, 1, 255), *_slider("Canny High Threshold", 200, 1, 255)),
            types=("Canny",),
        ),
        Preprocessor("threshold", _threshold, _slider("Binarization Threshold", 127, 0, 255)),
        Preprocessor("scribble_xdog", _xdog, _slider("XDoG Threshold", 32, 1, 64), types=("Scribble/Sketch",)),
        Preprocessor(
            "lineart_standard", _lines, types=("Lineart",), label="lineart_standard (from white bg & black line)"
        ),
        Preprocessor(
            "tile_resample",
            _smaller,
            _slider("Down Sampling Rate", 1.0, 1.0, 8.0, 0.01),
            sized=False,
            types=("Tile/Blur",),
        ),
        Preprocessor(
            "blur_gaussian",
            _blur,
            _slider("Sigma", 9.0, 0.01, 64.0, 0.01),
            padded=False,
            types=("Tile/Blur",),
        ),
        Preprocessor("recolor_luminance", _luminance, GAMMA, sized=False, types=("Recolor",)),
        Preprocessor("recolor_intensity", _intensity, GAMMA, sized=False, types=("Recolor",)),
        Preprocessor(INPAINT, _none, sized=False, types=("Inpaint",)),
    )
}
"""By name, in the order of the list."""
BY_NAME: Mapping[str, Preprocessor] = {
    **{entry.name: entry for entry in PREPROCESSORS.values()},
    **{entry.title: entry for entry in PREPROCESSORS.values()},
    "inpaint": PREPROCESSORS[INPAINT],
    "": PREPROCESSORS["none"],
}
