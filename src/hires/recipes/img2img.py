"""img2img, inpainting and outpainting as a workflow of nodes, in the order of the A1111 web UI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hires.errors import SettingError
from hires.imaging.resize_modes import RESIZE_MODES as RESIZE_LABELS
from hires.imaging.upscalers import LATENT_UPSCALERS
from hires.recipes.controlnets import Shown
from hires.recipes.draft import Draft, Link
from hires.recipes.facts import PIX2PIX, ModelFacts
from hires.recipes.img2img_infotext import img2img_infotext
from hires.recipes.img2img_request import DIRECTIONS, RESIZE_MODES, Img2Img, Inpaint
from hires.recipes.txt2img import (
    OverPicture,
    decoded,
    encoded,
    faces_restored,
    guided_pass,
    loaded,
    sampled_pass,
    saved,
    vae_of,
)

Facts = Mapping[str, ModelFacts]
ALPHA = "alpha"
"""In the place of a mask file: what is transparent in the picture itself."""
PREFIX, MASK_PREFIX, COMPOSITE_PREFIX = "img2img", "img2img-mask", "img2img-mask-composite"


@dataclass(frozen=True)
class Source:
    """A picture of the input folder: its name, its size (width, height) and the MD5 of its pixels; the names of its
    mask, ALPHA for its own, or of what was painted over it. own_size: what is drawn of it is brought back to its size.
    """

    name: str
    size: tuple[int, int]
    mask: str | None = None
    sketch: str | None = None
    digest: str = ""
    own_size: bool = False


@dataclass(frozen=True)
class _Ready:
    """A picture as it is drawn on; with a mask also that, the latent's where it is another one, and where it goes."""

    image: Link
    mask: Link | None = None
    latent_mask: Link | None = None
    area: Link | None = None


def img2img(request: Img2Img, sources: Sequence[Source], facts: Facts, batch: int = 0) -> dict[str, Any]:
    """The workflow of batch number `batch` (0-based) over one picture, or over several, an image of the batch each.

    The request must be prepared: its base has the size that is drawn, and a seed. Image k has seed + batch *
    batch_size + k.
    """
    base, draft = request.base, Draft()
    index = batch * base.batch_size
    ready = [_prepared(draft, request, source) for source in sources]
    sampled = _sampled(draft, request, facts, ready, index)
    made = decoded(draft, sampled, vae_of(draft, base, base.checkpoint or ""), base)
    for number, (source, one) in enumerate(zip(sources, ready, strict=True)):
        picture, latent = made, sampled
        if len(sources) > 1:
            picture = draft.add("ImageFromBatch", image=made, batch_index=number, length=1).out()
            latent = draft.add("LatentFromBatch", samples=sampled, batch_index=number, length=1).out()
        picture = faces_restored(draft, picture, base)
        if request.color_correction:
            picture = draft.add("HiresColorCorrection", image=picture, like=one.image).out()
        text = img2img_infotext(request, facts, index + number, source.digest)
        area = _shown_area(draft, request, one, latent)
        saved(draft, _pasted_back(draft, request, area, picture), PREFIX, text, base)
        _masks_saved(draft, request, area, picture, text)
    return draft.graph()


def is_mask(path: Path) -> bool:
    """Whether a file that img2img wrote is a mask or a masked composite, and not a picture."""
    return path.name.startswith(MASK_PREFIX)


def is_composite(path: Path) -> bool:
    """Whether such a file is a masked composite."""
    return path.name.startswith(COMPOSITE_PREFIX)


def _prepared(draft: Draft, request: Img2Img, source: Source) -> _Ready:
    """From the file to what is encoded."""
    came = draft.add("LoadImage", image=source.name)
    image = draft.add("HiresFlatten", image=came.out(0), mask=came.out(1), background=request.background).out()
    inpaint = request.inpaint
    if inpaint is None and request.outpaint is None:
        return _Ready(_resized(draft, request, image))
    inpaint = inpaint or Inpaint()
    mask, latent_mask = _mask(draft, request, inpaint, source), None
    blur: tuple[float, float] = (inpaint.blur_x, inpaint.blur_y)
    below: dict[str, Any] = {}
    if source.sketch is not None:
        drawn = draft.add("LoadImage", image=source.sketch)
        drawn = draft.add("HiresFlatten", image=drawn.out(0), mask=drawn.out(1), background=request.background)
        sketched = draft.add("HiresInpaintSketch", sketched=drawn.out(), image=image, transparency=inpaint.transparency)
        below = {"below": image}  # what was painted shows through the result's edges in the web UI
        image, mask = sketched.out(0), sketched.out(1)
    if request.outpaint is not None:
        image, mask, latent_mask = _outpainted(draft, request, inpaint, image)
        blur = _outpainting_blur(request, inpaint)
    assert mask is not None
    area = draft.add(
        "HiresInpaintArea",
        image=image,
        mask=mask,
        width=request.base.width,
        height=request.base.height,
        area=inpaint.area.capitalize(),
        padding=inpaint.padding,
        invert=inpaint.invert,
        blur_x=float(blur[0]),
        blur_y=float(blur[1]),
        mode=_mode(request),
        upscaler=request.upscaler,
        own_size=source.own_size,
        **below,
    )
    image, mask = area.out(0), area.out(1)
    if inpaint.fill != "original":
        image = draft.add("HiresFillMasked", image=image, mask=latent_mask or mask).out()
    return _Ready(image, mask, latent_mask or mask, area.out(2))


def _resized(draft: Draft, request: Img2Img, image: Link) -> Link:
    if request.resize_mode == "latent upscale":
        return image
    size: dict[str, Any] = {"width": request.base.width, "height": request.base.height}
    return draft.add("HiresResizeMode", image=image, **size, mode=_mode(request), upscaler=request.upscaler).out()


def _mode(request: Img2Img) -> str:
    return RESIZE_LABELS[RESIZE_MODES.index(request.resize_mode)]


def _mask(draft: Draft, request: Img2Img, inpaint: Inpaint, source: Source) -> Link | None:
    """The mask before it is inverted and blurred; None where a sketch or the new canvas is the mask."""
    if source.mask is None:
        return None
    if source.mask == ALPHA:
        return draft.add("LoadImage", image=source.name).out(1)
    drawn = draft.add("LoadImage", image=source.mask)
    rounding = inpaint.rounded and inpaint.soft is None
    return draft.add("HiresGreyMask", image=drawn.out(0), mask=drawn.out(1), rounding=rounding).out()


def _outpainted(draft: Draft, request: Img2Img, inpaint: Inpaint, image: Link) -> tuple[Link, Link, Link]:
    outpaint = request.outpaint
    assert outpaint is not None
    sides: dict[str, Any] = {side: side in outpaint.directions for side in DIRECTIONS}
    canvas = draft.add(
        "HiresOutpaint",
        image=image,
        **sides,
        pixels=outpaint.pixels,
        method=outpaint.method,
        mask_blur=float(inpaint.blur_x),
        fall_off=outpaint.fall_off,
        colour_variation=outpaint.colour_variation,
        seed=request.base.seed,
    )
    return canvas.out(0), canvas.out(1), canvas.out(2)


def _outpainting_blur(request: Img2Img, inpaint: Inpaint) -> tuple[float, float]:
    """The web UI's scripts blur the new canvas' mask by 2 and by 4 times the mask blur."""
    assert request.outpaint is not None
    factor = 2 if request.outpaint.method == "fill" else 4
    return inpaint.blur_x * factor, inpaint.blur_y * factor


def _sampled(draft: Draft, request: Img2Img, facts: Facts, ready: Sequence[_Ready], index: int) -> Link:
    """The pictures encoded, masked and sampled."""
    base, part = request.base, guided_pass(request.base)
    part = replace(part, shown=_shown(request, ready))
    vae = vae_of(draft, base, part.checkpoint)
    image = _joined(draft, [one.image for one in ready])
    latent = encoded(draft, image, vae, base)
    if request.resize_mode == "latent upscale":
        size: dict[str, Any] = {"width": base.width, "height": base.height}
        method = LATENT_UPSCALERS["Latent"]
        latent = draft.add("LatentUpscale", samples=latent, upscale_method=method, crop="disabled", **size).out()
    if len(ready) == 1 and base.batch_size > 1:
        latent = draft.add("RepeatLatentBatch", samples=latent, amount=base.batch_size).out()
    mask = None
    if ready[0].mask is not None:
        mask = _joined_masks(draft, [one.mask for one in ready])
        latent = _masked(draft, request, _joined_masks(draft, [one.latent_mask for one in ready]), latent, facts, index)
    if request.denoise == 0 and request.fix_steps:
        return latent
    inpaint = request.inpaint or Inpaint()
    rounding = inpaint.rounded and inpaint.soft is None

    def shown(inputs: dict[str, Any]) -> dict[str, Any]:
        more: dict[str, Any] = {} if mask is None else {"mask": mask}
        given: dict[str, Any] = {key: inputs[key] for key in ("positive", "negative", "model")}
        seen = draft.add(
            "HiresInpaintConditioning",
            **given,
            vae=vae,
            pixels=image,
            **more,
            mask_weight=inpaint.mask_weight,
            rounding=rounding,
        )
        if facts[part.checkpoint].in_channels == PIX2PIX:
            patched = draft.add("HiresImageCFG", model=inputs["model"], image_cfg=request.image_cfg_scale)
            inputs = inputs | {"model": patched.out()}
        return inputs | {"positive": seen.out(0), "negative": seen.out(1)}

    inputs: dict[str, Any] = {}
    if request.noise_multiplier != 1:
        inputs["noise_multiplier"] = request.noise_multiplier
    if request.extra_noise != 0:
        inputs["extra_noise"] = request.extra_noise
    over = OverPicture(inputs, shown, request.fix_steps, "Img2img")
    return sampled_pass(draft, base, part, facts, latent, index, request.denoise, over)


def _shown(request: Img2Img, ready: Sequence[_Ready]) -> Shown:
    """What ControlNets see of what is drawn: its mask, and where only a part of a picture is drawn which one it is."""
    part = request.inpaint is not None and request.inpaint.area == "only masked"
    if part and request.base.controlnets and len(ready) > 1:
        raise SettingError(
            "ControlNets cannot steer the masked parts of several pictures at once", "Draw over them one by one."
        )
    return Shown(mask=ready[0].mask, area=ready[0].area if part else None)


def _masked(draft: Draft, request: Img2Img, mask: Link, latent: Link, facts: Facts, index: int) -> Link:
    """The latent under its mask, with its masked content."""
    inpaint, base = request.inpaint or Inpaint(), request.base
    soft: dict[str, Any] = {}
    if inpaint.soft is not None:
        soft = {
            "soft": True,
            "schedule_bias": inpaint.soft.bias,
            "preservation_strength": inpaint.soft.preservation,
            "transition_contrast_boost": inpaint.soft.contrast,
        }
    latent = draft.add("HiresLatentMask", samples=latent, mask=mask, rounding=inpaint.rounded, **soft).out()
    if inpaint.fill not in ("latent noise", "latent nothing"):
        return latent
    varied = base.variation_strength > 0
    return draft.add(
        "HiresLatentFill",
        samples=latent,
        model=loaded(draft, base, base.checkpoint or "").out(0),
        fill=inpaint.fill,
        seed=(base.seed if varied else base.seed + index) % 2**64,
        rng=base.rng,
        count_seeds=not varied,
    ).out()


def _shown_area(draft: Draft, request: Img2Img, one: _Ready, latent: Link) -> Link | None:
    """Where the result goes, and with soft inpainting where it really changed; None without a mask."""
    area, inpaint = one.area, request.inpaint or Inpaint()
    if area is None or inpaint.soft is None or not inpaint.overlay:
        return area
    return draft.add(
        "HiresSoftOverlay",
        area=area,
        samples=latent,
        model=loaded(draft, request.base, request.base.checkpoint or "").out(0),
        mask_influence=inpaint.soft.influence,
        difference_threshold=inpaint.soft.threshold,
        difference_contrast=inpaint.soft.difference_contrast,
    ).out()


def _pasted_back(draft: Draft, request: Img2Img, area: Link | None, picture: Link) -> Link:
    if area is None:
        return picture
    overlay = (request.inpaint or Inpaint()).overlay
    return draft.add("HiresPasteBack", image=picture, area=area, overlay=overlay, upscaler=request.upscaler).out()


def _masks_saved(draft: Draft, request: Img2Img, area: Link | None, picture: Link, text: str) -> None:
    """The mask and the masked composite, with the infotext of their picture. JPEG holds no transparency."""
    if area is None or not (request.save_mask or request.save_mask_composite):
        return
    shown = draft.add("HiresMaskPictures", image=picture, area=area, upscaler=request.upscaler)
    if request.save_mask:
        saved(draft, shown.out(0), MASK_PREFIX, text, request.base)
    if request.save_mask_composite:
        format = "png" if request.base.format == "jpg" else request.base.format
        saved(draft, shown.out(1), COMPOSITE_PREFIX, text, replace(request.base, format=format))


def _joined(draft: Draft, images: Sequence[Link]) -> Link:
    """Pictures as one batch."""
    joined = images[0]
    for image in images[1:]:
        joined = draft.add("ImageBatch", image1=joined, image2=image).out()
    return joined


def _joined_masks(draft: Draft, masks: Sequence[Link | None]) -> Link:
    given = [mask for mask in masks if mask is not None]
    if len(given) == 1:
        return given[0]
    pictures = [draft.add("MaskToImage", mask=mask).out() for mask in given]
    return draft.add("ImageToMask", image=_joined(draft, pictures), channel="red").out()
