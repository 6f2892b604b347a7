"""Modules back to one file in the single-file layout that every Stable Diffusion engine reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from hires.errors import ModelFileError, OutputError
from hires.models.checkpoint import Checkpoint, load_checkpoint
from hires.models.clip import ClipModel, TextStack
from hires.models.handles import DiffusionModel, VaeModel
from hires.models.keys import (
    OPENCLIP_ENDS,
    OPENCLIP_LAYER,
    module_unet_blocks,
    renamed,
    unet_block_names,
    vae_names,
)
from hires.models.sizes import ACTIVATIONS, CONVOLUTIONAL_HEADS, GROUPS, HEAD_WIDTH, METADATA_KEY

TEXT_PREFIX: Mapping[tuple[str, str], str] = {
    ("sd1", "l"): "cond_stage_model.transformer.text_model.",
    ("sd2", "h"): "cond_stage_model.model.",
    ("sdxl", "l"): "conditioner.embedders.0.transformer.text_model.",
    ("sdxl", "g"): "conditioner.embedders.1.model.",
    ("sdxl_refiner", "g"): "conditioner.embedders.0.model.",
}


def to_single_file(source: Path | Checkpoint, out_path: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write a checkpoint, or a diffusers folder, as one .safetensors file in latent-diffusion's layout.

    What the tensors cannot tell goes into the metadata, under "hires.config".
    """
    checkpoint = source if isinstance(source, Checkpoint) else load_checkpoint(source)
    if checkpoint.model is None:
        raise ModelFileError(f"{checkpoint.path.name} has no UNet to write ({checkpoint.path})")
    parts = (checkpoint.model, checkpoint.clip, checkpoint.vae)
    tensors = {key: value.detach().to("cpu", dtype) for key, value in single_file_tensors(*parts).items()}
    try:
        write_tensors(tensors, out_path, {METADATA_KEY: json.dumps(hires_config(*parts))})
    except OSError as problem:
        raise OutputError(f"{out_path} could not be written: {problem.strerror or problem}") from None


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors, in the precision they are in, as a safetensors file."""
    stored = {key: value.detach().to("cpu").contiguous() for key, value in tensors.items()}
    unique = {key: value.clone() if value._is_view() else value for key, value in stored.items()}
    save_file(unique, path, metadata=dict(metadata))


def single_file_tensors(model: DiffusionModel, clip: TextStack | None, vae: VaeModel | None) -> dict[str, Tensor]:
    """The tensors of a checkpoint by their single-file keys, as held."""
    tensors = {f"model.diffusion_model.{key}": value for key, value in ldm_unet_tensors(model.unet).items()}
    if vae is not None:
        tensors |= {f"first_stage_model.{key}": value for key, value in ldm_vae_tensors(vae.vae).items()}
    for tower in clip.clips if clip is not None else ():
        prefix = TEXT_PREFIX.get((model.family, tower.kind))
        if prefix is None:
            raise ModelFileError(
                f"a checkpoint of family {model.family} has no place for text encoder CLIP {tower.kind.upper()}",
                "Save model and text encoder of one family together.",
            )
        named = dict(tower.module.named_parameters()) if tower.kind == "l" else openclip_tensors(tower)
        tensors |= {prefix + key: value for key, value in named.items()}
    if model.prediction == "v" and model.family.startswith("sdxl"):
        tensors["v_pred"] = torch.zeros(0)
        if model.zero_terminal_snr:
            tensors["ztsnr"] = torch.zeros(0)
    return tensors


def clip_file_tensors(clip: ClipModel) -> dict[str, Tensor]:
    """A text tower by transformers' keys, as ComfyUI writes it on its own."""
    tensors = {f"text_model.{key}": value for key, value in clip.module.named_parameters()}
    if clip.projection is not None:
        tensors["text_projection.weight"] = clip.projection.t()
    return tensors


def hires_config(model: DiffusionModel, clip: TextStack | None, vae: VaeModel | None) -> dict[str, Any]:
    """What the tensors cannot tell, for the metadata."""
    config: dict[str, Any] = {"unet": unet_facts(model.unet)}
    if model.prediction in ("eps", "v", "x0", "edm", "lcm"):
        config["prediction"] = model.prediction
    if model.zero_terminal_snr:
        config["zero_terminal_snr"] = True
    if vae is not None:
        config["vae"] = {"norm_num_groups": vae.vae.config.norm_num_groups, "scaling_factor": vae.latent_scale}
    for tower in clip.clips if clip is not None else ():
        config[f"clip_{tower.kind}"] = text_facts(tower)
    return {part: facts for part, facts in config.items() if facts != {}}


ARCHITECTURES: Mapping[str, str] = {
    "sdxl": "stable-diffusion-xl-v1-base",
    "sdxl_refiner": "stable-diffusion-xl-v1-refiner",
}


def architecture_facts(model: DiffusionModel) -> dict[str, str]:
    """The modelspec fields that ComfyUI writes."""
    facts = {"modelspec.sai_model_spec": "1.0.0", "modelspec.implementation": "sgm"}
    if model.family in ARCHITECTURES:
        facts["modelspec.architecture"] = ARCHITECTURES[model.family]
    if model.prediction in ("eps", "v"):
        facts["modelspec.predict_key"] = {"eps": "epsilon", "v": "v"}[model.prediction]
    return facts


def ldm_unet_tensors(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """A UNet's tensors by their single-file keys."""
    parameters = dict(unet.named_parameters())
    names = {module: ldm for ldm, module in unet_block_names(module_unet_blocks(parameters)).items()}
    tensors = {}
    for name, value in parameters.items():
        key = renamed(name, names)
        if key is None:
            raise ValueError(f"no single-file key for {name}")
        tensors[key] = value
    return tensors


def ldm_vae_tensors(vae: AutoencoderKL) -> dict[str, Tensor]:
    """An autoencoder's tensors by their single-file keys; attention projections become 1x1 convolutions again."""
    names = {module: ldm for ldm, module in vae_names(len(vae.config.block_out_channels)).items()}
    tensors = {}
    for name, value in vae.named_parameters():
        key = (renamed(name, names) or name).replace("conv_shortcut", "nin_shortcut")
        projection = ".mid.attn_1." in key and value.ndim == 2
        tensors[key] = value[:, :, None, None] if projection else value
    return tensors


def openclip_tensors(clip: ClipModel) -> dict[str, Tensor]:
    """A text tower's tensors by OpenCLIP's keys: query, key and value joined."""
    ends = {name: key for key, name in OPENCLIP_ENDS.items()}
    leaves = {name: key for key, name in OPENCLIP_LAYER.items()}
    parameters = dict(clip.module.named_parameters())
    tensors = {}
    for name, value in parameters.items():
        if name in ends:
            tensors[ends[name]] = value
            continue
        _, _, layer, leaf = name.split(".", 3)
        block = f"transformer.resblocks.{layer}"
        if (key := renamed(leaf, leaves)) is not None:
            tensors[f"{block}.{key}"] = value
        elif leaf.startswith("self_attn.q_proj."):
            kind = leaf.rpartition(".")[2]
            thirds = [parameters[f"encoder.layers.{layer}.self_attn.{third}_proj.{kind}"] for third in "qkv"]
            tensors[f"{block}.attn.in_proj_{kind}"] = torch.cat(thirds)
    if clip.projection is not None:
        tensors["text_projection"] = clip.projection
    return tensors


def unet_facts(unet: UNet2DConditionModel) -> dict[str, Any]:
    """What the rules of `sizes` would get wrong of a UNet."""
    config = unet.config
    heads = list(config.attention_head_dim)
    ruled = [
        max(width // HEAD_WIDTH, 1) if config.use_linear_projection else CONVOLUTIONAL_HEADS
        for width in config.block_out_channels
    ]
    facts: dict[str, Any] = {} if heads == ruled else {"num_attention_heads": heads}
    if config.norm_num_groups != GROUPS:
        facts["norm_num_groups"] = config.norm_num_groups
    return facts


def text_facts(clip: ClipModel) -> dict[str, Any]:
    """What the rules of `sizes` would get wrong of a text tower."""
    config = clip.module.config
    facts: dict[str, Any] = {}
    if config.num_attention_heads != max(config.hidden_size // HEAD_WIDTH, 1):
        facts["num_attention_heads"] = config.num_attention_heads
    if config.hidden_act != ACTIVATIONS[clip.kind]:
        facts["hidden_act"] = config.hidden_act
    return facts
