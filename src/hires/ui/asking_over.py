"""From the values of the img2img tab to requests: the body of /sdapi/v1/img2img, or several of a batch."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from hires.errors import SettingError
from hires.ui.asking import Values, coded, drawn_body
from hires.ui.fields_over import MASKED
from hires.ui.files import PICTURES

MOST_OF_A_BATCH = 500


def img2img_body(values: Values) -> dict[str, Any]:
    """The request without its pictures."""
    body = drawn_body(values) | {
        "denoising_strength": float(values["denoise"]),
        "resize_mode": int(values["resize_mode"] or 0),
    }
    if values["mode"] in MASKED:
        body |= {
            "mask_blur": int(values["mask_blur"]),
            "inpainting_mask_invert": int(values["invert"] or 0),
            "inpainting_fill": int(values["fill"] or 0),
            "inpaint_full_res": bool(values["only_masked"]),
            "inpaint_full_res_padding": int(values["padding"]),
        }
    return body


def img2img_bodies(values: Values, input_dir: Path) -> list[dict[str, Any]]:
    """The requests of the tab that is shown, with their pictures. SettingError where one is missing."""
    body, mode = img2img_body(values), values["mode"]
    if mode == "batch":
        return [body | {"init_images": [coded(path)]} for path in batch(values, input_dir)]
    if mode == "inpaint_upload":
        picture, mask = (_needed(values[name]) for name in ("upload", "upload_mask"))
        return [body | {"init_images": [coded(picture)], "mask": coded(mask)}]
    if mode == "picture":
        return [body | {"init_images": [coded(_needed(values["picture"]))]}]
    edited = _edited(values[mode])
    pictures = {"init_images": [png(drawn_over(mode, edited))]}
    return [body | pictures | ({"mask": png(painted(edited))} if mode in MASKED else {})]


def drawn_over(mode: str, edited: Mapping[str, Any]) -> Image.Image:
    """What an editor's tab draws over: what was painted is a mask alone, or a part of the picture."""
    picture: Image.Image = edited["background" if mode == "inpaint" else "composite"]
    return picture


def _needed(value: Any) -> Any:
    if not value:
        raise SettingError("there is no picture yet", "Drop one into the field, or paste it.")
    return value


def _edited(value: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if value is None or value.get("background") is None:
        raise SettingError("there is no picture yet", "Drop one into the field, or paste it.")
    return value


def painted(edited: Mapping[str, Any]) -> Image.Image:
    """White where something was painted over the picture. SettingError where nothing was."""
    size = edited["background"].size
    mask = Image.new("L", size, 0)
    for layer in edited["layers"]:
        alpha = layer.convert("RGBA").getchannel("A")
        mask = ImageChops.lighter(mask, alpha if alpha.size == size else alpha.resize(size))
    if mask.getbbox() is None:
        raise SettingError("nothing is painted over the picture", "Paint over what is to be drawn again.")
    return mask.point(lambda value: 255 if value > 127 else 0)


def png(picture: Image.Image) -> str:
    """A picture as requests carry it."""
    return base64.b64encode(png_bytes(picture)).decode()


def png_bytes(picture: Image.Image) -> bytes:
    """A picture as a PNG: the same bytes for the same pixels."""
    out = BytesIO()
    picture = picture.convert("RGB") if picture.mode == "RGBA" and _is_opaque(picture) else picture
    picture.save(out, format="PNG", compress_level=1)
    return out.getvalue()


def _is_opaque(picture: Image.Image) -> bool:
    return picture.getchannel("A").getextrema() == (255, 255)


def batch(values: Values, input_dir: Path) -> list[Path]:
    """The files that were given, and those of a folder below the input folder."""
    found = [Path(path) for path in values["files"] or ()]
    name = (values["folder"] or "").strip()
    if name:
        found += _folder(input_dir, name)
    if not found:
        raise SettingError("there are no pictures yet", "Drop some into the field, or name a folder.")
    if len(found) > MOST_OF_A_BATCH:
        raise SettingError(f"{len(found)} pictures are too many at once", f"There may be {MOST_OF_A_BATCH}.")
    return found


def _folder(input_dir: Path, name: str) -> list[Path]:
    root = input_dir.resolve()
    folder = (root / name).resolve()
    if not folder.is_relative_to(root) or not folder.is_dir():
        raise SettingError(f"there is no folder {name!r} below the input folder", "Write it relative to that.")
    pictures = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES and path.is_file()]
    return [path for path in pictures if path.resolve().is_relative_to(root)]
