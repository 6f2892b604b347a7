"""What was trained as files that every engine loads: the checkpoint, and the upscaler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPTextModel

from hires.errors import OutputError
from hires.models.clip import ClipModel, TextStack
from hires.models.export import hires_config, single_file_tensors, write_tensors
from hires.models.handles import LATENT_SCALES, DiffusionModel, VaeModel
from hires.models.sizes import METADATA_KEY
from hires.pocket.networks import LATENT_CHANNELS, Sizes, build_text
from hires.pocket.train_model import TextAndUnet
from hires.pocket.train_vae import trained_vae
from hires.pocket.training import read_checkpoint
from hires.pocket.upscaler import Compact
from hires.pocket.words import VOCABULARY, Words

SCALE = LATENT_SCALES["sd1"]
NO_VARIANCE = -30.0
"""A log variance that adds nothing in any precision."""
LICENSE = "Apache-2.0"
FORMAT = {"format": "pt", "modelspec.license": LICENSE}
CPU, FLOAT = torch.device("cpu"), torch.float32


@torch.no_grad()
def fold_latent_scale(vae: AutoencoderKL, std: float) -> None:
    """Scale the latents so that SD 1.x's factor, 0.18215, brings them to deviation 1; give them no variance."""
    factor = 1 / (std * SCALE)
    vae.quant_conv.weight[:LATENT_CHANNELS] *= factor
    vae.quant_conv.bias[:LATENT_CHANNELS] *= factor
    vae.quant_conv.weight[LATENT_CHANNELS:] = 0
    vae.quant_conv.bias[LATENT_CHANNELS:] = NO_VARIANCE
    vae.post_quant_conv.weight /= factor


@torch.no_grad()
def with_whole_vocabulary(text: CLIPTextModel, sizes: Sizes, words: Words) -> CLIPTextModel:
    """The same text model over all of CLIP's 49408 words."""
    whole = build_text(sizes, VOCABULARY)
    state = text.state_dict()
    table = next(name for name in state if name.endswith("token_embedding.weight"))
    state[table] = words.whole_table(state[table])
    whole.load_state_dict(state)
    return whole.eval()


def export_model(model_folder: Path, vae_folder: Path, native_size: int, out_path: Path) -> None:
    """Write the averaged weights of both stages as one checkpoint in half precision."""
    state = read_checkpoint(model_folder)
    facts: dict[str, Any] = state["facts"]
    sizes, words = Sizes(**facts["sizes"]), Words(facts["words"])
    network = TextAndUnet(sizes, len(words))
    network.load_state_dict(state["learners"]["model"]["average"])
    vae = trained_vae(vae_folder)
    fold_latent_scale(vae, facts["latent_std"])
    clip = ClipModel("l", with_whole_vocabulary(network.text, sizes, words))
    model = DiffusionModel("sd1", network.unet, "eps", False, SCALE, LATENT_CHANNELS, "", CPU, FLOAT)
    parts = (model, TextStack("sd1", (clip,)), VaeModel(vae, "", CPU, FLOAT, SCALE))
    tensors = {key: value.detach().half() for key, value in single_file_tensors(*parts).items()}
    config = {**hires_config(*parts), "native_size": native_size}
    write(tensors, out_path, {METADATA_KEY: json.dumps(config), "modelspec.license": LICENSE})


def export_upscaler(upscaler_folder: Path, out_path: Path) -> None:
    """Write the averaged weights of the upscaler, float32: half of it is 0.5 MB, not worth the rounding."""
    network = trained_upscaler(upscaler_folder)
    write(network.state_dict(), out_path, FORMAT)


def trained_upscaler(folder: Path) -> nn.Module:
    """The averaged upscaler of a stage's folder."""
    state = read_checkpoint(folder)
    network = Compact(state["facts"]["features"], state["facts"]["convolutions"])
    network.load_state_dict(state["learners"]["upscaler"]["average"])
    return network.eval().requires_grad_(False)


def write(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """A safetensors file, its folder made where it is not there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(tensors, path, metadata)
    except OSError as problem:
        raise OutputError(f"{path} could not be written: {problem.strerror or problem}") from None
