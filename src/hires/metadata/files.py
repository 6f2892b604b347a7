"""Writing results: complete or not at all, and never over something that is there.

A file is written under a temporary name in its own folder and then linked to its final one, which fails if the
name was taken in the meantime; so neither a crash nor a second process can lose or half-write a picture.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hires.errors import ImageFileError, OutputError

TEXT_LIMIT = 64 * 1024 * 1024
"""Bytes of text that one picture may carry; a longer chunk is taken for an attack."""


KEYED = re.compile(r"(\w+):\s*(\{\s*[\"}].*)", re.DOTALL)
"""A text of EXIF that says what it is: `prompt:{...}`, `Workflow:{...}`."""

EXIF_IFD, USER_COMMENT = 0x8769, 0x9286


def write_new(path: Path, write: Callable[[Path], None]) -> Path:
    """Write a file that must not exist yet. `write` gets a temporary path beside it.

    Raises FileExistsError when `path` is taken, OutputError when the disk is full or the folder cannot be written.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    try:
        write(temporary)
        _give_name(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _give_name(temporary: Path, path: Path) -> None:
    """Name a whole file; FileExistsError if the name is taken."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # a file system without hard links: take the name first, then put the file there
        path.touch(exist_ok=False)
        temporary.replace(path)


NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV)


def write_numbered(folder: Path, stem: str, suffix: str, write: Callable[[Path], None]) -> Path:
    """Write `folder/stem_00001_suffix` under the first number above all that are there (ComfyUI's counter)."""
    number = _next_number(folder, stem)
    while True:
        try:
            return write_new(folder / f"{stem}_{number:05}_{suffix}", write)
        except FileExistsError:
            number += 1


def _next_number(folder: Path, stem: str) -> int:
    pattern = re.compile(re.escape(stem) + r"_(\d+)_")
    try:
        found = [match for name in os.listdir(folder) if (match := pattern.match(name))]
    except (FileNotFoundError, NotADirectoryError):
        return 1
    return max((int(match[1]) for match in found), default=0) + 1


def output_error(path: Path, error: OSError) -> OutputError:
    """The one line for a result that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"no space left to write {path}", "Free some disk space or choose another output folder.")
    reason = error.strerror or str(error)
    return OutputError(f"cannot write {path}: {reason}", "Choose another output folder.")


def save_png(picture: Image.Image, path: Path, texts: Mapping[str, str], compression: int = 4) -> None:
    """Write a PNG with text chunks: Latin-1 text as tEXt, other as iTXt, as PNG demands and A1111 writes them."""
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    picture.save(path, format="PNG", pnginfo=info, compress_level=compression)


def save_webp(frames: Sequence[Image.Image], path: Path, texts: Mapping[str, str], **options: Any) -> None:
    """Write an animation, or one picture, as WebP with texts in its EXIF data where ComfyUI's readers look for them.

    `prompt` goes to the tag 0x0110 (Model) and all others to 0x010F (Make) and downwards, as "key:text".
    """
    exif = frames[0].getexif()
    others = [key for key in texts if key != "prompt"]
    tags = {"prompt": 0x0110} | {key: 0x010F - index for index, key in enumerate(others)}
    for key, text in texts.items():
        exif[tags[key]] = f"{key}:{text}"
    frames[0].save(path, format="WEBP", save_all=True, append_images=list(frames[1:]), exif=exif, **options)


def picture_texts(picture: Image.Image) -> dict[str, str]:
    """The texts of an opened picture: `parameters`, `prompt`, `workflow` and whatever else is text."""
    texts = {key: value for key, value in picture.info.items() if isinstance(key, str) and isinstance(value, str)}
    texts |= dict(reversed(exif_texts(picture)))
    size = sum(len(value) for value in texts.values())
    if size > TEXT_LIMIT:
        raise ImageFileError(f"the picture carries {size} characters of text, more than {TEXT_LIMIT}")
    return texts


def exif_texts(picture: Image.Image) -> list[tuple[str, str]]:
    """Key and text of what EXIF holds: "key:{json}" in tags of text, and in UserComment, or infotext there.

    EXIF that is broken counts as none.
    """
    try:
        exif = picture.getexif()
        tags = [value for _, value in sorted(exif.items(), reverse=True) if isinstance(value, str)]
        comment = exif.get_ifd(EXIF_IFD).get(USER_COMMENT)
    except Exception:  # Pillow's reader of EXIF raises nearly anything for bytes that are none
        return []
    found = [(match[1].lower(), match[2]) for tag in tags if (match := KEYED.match(tag.strip("\0 ")))]
    if isinstance(comment, bytes) and (text := _user_comment(comment)):
        keyed = [(line, KEYED.match(line)) for line in text.split("\n")]
        found += [(match[1].lower(), match[2]) for _, match in keyed if match is not None]
        if rest := "\n".join(line for line, match in keyed if match is None).strip():
            found.append(("parameters", rest))
    return found


def user_comment(texts: Mapping[str, str]) -> bytes:
    """The EXIF UserComment for a JPEG or AVIF: infotext as A1111 writes it, then "key:json" lines of the others."""
    lines = [texts["parameters"]] if "parameters" in texts else []
    lines += [f"{key}:{text}" for key, text in texts.items() if key != "parameters" and "\n" not in text]
    return b"UNICODE\0" + "\n".join(lines).encode("utf-16-be")


def _user_comment(raw: bytes) -> str:
    """EXIF UserComment as A1111 writes it for JPEG, WebP and AVIF: UNICODE and UTF-16, either byte order."""
    if raw.startswith(b"UNICODE\0"):
        body = raw[8:]
        # Most characters are Latin, whose high byte is 0: it comes first or second.
        big = body[0::2].count(0) > body[1::2].count(0)
        return body.decode("utf-16-be" if big else "utf-16-le", errors="replace").strip("\0")
    if raw.startswith(b"ASCII\0\0\0"):
        return raw[8:].decode("ascii", errors="replace").strip("\0")
    return ""


def ascii_json(value: object) -> str:
    """JSON that stays in tEXt chunks whatever the prompt's script."""
    return json.dumps(value, ensure_ascii=True, separators=(", ", ": "))
