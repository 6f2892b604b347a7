"""Pictures: looking at those of the folders, sending some."""

from __future__ import annotations

import json
import mimetypes
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, File, Form, UploadFile
from fastapi.responses import FileResponse, Response

from hires.server.comfy.places import annotated, file_name, inside, kind_of, parts_of
from hires.server.comfy.state import Comfy, comfy_of
from hires.server.comfy.store import exchange
from hires.server.faults import Refused

if TYPE_CHECKING:
    from PIL import Image

router = APIRouter(tags=["comfyui"])
ComfyHere = Annotated[Comfy, Depends(comfy_of)]
SHOWN = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp",
         ".avif": "image/avif", ".gif": "image/gif", ".bmp": "image/bmp"}  # fmt: skip
"""What is shown by a browser; everything else is only handed over."""
ENDINGS = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "MPO": (".jpg", ".jpeg"), "WEBP": (".webp",),
           "AVIF": (".avif",), "GIF": (".gif",), "BMP": (".bmp",), "TIFF": (".tiff", ".tif")}  # fmt: skip
NO_PAGE = {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "no-cache"}
MOST_UPLOAD_BYTES = 104_857_600
PREVIEWS = {"webp": "WEBP", "jpeg": "JPEG"}
MOST_NAMES = 100_000
Word = Annotated[str, Form()]


def root_of(comfy: Comfy, kind: str) -> Path:
    """The folder of a type. Refused where there is none yet."""
    settings = comfy.server.settings
    if kind == "temp":
        engine = comfy.server.work.engine
        if engine is None:
            raise Refused(404, "Not Found", "there is no such picture")
        return engine.temp.path
    return settings.input_dir if kind == "input" else settings.output_dir


def found(comfy: Comfy, filename: str, subfolder: str, kind: str) -> Path:
    """A file of the folders. Refused."""
    bare, place = annotated(filename)
    root = root_of(comfy, kind_of(place or kind))
    path = inside(root, parts_of(subfolder, "the subfolder") / file_name(bare))
    if not path.is_file():
        raise Refused(404, "Not Found", "there is no such picture")
    return path


@router.get("/view")
def view(
    comfy: ComfyHere, filename: str, type: str = "output", subfolder: str = "", preview: str = "", channel: str = "rgba"
) -> Response:
    """A file of the input, output or temp folder; `preview` encodes a picture anew as webp or jpeg, with ";" and a
    quality; `channel` rgb leaves its transparency out, a shows that alone."""
    path = found(comfy, filename, subfolder, type)
    if channel not in ("rgba", "rgb", "a"):
        raise Refused(400, "Bad Request", "channel must be rgba, rgb or a")
    if preview or channel != "rgba":
        return _encoded(path, comfy.server.most_pixels, preview, channel)
    shown = SHOWN.get(path.suffix.lower())
    return FileResponse(
        path,
        media_type=shown or "application/octet-stream",
        filename=path.name,
        content_disposition_type="inline" if shown else "attachment",
        headers=NO_PAGE,
    )


@router.get("/internal/files/{kind}")
def files(kind: str, comfy: ComfyHere) -> list[str]:
    """The files of a folder by name, the newest first."""
    root = root_of(comfy, kind_of(kind))
    if not root.is_dir():
        return []
    found = [path for path in root.iterdir() if path.is_file() and not path.name.startswith(".")]
    return [path.name for path in sorted(found, key=lambda path: -path.stat().st_mtime_ns)]


def _encoded(path: Path, most_pixels: int, preview: str, channel: str) -> Response:
    from hires.imaging.pictures import eight_bit, open_picture

    picture = eight_bit(open_picture(path, most_pixels))
    if channel == "a":
        picture = picture.convert("RGBA").getchannel("A")
    elif channel == "rgb":
        picture = picture.convert("RGB")
    kind, _, quality = preview.partition(";")
    if preview and kind not in PREVIEWS:
        raise Refused(400, "Bad Request", "preview must be webp or jpeg, with ; and a quality")
    options: dict[str, Any] = {}
    if preview:
        options["quality"] = min(max(int(quality), 1), 100) if quality.isdecimal() and len(quality) < 4 else 90
    encoded = PREVIEWS.get(kind, "PNG")
    if encoded == "JPEG" or (encoded == "WEBP" and picture.mode not in ("RGB", "RGBA")):
        picture = picture.convert("RGB" if encoded == "JPEG" or "A" not in picture.getbands() else "RGBA")
    out = BytesIO()
    picture.save(out, format=encoded, **options)
    return Response(out.getvalue(), media_type=f"image/{encoded.lower()}", headers=NO_PAGE)


@router.post("/upload/image")
def upload_image(
    comfy: ComfyHere,
    image: Annotated[UploadFile, File()],
    type: Word = "input",
    subfolder: Word = "",
    overwrite: Word = "",
) -> dict[str, str]:
    """Put a picture into a folder. Another of its name stays unless it is to be overwritten: the name told counts."""
    name, data = file_name(image.filename or ""), _data(image)
    kind, _ = _opened(data, comfy.server.most_pixels)
    return _kept(comfy, _with_ending(name, kind), data, type, subfolder, overwrite)


@router.post("/upload/mask")
def upload_mask(
    comfy: ComfyHere,
    image: Annotated[UploadFile, File()],
    original_ref: Word,
    type: Word = "input",
    subfolder: Word = "",
    overwrite: Word = "",
) -> dict[str, str]:
    """Put a picture of the folders into one again, as a PNG with the transparency of the one that is sent."""
    from PIL.PngImagePlugin import PngInfo

    from hires.imaging.pictures import open_picture

    name = file_name(image.filename or "")
    original = open_picture(_original(comfy, original_ref), comfy.server.most_pixels)
    _, mask = _opened(_data(image), comfy.server.most_pixels)
    if mask.size != original.size:
        raise Refused(400, "Bad Request", f"the mask has {mask.size} pixels, the picture {original.size}")
    texts = PngInfo()
    for key, text in original.info.items():
        if isinstance(key, str) and isinstance(text, str):
            texts.add_text(key, text)
    painted = original.convert("RGBA")
    painted.putalpha(mask.convert("RGBA").getchannel("A"))
    out = BytesIO()
    painted.save(out, format="PNG", pnginfo=texts, compress_level=4)
    return _kept(comfy, _with_ending(name, "PNG"), out.getvalue(), type, subfolder, overwrite)


def _original(comfy: Comfy, reference: str) -> Path:
    try:
        told = json.loads(reference)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "Bad Request", "original_ref is no JSON") from error
    if not isinstance(told, dict) or not isinstance(told.get("filename"), str):
        raise Refused(400, "Bad Request", "original_ref must have a filename")
    return found(comfy, told["filename"], str(told.get("subfolder") or ""), str(told.get("type") or "output"))


def _data(image: UploadFile) -> bytes:
    data = image.file.read(MOST_UPLOAD_BYTES + 1)
    if len(data) > MOST_UPLOAD_BYTES:
        raise Refused(413, "Too Large", f"a picture may have {MOST_UPLOAD_BYTES // 2**20} MB")
    return data


def _opened(data: bytes, most_pixels: int) -> tuple[str, Image.Image]:
    """The format of a picture and what it shows. ImageFileError."""
    from PIL import Image

    from hires.imaging.pictures import open_picture

    picture = open_picture(data, most_pixels)
    with Image.open(BytesIO(data)) as header:
        return header.format or "PNG", picture


def _with_ending(name: str, kind: str) -> str:
    """The name with an ending of the picture's format."""
    endings = ENDINGS[kind]
    path = Path(name)
    if path.suffix.lower() in endings:
        return name
    known = mimetypes.guess_type(name)[0] is not None
    return f"{path.stem if known else name}{endings[0]}"


def _kept(comfy: Comfy, name: str, data: bytes, kind: str, subfolder: str, overwrite: str) -> dict[str, str]:
    """Where the data lies now."""
    from hires.metadata.files import write_new

    parts = parts_of(subfolder, "the subfolder")
    folder = inside(root_of(comfy, kind_of(kind)), parts, "the subfolder")
    if folder.exists() and not folder.is_dir():
        raise Refused(400, "Bad Request", "the subfolder is a file")
    told = {"subfolder": "" if str(parts) == "." else str(parts), "type": kind}
    if overwrite.lower() in ("true", "1"):
        target = inside(folder, parts_of(file_name(name)))
        if target.is_dir():
            raise Refused(400, "Bad Request", "a folder has that name")
        exchange(target, data)
        return {"name": name} | told
    bare = Path(name)
    for number in range(MOST_NAMES):
        path = folder / (name if number == 0 else f"{bare.stem} ({number}){bare.suffix}")
        try:
            write_new(path, lambda temporary: _put(temporary, data))
            return {"name": path.name} | told
        except FileExistsError:
            if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
                return {"name": path.name} | told
    raise Refused(409, "Conflict", "there are too many files of that name")


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)
