"""Keys and shapes of latent-diffusion's networks as its constructors register them, and small files of that layout.

Written from the constructors (UNetModel, Encoder, Decoder, OpenCLIP's text tower), not from hires' own mapping: what
hires reads is held against this, and this against the full-size layouts that stand in tests/reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import torch
from safetensors.torch import save_file
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
TOKENS, VOCABULARY = 77, 49408


@dataclass(frozen=True)
class UNetSizes:
    """The constructor's arguments. context 0: attention without text, one convolution for query, key and value.
    disable_self: on which levels the first attention reads the text too."""

    channels_in: int
    channels_out: int
    width: int
    mult: tuple[int, ...]
    attention: tuple[int, ...]
    blocks: int = 2
    context: int = 0
    disable_self: tuple[bool, ...] = (False,) * 8
    classes: int = 0


LDSR_UNET = UNetSizes(6, 3, 160, (1, 2, 2, 4), (16, 8))
X4_UNET = UNetSizes(7, 4, 256, (1, 2, 2, 4), (2, 4, 8), 2, 1024, (True, True, True, False), 1000)
SD21_UNET = UNetSizes(4, 4, 320, (1, 2, 4, 4), (4, 2, 1), 2, 1024)


def _affine(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def unet_shapes(s: UNetSizes) -> Shapes:
    """Keys below "model.diffusion_model."."""
    emb = 4 * s.width
    shapes = _affine("time_embed.0", emb, s.width) | _affine("time_embed.2", emb, emb)
    if s.classes:
        shapes["label_emb.weight"] = (s.classes, emb)
    shapes |= _affine("input_blocks.0.0", s.width, s.channels_in, 3, 3)
    channels, down, number, skips = s.width, 1, 1, [s.width]
    for level, mult in enumerate(s.mult):
        for _ in range(s.blocks):
            shapes |= _residual(f"input_blocks.{number}.0", channels, mult * s.width, emb)
            channels = mult * s.width
            if down in s.attention:
                shapes |= _attention(f"input_blocks.{number}.1", channels, s.context, s.disable_self[level])
            skips.append(channels)
            number += 1
        if level < len(s.mult) - 1:
            shapes |= _affine(f"input_blocks.{number}.0.op", channels, channels, 3, 3)
            skips.append(channels)
            number, down = number + 1, down * 2
    shapes |= _residual("middle_block.0", channels, channels, emb)
    shapes |= _attention("middle_block.1", channels, s.context, False)
    shapes |= _residual("middle_block.2", channels, channels, emb)
    number = 0
    for level, mult in reversed(list(enumerate(s.mult))):
        for index in range(s.blocks + 1):
            shapes |= _residual(f"output_blocks.{number}.0", channels + skips.pop(), mult * s.width, emb)
            channels, position = mult * s.width, 1
            if down in s.attention:
                shapes |= _attention(f"output_blocks.{number}.1", channels, s.context, s.disable_self[level])
                position = 2
            if level and index == s.blocks:
                shapes |= _affine(f"output_blocks.{number}.{position}.conv", channels, channels, 3, 3)
                down //= 2
            number += 1
    return shapes | _affine("out.0", channels) | _affine("out.2", s.channels_out, channels, 3, 3)


def _residual(name: str, before: int, after: int, emb: int) -> Shapes:
    shapes = _affine(f"{name}.in_layers.0", before) | _affine(f"{name}.in_layers.2", after, before, 3, 3)
    shapes |= _affine(f"{name}.emb_layers.1", after, emb)
    shapes |= _affine(f"{name}.out_layers.0", after) | _affine(f"{name}.out_layers.3", after, after, 3, 3)
    return shapes if before == after else shapes | _affine(f"{name}.skip_connection", after, before, 1, 1)


def _attention(name: str, width: int, context: int, disable_self: bool) -> Shapes:
    shapes = _affine(f"{name}.norm", width)
    if not context:
        return shapes | _affine(f"{name}.qkv", 3 * width, width, 1) | _affine(f"{name}.proj_out", width, width, 1)
    shapes |= _affine(f"{name}.proj_in", width, width) | _affine(f"{name}.proj_out", width, width)
    block = f"{name}.transformer_blocks.0"
    for attention, keys in (("attn1", context if disable_self else width), ("attn2", context)):
        shapes[f"{block}.{attention}.to_q.weight"] = (width, width)
        shapes |= {f"{block}.{attention}.{part}.weight": (width, keys) for part in ("to_k", "to_v")}
        shapes |= _affine(f"{block}.{attention}.to_out.0", width, width)
    shapes |= _affine(f"{block}.ff.net.0.proj", 8 * width, width) | _affine(f"{block}.ff.net.2", width, 4 * width)
    for number in (1, 2, 3):
        shapes |= _affine(f"{block}.norm{number}", width)
    return shapes


def first_stage_shapes(width: int, mult: Sequence[int], latent: int, codes: int = 0) -> Shapes:
    """Keys below "first_stage_model.", of an autoencoder with a codebook of `codes` entries, or a variational one."""
    out = latent if codes else 2 * latent
    channels = width
    shapes = _affine("encoder.conv_in", width, 3, 3, 3)
    for level, times in enumerate(mult):
        for block in range(2):
            shapes |= _block(f"encoder.down.{level}.block.{block}", channels, width * times)
            channels = width * times
        if level < len(mult) - 1:
            shapes |= _affine(f"encoder.down.{level}.downsample.conv", channels, channels, 3, 3)
    shapes |= _middle("encoder", channels)
    shapes |= _affine("encoder.norm_out", channels) | _affine("encoder.conv_out", out, channels, 3, 3)
    shapes |= _affine("decoder.conv_in", channels, latent, 3, 3) | _middle("decoder", channels)
    for level, times in reversed(list(enumerate(mult))):
        for block in range(3):
            shapes |= _block(f"decoder.up.{level}.block.{block}", channels, width * times)
            channels = width * times
        if level:
            shapes |= _affine(f"decoder.up.{level}.upsample.conv", channels, channels, 3, 3)
    shapes |= _affine("decoder.norm_out", channels) | _affine("decoder.conv_out", 3, channels, 3, 3)
    if codes:
        shapes["quantize.embedding.weight"] = (codes, latent)
    return shapes | _affine("quant_conv", out, out, 1, 1) | _affine("post_quant_conv", latent, latent, 1, 1)


def _middle(side: str, width: int) -> Shapes:
    shapes = _affine(f"{side}.mid.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        shapes |= _affine(f"{side}.mid.attn_1.{part}", width, width, 1, 1)
    return shapes | _block(f"{side}.mid.block_1", width, width) | _block(f"{side}.mid.block_2", width, width)


def _block(name: str, before: int, after: int) -> Shapes:
    shapes = _affine(f"{name}.norm1", before) | _affine(f"{name}.conv1", after, before, 3, 3)
    shapes |= _affine(f"{name}.norm2", after) | _affine(f"{name}.conv2", after, after, 3, 3)
    return shapes if before == after else shapes | _affine(f"{name}.nin_shortcut", after, before, 1, 1)


def text_shapes(width: int, layers: int) -> Shapes:
    """Keys below "cond_stage_model.model.": OpenCLIP's text tower."""
    shapes: Shapes = {
        "token_embedding.weight": (VOCABULARY, width),
        "positional_embedding": (TOKENS, width),
        "text_projection": (width, width),
        "logit_scale": (),
        **_affine("ln_final", width),
    }
    for layer in range(layers):
        name = f"transformer.resblocks.{layer}"
        shapes |= {f"{name}.attn.in_proj_weight": (3 * width, width), f"{name}.attn.in_proj_bias": (3 * width,)}
        shapes |= _affine(f"{name}.attn.out_proj", width, width)
        shapes |= _affine(f"{name}.mlp.c_fc", 4 * width, width) | _affine(f"{name}.mlp.c_proj", width, 4 * width)
        shapes |= _affine(f"{name}.ln_1", width) | _affine(f"{name}.ln_2", width)
    return shapes


def below(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> Shapes:
    return {prefix + key: shape for key, shape in shapes.items()}


def ldsr_shapes(unet: UNetSizes = LDSR_UNET, width: int = 128, codes: int = 8192) -> Shapes:
    """LDSR whole: the UNet, its running averages, the first stage."""
    shapes = below("model.diffusion_model.", unet_shapes(unet))
    names = {key: "model_ema." + key.removeprefix("model.").replace(".", "") for key in shapes}
    shapes |= {names[key]: shape for key, shape in list(shapes.items())}
    return shapes | below("first_stage_model.", first_stage_shapes(width, (1, 2, 4), unet.channels_out, codes))


def x4_shapes(unet: UNetSizes = X4_UNET, width: int = 128, text: int = 1024, layers: int = 24) -> Shapes:
    """The SD x4 upscaler whole."""
    return {
        **below("model.diffusion_model.", unet_shapes(unet)),
        **below("first_stage_model.", first_stage_shapes(width, (1, 2, 4), unet.channels_out)),
        **below("cond_stage_model.model.", text_shapes(text, layers)),
        "low_scale_model.betas": (1000,),
    }


THIN_LDSR = ldsr_shapes(replace(LDSR_UNET, width=32), width=32, codes=40)
THIN_X4 = x4_shapes(replace(X4_UNET, width=32, mult=(1, 3, 3, 5), context=64), width=32, text=64, layers=3)


def drawn(shapes: Mapping[str, tuple[int, ...]], gain: float = 0.7) -> Iterator[tuple[str, Tensor]]:
    """Random weights, each from a generator seeded by its key."""
    for key, shape in shapes.items():
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(crc32(key.encode())))
        if "embedding" in key:
            yield key, noise * (1.0 if "quantize" in key else 0.2)
        elif len(shape) >= 2:
            yield key, noise * gain / (noise[0].numel() ** 0.5)
        else:
            yield key, noise * 0.05 + (1.0 if key.endswith("weight") else 0.0)


def write_thin(shapes: Mapping[str, tuple[int, ...]], path: Path) -> Path:
    """A file of random weights: .safetensors, or a torch file that keeps them under "state_dict"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = dict(drawn(shapes))
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors, "global_step": 1, "epoch": 0}, path)
    return path
