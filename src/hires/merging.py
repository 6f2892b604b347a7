"""Merging checkpoints to a new file: what is asked for, the name it gets, what is written about it."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hires.errors import ModelFileError, OutputError, SettingError
from hires.metadata.files import Ledger, write_new
from hires.models.checkpoint import load_vae
from hires.models.endings import SAFETENSORS_SUFFIXES
from hires.models.export import ldm_vae_tensors
from hires.models.hashes import legacy_hash
from hires.models.inspection import inspect
from hires.models.merge_files import METHODS, MergePlan, Method, plan_merge, write_merge
from hires.models.names import match_name, stem
from hires.models.store import ModelStore
from hires.models.weights import Weights, main_dtype, open_weights

INTERPOLATIONS: Mapping[Method, str] = {
    "weighted sum": "Weighted sum",
    "add difference": "Add difference",
    "no interpolation": "No interpolation",
}
"""The methods as the web UI's metadata name them."""
METHODS_BY_COUNT: Mapping[int, Method] = {1: "no interpolation", 2: "weighted sum", 3: "add difference"}
"""What a merge of so many models is unless its method is stated."""


@dataclass(frozen=True)
class Merge:
    """What is asked for. Models are named as everywhere: by name, stem or hash.

    "weighted sum": first * (1 - multiplier) + second * multiplier. "add difference": first + (second - third) *
    multiplier. "no interpolation": the first alone, to convert it or to bake a VAE in. multiplier is 0 to 1. half
    writes float16 for float32. vae is a VAE's or checkpoint's name whose VAE takes the place of the first's. Tensors
    whose key the regular expression `discard` is found in are left out.
    """

    first: str
    second: str = ""
    third: str = ""
    method: Method = "weighted sum"
    multiplier: float = 0.3
    half: bool = False
    vae: str = ""
    discard: str = ""


@dataclass(frozen=True)
class Merged:
    """What a merge gave: the new file."""

    request: Merge
    path: Path
    tensors: int
    seconds: float

    @property
    def summary(self) -> str:
        """One line: tensors, size, time."""
        return (
            f"{self.path.name}: {self.tensors} tensors, {self.path.stat().st_size / 1e6:.0f} MB, {self.seconds:.1f} s"
        )


def check_merge(request: Merge) -> None:
    """SettingError for the first thing that does not belong to the method, or is out of range."""
    if request.method not in METHODS:
        raise SettingError(f"unknown method of merging {request.method!r}", f"Use one of {', '.join(METHODS)}.")
    if not 0 <= request.multiplier <= 1:
        raise SettingError(f"the multiplier must be from 0 to 1, not {request.multiplier}")
    wanted = next(count for count, method in METHODS_BY_COUNT.items() if method == request.method)
    named = [name for name in (request.first, request.second, request.third) if name]
    if len(named) != wanted:
        models = "model" if wanted == 1 else "models"
        hint = {1: "Name the first alone.", 2: "Name two.", 3: "Name A, B, and C, which B was made from."}[wanted]
        raise SettingError(f"{request.method} takes {wanted} {models}, not {len(named)}", hint)


def merge(
    store: ModelStore,
    request: Merge,
    out: Path | None = None,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    ledger: Ledger | None = None,
    left_before: float = 0.0,
) -> Merged:
    """Merge checkpoint files to a new one: `out`, or the web UI's name for it in the folder of checkpoints.

    Nothing is overwritten. A `ledger` keeps account of the file; temporary files of its name that were last written to
    before `left_before` (seconds since 1970) are left over from a run that was killed, and removed. Raises
    SettingError, ModelFileError, OutputError; Interrupted once `stop` is set.
    """
    started = time.perf_counter()
    check_merge(request)
    paths = [store.find("checkpoints", name) for name in (request.first, request.second, request.third) if name]
    opened = [open_weights(path) for path in paths]
    check_families(paths)
    plan = plan_merge(
        request.method,
        opened[0],
        opened[1] if len(opened) > 1 else None,
        opened[2] if len(opened) > 2 else None,
        request.multiplier,
        half=request.half,
        vae=vae_tensors(store, request.vae) if request.vae else None,
        discard=request.discard,
    )
    path = out if out is not None else checkpoints_folder(store) / file_name(request, paths, plan.suffix)
    if path.suffix.lower() not in SAFETENSORS_SUFFIXES:
        raise SettingError(f"a merge is written as .safetensors, not {path.suffix or 'without an ending'}: {path}")
    if path.exists():
        raise OutputError(f"{path} is there already", "Choose another name with --out.")
    remove_left(path, left_before)
    check_room(path, plan.bytes)
    texts = {**kept_metadata(opened[0]), **recipe(store, request, opened, plan)}
    try:
        write_new(
            path,
            lambda temporary: write_merge(
                plan, temporary, texts, on_progress=on_progress, stopped=lambda: stop is not None and stop.is_set()
            ),
            ledger,
        )
    except FileExistsError:
        raise OutputError(f"{path} is there already", "Choose another name with --out.") from None
    return Merged(request, path, len(plan.tensors), time.perf_counter() - started)


def remove_left(path: Path, before: float) -> None:
    """Remove the temporary files of a name that nobody has written to since a time."""
    temporary = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{8}\.tmp")
    with suppress(OSError):
        for left in [one for one in path.parent.iterdir() if temporary.fullmatch(one.name)]:
            if left.stat().st_mtime < before:
                left.unlink()


def check_families(paths: list[Path]) -> None:
    """ModelFileError where a file is no checkpoint, or the checkpoints are of several families."""
    found = [inspect(path, with_hash=False) for path in paths]
    for info in found:
        if info.problem:
            raise ModelFileError(info.problem)
        if info.kind not in ("checkpoint", "unet"):
            raise ModelFileError(f"{info.path.name} is no checkpoint ({info.path})", "Choose one that holds a UNet.")
    if len({info.family for info in found}) > 1:
        told = ", ".join(f"{info.path.name} is {info.family}" for info in found)
        raise ModelFileError(f"models of several families cannot be merged: {told}", "Choose models of one family.")


def vae_tensors(store: ModelStore, name: str) -> dict[str, Tensor]:
    """A VAE by the single-file layout's keys, in the precision of its file."""
    entry = match_name(store.entries("vae"), name)
    path = store.find("vae" if entry is not None else "checkpoints", name)
    tensors = ldm_vae_tensors(load_vae(path).vae)
    dtype = main_dtype(open_weights(path).tensors) if path.is_file() else torch.float32
    return {key: value.detach().to(dtype) for key, value in tensors.items()}


def checkpoints_folder(store: ModelStore) -> Path:
    """The user's folder of checkpoints; ComfyUI's name for it where there is none yet."""
    root = store.folders[0]
    own = [folder for folder in store.directories("checkpoints") if folder.is_relative_to(root)]
    return own[0] if own else root / "checkpoints"


def file_name(request: Merge, paths: list[Path], suffix: str = "") -> str:
    """`0.7(a) + 0.3(b).safetensors`, `a + 0.3(b - c).safetensors` or `a.safetensors`, as the web UI names merges."""
    names = [stem(path.name) for path in paths]
    multiplier = round(request.multiplier, 2)
    if request.method == "weighted sum":
        name = f"{round(1 - request.multiplier, 2)}({names[0]}) + {multiplier}({names[1]})"
    elif request.method == "add difference":
        name = f"{names[0]} + {multiplier}({names[1]} - {names[2]})"
    else:
        name = names[0]
    return f"{name}{suffix}.safetensors"


def check_room(path: Path, needed: int) -> None:
    """OutputError where the disk cannot take the file."""
    folder = next((parent for parent in path.absolute().parents if parent.is_dir()), Path("/"))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"no space left to write {path}: it takes {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free",
            "Free some disk space or choose another folder with --out.",
        )


def kept_metadata(weights: Weights) -> dict[str, str]:
    """What the first file says of itself, which holds for the merge as well; not its hashes nor its own recipe."""
    dropped = re.compile(r"^(format|sd_merge_|sshs_|modelspec\.hash|modelspec\.title)")
    return {key: value for key, value in weights.metadata.items() if not dropped.match(key)}


def recipe(store: ModelStore, request: Merge, opened: list[Weights], plan: MergePlan) -> dict[str, str]:
    """sd_merge_recipe and sd_merge_models: how the file was made, and from what, back to the first models."""
    hashes = [store.hashes.sha256(weights.path) for weights in opened]
    done: dict[str, Any] = {
        "type": "webui",
        "primary_model_hash": hashes[0],
        "secondary_model_hash": hashes[1] if len(hashes) > 1 else None,
        "tertiary_model_hash": hashes[2] if len(hashes) > 2 else None,
        "interp_method": INTERPOLATIONS[request.method],
        "multiplier": request.multiplier,
        "save_as_half": request.half,
        "custom_name": "",
        "config_source": 0,
        "bake_in_vae": request.vae or "None",
        "discard_weights": request.discard,
        "is_inpainting": plan.suffix == ".inpainting",
        "is_instruct_pix2pix": plan.suffix == ".instruct-pix2pix",
    }
    models: dict[str, Any] = {}
    for weights, sha256 in zip(opened, hashes, strict=True):
        models[sha256] = {
            "name": stem(weights.path.name),
            "legacy_hash": legacy_hash(weights.path),
            "sd_merge_recipe": parsed(weights.metadata.get("sd_merge_recipe")),
        }
        models |= parsed(weights.metadata.get("sd_merge_models")) or {}
    return {"sd_merge_recipe": json.dumps(done), "sd_merge_models": json.dumps(models)}


def parsed(text: str | None) -> dict[str, Any] | None:
    """A JSON object of a file's metadata; None for anything else."""
    try:
        found = json.loads(text or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
