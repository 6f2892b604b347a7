"""From a client's fields to img2img, and to the scripts that draw over a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hires.errors import SettingError
from hires.loopback import Loopback
from hires.models.store import ModelStore
from hires.models.upscale_names import upscaler_names
from hires.recipes.img2img_infotext import img2img_from
from hires.recipes.img2img_request import AREAS, FILLS, RESIZE_MODES, Img2Img, Inpaint, Outpaint, SoftInpainting
from hires.recipes.redraw import Redrawing
from hires.recipes.sd_upscale import SDUpscale
from hires.recipes.ultimate import UltimateUpscale
from hires.server.asking import request_of
from hires.server.bodies import ImageToImage
from hires.server.scripts import DIRECTIONS, named
from hires.tiling.redraw import MODES, SEAMS

MASK_FIELDS: Mapping[str, str] = {
    "mask_blur_x": "blur_x",
    "mask_blur_y": "blur_y",
    "mask_round": "rounded",
    "inpaint_full_res_padding": "padding",
}
ORIGINAL: Mapping[str, Any] = {"preset": "a1111", "noise": "tile", "lock": 0.0, "size_conditioning": "native"}
"""Tiles drawn one for one as by the script that is named."""


def img2img_request(body: ImageToImage, options: Mapping[str, Any], always_on: Mapping[str, Sequence[Any]]) -> Img2Img:
    """A request of the img2img route."""
    if body.latent_mask is not None:
        raise SettingError("latent_mask is not there in this interface", "Send the mask as `mask`.")
    own = options["token_merging_ratio_img2img"]
    options = {**options, "token_merging_ratio": own or options["token_merging_ratio"]}
    base = replace(request_of(body, options), hires=None)
    text = (body.infotext or "").strip()
    behind = img2img_from(text) if text else Img2Img()
    given = body.model_fields_set
    told = bool(text)
    multiplier = body.initial_noise_multiplier
    return Img2Img(
        base=base,
        denoise=body.denoising_strength if "denoising_strength" in given or not told else behind.denoise,
        resize_mode=_nth("resize_mode", RESIZE_MODES, body.resize_mode),
        upscaler=options["upscaler_for_img2img"],
        noise_multiplier=options["initial_noise_multiplier"] if multiplier is None else multiplier,
        extra_noise=options["img2img_extra_noise"],
        fix_steps=options["img2img_fix_steps"],
        color_correction=options["img2img_color_correction"],
        background=options["img2img_background_color"],
        inpaint=_inpaint(body, options, always_on, behind.inpaint) if body.mask else None,
        image_cfg_scale=_image_cfg(body, behind),
        save_mask=options["save_mask"],
        save_mask_composite=options["save_mask_composite"],
    )


def _image_cfg(body: ImageToImage, behind: Img2Img) -> float:
    """That of the request, else of its infotext; none is plain guidance, as in the web UI."""
    if "image_cfg_scale" not in body.model_fields_set and (body.infotext or "").strip():
        return behind.image_cfg_scale
    return 1.0 if body.image_cfg_scale is None else body.image_cfg_scale


def _inpaint(
    body: ImageToImage, options: Mapping[str, Any], always_on: Mapping[str, Sequence[Any]], behind: Inpaint | None
) -> Inpaint:
    given = body.model_fields_set
    of_text = behind if behind is not None and body.infotext else None

    def value(name: str, own: Any, key: str) -> Any:
        return own if name in given or of_text is None else getattr(of_text, key)

    changes = {key: value(name, getattr(body, name), key) for name, key in MASK_FIELDS.items()}
    if body.mask_blur is not None:
        changes |= {"blur_x": body.mask_blur, "blur_y": body.mask_blur}
    return Inpaint(
        **changes,
        invert=value("inpainting_mask_invert", bool(body.inpainting_mask_invert), "invert"),
        fill=value("inpainting_fill", _nth("inpainting_fill", FILLS, body.inpainting_fill), "fill"),
        area=value("inpaint_full_res", AREAS[body.inpaint_full_res], "area"),
        mask_weight=options["inpainting_mask_weight"],
        overlay=options["overlay_inpaint"],
        soft=_soft(always_on),
    )


def _soft(always_on: Mapping[str, Sequence[Any]]) -> SoftInpainting | None:
    enabled, *sliders = named("soft inpainting").values(always_on.get("soft inpainting", ())).values()
    return SoftInpainting(*sliders) if enabled else None


def _nth(name: str, known: Sequence[str], index: int) -> str:
    if not 0 <= index < len(known):
        shown = ", ".join(f"{number} {one}" for number, one in enumerate(known))
        raise SettingError(f"{name} cannot be {index}", f"Use one of: {shown}.")
    return known[index]


def outpainting(request: Img2Img, values: Mapping[str, Any], *, noise: bool) -> Img2Img:
    """With one of the outpainting scripts: mk2, which begins from `noise`, or Poor man's."""
    directions = values["Outpainting direction"]
    chosen = tuple(one for one in DIRECTIONS if any(str(text).lower() == one for text in directions))
    outpaint = Outpaint(chosen, values["Pixels to expand"], "noise" if noise else "fill")
    if noise:
        more = {"fall_off": values["Fall-off exponent"], "colour_variation": values["Color variation"]}
        outpaint, fill = replace(outpaint, **more), "original"
    else:
        fill = _nth("Masked content", FILLS, values["Masked content"])
    blur = values["Mask blur"]
    inpaint = replace(request.inpaint or Inpaint(), blur_x=blur, blur_y=blur, fill=fill)
    return replace(request, outpaint=outpaint, inpaint=inpaint)


def loopback(values: Mapping[str, Any]) -> Loopback:
    """The loops that the script asks for."""
    return Loopback(
        values["Loops"],
        values["Final denoising strength"],
        values["Denoising strength curve"],
        values["Append interrogated prompt at each iteration"],
    )


def redrawing(title: str, request: Img2Img, args: Sequence[Any], store: ModelStore) -> Redrawing:
    """SD upscale or Ultimate SD upscale over the picture of an img2img request."""
    if request.inpaint is not None:
        raise SettingError(f"{title} draws the whole picture", "Leave out the mask.")
    base, values = request.base, named(title).values(args)
    if title == "sd upscale":
        return SDUpscale(
            base=base,
            upscaler=_upscaler(values["Upscaler"], args, 2, store),
            scale=values["Scale Factor"],
            denoise=request.denoise,
            tile_width=base.width,
            tile_height=base.height,
            overlap=values["Tile overlap"],
            **ORIGINAL,
        )
    return _ultimate(request, values, args, store)


def _ultimate(request: Img2Img, values: Mapping[str, Any], args: Sequence[Any], store: ModelStore) -> UltimateUpscale:
    base = request.base
    target = values["Target size type"]
    size = {0: (base.width, base.height), 1: (values["Custom width"], values["Custom height"]), 2: (0, 0)}
    if target not in size:
        raise SettingError(f"the target size type cannot be {target}", "Use 0, 1 or 2.")
    width, height = size[target]
    return UltimateUpscale(
        base=base,
        upscaler=_upscaler(values["Upscaler"], args, 8, store),
        scale=values["Scale"],
        width=width,
        height=height,
        denoise=request.denoise,
        tile_width=values["Tile width"],
        tile_height=values["Tile height"],
        padding=values["Padding"],
        mask_blur=values["Mask blur"],
        mode=_nth("the redraw mode", MODES, values["Type"]),
        seams=_nth("the seams fix type", SEAMS, values["Seams fix type"]),
        seam_denoise=values["Seams fix denoise"],
        seam_width=values["Seams fix width"],
        seam_blur=values["Seams fix mask blur"],
        seam_padding=values["Seams fix padding"],
        **ORIGINAL,
    )


def _upscaler(value: Any, args: Sequence[Any], place: int, store: ModelStore) -> str:
    """An upscaler by its name, or by its number in the list of upscalers."""
    given = args[place] if place < len(args) else value
    if isinstance(given, bool) or not isinstance(given, int | float):
        return str(given or "None")
    return _nth("the upscaler", upscaler_names(store), int(given))
