"""Texts in EXIF: the web UI's infotext in UserComment, ComfyUI's JSON in the tags that its own WebP files use.

| what | where |
|---|---|
| `parameters` | UserComment (0x9286): `UNICODE\\0`, then UTF-16 with the high byte first |
| `prompt` | Model (0x0110) as "prompt:{...}" |
| `workflow` and others | Make (0x010F) and the tags below it, as "workflow:{...}" |

A camera's own Make and Model are left as they are: what has no tag then stands in UserComment, a line each, behind the
infotext.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping

from PIL import Image

EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
MODEL, MAKE = 0x0110, 0x010F
LOWEST_TAG = 0x010B
"""0x010A and below are numbers in every reader."""
KEYED = re.compile(r"(\w+):\s*(\{\s*[\"}].*)", re.DOTALL)
"""A text of EXIF that says what it is: `prompt:{...}`, `Workflow:{...}`."""
JPEG_LIMIT = 65_000
"""Bytes of EXIF that fit a JPEG: a segment is 64 KiB."""


def put_texts(exif: Image.Exif, texts: Mapping[str, str]) -> None:
    """Put texts into `exif`; those of another run that are there are replaced."""
    for old in _ours(exif):
        del exif[old]
    lines = [texts["parameters"]] if "parameters" in texts else []
    for key, text in sorted(texts.items(), key=lambda item: item[0] != "workflow"):
        tag = None if key == "parameters" else _free_tag(exif, key)
        if tag is not None:
            exif[tag] = f"{key}:{_ascii(text)}"
        elif key != "parameters" and "\n" not in text:
            lines.append(f"{key}:{text}")
    ifd = exif.get_ifd(EXIF_IFD)
    if lines:
        ifd[USER_COMMENT] = user_comment(lines)
    elif texts:
        ifd.pop(USER_COMMENT, None)


def _ours(exif: Image.Exif) -> list[int]:
    return [tag for tag, value in exif.items() if isinstance(value, str) and KEYED.match(value.strip("\0 "))]


def _free_tag(exif: Image.Exif, key: str) -> int | None:
    if key == "prompt":
        return MODEL if MODEL not in exif else None
    return next((tag for tag in range(MAKE, LOWEST_TAG - 1, -1) if tag not in exif), None)


def _ascii(text: str) -> str:
    """JSON with every character beyond ASCII escaped: EXIF's strings have no encoding."""
    return "".join(char if ord(char) < 128 else json.dumps(char)[1:-1] for char in text)


def user_comment(lines: list[str]) -> bytes:
    """The bytes of a UserComment in Unicode, as the web UI writes it."""
    return b"UNICODE\0" + "\n".join(lines).encode("utf-16-be", errors="replace")


def exif_texts(picture: Image.Image) -> list[tuple[str, str]]:
    """Key and text of what EXIF holds: "key:{json}" in tags of text, and in UserComment, or infotext there.

    EXIF that is broken counts as none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exif = picture.getexif()
            tags = [value for _, value in sorted(exif.items(), reverse=True) if isinstance(value, str)]
            comment = exif.get_ifd(EXIF_IFD).get(USER_COMMENT)
        except Exception:  # Pillow's reader of EXIF raises nearly anything for bytes that are none
            return []
    found = [(match[1].lower(), match[2]) for tag in tags if (match := KEYED.match(tag.strip("\0 ")))]
    if isinstance(comment, bytes) and (text := comment_text(comment)):
        found += _split(text)
    return found


def _split(text: str) -> list[tuple[str, str]]:
    """Infotext, and the lines of JSON that stand behind it; a prompt's own lines are never taken for such."""
    lines = text.split("\n")
    keyed: list[tuple[str, str]] = []
    while lines and (match := KEYED.match(lines[-1])) and _is_object(match[2]):
        keyed.insert(0, (match[1].lower(), match[2]))
        lines.pop()
    rest = "\n".join(lines).strip()
    return [*keyed, ("parameters", rest)] if rest else keyed


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def comment_text(raw: bytes) -> str:
    """A UserComment's text: UNICODE is UTF-16 in either byte order, whatever the file's own is."""
    if raw.startswith(b"UNICODE\0"):
        body = raw[8:]
        # Most characters are Latin, whose high byte is 0: it comes first or second.
        big = body[0::2].count(0) >= body[1::2].count(0)
        return body.decode("utf-16-be" if big else "utf-16-le", errors="replace").strip("\0")
    if raw.startswith(b"ASCII\0\0\0"):
        return raw[8:].decode("ascii", errors="replace").strip("\0")
    return ""
