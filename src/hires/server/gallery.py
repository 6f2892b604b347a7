"""The pictures of the outputs folder as the server's pages show them."""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hires.errors import HiresError, SettingError
from hires.gallery.index import DEEPEST, GalleryIndex
from hires.gallery.thumbnails import Thumbnails
from hires.gallery.trash import TRASH, Trash
from hires.settings import Settings

SECONDS_TO_LOOK = 2.0
"""After which a page shows what was found so far, while the rest is still being read."""
GRID_FILE = "grid.json"
MOST_GRIDS = 1000


class Gallery:
    """Index, small copies and trash of one outputs folder."""

    def __init__(self, settings: Settings) -> None:
        self.root = settings.output_dir
        self.thumbnails = Thumbnails(self.root, settings.cache_dir, int(settings.max_megapixels * 1e6))
        self.index = GalleryIndex(self.root, settings.cache_dir, on_gone=self.thumbnails.forget)
        self.trash = Trash(self.root)

    def look(self, seconds: float = SECONDS_TO_LOOK) -> bool:
        """See what is new, for so long at most; whether all has been seen."""
        ended = threading.Event()

        def refresh() -> None:
            self.index.refresh()
            ended.set()

        threading.Thread(target=refresh, name="hires-gallery", daemon=True).start()
        return ended.wait(seconds)

    def throw(self, names: list[str]) -> str:
        """Move pictures to the trash; the name of the deletion."""
        deletion = self.trash.throw(names)
        self._see()
        return deletion

    def restore(self, deletion: str, name: str) -> str:
        """Bring one back; its name now."""
        restored = self.trash.restore(deletion, name)
        self._see()
        return restored

    def empty(self, deletions: Collection[str] | None = None) -> tuple[int, int]:
        """Delete what is in the trash for good, of some deletions or of all; how many pictures and bytes that was."""
        gone = self.trash.empty(deletions)
        for one in gone:
            self.thumbnails.forget(f"{TRASH}/{one.deletion}/{one.name}")
        return len(gone), sum(one.bytes for one in gone)

    def _see(self) -> None:
        """Look after a change: what another thread has just looked at may be older."""
        if not self.index.refresh():
            self.index.refresh()

    def texts(self, name: str) -> dict[str, str]:
        """What a picture carries; empty where it cannot be read."""
        from hires.metadata.workflows import file_texts

        try:
            return file_texts(self.trash.picture(name))
        except HiresError:
            return {}

    def grids(self) -> list[Grid]:
        """The grids below the outputs, the newest first."""
        found = [(path.stat().st_mtime, path.parent) for path in _grid_files(self.root)]
        newest = sorted(found, reverse=True)[:MOST_GRIDS]
        return [Grid(folder.relative_to(self.root).as_posix(), folder, changed) for changed, folder in newest]

    def grid(self, name: str) -> Path:
        """The folder of a grid by its name below the outputs. SettingError where it is none."""
        return self.trash.picture(f"{name.strip('/')}/{GRID_FILE}").parent


@dataclass(frozen=True)
class Grid:
    """A grid's name below the outputs, its folder, and when its record was written."""

    name: str
    folder: Path
    changed: float


def _grid_files(root: Path) -> Iterator[Path]:
    folders = [(root, 0)]
    while folders:
        folder, depth = folders.pop()
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            continue
        if (folder / GRID_FILE).is_file() and not (folder / GRID_FILE).is_symlink():
            yield folder / GRID_FILE
            continue
        if depth < DEEPEST:
            below = [one for one in entries if not one.name.startswith(".") and one.is_dir() and not one.is_symlink()]
            folders += [(one, depth + 1) for one in below]


def token(name: str) -> str:
    """A picture's name in letters that an address takes as they are."""
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def name_of(text: str) -> str:
    """The name of a token. SettingError."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise SettingError("this is no picture's name") from error


def two_of(names: tuple[str, str], texts: tuple[dict[str, str], dict[str, str]]) -> dict[str, Any]:
    """A grid of two pictures, as the page of grids takes it: that page compares them."""
    from hires.recipes.grids.record import settings_of

    infotexts = [text.get("parameters", "") for text in texts]
    cells = [
        {
            "index": [place, 0, 0],
            "state": "done",
            "settings": settings_of(infotext) if infotext else {},
            "infotext": infotext,
            "pictures": [name],
        }
        for place, (name, infotext) in enumerate(zip(names, infotexts, strict=True))
    ]
    return {"format": 1, "title": "Two pictures", "axes": [{"label": "", "values": list(names)}], "cells": cells}
