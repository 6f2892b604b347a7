"""Model files by name: which folders hold which kind, and which file a name means, however people write it."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hires.models.endings import WEIGHT_SUFFIXES, is_diffusers_folder

# Kind (ComfyUI's folder type) -> folder names below a models folder: ComfyUI's, then A1111's.
FOLDERS: Mapping[str, tuple[str, ...]] = {
    "checkpoints": ("checkpoints", "Stable-diffusion"),
    "loras": ("loras", "Lora", "LyCORIS"),
    "vae": ("vae", "VAE"),
    "embeddings": ("embeddings",),
    "upscale_models": ("upscale_models", "ESRGAN", "RealESRGAN", "SwinIR", "DAT", "HAT", "ScuNET", "LDSR"),
    "captioners": ("captioners", "BLIP", "interrogate", "taggers"),
    "face_restorers": ("face_restorers", "facerestore_models", "facedetection", "GFPGAN", "Codeformer"),
    "controlnet": ("controlnet", "t2i_adapter", "ControlNet"),
    "text_encoders": ("text_encoders", "clip"),
    "diffusion_models": ("diffusion_models", "unet"),
    "clip_vision": ("clip_vision",),
    "hypernetworks": ("hypernetworks",),
    "vae_approx": ("vae_approx", "VAE-approx"),
    "style_models": ("style_models",),
    "gligen": ("gligen",),
    "diffusers": ("diffusers",),
    "configs": ("configs",),
}
ALIASES: Mapping[str, str] = {"clip": "text_encoders", "unet": "diffusion_models", "t2i_adapter": "controlnet"}


@dataclass(frozen=True)
class Entry:
    """A model file: its name relative to its folder, and where it is."""

    name: str
    path: Path


def model_files(directory: Path, suffixes: Sequence[str], *, folders: bool) -> Iterator[Path]:
    """Files below a directory with one of the suffixes, and, if `folders`, diffusers' model folders; links followed."""
    seen: set[tuple[int, int]] = set()
    for root, below, files in os.walk(directory, followlinks=True):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen:
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        if is_diffusers_folder(Path(root)) and Path(root) != directory:
            below.clear()
            if folders:
                yield Path(root)
            continue
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(root, name) for name in files if name.lower().endswith(tuple(suffixes)) and name[0] != ".")


def split_title(name: str) -> tuple[str, str | None]:
    """(name without a trailing "[hash]", the hash): "model.safetensors [0123456789]", or a hash alone."""
    if match := re.fullmatch(r"\s*(.*?)\s*\[([0-9a-fA-F]{8,64})\]\s*", name):
        return match[1], match[2].lower()
    if re.fullmatch(r"[0-9a-fA-F]{8}|[0-9a-fA-F]{10,64}", name.strip()):
        return name, name.strip().lower()
    return name, None


def folded(name: str) -> str:
    """A name as it is compared when the exact one is not there: one separator, one case, underscores for spaces."""
    return name.replace("\\", "/").strip().lower().replace(" ", "_")


def match_name(entries: Sequence[Entry], name: str) -> Entry | None:
    """The entry of that name: exact, with other separators or case, then by a unique file name or stem."""
    wanted = name.replace("\\", "/")
    plain: list[Callable[[Entry], str]] = [
        lambda entry: entry.name.replace("\\", "/"),
        lambda entry: folded(entry.name),
        lambda entry: folded(entry.path.name),
        lambda entry: folded(stem(entry.name)),
        lambda entry: folded(stem(entry.path.name)),
    ]
    for look, target in zip(plain, (wanted, *[folded(name)] * 4), strict=True):
        found = [entry for entry in entries if look(entry) == target]
        if len(found) == 1:
            return found[0]
    return None


def stem(name: str) -> str:
    """A name without a weights file's ending; other dots are part of it."""
    ending = next((suffix for suffix in WEIGHT_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(ending)] if ending else name


def close_names(name: str, names: Sequence[str]) -> list[str]:
    """Up to three names that look like it, or contain it."""
    by_stem = {folded(stem(one)): one for one in names}
    wanted = folded(stem(split_title(name)[0]))
    close = difflib.get_close_matches(wanted, list(by_stem), n=3, cutoff=0.5)
    containing = [one for one in by_stem if wanted and wanted in one and one not in close]
    return [by_stem[one] for one in (close + containing)[:3]]
