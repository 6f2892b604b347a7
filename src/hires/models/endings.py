"""How files and folders of weights are told by their names. Light: listings need it before torch is loaded."""

from __future__ import annotations

from pathlib import Path

SAFETENSORS_SUFFIXES = (".safetensors", ".sft")
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl")
WEIGHT_SUFFIXES = (*SAFETENSORS_SUFFIXES, *PICKLE_SUFFIXES)


def is_diffusers_folder(path: Path) -> bool:
    """Whether `path` is a folder with a model_index.json."""
    return (path / "model_index.json").is_file()
