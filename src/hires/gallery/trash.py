"""Pictures thrown away: moved into a hidden folder below the outputs, from which each comes back to its place.

    outputs/.trash/20261121-233000-1f0a9c2b/txt2img-images/00001-1234.png

Every deletion has a folder of its own, so that nothing in the trash is ever overwritten.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hires.errors import OutputError, SettingError
from hires.gallery.index import pictures_below
from hires.metadata.files import output_error

TRASH = ".trash"
DELETION = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
MOST_NAMES = 10_000


@dataclass(frozen=True)
class Thrown:
    """A picture in the trash: the deletion it went with, its name below the outputs before, its bytes and its time."""

    deletion: str
    name: str
    bytes: int
    changed: float


class Trash:
    """The trash of one outputs folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / TRASH

    def throw(self, names: Sequence[str]) -> str:
        """Move pictures to the trash; the name of this deletion. Nothing is moved where one is not there: SettingError.
        OutputError where the folder cannot be written."""
        sources = [self.picture(name) for name in names]
        deletion = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
        for name, source in zip(names, sources, strict=True):
            target = self.folder / deletion / name
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                move_new(source, target)
            except OSError as error:
                raise output_error(target, error) from error
        return deletion

    def restore(self, deletion: str, name: str) -> str:
        """Bring a picture back; the name it has now, which is another where its own was taken in the meantime."""
        source = self.thrown(deletion, name)
        wanted = PurePosixPath(name)
        for number in range(MOST_NAMES):
            told = wanted if number == 0 else wanted.with_name(f"{wanted.stem} ({number}){wanted.suffix}")
            target = self.root / told
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                move_new(source, target)
            except FileExistsError:
                continue
            except OSError as error:
                raise output_error(target, error) from error
            self._tidy(deletion)
            return told.as_posix()
        raise OutputError(f"there are too many pictures called {wanted.name}", "Rename some.")

    def listed(self) -> list[Thrown]:
        """What lies in the trash, the last deletion first."""
        found = []
        is_here = self.folder.is_dir() and not self.folder.is_symlink()
        for place in sorted(self.folder.iterdir(), reverse=True) if is_here else []:
            if not DELETION.fullmatch(place.name) or place.is_symlink():
                continue
            pictures = sorted(pictures_below(place), key=lambda each: each[0])
            found += [Thrown(place.name, name, status.st_size, status.st_mtime) for name, _, status in pictures]
        return found

    def empty(self, deletions: Collection[str] | None = None) -> list[Thrown]:
        """Delete the pictures in the trash for good: those of some deletions, all of them for None. What was deleted.

        Only what `listed` tells is deleted: pictures, inside the trash. OutputError where the folder cannot be written.
        """
        gone = []
        for one in self.listed():
            if deletions is not None and one.deletion not in deletions:
                continue
            try:
                self.thrown(one.deletion, one.name).unlink()
            except SettingError:
                continue  # somebody else took it away meanwhile
            except OSError as error:
                raise output_error(self.folder / one.deletion / one.name, error) from error
            gone.append(one)
        for deletion in {one.deletion for one in gone}:
            self._tidy(deletion)
        return gone

    def picture(self, name: str) -> Path:
        """The file of a picture's name below the outputs. SettingError where it is none, or leads out of the folder."""
        return _inside(self.root, name)

    def thrown(self, deletion: str, name: str) -> Path:
        """The file of a picture in the trash. SettingError."""
        place = self.folder / deletion
        if not DELETION.fullmatch(deletion) or self.folder.is_symlink() or place.is_symlink():
            raise SettingError(f"there was no deletion {deletion[:40]!r}")
        return _inside(place, name)

    def _tidy(self, deletion: str) -> None:
        """Remove the folders of a deletion that hold nothing any more."""
        for folder, _, _ in os.walk(self.folder / deletion, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def move_new(source: Path, target: Path) -> None:
    """Give a file another place on its file system. FileExistsError where that is taken."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        # a file system without hard links: take the name first, then put the file there
        os.close(os.open(target, os.O_CREAT | os.O_EXCL))
        os.replace(source, target)
        return
    os.unlink(source)


def _inside(root: Path, name: str) -> Path:
    plain = PurePosixPath(name)
    wrong = plain.is_absolute() or "\\" in name or ":" in name or any(ord(letter) < 32 for letter in name)
    if wrong or not plain.parts or any(part.startswith(".") for part in plain.parts):
        raise SettingError(f"{name[:80]!r} is no name of a picture in the outputs")
    base = root.resolve()
    path = base / plain
    try:
        here = path.is_file() and path.resolve().is_relative_to(base)
    except OSError:
        here = False  # a name longer than names may be
    if not here:
        raise SettingError(f"there is no picture {plain.name[:80]!r} any more", "Look again what there is.")
    return path
