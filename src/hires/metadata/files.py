"""Writing results: complete or not at all, and never over something that is there.

A file is written under a temporary name in its own folder and then linked to its final one, which fails if the
name was taken in the meantime; so neither a crash nor a second process can lose or half-write a picture.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hires.errors import ImageFileError, OutputError
from hires.metadata.exif import exif_texts, put_texts
from hires.metadata.foreign import with_infotext

TEXT_LIMIT = 64 * 1024 * 1024
"""Bytes of text that one picture may carry; a longer chunk is taken for an attack."""


class Ledger(Protocol):
    """Where work that may be begun again keeps account of its files, so that none is written twice."""

    def earlier(self, folder: Path, stem: str, digest: str) -> Path | None:
        """A file in that folder, whose name begins so, that this work wrote before with the same content (SHA-256)."""

    def intend(self, path: Path, digest: str) -> None:
        """A file is whole and about to get its name."""

    def written(self, path: Path) -> None:
        """It has it."""


def write_new(path: Path, write: Callable[[Path], None], ledger: Ledger | None = None, stem: str | None = None) -> Path:
    """Write a file that must not exist yet. `write` gets a temporary path beside it.

    With a `ledger`, a file that was written before is given back in its place, where it begins with `stem`. Raises
    FileExistsError when `path` is taken, OutputError when the disk is full or the folder cannot be written.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    try:
        write(temporary)
        if ledger is not None:
            digest = _safe_digest(temporary)
            if (earlier := ledger.earlier(path.parent, stem or path.name, digest)) is not None:
                return earlier
            ledger.intend(path, digest)
        _give_name(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    if ledger is not None:
        _sync_folder(path.parent)
        ledger.written(path)
    return path


def _safe_digest(path: Path) -> str:
    """The SHA-256 of a file, which is on the disk afterwards."""
    with path.open("rb+") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return digest


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk too: after a power cut a file is only there if its name is."""
    if os.name == "posix":  # Windows opens no folder
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


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


def write_numbered(
    folder: Path, stem: str, suffix: str, write: Callable[[Path], None], ledger: Ledger | None = None
) -> Path:
    """Write `folder/stem_00001_suffix` under the first number above all that are there (ComfyUI's counter)."""
    number = _next_number(folder, stem)
    while True:
        try:
            return write_new(folder / f"{stem}_{number:05}_{suffix}", write, ledger, f"{stem}_")
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
        info.add_text(key, text.encode("utf-8", errors="replace").decode("utf-8"))
    picture.save(path, format="PNG", pnginfo=info, compress_level=compression)


def save_webp(frames: Sequence[Image.Image], path: Path, texts: Mapping[str, str], **options: Any) -> None:
    """Write an animation, or one picture, as WebP with texts in its EXIF data where their readers look for them."""
    exif = frames[0].getexif()
    put_texts(exif, texts)
    frames[0].save(path, format="WEBP", save_all=True, append_images=list(frames[1:]), exif=exif, **options)


def picture_texts(picture: Image.Image) -> dict[str, str]:
    """The texts of an opened picture: `parameters`, `prompt`, `workflow` and whatever else is text.

    A comment in EXIF goes before a text chunk, as in the web UI; records of other programs are told as `parameters`.
    """
    texts = {key: value for key, value in picture.info.items() if isinstance(key, str) and isinstance(value, str)}
    if isinstance(comment := picture.info.get("comment"), bytes):
        texts["comment"] = comment.decode("utf-8", errors="replace")
    texts |= dict(reversed(exif_texts(picture)))
    size = sum(len(value) for value in texts.values())
    if size > TEXT_LIMIT:
        raise ImageFileError(f"the picture carries {size} characters of text, more than {TEXT_LIMIT}")
    return with_infotext(texts, *picture.size)


def ascii_json(value: object) -> str:
    """JSON that stays in tEXt chunks whatever the prompt's script."""
    return json.dumps(value, ensure_ascii=True, separators=(", ", ": "))
