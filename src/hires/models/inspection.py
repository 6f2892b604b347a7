"""What a model file is, without loading its weights: for listings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from hires.errors import ModelFileError
from hires.models.contents import Contents, family_of, weights_contents
from hires.models.endings import is_diffusers_folder
from hires.models.folder import folder_contents
from hires.models.hashes import HashCache
from hires.models.kinds import recognise
from hires.models.sizes import LayoutError
from hires.models.weights import TensorInfo, main_dtype, open_weights

TEXT_NAMES: Mapping[str, str] = {"l": "CLIP-L", "h": "OpenCLIP-H", "g": "OpenCLIP-G"}


@dataclass(frozen=True)
class ModelInfo:
    """A line of a listing. `family` is "" where a file does not tell; `hash` is a checkpoint's 10 hex digits, a LoRA's
    12, "" for a folder; `problem` says why a file cannot be used, "" if it can."""

    name: str
    path: Path
    kind: str
    family: str
    precision: str
    size: int
    hash: str
    problem: str = ""


def inspect(
    path: Path, hashes: HashCache | None = None, *, name: str | None = None, with_hash: bool = True
) -> ModelInfo:
    """Kind, family, precision, size and hash of a file or diffusers folder. An unusable file has `problem` set."""
    hashes = hashes or HashCache()
    name = name or path.name
    try:
        if is_diffusers_folder(path):
            contents = folder_contents(path)
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            return ModelInfo(name, path, "diffusers", family_name(contents), precision(contents.dtype), size, "")
        weights = open_weights(path)
    except ModelFileError as problem:
        size = path.stat().st_size if path.is_file() else 0
        return ModelInfo(name, path, "unknown", "", "", size, "", str(problem))
    sign = recognise(weights.tensors.keys())
    family, problem_text, kind = "", "", sign.kind
    if kind in ("checkpoint", "unet", "vae", "text_encoder", "other"):
        try:
            contents = weights_contents(weights)
            family = family_name(contents)
            kind = kind_of(contents)
        except ModelFileError as problem:
            problem_text = str(problem)
    elif kind == "lora":
        family = lora_family(weights.tensors)
    elif kind == "unknown":
        problem_text = str(weights.error(f"this is {sign.label}"))
    found = "" if not with_hash else hashes.lora(path) if kind == "lora" else hashes.short(path)
    size = path.stat().st_size
    return ModelInfo(name, path, kind, family, precision(main_dtype(weights.tensors)), size, found, problem_text)


def text_widths(path: Path) -> set[int]:
    """The widths of a model's text encoders, without loading them. ModelFileError where the file cannot be read."""
    contents = folder_contents(path) if is_diffusers_folder(path) else weights_contents(open_weights(path))
    return {network.pieces["embeddings.token_embedding.weight"].shape[-1] for _, network in contents.texts}


def unet_channels(path: Path) -> int:
    """What a model's UNet is shown: 4 channels, 8 (InstructPix2Pix), 9 (inpainting); 4 where it has none."""
    contents = folder_contents(path) if is_diffusers_folder(path) else weights_contents(open_weights(path))
    first = None if contents.unet is None else contents.unet.pieces.get("conv_in.weight")
    return 4 if first is None else int(first.shape[1])


def precision(dtype: torch.dtype) -> str:
    """float16, bfloat16 ..."""
    return str(dtype).removeprefix("torch.")


def kind_of(contents: Contents) -> str:
    """checkpoint, unet, vae or text_encoder, by the networks there are."""
    if contents.unet is not None:
        return "checkpoint" if contents.vae is not None or contents.texts else "unet"
    return "vae" if contents.vae is not None else "text_encoder"


def family_name(contents: Contents) -> str:
    """The UNet's family; for text encoders alone, which they are."""
    if contents.unet is not None:
        try:
            return family_of(contents.unet.pieces)
        except LayoutError as problem:
            raise contents.error(problem) from None
    return "+".join(TEXT_NAMES[kind] for kind, _ in contents.texts)


def lora_family(tensors: Mapping[str, TensorInfo]) -> str:
    """The family a LoRA is for, from the width of the text it attends to and its text encoders' names."""
    if any(key.startswith(("lora_te2_", "lora_te1_")) or "text_encoder_2" in key for key in tensors):
        return "sdxl"
    for key, info in tensors.items():
        if "attn2" in key and "to_k" in key and "down" in key and len(info.shape) >= 2:
            return {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl_refiner"}.get(info.shape[1], "")
    return ""
