"""The options of the server: checked as a whole before one is changed, and kept in a file."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hires.errors import OutputError, SettingError
from hires.server.option_table import CHOICES, OPTIONS


class UnknownOption(SettingError):  # noqa: N818 - said to a client
    """A key that is no option, or a value that an option cannot have."""


def checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes with values of the options' kinds; UnknownOption for the first that cannot be."""
    return {key: _value(key, value) for key, value in changes.items() if key != "sd_checkpoint_hash"}


def _value(key: str, value: Any) -> Any:
    if key not in OPTIONS:
        raise UnknownOption(f"there is no option {key!r}", "The options route lists them.")
    default = OPTIONS[key].default
    if value is None:
        return default
    kind = type(default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not kind:
        raise UnknownOption(f"the option {key} must be a {kind.__name__}, not {value!r}")
    if key in CHOICES and value not in CHOICES[key]:
        raise UnknownOption(f"the option {key} cannot be {value!r}", f"Use one of {', '.join(CHOICES[key])}.")
    if OPTIONS[key].use == "only" and value != default:
        raise UnknownOption(f"the option {key} can only be {default!r} here, not {value!r}", "Leave it out.")
    return value


class Options:
    """Values by key. With a `file`, they are read from it and written to it."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._values = {key: option.default for key, option in OPTIONS.items()}
        if file is not None and file.is_file():
            self._values |= _stored(file)

    def all(self, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A copy of all values, with `overrides` over them. UnknownOption."""
        changes = checked(overrides or {})
        with self._lock:
            return self._values | changes

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Change options: all, or none where one cannot be. UnknownOption, OutputError."""
        new = checked(changes)
        with self._lock:
            values = self._values | new
            if self._file is not None:
                _store(self._file, values)
            self._values = values


def _stored(file: Path) -> dict[str, Any]:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(f"the options {file} cannot be read: {error}", "Correct the file or remove it.") from error
    if not isinstance(stored, dict):
        raise SettingError(f"the options {file} are no JSON object", "Correct the file or remove it.")
    return checked({key: value for key, value in stored.items() if key in OPTIONS})


def _store(file: Path, values: Mapping[str, Any]) -> None:
    """Exchange the file as a whole; it holds what differs from the defaults."""
    changed = {key: value for key, value in values.items() if value != OPTIONS[key].default}
    name = ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(changed, out, indent=2)
        os.replace(name, file)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(name or ".none").unlink(missing_ok=True)
        raise OutputError(f"the options cannot be written to {file}: {error.strerror or error}") from error
