"""Finished pieces of long work, kept on disk as they come, so that a run that was killed goes on where it stood.

A piece is named by everything that it depends on: asking for it again is enough to go on, and what was kept for other
work is never taken by mistake. A piece that is gone, broken or could not be written costs its work again, and nothing
else.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors.torch import load, save
from torch import Tensor

SUFFIX = ".safetensors"
DAY = 86_400.0
Values = Mapping[str, Any]


class KeptWork:
    """A folder of pieces: mappings of names to tensors and JSON values.

    It is bounded: pieces older than `days` go when it is opened, the oldest when there are more than `limit_bytes`.
    Several processes may use one folder.
    """

    def __init__(self, folder: Path, limit_bytes: int = 4_000_000_000, days: float = 14.0) -> None:
        self.folder, self.limit_bytes, self.days = folder, limit_bytes, days
        self._lock = threading.Lock()
        self._used: set[Path] = set()
        self._held: int | None = None
        self._failed = False

    def get(self, name: str) -> dict[str, Any] | None:
        """A piece, whole and unharmed; None where there is none."""
        path = self._path(name)
        with self._lock:
            self._used.add(path)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        try:
            head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
            tensors = load(data)
            if head["digest"] != _digest(name, head["values"], tensors):
                return None
        except Exception:  # whatever is wrong with the file, its work is done again
            return None
        values: dict[str, Any] = json.loads(head["values"])
        return {**values, **tensors}

    def put(self, name: str, values: Values) -> Path:
        """Keep a piece, in the place of an earlier one of its name. A full or read-only disk ends the keeping."""
        path = self._path(name)
        if self._failed:
            return path
        tensors = {key: value.detach().cpu().contiguous() for key, value in values.items() if isinstance(value, Tensor)}
        rest = {key: value for key, value in values.items() if not isinstance(value, Tensor)}
        said = json.dumps(rest)
        head = {"values": said, "digest": _digest(name, said, tensors)}
        with self._lock:
            self._used.add(path)
            try:
                self._write(path, save(tensors, head))
            except OSError:
                self._failed = True
        return path

    def try_again(self) -> None:
        """There may be room on the disk again."""
        self._failed = False

    def mark(self) -> frozenset[Path]:
        """What was asked for or kept up to now; for `finish`."""
        with self._lock:
            return frozenset(self._used)

    def finish(self, since: frozenset[Path] = frozenset()) -> None:
        """The work is done: let go of every piece that it asked for or kept, but for those of a mark."""
        with self._lock:
            for path in self._used - since:
                self._remove(path)
            self._used &= since

    def leave(self) -> None:
        """The work was not finished: its pieces stay for the next time."""
        with self._lock:
            self._used = set()

    def _path(self, name: str) -> Path:
        return self.folder / (hashlib.sha256(name.encode()).hexdigest() + SUFFIX)

    def _write(self, path: Path, data: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._held is None:
            self._clean()
        temporary = path.with_suffix(f".{uuid4().hex}")
        try:
            temporary.write_bytes(data)
            before = _size(path)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        self._held = (self._held or 0) + len(data) - before
        if self._held > self.limit_bytes:
            self._clean(path)

    def _clean(self, keep: Path | None = None) -> None:
        """Drop what is too old, then the oldest down to nine tenths of the limit."""
        found: list[tuple[float, int, Path]] = []
        for entry in self.folder.iterdir():
            with suppress(OSError):  # another process may have removed it
                status = entry.stat()
                found.append((status.st_mtime, status.st_size, entry))
        total = sum(size for _, size, _ in found)
        for changed, size, entry in sorted(found):
            old = changed < time.time() - self.days * DAY
            if entry != keep and (old or total > 0.9 * self.limit_bytes):
                total -= size
                entry.unlink(missing_ok=True)
        self._held = total

    def _remove(self, path: Path) -> None:
        size = _size(path)
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return
        if self._held is not None:
            self._held -= size


class Pieces:
    """The numbered pieces of one part of the work: tiles, each a tensor."""

    def __init__(self, kept: KeptWork, part: str) -> None:
        self._kept, self._part = kept, part
        self._put: frozenset[Path] = frozenset()

    def get(self, index: int) -> Tensor | None:
        found = self._kept.get(f"{self._part} {index}")
        return None if found is None else found.get("tensor")

    def put(self, index: int, tensor: Tensor) -> None:
        self._put |= {self._kept.put(f"{self._part} {index}", {"tensor": tensor})}

    def mark(self) -> frozenset[Path]:
        return self._kept.mark()

    def settle(self, since: frozenset[Path]) -> None:
        """Let go of what was kept on the way to the pieces, since the mark; of these nothing."""
        self._kept.finish(since | self._put)
        self._put = frozenset()


def _digest(name: str, values: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(repr((name, values)).encode())
    for key, tensor in sorted(tensors.items()):
        digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if tensor.numel():
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
