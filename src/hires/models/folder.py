"""Diffusers' folders: a model_index.json and a folder for each network, with its config and its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hires.errors import ModelFileError
from hires.models.clip import ClipKind
from hires.models.contents import Contents, Network, family_of
from hires.models.keys import Pieces, module_unet, module_vae, transformers_text
from hires.models.sizes import Hints, LayoutError, prediction_name
from hires.models.weights import Weights, join_weights, open_weights

STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
VARIANTS = ("", ".fp16", ".bf16", ".non_ema")
ENDINGS = (".safetensors", ".bin")


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        raise ModelFileError(f"{path.name} is not readable JSON: {problem} ({path})") from None
    if not isinstance(config, dict):
        raise ModelFileError(f"{path.name} is not a JSON object ({path})")
    return config


def open_network(folder: Path) -> Weights | None:
    """The weights in one network's folder: whole or in shards, safetensors before torch files, full before fp16."""
    for ending in ENDINGS:
        for stem in STEMS:
            for variant in VARIANTS:
                whole = folder / f"{stem}{variant}{ending}"
                if whole.is_file():
                    return open_weights(whole)
                shards = sorted(folder.glob(f"{stem}{variant}-?????-of-?????{ending}"))
                shards = shards or sorted(folder.glob(f"{stem}-?????-of-?????{variant}{ending}"))
                if shards:
                    return join_weights(folder, check_shards(folder, shards))
    return None


def check_shards(folder: Path, shards: list[Path]) -> list[Weights]:
    """All shards, open; an error if one is not there."""
    whole = int(shards[0].name.split("-of-")[1][:5])
    if len(shards) != whole:
        raise ModelFileError(f"{folder.name} has {len(shards)} of {whole} weight shards ({folder})", "Fetch the rest.")
    return [open_weights(shard) for shard in shards]


def network(folder: Path, pieces_of: Any) -> Network | None:
    """One network of the folder, or None where it has none."""
    weights = open_network(folder) if folder.is_dir() else None
    return None if weights is None else Network(weights, pieces_of(weights.tensors))


def folder_contents(path: Path) -> Contents:
    """Look into a diffusers folder. What its configs say beyond the tensors becomes hints."""
    index = read_config(path / "model_index.json")
    if str(index.get("_class_name", "")).startswith(("StableDiffusion3", "Flux", "StableVideo", "StableCascade")):
        raise ModelFileError(f"{path.name} is a {index['_class_name']}, which hires does not run ({path})")
    unet = network(path / "unet", module_unet)
    if unet is None:
        raise ModelFileError(f"{path.name} has no UNet weights: {path / 'unet'} holds none", "Fetch the folder whole.")
    vae = network(path / "vae", module_vae)
    texts: list[tuple[ClipKind, Network]] = []
    try:
        family = family_of(unet.pieces)
        kinds: tuple[tuple[str, ClipKind], ...] = (
            ("text_encoder", "h" if family == "sd2" else "l"),
            ("text_encoder_2", "g"),
        )
        for name, kind in kinds:
            text = network(path / name, transformers_text)
            if text is not None:
                texts.append((kind, text))
        hints = folder_hints(path, {kind: name for name, kind in kinds}, unet.pieces)
    except LayoutError as problem:
        raise ModelFileError(f"{path.name}: {problem} ({path})") from None
    return Contents(path, unet, vae, tuple(texts), hints)


def folder_hints(path: Path, texts: Mapping[ClipKind, str], unet: Pieces) -> Hints:
    """The facts of the configs that tensors cannot tell."""
    scheduler = read_config(path / "scheduler" / "scheduler_config.json")
    parts = {"unet": unet_hints(read_config(path / "unet" / "config.json")), "vae": {}}
    vae = read_config(path / "vae" / "config.json")
    parts["vae"] = {name: vae[name] for name in ("norm_num_groups", "scaling_factor") if vae.get(name) is not None}
    for kind, folder in texts.items():
        config = read_config(path / folder / "config.json")
        known = ("num_attention_heads", "hidden_act")
        parts[f"clip_{kind}"] = {name: config[name] for name in known if config.get(name) is not None}
    prediction = scheduler.get("prediction_type")
    return Hints(
        parts,
        prediction_name(prediction) if prediction else None,
        bool(scheduler["rescale_betas_zero_snr"]) if "rescale_betas_zero_snr" in scheduler else None,
    )


def unet_hints(config: Mapping[str, Any]) -> dict[str, Any]:
    """diffusers' "attention_head_dim" is the number of heads, unless "num_attention_heads" is there too."""
    heads = config.get("num_attention_heads") or config.get("attention_head_dim")
    hints = {"num_attention_heads": heads, "norm_num_groups": config.get("norm_num_groups")}
    return {name: value for name, value in hints.items() if value is not None}
