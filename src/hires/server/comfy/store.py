"""What editors keep: their settings, their workflows. Files inside one folder, exchanged as a whole."""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from hires.errors import SettingError
from hires.metadata.files import output_error, write_new
from hires.server.comfy.places import inside, parts_of
from hires.server.faults import Refused

SETTINGS = "comfy.settings.json"
MOST_FILES = 20_000
OWN_FOLDERS = ("workflows", "subgraphs")
"""Folders that an editor has from the start, with nothing in them."""
AT_FIRST: Mapping[str, bytes] = {
    "user.css": b"",
    "comfy.templates.json": b"[]",
    "workflows/.index.json": b'{"bookmarks": []}',
}
"""What files that an editor reads at its start hold before it has written them."""
DEFAULTS: Mapping[str, Any] = {"Comfy.Notification.ShowVersionUpdates": False}
"""Settings until they are set: no news is fetched from anywhere."""
MOST_SETTINGS_BYTES = 10_000_000


def exchange(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, over the one that is there. OutputError."""
    temporary = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


class UserFiles:
    """The files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def settings(self) -> dict[str, Any]:
        """What is set, by id."""
        return {**DEFAULTS, **self._written()}

    def _written(self) -> dict[str, Any]:
        path = self.folder / SETTINGS
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise SettingError(f"the settings {path} cannot be read", "Correct the file or remove it.") from error
        return found if isinstance(found, dict) else {}

    def change(self, changes: Mapping[str, Any]) -> None:
        """Set some of the settings. OutputError."""
        with self._lock:
            data = json.dumps(self._written() | dict(changes), indent=2).encode()
            if len(data) > MOST_SETTINGS_BYTES:
                raise Refused(413, "Too Large", "the settings are too large")
            exchange(self.folder / SETTINGS, data)

    def path(self, name: str) -> Path:
        """The file of a name such as "workflows/a.json". Refused."""
        path = parts_of(name, hidden=True)
        if not path.parts:
            raise Refused(400, "Bad Request", "there is no name")
        return inside(self.folder, path)

    def found(self, name: str) -> Path:
        """A file that is there. Refused."""
        path = self.path(name)
        if not path.is_file():
            raise Refused(404, "Not Found", "there is no such file")
        return path

    def listed(self, name: str, recurse: bool) -> list[Path]:
        """The files of a folder, sorted. Refused."""
        folder = inside(self.folder, parts_of(name))
        if not folder.is_dir() and name in OWN_FOLDERS:
            return []
        if not folder.is_dir():
            raise Refused(404, "Not Found", "there is no such folder")
        found = []
        for path in sorted(folder.rglob("*") if recurse else folder.iterdir()):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if not hidden and path.is_file() and path.resolve().is_relative_to(self.folder.resolve()):
                found.append(path)
            if len(found) >= MOST_FILES:
                break
        return found

    def entries(self, name: str) -> list[dict[str, Any]]:
        """What lies in a folder, folders too, sorted; "" for the one of all. Times in seconds. Refused."""
        folder = inside(self.folder, parts_of(name))
        if not folder.is_dir():
            if not name or name in OWN_FOLDERS:
                return []
            raise Refused(404, "Not Found", "there is no such folder")
        root, found = self.folder.resolve(), list[dict[str, Any]]()
        for path in sorted(folder.iterdir())[:MOST_FILES]:
            if path.name.startswith(".") or not path.resolve().is_relative_to(root):
                continue
            told: dict[str, Any] = {"name": path.name, "path": path.relative_to(root).as_posix()}
            if path.is_dir():
                found.append(told | {"type": "directory"})
            elif path.is_file():
                status = path.stat()
                found.append(told | {"type": "file", "size": status.st_size, "modified": status.st_mtime})
        return found

    def write(self, name: str, data: bytes, overwrite: bool) -> Path:
        """Write a file. Refused with 409 where it is there and is not to be overwritten; OutputError."""
        path = self.path(name)
        self._check_ancestors(path)
        if overwrite:
            exchange(path, data)
            return path
        try:
            return write_new(path, lambda temporary: _put(temporary, data))
        except FileExistsError as error:
            raise Refused(409, "Conflict", "a file of that name is there already") from error

    def move(self, name: str, to: str, overwrite: bool) -> Path:
        """Give a file another name. Refused as `write`."""
        source, target = self.found(name), self.path(to)
        self._check_ancestors(target)
        with self._lock:
            if target.exists() and not overwrite:
                raise Refused(409, "Conflict", "a file of that name is there already")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
            except OSError as error:
                raise output_error(target, error) from error
        return target

    def _check_ancestors(self, path: Path) -> None:
        """Refused where a file stands where a folder is wanted, or the other way round."""
        root = self.folder.resolve()
        between = [one for one in path.parents if one != root and one.is_relative_to(root)]
        if path.is_dir() or any(one.is_file() for one in between):
            raise Refused(409, "Conflict", "a folder or a file stands in its place")

    def info(self, path: Path, root: Path | None = None) -> dict[str, Any]:
        """A file as lists tell it, with times in seconds."""
        status = path.stat()
        return {
            "path": path.relative_to(root or self.folder.resolve()).as_posix(),
            "size": status.st_size,
            "modified": status.st_mtime,
            "created": status.st_ctime,
        }

    def relative(self, path: Path) -> PurePosixPath:
        """Its path below the folder."""
        return PurePosixPath(path.relative_to(self.folder.resolve()).as_posix())


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)
