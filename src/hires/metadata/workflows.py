"""The texts that a file carries (`prompt`, `workflow`, `parameters` ...), read without decoding any pixels.

| file | where |
|---|---|
| PNG | tEXt, zTXt and iTXt chunks; `comf` chunks (key, NUL, text), which animated PNGs have behind the pictures |
| WebP, JPEG, AVIF, TIFF | EXIF: Make, Model and the tags below as "key:text", UserComment |
| GIF, JPEG | the comment |
| .latent, .safetensors | the header's `__metadata__` |

Files come from anywhere. A chunk that is broken or too long is left out and the others are read all the same.
"""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from hires.errors import ImageFileError, ModelFileError
from hires.metadata.exif import exif_texts
from hires.metadata.files import TEXT_LIMIT
from hires.metadata.foreign import with_infotext

PICTURES = (".png", ".apng", ".webp", ".jpg", ".jpeg", ".avif", ".gif", ".tif", ".tiff")
WEIGHTS = (".latent", ".safetensors")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"comf")
MOST_CHUNKS = 1_000_000


def carries_texts(path: Path) -> bool:
    """Whether the file is of a kind whose texts `file_texts` reads, going by its name."""
    return path.suffix.lower() in (*PICTURES, *WEIGHTS)


def file_texts(path: Path) -> dict[str, str]:
    """Key -> text of a picture or of a file of tensors; of a repeated key the first.

    Raises ImageFileError or ModelFileError when the file cannot be read as what its name says.
    """
    try:
        with path.open("rb") as file:
            if path.suffix.lower() in WEIGHTS:
                return _header_texts(file, path.name)
            if file.read(8) == PNG_SIGNATURE:
                return with_infotext(_bounded(_png_texts(file), path.name), *_png_size(file))
            file.seek(0)
            return _bounded(_exif_texts(file, path.name), path.name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ImageFileError(f"{path} cannot be read: {reason}", "Check the name.") from error


def _bounded(entries: Iterator[tuple[str, str]], name: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    size = 0
    for key, text in entries:
        size += len(key) + len(text)
        if size > TEXT_LIMIT:
            raise ImageFileError(f"{name} carries more than {TEXT_LIMIT >> 20} MB of text")
        texts.setdefault(key, text)
    return texts


# PNG


def _png_texts(file: BinaryIO) -> Iterator[tuple[str, str]]:
    """Key and text of each sound text chunk, the file standing behind the signature."""
    readers: Mapping[bytes, Callable[[bytes], tuple[str, str]]] = {
        b"tEXt": _plain_chunk,
        b"zTXt": _packed_chunk,
        b"iTXt": _international_chunk,
        b"comf": _plain_chunk,
    }
    for _ in range(MOST_CHUNKS):
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or kind == b"IEND":
            return
        if kind not in TEXT_CHUNKS or length > TEXT_LIMIT:
            file.seek(length + 4, 1)
            continue
        body, checksum = file.read(length), file.read(4)
        if zlib.crc32(kind + body).to_bytes(4, "big") != checksum:
            continue
        try:
            yield readers[kind](body)
        except (ValueError, zlib.error):
            continue


def _png_size(file: BinaryIO) -> tuple[int, int]:
    """(width, height) of IHDR, the first chunk."""
    file.seek(16)
    sides = file.read(8)
    return int.from_bytes(sides[:4], "big"), int.from_bytes(sides[4:], "big")


def _plain_chunk(body: bytes) -> tuple[str, str]:
    """tEXt: key NUL text, in Latin-1; writers that ignore the standard put UTF-8 there."""
    key, _, text = body.partition(b"\0")
    try:
        return key.decode("latin-1"), text.decode("utf-8")
    except UnicodeDecodeError:
        return key.decode("latin-1"), text.decode("latin-1")


def _packed_chunk(body: bytes) -> tuple[str, str]:
    """zTXt: key NUL method, then the text packed by zlib."""
    key, _, rest = body.partition(b"\0")
    return key.decode("latin-1"), _unpacked(rest[1:]).decode("latin-1")


def _international_chunk(body: bytes) -> tuple[str, str]:
    """iTXt: key NUL packed method language NUL translated key NUL text, in UTF-8."""
    key, _, rest = body.partition(b"\0")
    packed, language_and_on = rest[:1] == b"\1", rest[2:]
    text = language_and_on.split(b"\0", 2)[2:]
    if not text:
        raise ValueError("an iTXt chunk without its fields")
    return key.decode("latin-1"), (_unpacked(text[0]) if packed else text[0]).decode("utf-8", errors="replace")


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, TEXT_LIMIT)
    if unpacker.unconsumed_tail:
        raise ValueError("a packed text that is too long")
    return text


# EXIF


def _exif_texts(file: BinaryIO, name: str) -> Iterator[tuple[str, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture = Image.open(file, formats=("WEBP", "JPEG", "AVIF", "PNG", "GIF", "TIFF", "BMP"))
        except (UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ImageFileError(f"{name} is not a picture that can be read") from error
        except (OSError, SyntaxError, ValueError, EOFError, TypeError, OverflowError) as error:
            raise ImageFileError(f"{name} is broken or cut off ({error})") from error
        with picture:
            plain = [(key, value) for key, value in picture.info.items() if isinstance(value, str)]
            texts = {key: value for key, value in plain if isinstance(key, str)}
            if isinstance(comment := picture.info.get("comment"), bytes):
                texts["comment"] = comment.decode("utf-8", errors="replace")
            texts |= dict(reversed(exif_texts(picture)))
            yield from with_infotext(texts, *picture.size).items()


# Tensors


def _header_texts(file: BinaryIO, name: str) -> dict[str, str]:
    """The metadata in a safetensors header: 8 bytes of length, then JSON."""
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= TEXT_LIMIT:
        raise ModelFileError(f"{name} is not a safetensors file: its header cannot have {length} bytes")
    raw = file.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{name} is not a safetensors file, or is cut off: its header is not JSON") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        return {}
    return {key: text for key, text in metadata.items() if isinstance(text, str)}
