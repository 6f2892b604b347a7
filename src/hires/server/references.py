"""Pictures in requests as texts: base64, data URLs, or the name of a file that holds one; known by their content."""

from __future__ import annotations

import base64
import binascii
import re
from io import BytesIO

from PIL import Image

from hires.server.faults import Refused

DATA_URL = re.compile(r"data:image/[\w.+-]+(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)
ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "WEBP": ".webp", "AVIF": ".avif", "GIF": ".gif", "BMP": ".bmp",
           "TIFF": ".tiff"}  # fmt: skip


REFERENCE = "hires-picture:"
"""Before the name of a file that holds a picture which came with the request of a job."""
NAME = re.compile(re.escape(REFERENCE) + r"([0-9a-f]{64}\.[a-z]{3,4})")


def reference_of(text: str) -> str | None:
    """The file's name in a text that stands for one."""
    found = NAME.fullmatch(text)
    return None if found is None else found[1]


def picture_ending(data: bytes) -> str | None:
    """The ending that fits a picture's kind, by its first bytes; None for what is no picture."""
    try:
        with Image.open(BytesIO(data)) as header:
            return ENDINGS.get(header.format or "")
    except Exception:  # whatever a decoder thinks of it
        return None


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
