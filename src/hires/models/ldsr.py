"""LDSR: super-resolution by latent diffusion (Rombach et al. 2022), from the layout that CompVis published it in.

Its UNet draws a latent of the small picture's size beside the picture itself; a decoder with a codebook makes four
pixels of each cell. Sizes are read from the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel, VQModel
from torch import Tensor, nn

from hires.models.build import Holding, filled
from hires.models.checkpoint import CPU, Placement, file_identity, part_identity
from hires.models.keys import Piece, Pieces, ldm_unet, ldm_vae, under, with_prefix
from hires.models.kinds import recognise
from hires.models.precision import SMALL_FILE_BYTES, held_dtype
from hires.models.sizes import LayoutError, count, groups_for, shape
from hires.models.weights import TensorInfo, main_dtype, open_weights

UNET, FIRST_STAGE = "model.diffusion_model.", "first_stage_model."
AVERAGED = "model_ema."
CODEBOOK = "quantize.embedding.weight"
FIRST_CONVOLUTION = f"{UNET}input_blocks.0.0.weight"
HEAD_WIDTH = 32
BETAS = (0.0015, 0.0155)
SCALE = 4
COMPARED_AT_ONCE = 4096
"""Latent cells whose distances to every entry of the codebook are held at a time."""


def is_ldsr(tensors: Mapping[str, TensorInfo]) -> bool:
    """Whether a file holds a latent with a codebook and a UNet that takes twice as many channels as that latent has."""
    codebook, first = tensors.get(FIRST_STAGE + CODEBOOK), tensors.get(FIRST_CONVOLUTION)
    return codebook is not None and first is not None and first.shape[1:2] == (2 * codebook.shape[-1],)


@dataclass(frozen=True)
class LdsrModel:
    """LDSR. `identity` is a hex key that changes whenever its numbers would; `granularity` is what the sides of what
    it draws must be divisible by; `channels` are the latent's."""

    unet: UNet2DModel
    decoder: VQModel
    identity: str
    device: torch.device
    compute_dtype: torch.dtype
    decoder_dtype: torch.dtype
    title: str = "LDSR"
    scale: int = SCALE
    betas: tuple[float, float] = BETAS
    prediction: str = "eps"
    steps: int = 100
    eta: float = 1.0

    @property
    def channels(self) -> int:
        return int(self.unet.config.out_channels)

    @property
    def granularity(self) -> int:
        return int(2 ** (len(self.unet.config.block_out_channels) - 1))

    @property
    def modules(self) -> list[nn.Module]:
        return [self.unet, self.decoder]

    @torch.inference_mode()
    def predict(self, x: Tensor, timestep: Tensor, low: Tensor) -> Tensor:
        """The noise in x (1, channels, h, w), of unit variance, at a timestep 0..999; low (1, 3, h, w) in -1..1."""
        joined = torch.cat([x, low], dim=1).to(self.device, self.compute_dtype)
        output = self.unet(joined, timestep.to(self.device, torch.float32), return_dict=False)[0]
        return output.to(x.device, torch.float32)

    @torch.inference_mode()
    def quantised(self, latent: Tensor) -> Tensor:
        """The nearest entry of the codebook for every cell of a latent (1, channels, h, w)."""
        codes = self.decoder.quantize.embedding.weight.float()
        cells = latent.to(codes).movedim(1, -1).flatten(0, 2)
        nearest = [codes[torch.cdist(part, codes).argmin(dim=1)] for part in cells.split(COMPARED_AT_ONCE)]
        return torch.cat(nearest).reshape(1, *latent.shape[2:], -1).movedim(-1, 1).to(latent.device)


def load_ldsr(path: Path, placement: Placement = CPU, *, identity: str | None = None) -> LdsrModel:
    """Load LDSR from `model.ckpt`, `last.ckpt` or a .safetensors of the same tensors; ModelFileError for anything else.

    Where the file has running averages of the UNet's weights, those are taken, as the published sampler does.
    """
    weights = open_weights(path)
    if not is_ldsr(weights.tensors):
        raise weights.error(f"this is {recognise(weights.tensors.keys()).label}, not LDSR", "LDSR is a file of 2 GB.")
    numbers = sum(info.numel for info in weights.tensors.values())
    stored = main_dtype(weights.tensors)
    held = held_dtype(placement.weights, stored, numbers, placement.compute_dtype)
    mapped = numbers * 2 >= SMALL_FILE_BYTES
    try:
        unet_parts, decoder_parts = unet_pieces(weights.tensors), decoder_pieces(weights.tensors)
        config, decoder_config = ldsr_unet_config(unet_parts), vq_config(decoder_parts)
        holding = Holding(held, placement.compute_dtype, placement.device, mapped)
        unet = filled(lambda: UNet2DModel(**config), unet_parts, weights, "LDSR's UNet", holding)
        holding = Holding(placement.vae_dtype, placement.vae_dtype, placement.device, mapped)
        decoder = filled(
            lambda: without_encoder(VQModel(**decoder_config)), decoder_parts, weights, "LDSR's decoder", holding
        )
    except LayoutError as problem:
        raise weights.error(str(problem)) from None
    key = part_identity(identity or file_identity(path), "ldsr", held, placement.compute_dtype, placement.vae_dtype)
    return LdsrModel(unet, decoder, key, placement.device, placement.compute_dtype, placement.vae_dtype)


def without_encoder(model: VQModel) -> VQModel:
    """Nothing is encoded here: the picture that LDSR enlarges is told to its UNet as it is."""
    model.encoder = model.quant_conv = nn.Identity()
    return model


def unet_pieces(tensors: Mapping[str, TensorInfo]) -> Pieces:
    """The UNet's parameters, by diffusers' names."""
    pieces = attention_pieces(with_prefix(ldm_unet(under(tensors, UNET)), UNET))
    averaged = {name: averaged_key(piece.key) for name, piece in pieces.items()}
    if all(key in tensors for key in averaged.values()):
        return {
            name: replace(piece, key=averaged[name], info=tensors[averaged[name]]) for name, piece in pieces.items()
        }
    return pieces


def averaged_key(key: str) -> str:
    """Where the running average of a UNet's tensor is: "model_ema." and its name without dots."""
    return AVERAGED + key.removeprefix("model.").replace(".", "")


def attention_pieces(pieces: Pieces) -> Pieces:
    """Attention without text: one convolution makes query, key and value, head by head."""
    made: Pieces = {}
    for name, piece in pieces.items():
        if ".attentions." not in name:
            made[name] = piece
            continue
        block, layer, kind = name.rsplit(".", 2)
        if layer == "qkv":
            heads = max(piece.info.shape[0] // 3 // HEAD_WIDTH, 1)
            for third, own in enumerate(("to_q", "to_k", "to_v")):
                made[f"{block}.{own}.{kind}"] = replace(piece, third=third, heads=heads, flat=True)
        elif layer == "proj_out":
            made[f"{block}.to_out.0.{kind}"] = replace(piece, flat=True)
        elif layer == "norm":
            made[f"{block}.group_norm.{kind}"] = piece
    return made


def decoder_pieces(tensors: Mapping[str, TensorInfo]) -> Pieces:
    """The decoder's and the codebook's parameters, by diffusers' names."""
    below = under(tensors, FIRST_STAGE)
    pieces = ldm_vae({key: info for key, info in below.items() if not key.startswith(("encoder.", "quant_conv."))})
    pieces[CODEBOOK] = Piece(CODEBOOK, below[CODEBOOK])
    return with_prefix(pieces, FIRST_STAGE)


def ldsr_unet_config(pieces: Pieces) -> dict[str, Any]:
    """Arguments of diffusers' UNet2DModel."""
    levels = count(pieces, "down_blocks.{}.resnets.0.conv1.weight")
    if levels == 0:
        raise LayoutError("LDSR's UNet has no down blocks")
    widths = [shape(pieces, f"down_blocks.{level}.resnets.0.conv1.weight")[0] for level in range(levels)]
    layers = {count(pieces, f"down_blocks.{level}.resnets.{{}}.conv1.weight") for level in range(levels)}
    if len(layers) != 1:
        raise LayoutError("the levels of LDSR's UNet differ in their number of layers")
    attention = [f"down_blocks.{level}.attentions.0.group_norm.weight" in pieces for level in range(levels)]
    odd = [width for width, has in zip(widths, attention, strict=True) if has and width % HEAD_WIDTH]
    if odd:
        raise LayoutError(f"LDSR's UNet has {odd[0]} channels, which heads of {HEAD_WIDTH} do not divide")
    return {
        "in_channels": shape(pieces, "conv_in.weight")[1],
        "out_channels": shape(pieces, "conv_out.weight")[0],
        "block_out_channels": tuple(widths),
        "layers_per_block": layers.pop(),
        "down_block_types": tuple("AttnDownBlock2D" if has else "DownBlock2D" for has in attention),
        "up_block_types": tuple("AttnUpBlock2D" if has else "UpBlock2D" for has in attention[::-1]),
        "add_attention": "mid_block.attentions.0.group_norm.weight" in pieces,
        "attention_head_dim": HEAD_WIDTH,
        "norm_num_groups": groups_for(None, widths, "LDSR's UNet"),
    }


def vq_config(pieces: Pieces) -> dict[str, Any]:
    """Arguments of diffusers' VQModel."""
    levels = count(pieces, "decoder.up_blocks.{}.resnets.0.conv1.weight")
    if 2 ** (levels - 1) != SCALE:
        raise LayoutError(f"LDSR's decoder has {levels} levels, not 3 (four pixels a latent cell)")
    widths = [shape(pieces, f"decoder.up_blocks.{level}.resnets.0.conv1.weight")[0] for level in range(levels)][::-1]
    layers = {count(pieces, f"decoder.up_blocks.{level}.resnets.{{}}.conv1.weight") - 1 for level in range(levels)}
    if len(layers) != 1:
        raise LayoutError("the levels of LDSR's decoder differ in their number of layers")
    entries, width = shape(pieces, CODEBOOK)
    return {
        "block_out_channels": tuple(widths),
        "layers_per_block": layers.pop(),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "latent_channels": shape(pieces, "decoder.conv_in.weight")[1],
        "num_vq_embeddings": entries,
        "vq_embed_dim": width,
        "norm_num_groups": groups_for(None, widths, "LDSR's decoder"),
        "mid_block_add_attention": "decoder.mid_block.attentions.0.to_q.weight" in pieces,
    }
