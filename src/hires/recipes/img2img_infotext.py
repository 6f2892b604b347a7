"""Between an img2img request and its infotext: A1111's fields, and those by which hires reads all of it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hires.errors import SettingError
from hires.metadata.infotext import Infotext, read_infotext, write_infotext
from hires.recipes.facts import PIX2PIX, ModelFacts
from hires.recipes.img2img_request import AREAS, FILLS, OUTPAINTING, RESIZE_MODES, Img2Img, Inpaint, Outpaint
from hires.recipes.img2img_request import SoftInpainting as Soft
from hires.recipes.infotext import FACES, MERGING, infotext_fields, number, request_from, unknown_fields

HEAD = (
    *(
        "Steps",
        "Sampler",
        "Schedule type",
        "CFG scale",
        "Seed",
        FACES,
        "Size",
        "Model hash",
        "Model",
        "VAE hash",
        "VAE",
    ),
    *("VAE mode", "VAE tile", "Variation seed", "Variation seed strength", "Seed resize from"),
)
"""The fields that stand before the strength."""
AFTER = ("Clip skip", "ENSD", MERGING, "RNG")
"""The fields before which A1111 writes the strength."""
SOFT = {
    "Soft inpainting schedule bias": "bias",
    "Soft inpainting preservation strength": "preservation",
    "Soft inpainting transition contrast boost": "contrast",
    "Soft inpainting mask influence": "influence",
    "Soft inpainting difference threshold": "threshold",
    "Soft inpainting difference contrast": "difference_contrast",
}
SOFT_ON = "Soft inpainting enabled"
INPAINT_FIELDS = (
    "Mask mode",
    "Mask blur",
    "Mask blur x",
    "Mask blur y",
    "Inpaint area",
    "Masked area padding",
    "Masked content",
    "Conditional mask weight",
    "Mask rounding",
    "Inpaint overlay",
    "Mask transparency",
    SOFT_ON,
    *SOFT,
)
OUTPAINT_FIELDS = ("Outpaint", "Outpaint pixels", "Outpaint method", "Outpaint fall-off", "Outpaint colour variation")
PLAIN_FIELDS = (
    "Noise multiplier",
    "Extra noise",
    "Resize mode",
    "Img2img upscaler",
    "Img2img fix steps",
    "Color correction",
    "Background",
    "Init image hash",
    "Image CFG scale",
)
KNOWN = frozenset((*INPAINT_FIELDS, *OUTPAINT_FIELDS, *PLAIN_FIELDS))
"""The fields that img2img reads and writes beyond those of txt2img."""


def img2img_infotext(request: Img2Img, facts: Mapping[str, ModelFacts], index: int = 0, digest: str = "") -> str:
    """The paragraph of image `index`; the base has the size that was drawn. digest: the MD5 of the picture's pixels."""
    fields = infotext_fields(request.base, facts, index)
    before = {key: fields.pop(key) for key in list(fields) if key in AFTER}
    version, rest = fields.pop("Version", None), _split(fields)
    if facts[request.base.checkpoint or ""].in_channels == PIX2PIX:
        told = {"Image CFG scale": number(request.image_cfg_scale)}
        rest = _with_behind(rest[0], "CFG scale", told), rest[1]
    first = {"Denoising strength": number(request.denoise)}
    if request.inpaint is not None and request.inpaint.mask_weight != 1:
        first["Conditional mask weight"] = number(request.inpaint.mask_weight)
    ordered = rest[0] | first | {key: before[key] for key in AFTER[:-1] if key in before}
    ordered |= ({"Init image hash": digest} if digest else {}) | {"RNG": before["RNG"]} | rest[1]
    ordered |= _soft_fields(request.inpaint) | _inpaint_fields(request.inpaint) | _plain_fields(request)
    ordered |= _outpaint_fields(request.outpaint) | {"Version": version}
    return write_infotext(request.base.prompt, request.base.negative, ordered)


def _split(fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What stands before the strength, and what stands behind the random source."""
    return {key: fields[key] for key in fields if key in HEAD}, {key: fields[key] for key in fields if key not in HEAD}


def _with_behind(fields: dict[str, Any], place: str, more: dict[str, Any]) -> dict[str, Any]:
    """The fields with more of them behind one."""
    found: dict[str, Any] = {}
    for key, value in fields.items():
        found |= {key: value} | (more if key == place else {})
    return found


def _inpaint_fields(inpaint: Inpaint | None) -> dict[str, Any]:
    if inpaint is None:
        return {}
    fields: dict[str, Any] = {}
    if inpaint.invert:
        fields["Mask mode"] = "Inpaint not masked"
    if inpaint.blur_x == inpaint.blur_y:
        fields["Mask blur"] = number(inpaint.blur_x)
    else:
        fields |= {"Mask blur x": number(inpaint.blur_x), "Mask blur y": number(inpaint.blur_y)}
    if inpaint.area == "only masked":
        fields["Inpaint area"] = "Only masked"
    if inpaint.area == "only masked" or inpaint.padding != Inpaint.padding:
        fields["Masked area padding"] = inpaint.padding
    if inpaint.fill != "original":
        fields["Masked content"] = inpaint.fill
    if not inpaint.rounded:
        fields["Mask rounding"] = False
    if not inpaint.overlay:
        fields["Inpaint overlay"] = False
    if inpaint.transparency:
        fields["Mask transparency"] = number(inpaint.transparency)
    return fields


def _soft_fields(inpaint: Inpaint | None) -> dict[str, Any]:
    if inpaint is None or inpaint.soft is None:
        return {}
    return {SOFT_ON: True} | {key: number(getattr(inpaint.soft, name)) for key, name in SOFT.items()}


def _plain_fields(request: Img2Img) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if request.noise_multiplier != 1:
        fields["Noise multiplier"] = number(request.noise_multiplier)
    if request.extra_noise:
        fields["Extra noise"] = number(request.extra_noise)
    if request.resize_mode != Img2Img.resize_mode:
        fields["Resize mode"] = request.resize_mode
    if request.upscaler != Img2Img.upscaler:
        fields["Img2img upscaler"] = request.upscaler
    if request.fix_steps:
        fields["Img2img fix steps"] = True
    if request.color_correction:
        fields["Color correction"] = True
    if request.background != Img2Img.background:
        fields["Background"] = request.background
    return fields


def _outpaint_fields(outpaint: Outpaint | None) -> dict[str, Any]:
    if outpaint is None:
        return {}
    fields: dict[str, Any] = {"Outpaint": " ".join(outpaint.directions), "Outpaint pixels": outpaint.pixels}
    if outpaint.method != Outpaint.method:
        fields["Outpaint method"] = outpaint.method
    if outpaint.fall_off != Outpaint.fall_off:
        fields["Outpaint fall-off"] = number(outpaint.fall_off)
    if outpaint.colour_variation != Outpaint.colour_variation:
        fields["Outpaint colour variation"] = number(outpaint.colour_variation)
    return fields


def is_img2img(info: Infotext) -> bool:
    """Whether an infotext is of a picture that was drawn over another: it has a strength, and no second pass."""
    hires = any(key in info.fields for key in ("Hires upscale", "Hires upscaler", "Hires resize", "First pass size"))
    return "Denoising strength" in info.fields and not hires


def not_acted_on(info: Infotext) -> dict[str, str]:
    """What an infotext says beyond the request that it describes, whether of img2img or of txt2img."""
    known = KNOWN if is_img2img(info) else ()
    return {key: value for key, value in unknown_fields(info).items() if key not in known}


def img2img_from(text: str) -> Img2Img:
    """The request that an infotext by hires or A1111 describes; the picture, its mask and its sketch are not in it.

    Raises SettingError when it has no parameters.
    """
    base, info = request_from(text), read_infotext(text)
    told = _Told(info)
    request = Img2Img(
        base=replace(base, extra_fields={key: value for key, value in base.extra_fields.items() if key not in KNOWN}),
        denoise=told.read("Denoising strength", float, Img2Img.denoise),
        resize_mode=told.one_of("Resize mode", RESIZE_MODES, Img2Img.resize_mode),
        upscaler=info.fields.get("Img2img upscaler", Img2Img.upscaler),
        noise_multiplier=told.read("Noise multiplier", float, 1.0),
        extra_noise=told.read("Extra noise", float, 0.0),
        image_cfg_scale=told.read("Image CFG scale", float, Img2Img.image_cfg_scale),
        fix_steps=info.fields.get("Img2img fix steps") == "True",
        color_correction=info.fields.get("Color correction") == "True",
        background=info.fields.get("Background", Img2Img.background),
    )
    return replace(request, inpaint=_inpaint(info, told), outpaint=_outpaint(info, told))


def _inpaint(info: Infotext, told: _Told) -> Inpaint | None:
    if not any(key in info.fields for key in INPAINT_FIELDS):
        return None
    blur = told.read("Mask blur", _whole, Inpaint.blur_x)
    soft = None
    if info.fields.get(SOFT_ON) == "True":
        soft = Soft(**{name: told.read(key, float, getattr(Soft, name)) for key, name in SOFT.items()})
    return Inpaint(
        blur_x=told.read("Mask blur x", _whole, blur),
        blur_y=told.read("Mask blur y", _whole, blur),
        invert=info.fields.get("Mask mode") == "Inpaint not masked",
        fill=told.one_of("Masked content", FILLS, Inpaint.fill),
        area=told.one_of("Inpaint area", AREAS, Inpaint.area),
        padding=told.read("Masked area padding", _whole, Inpaint.padding),
        rounded=info.fields.get("Mask rounding") != "False",
        mask_weight=told.read("Conditional mask weight", float, 1.0),
        overlay=info.fields.get("Inpaint overlay") != "False",
        soft=soft,
        transparency=told.read("Mask transparency", float, 0.0),
    )


def _outpaint(info: Infotext, told: _Told) -> Outpaint | None:
    if "Outpaint" not in info.fields:
        return None
    return Outpaint(
        directions=tuple(info.fields["Outpaint"].split()),
        pixels=told.read("Outpaint pixels", _whole, Outpaint.pixels),
        method=told.one_of("Outpaint method", OUTPAINTING, Outpaint.method),
        fall_off=told.read("Outpaint fall-off", float, Outpaint.fall_off),
        colour_variation=told.read("Outpaint colour variation", float, Outpaint.colour_variation),
    )


def _whole(text: str) -> int:
    return int(float(text))


class _Told:
    """Reads values out of fields, naming the field in the error."""

    def __init__(self, info: Infotext) -> None:
        self._fields = info.fields

    def read(self, key: str, kind: Callable[[str], Any], default: Any) -> Any:
        text = self._fields.get(key)
        if text is None or text == "":
            return default
        try:
            return kind(text)
        except (ValueError, OverflowError):
            raise SettingError(f"the infotext field {key!r} should be a number, not {text!r}") from None

    def one_of(self, key: str, known: tuple[str, ...], default: str) -> str:
        """One of the choices, in any letter case; the default for anything else."""
        text = self._fields.get(key, "").strip().lower()
        return text if text in known else default
