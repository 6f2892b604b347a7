"""Names that clients send, made into paths that do not lead out of a folder."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from hires.server.faults import Refused

DRIVE = re.compile(r"[A-Za-z]:")
LONGEST_NAME, LONGEST_PATH = 200, 1000
KINDS = ("input", "output", "temp")
RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
"""Names that are no files on Windows."""


def parts_of(text: str, what: str = "the name", hidden: bool = False) -> PurePosixPath:
    """A relative path; `.` for "". Refused where it is absolute, leads upwards, or has parts that no file should have,
    such as a dot at its beginning unless it may be `hidden`."""
    plain = text.replace("\\", "/")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in plain):
        raise Refused(400, "Bad Request", f"{what} holds control characters")
    if plain.startswith("/") or DRIVE.match(plain):
        raise Refused(400, "Bad Request", f"{what} is not relative to its folder")
    path = PurePosixPath(plain)
    if ".." in path.parts:
        raise Refused(400, "Bad Request", f"{what} leads out of its folder")
    if len(plain) > LONGEST_PATH or any(len(part.encode("utf-8", "replace")) > LONGEST_NAME for part in path.parts):
        raise Refused(400, "Bad Request", f"{what} is too long")
    if any((part.startswith(".") and not hidden) or ":" in part or RESERVED.fullmatch(part) for part in path.parts):
        raise Refused(400, "Bad Request", f"{what} has a part that no file here can have")
    try:
        plain.encode()
    except UnicodeEncodeError as error:
        raise Refused(400, "Bad Request", f"{what} is no text") from error
    return path


def inside(root: Path, path: PurePosixPath, what: str = "the name") -> Path:
    """That place below a folder, links followed. Refused, with 403, where a link leads out."""
    base = root.resolve()
    target = (base / path).resolve()
    if not target.is_relative_to(base):
        raise Refused(403, "Forbidden", f"{what} leads out of its folder")
    return target


def file_name(text: str) -> str:
    """A name without folders. Refused."""
    path = parts_of(text, "the file's name")
    if len(path.parts) != 1:
        raise Refused(400, "Bad Request", "the file's name must be a name without folders")
    return path.parts[0]


def annotated(text: str) -> tuple[str, str | None]:
    """("a.png", "temp") for "a.png [temp]"; None where no place is named."""
    for kind in KINDS:
        if text.endswith(f" [{kind}]"):
            return text.removesuffix(f" [{kind}]"), kind
    return text, None


def kind_of(text: str) -> str:
    """A folder that pictures lie in. Refused for any other word."""
    if text not in KINDS:
        raise Refused(400, "Bad Request", f"there is no folder of the type {text[:40]!r}: use {', '.join(KINDS)}")
    return text
