"""`hires img2img` and `hires hires`: from flags to requests; folders of pictures, one after the other; loopback."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hires.api import Drawn, Engine, OnEvent
from hires.errors import HiresError, SettingError
from hires.imaging.pictures import open_picture
from hires.metadata.files import write_new
from hires.options import request_from_options
from hires.recipes.img2img import ALPHA, PREFIX
from hires.recipes.img2img_infotext import img2img_from
from hires.recipes.img2img_request import FILLS, RESIZE_MODES, Img2Img, Inpaint, Outpaint, SoftInpainting
from hires.recipes.infotext import request_from
from hires.recipes.read_file import infotext_of_file
from hires.recipes.request import HiresFix, Txt2Img, with_seeds

DisplayFactory = Callable[[], AbstractContextManager[OnEvent]]
BATCH_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""What a folder is searched for, as by the web UI."""
PLAIN = (
    "denoise", "scale", "upscaler", "noise_multiplier", "extra_noise", "fix_steps", "color_correction", "background",
    "image_cfg_scale", "save_mask", "save_mask_composite",
)  # fmt: skip
INPAINT = {
    "invert_mask": "invert",
    "fill": "fill",
    "padding": "padding",
    "mask_weight": "mask_weight",
    "mask_transparency": "transparency",
    "mask_overlay": "overlay",
}
SOFT = {
    "soft_bias": "bias",
    "soft_preservation": "preservation",
    "soft_contrast": "contrast",
    "soft_influence": "influence",
    "soft_threshold": "threshold",
    "soft_difference_contrast": "difference_contrast",
}
OUTPAINT = {"outpaint_pixels": "pixels", "outpaint_method": "method"}
FROM_INFO = ("cfg", "sampler", "schedule", "steps", "seed", "checkpoint")
"""What --from-info takes of a picture's infotext, unless a flag says it."""


@dataclass(frozen=True)
class Job:
    """One picture with its mask, and where a folder's results go by its name."""

    picture: Path
    mask: Path | str | None = None
    named_after: bool = False


def img2img_request(given: Mapping[str, Any]) -> Img2Img:
    """The request that the flags of `hires img2img` describe; flags that are None were not given."""
    if given.get("size") is not None and given.get("scale") is not None:
        raise SettingError("--size and --scale contradict each other", "Give one of them.")
    told = {name: value for name, value in given.items() if value is not None and name not in PLAIN}
    start = settings_of(given["from_"]) if given.get("from_") is not None else Img2Img()
    if given.get("from_") is None:
        told.setdefault("prompt", "")
    base = replace(request_from_options(told), hires=None, extra_fields=start.base.extra_fields)
    changes = {name: given[name] for name in PLAIN if given.get(name) is not None}
    if given.get("resize_mode") is not None:
        changes["resize_mode"] = _one_of(given["resize_mode"], RESIZE_MODES, "--resize-mode")
    outpaint = _outpaint(given, start.outpaint)
    return replace(start, base=base, **changes, inpaint=_inpaint(given, start.inpaint, outpaint), outpaint=outpaint)


def _one_of(text: str, known: Sequence[str], flag: str) -> str:
    """A choice by its name or its number, as the web UI's interface has them."""
    lowered = text.strip().lower().replace("-", " ")
    if lowered.isdecimal() and int(lowered) < len(known):
        return known[int(lowered)]
    if lowered in known:
        return lowered
    raise SettingError(f"{flag} cannot be {text!r}", f"Use one of {', '.join(known)}.")


def _outpaint(given: Mapping[str, Any], told: Outpaint | None) -> Outpaint | None:
    changes = {field: given[flag] for flag, field in OUTPAINT.items() if given.get(flag) is not None}
    if given.get("outpaint") is not None:
        sides = [side.strip().lower() for side in given["outpaint"].split(",") if side.strip()]
        return replace(told or Outpaint(), directions=tuple(dict.fromkeys(sides)), **changes)
    if changes and told is None:
        raise SettingError("outpainting was described but no side named", "Add --outpaint left,right,up,down.")
    return None if told is None else replace(told, **changes)


def _inpaint(given: Mapping[str, Any], told: Inpaint | None, outpaint: Outpaint | None) -> Inpaint | None:
    """Inpainting, where a mask is given, painted, made by outpainting, or was used for the file of --from."""
    changes = {field: given[flag] for flag, field in INPAINT.items() if given.get(flag) is not None}
    if "fill" in changes:
        changes["fill"] = _one_of(changes["fill"], FILLS, "--fill")
    if given.get("mask_blur") is not None:
        changes["blur_x"], changes["blur_y"] = _blur(given["mask_blur"])
    if given.get("only_masked") is not None:
        changes["area"] = "only masked" if given["only_masked"] else "whole picture"
    soft = {field: given[flag] for flag, field in SOFT.items() if given.get(flag) is not None}
    if given.get("soft_inpainting") or soft:
        changes["soft"] = replace((told and told.soft) or SoftInpainting(), **soft)
    if told is not None:
        return replace(told, **changes)
    if given.get("mask") is None and given.get("inpaint_sketch") is None and outpaint is None:
        if changes:
            raise SettingError(
                f"there is no mask for {', '.join(sorted(changes))}",
                "Give --mask FILE (white is repainted), --mask alpha or --inpaint-sketch FILE.",
            )
        return None
    if outpaint is not None:
        own = 4 if outpaint.method == "fill" else 8
        changes = {"fill": "fill" if outpaint.method == "fill" else "original", "blur_x": own, "blur_y": own} | changes
    return Inpaint(**changes)


def _blur(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d{1,4})\s*(?:,\s*(\d{1,4})\s*)?", text)
    if match is None:
        raise SettingError(f"--mask-blur must be a number of pixels, or two as 4,8, not {text!r}")
    return int(match[1]), int(match[2] or match[1])


def jobs(place: Path, mask: str | None) -> tuple[list[Job], list[str]]:
    """The pictures of a file or folder with their masks, and what was left out, in words."""
    if not place.is_dir():
        return [Job(place, _mask_of(place, mask))], []
    found = sorted((path for path in place.iterdir() if _is_picture(path)), key=_natural)
    if not found:
        raise SettingError(f"there is no picture in {place}", f"Its pictures must end in {', '.join(BATCH_ENDINGS)}.")
    made, left_out = [], []
    for path in found:
        own = _mask_of(path, mask)
        if own is None and mask is not None:
            left_out.append(f"{path.name} has no mask in {mask} and is left out")
        else:
            made.append(Job(path, own, named_after=True))
    return made, left_out


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in BATCH_ENDINGS and path.is_file()


def _natural(path: Path) -> list[tuple[int, str]]:
    """Numbers in names by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", path.name)]


def _mask_of(picture: Path, mask: str | None) -> Path | str | None:
    """The mask file, ALPHA, or the file of the picture's name in a folder of masks; None where there is none."""
    if mask is None or mask == ALPHA:
        return mask
    folder = Path(mask)
    if not folder.is_dir():
        return folder
    return next((path for path in sorted(folder.iterdir()) if path.stem == picture.stem and _is_picture(path)), None)


def with_info(request: Img2Img, picture: Path, given: Mapping[str, Any]) -> Img2Img:
    """The request with what the picture's infotext says: its prompts behind the request's, and settings that no flag
    gave. A picture that says nothing changes nothing."""
    text = infotext_of_file(picture)
    if text is None:
        return request
    told, base = request_from(text), request.base
    prompts = {side: _appended(getattr(base, side), getattr(told, side)) for side in ("prompt", "negative")}
    flags = {name: getattr(told, name) for name in FROM_INFO if given.get(name) is None}
    if given.get("sampler") is not None:
        flags.pop("schedule", None)
    return request.of(**prompts, **flags)


def _appended(own: str, told: str) -> str:
    return " ".join(text for text in (own, told) if text)


def draw_all(
    engine: Engine, todo: Sequence[Job], request: Img2Img, given: Mapping[str, Any], display: DisplayFactory
) -> Iterator[tuple[Path, Drawn | HiresError]]:
    """One picture after the other, all with one seed; of several, one that fails is told of and the next is taken."""
    request = replace(request, base=with_seeds(request.base)) if len(todo) > 1 else request
    for job in todo:
        try:
            own = with_info(request, job.picture, given) if given.get("from_info") else request
            with display() as on_event:
                yield job.picture, _drawn(engine, job, own, given, on_event)
        except HiresError as error:
            if len(todo) == 1:
                raise
            yield job.picture, error


def plans(engine: Engine, todo: Sequence[Job], request: Img2Img, given: Mapping[str, Any]) -> Iterator[str]:
    """What drawing over each picture would take; of loopback, what its first loop would."""
    for job in todo:
        own = with_info(request, job.picture, given) if given.get("from_info") else request
        yield engine.img2img_plan(job.picture, own, mask=job.mask, sketch=given.get("inpaint_sketch"))
    if given.get("loops") is not None:
        yield f"this is the first of {given['loops']} loops"


def _drawn(engine: Engine, job: Job, request: Img2Img, given: Mapping[str, Any], on_event: OnEvent) -> Drawn:
    how: dict[str, Any] = {"mask": job.mask, "sketch": given.get("inpaint_sketch"), "on_event": on_event}
    if not job.named_after:
        return engine.img2img(job.picture, request, **how)
    out = engine.settings.output_dir
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".hires-", dir=out) as folder:
        with engine.writing_to(Path(folder)):
            drawn = engine.img2img(job.picture, request, **how)
        masks = [_beside(out, f"{job.picture.stem}{_mask_suffix(path)}", path) for path in drawn.masks]
        return replace(drawn, paths=[_beside(out, job.picture.stem, path) for path in drawn.paths], masks=masks)


def _mask_suffix(path: Path) -> str:
    """What the web UI puts behind the name of a picture for its mask or its masked composite."""
    return path.name[len(PREFIX) :].split("_")[0]


def _beside(folder: Path, stem: str, made: Path) -> Path:
    """A finished file under the source's name, or with a number behind it where that is taken."""
    number = 0
    while True:
        name = f"{stem}-{number}{made.suffix}" if number else f"{stem}{made.suffix}"
        try:
            return write_new(folder / name, partial(_copied, made))
        except FileExistsError:
            number += 1


def _copied(made: Path, to: Path) -> None:
    to.write_bytes(made.read_bytes())


def hires_request(picture: Path, given: Mapping[str, Any]) -> Txt2Img:
    """The request of `hires hires`: what the picture's own infotext says, and the flags over it."""
    text = infotext_of_file(picture)
    told = {key: value for key, value in given.items() if value is not None}
    if text is not None:
        told["from_"] = picture
    else:
        told.setdefault("prompt", "")
    request = request_from_options(told)
    return replace(request, hires=request.hires or HiresFix(), batch_size=1)


def settings_of(picture: Path) -> Img2Img:
    """All that a picture's infotext says of how it was drawn over another. SettingError where it says nothing."""
    text = infotext_of_file(picture)
    if text is None:
        raise SettingError(f"{picture.name} carries no generation parameters", "Leave out --from.")
    return img2img_from(text)


def picture_size(engine: Engine, path: Path) -> tuple[int, int]:
    """(width, height) of a picture file."""
    return open_picture(path, int(engine.settings.max_megapixels * 1e6)).size
