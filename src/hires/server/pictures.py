"""Pictures in requests: base64 or data URLs, known by their content."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from PIL import Image

from hires.errors import ImageFileError
from hires.imaging.pictures import open_picture
from hires.metadata.files import output_error
from hires.server.faults import Refused
from hires.server.references import picture_bytes, picture_ending, reference_of


def opened(text: str, max_pixels: int) -> tuple[bytes, Image.Image]:
    """The bytes of a picture and what they show. Refused where they are none, or too large a one."""
    data = picture_bytes(text)
    if not data:
        raise Refused(400, "Invalid encoded image", "the picture is empty")
    try:
        return data, open_picture(data, max_pixels)
    except ImageFileError as error:
        raise Refused(400, "Invalid encoded image", error.message, error.hint) from error


def stored(text: str, folder: Path, max_pixels: int) -> Path:
    """A picture that was sent, checked, in a file of a folder, as it came. The file's name says its content."""
    if (name := reference_of(text)) is not None:
        try:
            open_picture(folder / name, max_pixels)
        except ImageFileError as error:
            raise Refused(400, "Invalid encoded image", error.message, error.hint) from error
        return folder / name
    data, _ = opened(text, max_pixels)
    path = folder / f"{hashlib.sha256(data).hexdigest()}{picture_ending(data) or '.png'}"
    if not path.is_file():
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise output_error(path, error) from error
    return path
