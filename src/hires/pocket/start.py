"""Training that begins from a checkpoint's weights instead of random ones: the built-in model's, or an older one's."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL

from hires.errors import ModelFileError
from hires.models.checkpoint import Checkpoint, load_checkpoint
from hires.models.handles import LATENT_SCALES
from hires.pocket.networks import Sizes, build_vae
from hires.pocket.train_model import TextAndUnet
from hires.pocket.words import Words


def read_start(path: Path) -> Checkpoint:
    """A complete SD 1.x checkpoint in float32; ModelFileError for any other file."""
    if not path.is_file():
        raise ModelFileError(f"there is no file {path} to start from")
    checkpoint = load_checkpoint(path)
    model, clip, vae = checkpoint.model, checkpoint.clip, checkpoint.vae
    if model is None or clip is None or vae is None or model.family != "sd1" or model.in_channels != 4:
        raise ModelFileError(f"{path.name} is no complete SD 1.x checkpoint ({path})", "Start from another file.")
    return checkpoint


def sizes_of(checkpoint: Checkpoint) -> Sizes:
    """The widths and depths of a checkpoint's networks."""
    assert checkpoint.model is not None and checkpoint.clip is not None and checkpoint.vae is not None
    unet, vae = checkpoint.model.unet.config, checkpoint.vae.vae.config
    text = checkpoint.clip.clips[0].module.config
    heads = unet.attention_head_dim
    return Sizes(
        vae=tuple(vae.block_out_channels),
        vae_groups=vae.norm_num_groups,
        unet=tuple(unet.block_out_channels),
        unet_heads=heads if isinstance(heads, int) else heads[0],
        text_width=text.hidden_size,
        text_layers=text.num_hidden_layers,
        text_heads=text.num_attention_heads,
    )


@torch.no_grad()
def started_vae(checkpoint: Checkpoint) -> AutoencoderKL:
    """The checkpoint's autoencoder for training, its latents scaled to about unit deviation."""
    assert checkpoint.vae is not None
    vae = build_vae(sizes_of(checkpoint))
    vae.load_state_dict({key: value.float() for key, value in checkpoint.vae.vae.state_dict().items()})
    scale = LATENT_SCALES["sd1"]
    vae.quant_conv.weight.mul_(scale)
    vae.quant_conv.bias.mul_(scale)
    vae.post_quant_conv.weight.div_(scale)
    return vae


@torch.no_grad()
def started_model(checkpoint: Checkpoint, words: Words) -> TextAndUnet:
    """The checkpoint's text encoder, over `words` alone, and UNet, for training."""
    assert checkpoint.model is not None and checkpoint.clip is not None
    network = TextAndUnet(sizes_of(checkpoint), len(words))
    network.unet.load_state_dict({key: value.float() for key, value in checkpoint.model.unet.state_dict().items()})
    state = {key: value.float() for key, value in checkpoint.clip.clips[0].module.state_dict().items()}
    table = next(key for key in state if key.endswith("token_embedding.weight"))
    state[table] = state[table][torch.tensor(words.used)]
    network.text.load_state_dict(state)
    return network
