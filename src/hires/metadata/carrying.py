"""A picture made of another: its texts, colour profile and EXIF go along, and what was done is added to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hires.errors import SettingError
from hires.imaging.png import Rows, write_png
from hires.imaging.tiff import write_tiff
from hires.metadata.exif import EXIF_IFD, JPEG_LIMIT, USER_COMMENT, put_texts
from hires.metadata.infotext import quote, read_infotext

ENDINGS = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "avif": ".avif", "tiff": ".tif"}
PLAIN_ENDINGS = {kind: ending for kind, ending in ENDINGS.items() if kind != "tiff"}
LONGEST_SIDES = {"jpg": 65535, "webp": 16383, "avif": 65535}
DEEP_FORMATS = ("png", "tiff")
"""Those with 16 bits a channel; they are written strip by strip, the others at once."""
PILLOW_NAMES = {"jpg": "JPEG", "webp": "WEBP", "avif": "AVIF"}
ORIENTATION = 0x0112
SECTIONS = ("extras", "postprocessing")
"""The chunks in which the A1111 web UI writes what was done to a finished picture."""


def format_of(path: Path) -> str:
    """Which of ENDINGS a file's name asks for; SettingError for any other."""
    kinds = {ending: kind for kind, ending in ENDINGS.items()} | {".jpeg": "jpg", ".tiff": "tiff"}
    if path.suffix.lower() not in kinds:
        raise SettingError(f"{path.name} has no ending of a picture", f"Use one of {', '.join(kinds)}.")
    return kinds[path.suffix.lower()]


def field_line(fields: Mapping[str, Any]) -> str:
    """ "Postprocess upscale by: 2, Postprocess upscaler: Lanczos": fields as infotext writes them."""
    return ", ".join(f"{key}: {quote(value)}" for key, value in fields.items() if value is not None)


def carried_texts(texts: Mapping[str, str], done: str, own: Mapping[str, str]) -> dict[str, str]:
    """The source's texts unchanged, then what was done, after what was done before; then the run's own texts.

    A `prompt` or `workflow` that the source has is that of the picture and stays; the run's are then left out.
    """
    carried = dict(texts)
    for section in SECTIONS if done else ():
        carried[section] = f"{texts[section]}\n{done}" if texts.get(section) else done
    if not any(key in texts for key in ("parameters", "prompt", "workflow")):
        carried |= own
    return carried


def as_one_text(texts: Mapping[str, str]) -> dict[str, str]:
    """For formats with one comment: what was done stands at the end of the infotext's last line."""
    rest = {key: text for key, text in texts.items() if key not in SECTIONS}
    done = ", ".join(texts.get(SECTIONS[0], "").split("\n"))
    if not done:
        return rest
    before = texts.get("parameters", "")
    joint = ", " if read_infotext(before).fields else "\n"
    return {"parameters": f"{before}{joint}{done}" if before else done} | {
        key: text for key, text in rest.items() if key != "parameters"
    }


def save_raster(
    raster: Rows,
    path: Path,
    kind: str,
    texts: Mapping[str, str],
    icc_profile: bytes | None = None,
    exif: Image.Exif | None = None,
    quality: int = 90,
) -> None:
    """Write (h, w, 1 to 4) uint8 or uint16 as one of ENDINGS. 16 bits stay in DEEP_FORMATS, alpha in all but JPEG,
    where it lies over white."""
    exif = exif or Image.Exif()
    exif.pop(ORIENTATION, None)  # the pixels are upright
    if kind == "png":
        write_png(path, raster, texts, icc_profile, _exif_bytes(exif))
        return
    if kind not in ENDINGS:
        raise SettingError(f"there is no format {kind!r}", f"Use one of {', '.join(ENDINGS)}.")
    put_texts(exif, as_one_text(texts))
    if kind == "jpg":
        _shorten(exif, texts)
    if kind == "tiff":
        write_tiff(path, raster, icc_profile, exif)
        return
    # as bytes: Pillow takes EXIF that has nothing but a comment for empty when it writes AVIF
    raw = exif.tobytes() if len(exif) or exif.get_ifd(EXIF_IFD) else None
    options: dict[str, Any] = {"quality": quality, "exif": raw, "icc_profile": icc_profile}
    picture = _eight_bit_picture(raster, alpha=kind != "jpg")
    picture.save(path, format=PILLOW_NAMES[kind], **{key: value for key, value in options.items() if value is not None})


def _shorten(exif: Image.Exif, texts: Mapping[str, str]) -> None:
    """Leave out of a JPEG's EXIF what does not fit: the editor's file first, then the workflow, then the infotext."""
    kept = as_one_text(texts)
    for key in ("workflow", "prompt", "parameters"):
        if len(exif.tobytes()) <= JPEG_LIMIT:
            return
        if kept.pop(key, None) is not None:
            put_texts(exif, kept)


def why_not(kind: str, width: int, height: int, texts: Mapping[str, str]) -> str | None:
    """Why a format cannot hold a picture of this size, or its infotext; None where it can."""
    longest = LONGEST_SIDES.get(kind)
    if longest is not None and max(width, height) > longest:
        return f"no side of a {PILLOW_NAMES[kind]} is longer than {longest} pixels"
    if kind == "jpg":
        exif = Image.Exif()
        put_texts(exif, {key: text for key, text in as_one_text(texts).items() if key == "parameters"})
        if len(exif.tobytes()) > JPEG_LIMIT:
            return f"the infotext is longer than the {JPEG_LIMIT // 1000} KB that a JPEG holds"
    return None


def _exif_bytes(exif: Image.Exif) -> bytes | None:
    ifd = exif.get_ifd(EXIF_IFD)
    ifd.pop(USER_COMMENT, None)  # it is written as a text chunk
    return exif.tobytes() if len(exif) > (EXIF_IFD in exif) or ifd else None


def _eight_bit_picture(raster: Rows, alpha: bool) -> Image.Image:
    pixels = raster[:]
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels / 257).astype(np.uint8)
    if pixels.shape[2] == 1:
        return Image.fromarray(np.ascontiguousarray(pixels[..., 0]))
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if pixels.shape[2] in (2, 4) and not alpha:
        coloured = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")
    return picture.convert("RGBA") if pixels.shape[2] == 2 else picture


def copied_exif(picture: Image.Image) -> Image.Exif:
    """The EXIF of an opened picture as one's own; empty where there is none or it is broken."""
    exif = Image.Exif()
    try:
        exif.load(picture.getexif().tobytes())
    except Exception:  # Pillow's reader of EXIF raises nearly anything for bytes that are none
        return Image.Exif()
    return exif
