"""Hashes of model files as this field writes them, computed once a file and remembered beside the caller's caches."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hires.errors import ModelFileError

SHORT = 10  # hex digits of a checkpoint's hash in titles and infotext
LORA_SHORT = 12
CACHE_NAME = "model-hashes.json"


def sha256(path: Path, skip: int = 0) -> str:
    """sha256 of a file's bytes from `skip` on, 64 hex digits, read as a stream."""
    try:
        with path.open("rb") as file:
            file.seek(skip)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise ModelFileError(f"{path.name} cannot be read: {problem.strerror or problem} ({path})") from None


def legacy_hash(path: Path) -> str:
    """The 8 hex digits that A1111 wrote until 2023: sha256 of 64 KiB at 1 MiB. Not unique; for looking up only."""
    with path.open("rb") as file:
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]


def safetensors_header(path: Path) -> tuple[int, Mapping[str, Any]]:
    """(bytes before the tensors, metadata) of a safetensors file; (0, {}) for any other file."""
    with path.open("rb") as file:
        head = file.read(9)
        if len(head) < 9 or head[8:9] != b"{":
            return 0, {}
        (length,) = struct.unpack("<Q", head[:8])
        if length + 8 > path.stat().st_size:
            return 0, {}
        try:
            header = json.loads(b"{" + file.read(length - 1))
        except ValueError:
            return 0, {}
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return 8 + length, metadata if isinstance(metadata, dict) else {}


class HashCache:
    """Hashes by path, size and time of change; kept in a JSON file in `folder`, or in memory only."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file = None if folder is None else folder / CACHE_NAME
        self._known: dict[str, dict[str, Any]] = self._stored()

    def sha256(self, path: Path) -> str:
        """sha256 of a whole file, 64 hex digits."""
        return self._remembered("sha256", path, lambda: sha256(path))

    def short(self, path: Path) -> str:
        """The 10 hex digits that name a checkpoint or VAE."""
        return self.sha256(path)[:SHORT]

    def lora(self, path: Path) -> str:
        """The 12 hex digits that name a LoRA: those its trainer wrote, or sha256 without the safetensors header."""
        return self._remembered("lora", path, lambda: lora_hash(path))

    def known_sha256(self, path: Path) -> str | None:
        """The hash if it is known already."""
        return self._known.get(f"sha256 {path.resolve()} {stamp(path)}", {}).get("hash")

    def _remembered(self, kind: str, path: Path, compute: Any) -> str:
        key = f"{kind} {path.resolve()} {stamp(path)}"
        if key not in self._known:
            self._known[key] = {"hash": compute()}
            self._store()
        return str(self._known[key]["hash"])

    def _stored(self) -> dict[str, dict[str, Any]]:
        if self._file is None:
            return {}
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}  # not there yet, or damaged: computed again
        known = stored if isinstance(stored, dict) else {}
        return {key: value for key, value in known.items() if isinstance(value, dict) and "hash" in value}

    def _store(self) -> None:
        if self._file is None:
            return
        self._known = self._stored() | self._known  # another process may have added some
        # A cache that cannot be written costs time, not correctness.
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._file.parent, prefix=CACHE_NAME, suffix=".part")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self._known, file, indent=0)
            os.replace(name, self._file)


def stamp(path: Path) -> str:
    """Size and time of change, which a cached hash is only good for."""
    try:
        status = path.stat()
    except OSError as problem:
        raise ModelFileError(f"{path.name} cannot be read: {problem.strerror or problem} ({path})") from None
    return f"{status.st_size} {status.st_mtime_ns}"


def lora_hash(path: Path) -> str:
    """The 12 hex digits of a LoRA, without a cache."""
    try:
        begin, metadata = safetensors_header(path)
    except OSError as problem:
        raise ModelFileError(f"{path.name} cannot be read: {problem.strerror or problem} ({path})") from None
    stated = str(metadata.get("sshs_model_hash", ""))
    if re.fullmatch(r"[0-9a-fA-F]{12,64}", stated):
        return stated[:LORA_SHORT].lower()
    return sha256(path, begin)[:LORA_SHORT]
