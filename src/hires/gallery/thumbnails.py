"""Small copies of pictures, kept among the caches until their picture changes or is gone."""

from __future__ import annotations

import hashlib
import os
import secrets
import warnings
from pathlib import Path

from PIL import Image, ImageOps

from hires.errors import ImageFileError
from hires.gallery.reading import FORMATS

SIDE = 320
QUALITY = 80


class Thumbnails:
    """WebP files of at most SIDE pixels a side, in `cache_dir`, of pictures below `root` of at most `most_pixels`."""

    def __init__(self, root: Path, cache_dir: Path, most_pixels: int) -> None:
        self._root, self._most_pixels = root.resolve(), most_pixels
        self._folder = cache_dir / "gallery" / "thumbnails"

    def of(self, path: Path) -> bytes:
        """A picture, small. ImageFileError where it is none, is broken or too large."""
        try:
            status = path.stat()
        except OSError as error:
            raise ImageFileError(f"{path.name} cannot be read: {error.strerror or error}") from error
        kept = self._place(path, f"{status.st_size}-{status.st_mtime_ns}")
        try:
            return kept.read_bytes()
        except OSError:
            pass  # not made yet
        data = self._made(path)
        try:
            self._drop(path)
            kept.parent.mkdir(parents=True, exist_ok=True)
            scratch = kept.with_name(f".{kept.name}.{secrets.token_hex(4)}")
            scratch.write_bytes(data)
            os.replace(scratch, kept)
        except OSError:
            pass  # a cache that cannot be written costs time only
        return data

    def forget(self, name: str) -> None:
        """Throw away what is kept of a picture that is gone, by its name below the root."""
        self._drop(self._root / name)

    def _place(self, path: Path, stamp: str) -> Path:
        digest = hashlib.sha256(str(path.absolute()).encode("utf-8", "surrogateescape")).hexdigest()
        return self._folder / digest[:2] / f"{digest[2:34]}-{stamp}.webp"

    def _drop(self, path: Path) -> None:
        place = self._place(path, "")
        stem = place.name.removesuffix(".webp")
        for old in place.parent.glob(f"{stem}*.webp") if place.parent.is_dir() else ():
            old.unlink(missing_ok=True)

    def _made(self, path: Path) -> bytes:
        from io import BytesIO

        out = BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with Image.open(path, formats=FORMATS) as opened:
                    if opened.width * opened.height > self._most_pixels:
                        raise ImageFileError(f"{path.name} has more than {self._most_pixels / 1e6:g} megapixels")
                    opened.draft("RGB", (2 * SIDE, 2 * SIDE))
                    picture = ImageOps.exif_transpose(opened)
                    if picture.mode.startswith("I"):  # 16 bits a channel
                        picture = picture.convert("I").point(lambda value: value / 256).convert("L")
                    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
                    picture.thumbnail((SIDE, SIDE), reducing_gap=2.0)
                    picture.save(out, format="WEBP", quality=QUALITY, method=2)
            except ImageFileError:
                raise
            except Exception as error:  # whatever a decoder stumbles over: the file is from anywhere
                raise ImageFileError(f"{path.name} is broken or cut off ({type(error).__name__})") from error
        return out.getvalue()
