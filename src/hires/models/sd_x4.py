"""Stability AI's Stable Diffusion x4 upscaler (`x4-upscaler-ema`), from its single file.

Its UNet draws a latent of the small picture's size beside the picture itself, to which noise was added; how much is
told by a class label, what it shows by a text. Sizes are read from the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from hires.models.build import Holding, filled
from hires.models.checkpoint import CPU, Placement, file_identity, load_text_part, mapped, part_identity
from hires.models.clip import TextStack
from hires.models.contents import Contents, weights_contents
from hires.models.keys import Piece, Pieces
from hires.models.kinds import recognise
from hires.models.precision import held_dtype
from hires.models.sizes import Hints, LayoutError, shape, unet_config, vae_config
from hires.models.weights import TensorInfo, open_weights

LABELS = "model.diffusion_model.label_emb.weight"
FIRST_CONVOLUTION = "model.diffusion_model.input_blocks.0.0.weight"
CHANNELS = 7
"""Four of the latent, three of the picture."""
HEADS = 8
BETAS = (0.0001, 0.02)
LATENT_SCALE = 0.08333
LARGEST_NOISE_LEVEL = 350
SCALE = 4


def is_sd_x4(tensors: Mapping[str, TensorInfo]) -> bool:
    """Whether a file holds a UNet of seven channels that is told one of a number of classes."""
    first = tensors.get(FIRST_CONVOLUTION)
    return first is not None and first.shape[1:2] == (CHANNELS,) and LABELS in tensors


@dataclass(frozen=True)
class SdX4Model:
    """The x4 upscaler. `identity` is a hex key that changes whenever its numbers would; `granularity` is what the
    sides of what it draws must be divisible by; `channels` are the latent's."""

    unet: UNet2DConditionModel
    decoder: AutoencoderKL
    clip: TextStack
    identity: str
    device: torch.device
    compute_dtype: torch.dtype
    decoder_dtype: torch.dtype
    title: str = "SD x4 upscaler"
    scale: int = SCALE
    betas: tuple[float, float] = BETAS
    prediction: str = "v"
    steps: int = 75
    eta: float = 0.0
    latent_scale: float = LATENT_SCALE
    channels: int = CHANNELS - 3

    @property
    def granularity(self) -> int:
        return int(2 ** (len(self.unet.config.block_out_channels) - 1))

    @property
    def modules(self) -> list[nn.Module]:
        return [self.unet, self.decoder, *(clip.module for clip in self.clip.clips)]

    @torch.inference_mode()
    def predict(self, x: Tensor, timestep: Tensor, low: Tensor, context: Tensor, noise_level: int) -> Tensor:
        """v of x (1, channels, h, w), of unit variance, at a timestep 0..999.

        low (1, 3, h, w) is the small picture in -1..1 with the noise of `noise_level`, context (1, tokens, width).
        """
        where: dict[str, Any] = {"device": self.device, "dtype": self.compute_dtype}
        output = self.unet(
            torch.cat([x, low], dim=1).to(**where),
            timestep.to(self.device, torch.float32),
            encoder_hidden_states=context.to(**where),
            class_labels=torch.tensor([noise_level], device=self.device),
            return_dict=False,
        )[0]
        return output.to(x.device, torch.float32)


def load_sd_x4(path: Path, placement: Placement = CPU, *, identity: str | None = None) -> SdX4Model:
    """Load the x4 upscaler from its single file; ModelFileError for anything else."""
    weights = open_weights(path)
    if not is_sd_x4(weights.tensors):
        raise weights.error(
            f"this is {recognise(weights.tensors.keys()).label}, not the SD x4 upscaler", "Fetch x4-upscaler-ema."
        )
    contents = weights_contents(weights)
    identity = identity or file_identity(path)
    held = held_dtype(placement.weights, contents.dtype, contents.numbers, placement.compute_dtype)
    try:
        unet = _unet(contents, Holding(held, placement.compute_dtype, placement.device, mapped(contents)))
        decoder = _vae(contents, Holding(placement.vae_dtype, placement.vae_dtype, placement.device, mapped(contents)))
        clip = load_text_part(contents, placement, "sd2", (), identity)
    except LayoutError as problem:
        raise weights.error(str(problem)) from None
    if clip is None:
        raise weights.error("the SD x4 upscaler's text encoder is missing", "Fetch the whole file again.")
    key = part_identity(identity, "sd x4", held, placement.compute_dtype, placement.vae_dtype)
    return SdX4Model(unet, decoder, clip, key, placement.device, placement.compute_dtype, placement.vae_dtype)


def _unet(contents: Contents, holding: Holding) -> UNet2DConditionModel:
    assert contents.unet is not None
    weights = contents.unet.weights
    pieces = {**contents.unet.pieces, "class_embedding.weight": Piece(LABELS, weights.tensors[LABELS])}
    config = x4_unet_config(pieces, contents.hints)
    return filled(lambda: UNet2DConditionModel(**config), pieces, weights, "the UNet", holding)


def x4_unet_config(pieces: Pieces, hints: Hints) -> dict[str, Any]:
    """Arguments of diffusers' UNet2DConditionModel: on most levels, what would be self attention reads the text too."""
    stated = {"num_attention_heads": HEADS, **hints.parts.get("unet", {})}
    config = unet_config(pieces, replace(hints, parts={**hints.parts, "unet": stated}), channels=(CHANNELS,))
    config["num_class_embeds"] = shape(pieces, "class_embedding.weight")[0]
    config["only_cross_attention"] = tuple(
        _reads_text(pieces, f"down_blocks.{level}", width) for level, width in enumerate(config["block_out_channels"])
    )
    config["mid_block_only_cross_attention"] = False
    return config


def _reads_text(pieces: Pieces, block: str, width: int) -> bool:
    """Whether a level's first attention has keys of another width than the level's own; without any, as published."""
    keys = pieces.get(f"{block}.attentions.0.transformer_blocks.0.attn1.to_k.weight")
    return keys is None or keys.shape[1] != width


def _vae(contents: Contents, holding: Holding) -> AutoencoderKL:
    if contents.vae is None:
        raise LayoutError("the SD x4 upscaler's VAE is missing")
    config = vae_config(contents.vae.pieces, contents.hints, halvings=2)
    return filled(lambda: AutoencoderKL(**config), contents.vae.pieces, contents.vae.weights, "the VAE", holding)
