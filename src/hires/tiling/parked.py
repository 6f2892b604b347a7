"""Where parts of a picture wait while others are worked on: in the host's memory, or in files."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import torch
from torch import Tensor

from hires.errors import MemoryLimitError
from hires.tiling.grid import Box
from hires.tiling.vae_run import Part

HOST = torch.device("cpu")


class Parking(Protocol):
    """Parts by number. `get` gives them back on a device; what is put under a number replaces what was there."""

    def put(self, number: int, part: Part) -> None: ...
    def get(self, number: int, device: torch.device) -> Part: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class MemoryParking:
    """In the host's memory."""

    def __init__(self) -> None:
        self._parts: dict[int, Part] = {}

    def put(self, number: int, part: Part) -> None:
        self._parts.pop(number, None)
        self._parts[number] = Part(
            _compact(part.x), part.box, None if part.kept is None else _compact(part.kept), part.kept_box
        )

    def get(self, number: int, device: torch.device) -> Part:
        return self._parts[number].to(device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.clear()


def _compact(tensor: Tensor) -> Tensor:
    """On the host, and without the lines around it that a view would keep alive."""
    return tensor.to(HOST).contiguous()


_Like = tuple[tuple[int, ...], torch.dtype]


@dataclass(frozen=True)
class _Parked:
    """What a part that lies in files was like."""

    x: _Like
    box: Box
    kept: _Like | None
    kept_box: Box | None


class DiskParking:
    """In files of a temporary folder.

    They are read and written, not mapped: pages of a mapped file count as the process's memory. The folder is made
    below `folder` (the system's temporary one if None) and removed at the end, whatever happens.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="hires-parked-", dir=folder))
        self._parts: dict[int, _Parked] = {}

    def put(self, number: int, part: Part) -> None:
        kept = None if part.kept is None else self._written(number, 1, part.kept)
        self._parts[number] = _Parked(self._written(number, 0, part.x), part.box, kept, part.kept_box)

    def _written(self, number: int, position: int, tensor: Tensor) -> _Like:
        raw = tensor.to(HOST).contiguous().view(torch.uint8).numpy()
        try:
            with self._path(number, position).open("wb") as file:
                file.write(raw.data)
        except OSError as error:
            raise MemoryLimitError(
                f"parking tiles in {self._root} failed: {error.strerror}",
                "Free space there, or take the mode exact-lowram.",
            ) from error
        return tuple(tensor.shape), tensor.dtype

    def get(self, number: int, device: torch.device) -> Part:
        part = self._parts[number]
        kept = None if part.kept is None else self._read(number, 1, part.kept)
        return Part(self._read(number, 0, part.x), part.box, kept, part.kept_box).to(device)

    def _read(self, number: int, position: int, like: _Like) -> Tensor:
        shape, dtype = like
        tensor = torch.empty(shape, dtype=dtype)
        with self._path(number, position).open("rb") as file:
            file.readinto(tensor.view(torch.uint8).numpy().data)
        return tensor

    def _path(self, number: int, position: int) -> Path:
        return self._root / f"{number}-{position}.bin"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
