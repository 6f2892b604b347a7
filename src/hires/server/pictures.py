"""Pictures in requests: base64 or data URLs, known by their content."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from io import BytesIO
from pathlib import Path

from PIL import Image

from hires.errors import ImageFileError
from hires.imaging.pictures import open_picture
from hires.server.faults import Refused

DATA_URL = re.compile(r"data:image/[\w.+-]+(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)
ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "AVIF": ".avif", "GIF": ".gif", "BMP": ".bmp",
           "TIFF": ".tiff"}  # fmt: skip


def picture_bytes(text: str) -> bytes:
    """The bytes of a picture that a client sent. Refused for an address and for what is no base64."""
    text = text.strip()
    if text[:8].lower().startswith(("http://", "https://")):
        raise Refused(400, "Requests not allowed", "pictures of other servers are not fetched", "Send the picture.")
    if (match := DATA_URL.match(text[:200])) is not None:
        text = text[match.end() :]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, "Invalid encoded image", "the picture is no base64") from error


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
    """A picture that was sent, checked and written into a folder as it came."""
    data, _ = opened(text, max_pixels)
    with Image.open(BytesIO(data)) as header:
        ending = ENDINGS.get(header.format or "", ".png")
    path = folder / f"{secrets.token_hex(8)}{ending}"
    path.write_bytes(data)
    return path
