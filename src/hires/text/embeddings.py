"""Textual-inversion embeddings (Gal et al. 2022): files of learned token vectors.

Layouts in use: the web UI's `string_to_param` with one (n, width) tensor; `emb_params`; SDXL's `clip_l` and
`clip_g`; any other file with a single tensor. Pickled files are read with torch's restricted unpickler only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from safetensors.torch import load_file
from torch import Tensor

from hires.errors import ModelFileError
from hires.models.clip import TextStack
from hires.text.tokenizer import Cleaning, tokenize

log = logging.getLogger(__name__)

EXTENSIONS = (".safetensors", ".pt", ".bin")
_IMAGE_CHUNK = "sd-ti-embedding"


@dataclass(frozen=True)
class Embedding:
    """The vectors of one file: text tower ("l", "g", "h" or "" for any) -> (n, width) float32."""

    name: str
    path: Path
    vectors: Mapping[str, Tensor]

    def for_tower(self, kind: str) -> Tensor:
        """What tower `kind` is to be given; where the file says nothing of it, its first tensor."""
        if kind in self.vectors:
            return self.vectors[kind]
        return next(iter(self.vectors.values()))

    @property
    def short_hash(self) -> str:
        """First 12 hex digits of the file's sha256, as written under `TI hashes`."""
        return short_hash(self.path)


@dataclass(frozen=True)
class Trigger:
    """A file that may be called by its name, and the tokens of that name."""

    name: str
    path: Path
    ids: tuple[int, ...]


def find_by_name(name: str, folders: Sequence[Path]) -> Path | None:
    """The file that `embedding:name` means: `name` may hold subfolders and the extension, and never leaves them."""
    for folder in _all_folders(folders):
        path = os.path.normpath(os.path.join(folder, name))
        if not path.startswith(str(folder) + os.sep):
            continue
        for candidate in (path, *(path + extension for extension in EXTENSIONS)):
            if os.path.isfile(candidate):
                return Path(candidate)
    return None


def triggers(folders: Sequence[Path], cleaning: Cleaning = "webui") -> dict[int, list[Trigger]]:
    """Every embedding by the first token of its name, the longest names first (first folder wins a name)."""
    by_name: dict[str, Path] = {}
    for folder in _all_folders(folders):
        for path in sorted(folder.iterdir()):
            name = _trigger_name(path)
            if name:
                by_name.setdefault(name, path)
    table: dict[int, list[Trigger]] = {}
    for name, path in by_name.items():
        ids = tuple(tokenize(name, cleaning))
        if ids:
            table.setdefault(ids[0], []).append(Trigger(name, path, ids))
    for entries in table.values():
        entries.sort(key=lambda entry: -len(entry.ids))
    return table


def match_triggers(
    tokens: Sequence[int], table: Mapping[int, Sequence[Trigger]], stack: TextStack
) -> list[list[int] | Embedding]:
    """Cut `tokens` at the embeddings they name; the longest name wins, files that do not fit `stack` are skipped."""
    parts: list[list[int] | Embedding] = []
    usable: dict[Path, Embedding | None] = {}
    plain: list[int] = []
    position = 0
    while position < len(tokens):
        for trigger in table.get(tokens[position], ()):
            if tuple(tokens[position : position + len(trigger.ids)]) != trigger.ids:
                continue
            if trigger.path not in usable:
                usable[trigger.path] = _load_fitting(trigger, stack)
            embedding = usable[trigger.path]
            if embedding is not None:
                parts += [plain, embedding] if plain else [embedding]
                plain = []
                position += len(trigger.ids)
                break
        else:
            plain.append(tokens[position])
            position += 1
    return [*parts, plain] if plain else parts


def _load_fitting(trigger: Trigger, stack: TextStack) -> Embedding | None:
    embedding = replace(load_embedding(trigger.path), name=trigger.name)
    widths = {kind: int(tensor.shape[-1]) for kind, tensor in embedding.vectors.items()}
    wanted = {clip.kind: clip.width for clip in stack.clips}
    if widths == wanted or (list(widths) == [""] and [widths[""]] == list(wanted.values())):
        return embedding
    log.warning("Embedding %s does not fit this model (width %d): skipped", trigger.name, sum(widths.values()))
    return None


def load_embedding(path: Path) -> Embedding:
    """Read an embedding file of any known layout; a broken one is a ModelFileError."""
    try:
        data = _read(path)
    except Exception as error:  # what a damaged pickle, archive or header raises has no common base
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelFileError(
            f"Embedding {path.name} cannot be read: {reason}", "Download it again, or move it out of the folder."
        ) from None
    vectors = {
        kind: tensor.detach().to("cpu", torch.float32).reshape(-1, tensor.shape[-1])
        for kind, tensor in _tensors(data)
        if tensor.ndim in (1, 2) and tensor.numel() > 0
    }
    if not vectors:
        raise ModelFileError(
            f"Embedding {path.name} holds no token vectors.", "Only textual-inversion files belong in this folder."
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in vectors.values()):
        raise ModelFileError(f"Embedding {path.name} holds values that are not numbers.", "Train or download it again.")
    return Embedding(path.stem, path, vectors)


def short_hash(path: Path) -> str:
    """First 12 hex digits of a file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def _all_folders(folders: Sequence[Path]) -> Iterator[Path]:
    for root in folders:
        for folder, inner, _ in os.walk(os.path.abspath(root), followlinks=True):
            inner.sort()
            if folder.count(os.sep) - os.path.abspath(root).count(os.sep) > 16:  # a link that points upwards
                inner.clear()
            yield Path(folder)


def _trigger_name(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if suffix in EXTENSIONS:
        return path.stem if path.is_file() else None
    if suffix != ".png" or path.stem.lower().endswith(".preview"):
        return None
    try:
        data = _read_image(path)
    except (OSError, ValueError, KeyError, Image.DecompressionBombError):
        return None  # a picture beside the embeddings
    name = data.get("name")
    return name if isinstance(name, str) and name else path.stem


def _read(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return load_file(str(path), device="cpu")
    if suffix == ".png":
        return _read_image(path)
    with torch.serialization.safe_globals([torch.nn.ParameterDict]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_image(path: Path) -> dict[str, Any]:
    """The JSON that the web UI writes into a PNG text chunk, its tensors turned back into tensors."""
    try:
        with Image.open(path) as image:
            packed = image.info[_IMAGE_CHUNK]
        data = json.loads(base64.b64decode(packed), object_hook=_tensor_from_json)
    except (UnidentifiedImageError, binascii.Error, TypeError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(data, dict):
        raise ValueError("its embedding data is not a table")
    return data


def _tensor_from_json(value: dict[str, Any]) -> Any:
    return torch.tensor(value["TORCHTENSOR"]) if "TORCHTENSOR" in value else value


def _tensors(data: Any) -> Iterator[tuple[str, Tensor]]:
    """(tower, tensor) pairs of a file's contents; the tower is "" where the layout names none."""
    if isinstance(data, Tensor):
        yield "", data
        return
    if isinstance(data, list):  # a list of {token: vectors}, whose tensors belong together
        parts = [tensor for item in data for _, tensor in _tensors(item)]
        if parts:
            width = parts[0].shape[-1]
            yield "", torch.cat([part.reshape(-1, width) for part in parts if part.shape[-1] == width])
        return
    if not isinstance(data, Mapping):
        return
    towers = {kind: data[f"clip_{kind}"] for kind in ("l", "g", "h") if isinstance(data.get(f"clip_{kind}"), Tensor)}
    if towers:
        yield from towers.items()
        return
    parameters = data.get("string_to_param", data)
    if isinstance(parameters, torch.nn.ParameterDict):
        parameters = dict(parameters._parameters)  # files older than torch 1.12 have no key list
    candidates = [parameters["emb_params"]] if "emb_params" in parameters else list(parameters.values())
    tensors = [value for value in candidates if isinstance(value, Tensor)]
    if tensors:
        yield "", tensors[0]
