"""What a user asks for of a picture that is there: img2img, inpainting and outpainting, under the web UI's names.

Defaults are those of its form.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, cast

from hires.errors import SettingError
from hires.imaging.outpainting import DIRECTIONS, room
from hires.imaging.sizes import check_size, floor_to_latent
from hires.recipes.request import Txt2Img

RESIZE_MODES = ("just resize", "crop and resize", "resize and fill", "latent upscale")
"""In the order of the numbers 0 to 3 that the web UI's interface gives them."""
FILLS = ("fill", "original", "latent noise", "latent nothing")
"""Masked content, in the order of the numbers 0 to 3."""
AREAS = ("whole picture", "only masked")
OUTPAINTING = ("fill", "noise")


@dataclass(frozen=True)
class SoftInpainting:
    """The sliders of soft inpainting: schedule bias 0..8, preservation strength 0..8, transition contrast boost 1..32,
    mask influence 0..1, difference threshold 0..8, difference contrast 2..8."""

    bias: float = 1.0
    preservation: float = 0.5
    contrast: float = 4.0
    influence: float = 0.0
    threshold: float = 0.5
    difference_contrast: float = 2.0


@dataclass(frozen=True)
class Outpaint:
    """Room around the picture. `pixels` on each side named, and as many more as bring the canvas to a multiple of 64.

    method "fill" (Poor man's outpainting) fills it from the picture's borders, "noise" (Outpainting mk2) with noise of
    the picture's texture: fall_off 0..4 weights its low frequencies, colour_variation 0..1 its colours.
    """

    directions: tuple[str, ...] = DIRECTIONS
    pixels: int = 128
    method: str = "fill"
    fall_off: float = 1.0
    colour_variation: float = 0.05

    def canvas(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the canvas around a picture of so many pixels."""
        return room((width, height), self.pixels, cast(Any, self.directions)).size((width, height))


@dataclass(frozen=True)
class Inpaint:
    """How a mask is used; white is repainted, or black with `invert`.

    blur_x, blur_y are the sigmas of the mask's blur in pixels. fill is what the masked part begins from, area what is
    drawn: all, or the mask's box with `padding` pixels around it, at the size that is asked for. With `rounded` the
    latent's mask is rounded to 0 and 1. mask_weight 0..1 is how much of the picture under the mask an inpainting
    checkpoint is not shown. overlay: what is outside the blurred mask stays the picture's, byte for byte.
    transparency 0..100 is, for an inpaint sketch, how far the picture shows through what was painted.
    """

    blur_x: int = 4
    blur_y: int = 4
    invert: bool = False
    fill: str = "original"
    area: str = "whole picture"
    padding: int = 32
    rounded: bool = True
    mask_weight: float = 1.0
    overlay: bool = True
    soft: SoftInpainting | None = None
    transparency: float = 0.0


@dataclass(frozen=True)
class Img2Img:
    """A picture drawn over. `base` holds prompt, model, sampler, seed and batch as for txt2img.

    The base's width and height are the size that is drawn, 0 the picture's own; scale above 0 makes it int(side *
    scale) instead. denoise 0..1; of `steps` S, int(min(denoise, 0.999) * S) + 1 are run, or all of them with fix_steps.
    upscaler "None" enlarges with Lanczos. noise_multiplier 0..1.5 scales the first noise, extra_noise adds more of it.
    color_correction brings the result's colours back to the picture's. Transparent parts lie on `background`.
    image_cfg_scale, of InstructPix2Pix models alone, is how near the result keeps to the picture; cfg, to the prompt.
    save_mask and save_mask_composite write, beside each picture that has a mask, the mask through which the result
    shows, and what was drawn, transparent elsewhere.
    """

    base: Txt2Img = field(default_factory=Txt2Img)
    denoise: float = 0.75
    resize_mode: str = "just resize"
    scale: float = 0.0
    upscaler: str = "None"
    noise_multiplier: float = 1.0
    extra_noise: float = 0.0
    fix_steps: bool = False
    color_correction: bool = False
    background: str = "#ffffff"
    inpaint: Inpaint | None = None
    outpaint: Outpaint | None = None
    image_cfg_scale: float = 1.5
    save_mask: bool = False
    save_mask_composite: bool = False

    def of(self, **changes: Any) -> Self:
        """With fields changed, its own or the base's."""
        own = {entry.name for entry in fields(self)}
        known = {entry.name for entry in fields(Txt2Img)}
        base = {name: value for name, value in changes.items() if name not in own}
        if strange := sorted(set(base) - known):
            raise SettingError(f"there is no field {strange[0]!r}")
        found = replace(self, **{name: value for name, value in changes.items() if name in own})
        return replace(found, base=replace(found.base, **base))

    def frame(self, width: int, height: int) -> tuple[int, int]:
        """(width, height), multiples of 8, at which a picture of so many pixels is drawn."""
        if self.outpaint is not None:
            width, height = self.outpaint.canvas(width, height)
        elif self.scale > 0:
            width, height = int(width * self.scale), int(height * self.scale)
        else:
            width, height = self.base.width or width, self.base.height or height
        return floor_to_latent(width), floor_to_latent(height)


def check_img2img(request: Img2Img, size: tuple[int, int], max_megapixels: float) -> None:
    """Raise SettingError for the first value that is out of range, for a picture of `size` (width, height).

    The base is checked by itself.
    """
    _ranges(
        ("denoising strength", request.denoise, 0, 1),
        ("scale", request.scale, 0, 16),
        ("noise multiplier", request.noise_multiplier, 0, 1.5),
        ("extra noise", request.extra_noise, 0, 1),
        ("image CFG scale", request.image_cfg_scale, 0, 30),
    )
    _choice("resize mode", request.resize_mode, RESIZE_MODES)
    _check_colour(request.background)
    if request.base.hires is not None:
        raise SettingError("img2img draws in one pass", "Leave hires fix out and give a larger size or scale.")
    if request.inpaint is not None:
        _check_inpaint(request.inpaint)
    if request.outpaint is not None:
        _check_outpaint(request, request.outpaint)
    check_size(*request.frame(*size), max_megapixels, "the picture that is drawn", request.base.batch_size)


def _check_inpaint(inpaint: Inpaint) -> None:
    _ranges(
        ("mask blur", inpaint.blur_x, 0, 256),
        ("mask blur", inpaint.blur_y, 0, 256),
        ("only masked padding", inpaint.padding, 0, 4096),
        ("conditional mask weight", inpaint.mask_weight, 0, 1),
        ("mask transparency", inpaint.transparency, 0, 100),
    )
    _choice("masked content", inpaint.fill, FILLS)
    _choice("inpaint area", inpaint.area, AREAS)
    if inpaint.soft is not None:
        soft = inpaint.soft
        _ranges(
            ("soft inpainting's schedule bias", soft.bias, 0, 8),
            ("soft inpainting's preservation strength", soft.preservation, 0, 8),
            ("soft inpainting's transition contrast boost", soft.contrast, 1, 32),
            ("soft inpainting's mask influence", soft.influence, 0, 1),
            ("soft inpainting's difference threshold", soft.threshold, 0, 8),
            ("soft inpainting's difference contrast", soft.difference_contrast, 2, 8),
        )


def _check_outpaint(request: Img2Img, outpaint: Outpaint) -> None:
    if request.inpaint is not None and request.inpaint.area != "whole picture":
        raise SettingError("outpainting draws the whole canvas", "Leave the inpaint area at whole picture.")
    if request.resize_mode != "just resize":
        raise SettingError("outpainting draws the canvas as large as it is", "Leave the resize mode out.")
    _ranges(
        ("outpainting's pixels", outpaint.pixels, 1, 4096),
        ("outpainting's fall-off", outpaint.fall_off, 0, 4),
        ("outpainting's colour variation", outpaint.colour_variation, 0, 1),
    )
    _choice("outpainting method", outpaint.method, OUTPAINTING)
    if not outpaint.directions:
        raise SettingError("outpainting needs a direction", f"Use one or more of {', '.join(DIRECTIONS)}.")
    for direction in outpaint.directions:
        _choice("direction", direction, DIRECTIONS)


def _check_colour(colour: str) -> None:
    from PIL import ImageColor

    try:
        ImageColor.getrgb(colour)
    except ValueError:
        raise SettingError(f"there is no colour {colour!r}", "Write it as #rrggbb or by its name.") from None


def _choice(name: str, chosen: str, known: tuple[str, ...]) -> None:
    if chosen not in known:
        raise SettingError(f"unknown {name} {chosen!r}", f"Use one of {', '.join(known)}.")


def _ranges(*ranges: tuple[str, float, float, float]) -> None:
    for name, value, low, high in ranges:
        if not low <= value <= high:
            raise SettingError(f"{name} must be from {low} to {high}, not {value}")
