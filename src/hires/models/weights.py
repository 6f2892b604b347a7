"""Weight files, opened without reading their tensors: names, shapes and precisions first, one tensor at a time later.

Safetensors files and zipped torch files are mapped, so a tensor that is used as it lies costs no copy. Pickles are
only ever read by torch's weights-only reader; one that wants to run code is refused.
"""

from __future__ import annotations

import json
import pickle
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hires.errors import ModelFileError

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NESTS = ("state_dict", "model_state_dict", "params_ema", "params-ema", "params", "model", "net")
"""Where torch files keep their tensors when not at the top: checkpoints, then upscalers (averaged weights first)."""
LONGEST_HEADER = 100_000_000  # safetensors' own limit, bytes


@dataclass(frozen=True)
class TensorInfo:
    """What a file says of a tensor before it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        count = 1
        for side in self.shape:
            count *= side
        return count

    @property
    def bytes(self) -> int:
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class Weights(ABC):
    """An open weights file. `tensors` tells what is in it; `read` maps one tensor; `path` is for messages."""

    path: Path
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @abstractmethod
    def read(self, key: str) -> Tensor:
        """The tensor as it lies in the file: a view of the mapped file where the format allows."""

    def read_as(self, key: str, dtype: torch.dtype, *, mapped: bool = True) -> Tensor:
        """The tensor in `dtype`. If that is the file's and `mapped`, it stays in the mapped file; else it is in memory
        of its own, and the file's pages do not stay beside it."""
        return self.read(key).to(dtype, copy=not mapped)

    def error(self, what: str, hint: str = "") -> ModelFileError:
        """The error that says `what` is wrong with this file."""
        return ModelFileError(f"{self.path.name}: {what} ({self.path})", hint)


@dataclass(frozen=True)
class SafetensorsWeights(Weights):
    """A safetensors file. `offsets` holds (begin, end) in bytes from the start of the file."""

    offsets: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    handle: Any = None

    def read(self, key: str) -> Tensor:
        tensor: Tensor = self.handle.get_tensor(key)
        return tensor

    def read_as(self, key: str, dtype: torch.dtype, *, mapped: bool = True) -> Tensor:
        info = self.tensors[key]
        if info.dtype == dtype and mapped:
            return self.read(key)
        begin, end = self.offsets[key]
        # Read, not mapped: a mapped page stays resident beside its converted copy for as long as the file is open.
        raw = torch.empty(end - begin, dtype=torch.uint8)
        with self.path.open("rb", buffering=0) as file:
            file.seek(begin)
            view = memoryview(raw.numpy().data)
            while len(view) > 0:
                count = file.readinto(view)
                if not count:
                    raise self.error("the file ended early while it was read", "Fetch it again.")
                view = view[count:]
        return raw.view(info.dtype).reshape(info.shape).to(dtype)


@dataclass(frozen=True)
class LoadedWeights(Weights):
    """A torch file: its tensors are mapped by torch where the file is a zip archive, else in memory."""

    state: Mapping[str, Tensor] = field(default_factory=dict)

    def read(self, key: str) -> Tensor:
        return self.state[key]


@dataclass(frozen=True)
class JoinedWeights(Weights):
    """Several files that hold one network between them (diffusers' shards)."""

    owners: Mapping[str, Weights] = field(default_factory=dict)

    def read(self, key: str) -> Tensor:
        return self.owners[key].read(key)

    def read_as(self, key: str, dtype: torch.dtype, *, mapped: bool = True) -> Tensor:
        return self.owners[key].read_as(key, dtype, mapped=mapped)


def open_weights(path: Path) -> Weights:
    """Open a weights file by what it holds, whatever its ending says; ModelFileError for anything else."""
    if path.is_dir():
        raise ModelFileError(f"{path.name} is a folder, not a weights file ({path})")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise ModelFileError(f"there is no weights file {path}") from None
    except OSError as problem:
        raise ModelFileError(f"{path.name} cannot be read: {problem.strerror or problem} ({path})") from None
    if size == 0:
        raise ModelFileError(f"{path.name} is empty ({path})", "Fetch it again.")
    if len(head) >= 9 and head[8:9] == b"{":
        return open_safetensors(path)
    # "PK": torch's zip files; 0x80: a bare pickle, torch's format until 1.6.
    if head[:2] == b"PK" or head[:1] == b"\x80":
        return open_pickle(path, mapped=head[:2] == b"PK")
    raise ModelFileError(
        f"{path.name} is not a weights file: it is {foreign_content(head)} ({path})",
        "Weights are .safetensors files or torch's .ckpt, .pt, .pth and .bin.",
    )


def foreign_content(head: bytes) -> str:
    """What a file's first bytes say it is, in words."""
    signatures = {
        b"\xff\xd8\xff": "a JPEG picture",
        b"\x89PNG": "a PNG picture",
        b"RIFF": "a WebP picture",
        b"GGUF": "a GGUF file, which hires does not read",
        b"<": "a web page",
        b"version https://": "a Git LFS pointer, not the file itself",
        b"{": "a JSON file",
        b"\x1f\x8b": "a gzip archive",
        b"Rar!": "a RAR archive",
    }
    for signature, name in signatures.items():
        if head.lstrip().startswith(signature):
            return name
    return "of no known kind, or damaged"


def open_safetensors(path: Path) -> SafetensorsWeights:
    """Open a .safetensors file; its header is checked by the safetensors library."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(size - 8, LONGEST_HEADER):
            raise ModelFileError(
                f"{path.name} is truncated or damaged: its header is cut off ({path})", "Fetch it again."
            )
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise ModelFileError(
                f"{path.name} is damaged: its header is not JSON ({path})", "Fetch it again."
            ) from None
    try:
        metadata = dict(header.pop("__metadata__", None) or {})
        offsets = {
            key: (8 + length + entry["data_offsets"][0], 8 + length + entry["data_offsets"][1])
            for key, entry in header.items()
        }
        unknown = sorted({entry["dtype"] for entry in header.values()} - set(DTYPES))
        if unknown:
            raise ModelFileError(
                f"{path.name} holds numbers of type {', '.join(unknown)}, which hires does not read ({path})"
            )
        tensors = {key: TensorInfo(tuple(entry["shape"]), DTYPES[entry["dtype"]]) for key, entry in header.items()}
    except (KeyError, TypeError, AttributeError, IndexError):
        raise ModelFileError(
            f"{path.name} is damaged: its header is not a list of tensors ({path})", "Fetch it again."
        ) from None
    end = max((end for _, end in offsets.values()), default=8 + length)
    if end > size:
        raise ModelFileError(
            f"{path.name} is truncated: {size} bytes of {end} ({path})", "The download broke off; fetch it again."
        )
    try:
        handle: Any = safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as problem:
        raise ModelFileError(f"{path.name} is damaged: {problem} ({path})", "Fetch it again.") from None
    return SafetensorsWeights(path, tensors, {key: str(value) for key, value in metadata.items()}, offsets, handle)


class TrainingRecord:
    """Stands in for objects of the training library that old checkpoints carry beside their weights."""

    def __setstate__(self, state: object) -> None:
        """What the object held does not matter here."""


@contextmanager
def old_checkpoint_globals() -> Iterator[None]:
    """Let torch's weights-only reader pass over the harmless records of Stable Diffusion 1.x' first checkpoints."""
    lightning = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
    with torch.serialization.safe_globals([(TrainingRecord, lightning)]):
        yield


def open_pickle(path: Path, mapped: bool) -> LoadedWeights:
    """Open a torch file with the weights-only reader; nesting is undone."""
    try:
        with old_checkpoint_globals():
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as problem:
        raise ModelFileError(
            f"{path.name} is a pickle that wants to run code ({wanted_global(problem)}), so it was not opened ({path})",
            "Use a .safetensors version of it.",
        ) from None
    except Exception as problem:  # torch raises RuntimeError, EOFError, KeyError, ... for one and the same broken file
        raise ModelFileError(
            f"{path.name} is truncated or damaged: torch cannot read it ({type(problem).__name__}) ({path})",
            "Fetch it again.",
        ) from None
    if isinstance(content, Mapping):
        content = next((content[key] for key in NESTS if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping):
        raise ModelFileError(f"{path.name} holds a {type(content).__name__}, not named tensors ({path})")
    nested = {
        f"{key}.{name}": value
        for key, inner in content.items()
        if isinstance(inner, Mapping)
        for name, value in inner.items()
    }
    named = {**content, **nested}  # embeddings and upscalers keep their tensors one level down
    state = {str(key): value.detach() for key, value in named.items() if isinstance(value, Tensor)}
    tensors = {key: TensorInfo(tuple(value.shape), value.dtype) for key, value in state.items()}
    return LoadedWeights(path, tensors, {}, state)


def wanted_global(problem: Exception) -> str:
    """The name of the class or function that a refused pickle asked for, from torch's message."""
    words = str(problem).split()
    for before, word in pairwise(words):
        if before == "GLOBAL":
            return word.strip("`'\",")
    return "an object"


def join_weights(path: Path, parts: Iterable[Weights]) -> Weights:
    """Several open files as one."""
    opened = list(parts)
    if len(opened) == 1:
        return opened[0]
    owners = {key: part for part in opened for key in part.tensors}
    tensors = {key: owner.tensors[key] for key, owner in owners.items()}
    metadata = {key: value for part in opened for key, value in part.metadata.items()}
    return JoinedWeights(path, tensors, metadata, owners)


def main_dtype(tensors: Mapping[str, TensorInfo]) -> torch.dtype:
    """The precision that most of the numbers have."""
    counts: dict[torch.dtype, int] = {}
    for info in tensors.values():
        if info.dtype.is_floating_point:
            counts[info.dtype] = counts.get(info.dtype, 0) + info.numel
    return max(counts, key=lambda dtype: counts[dtype]) if counts else torch.float32
