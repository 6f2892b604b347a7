"""LDSR's and the SD x4 upscaler's networks written out over their files' own tensors: the yardstick for what is loaded.

After latent-diffusion's UNetModel with its AttentionBlock (query, key and value of one head beside each other), its
SpatialTransformer with `disable_self_attn`, and its Decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from tests.models.ldm_network import conv, layer_norm, linear, norm, part, residual, sinusoids
from torch import Tensor

Tensors = Mapping[str, Tensor]
Attention = Callable[[Tensors, Tensor], Tensor]
HEAD_WIDTH, X4_HEADS = 32, 8


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Over the last but one axis."""
    return (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1) @ v


def attention_block(w: Tensors, x: Tensor) -> Tensor:
    batch, channels = x.shape[:2]
    qkv = F.conv1d(norm(w, "norm", x, 1e-5).flatten(2), w["qkv.weight"], w["qkv.bias"])
    heads = qkv.reshape(batch * (channels // HEAD_WIDTH), 3 * HEAD_WIDTH, -1)
    q, k, v = (t.transpose(1, 2) for t in heads.split(HEAD_WIDTH, dim=1))
    h = attended(q, k, v).transpose(1, 2).reshape(batch, channels, -1)
    return x + F.conv1d(h, w["proj_out.weight"], w["proj_out.bias"]).reshape(x.shape)


def spatial_transformer(context: Tensor) -> Attention:
    def cross(w: Tensors, x: Tensor, other: Tensor) -> Tensor:
        q, k, v = linear(w, "to_q", x), linear(w, "to_k", other), linear(w, "to_v", other)
        q, k, v = (t.unflatten(-1, (X4_HEADS, -1)).transpose(1, 2) for t in (q, k, v))
        return linear(w, "to_out.0", attended(q, k, v).transpose(1, 2).flatten(2))

    def run(w: Tensors, x: Tensor) -> Tensor:
        h = linear(w, "proj_in", norm(w, "norm", x, 1e-6).flatten(2).transpose(1, 2))
        b = part(w, "transformer_blocks.0.")
        normed = layer_norm(b, "norm1", h)
        reads_text = b["attn1.to_k.weight"].shape[1] != b["attn1.to_q.weight"].shape[1]
        h = h + cross(part(b, "attn1."), normed, context if reads_text else normed)
        h = h + cross(part(b, "attn2."), layer_norm(b, "norm2", h), context)
        value, gate = linear(b, "ff.net.0.proj", layer_norm(b, "norm3", h)).chunk(2, dim=-1)
        h = linear(w, "proj_out", h + linear(b, "ff.net.2", value * F.gelu(gate)))
        return x + h.transpose(1, 2).unflatten(2, x.shape[2:])

    return run


def unet(w: Tensors, x: Tensor, timestep: Tensor, attention: Attention, label: int | None = None) -> Tensor:
    """The whole UNet over tensors whose names begin at "input_blocks"."""
    emb = sinusoids(timestep, w["input_blocks.0.0.weight"].shape[0])
    emb = linear(w, "time_embed.2", F.silu(linear(w, "time_embed.0", emb)))
    if label is not None:
        emb = emb + w["label_emb.weight"][label]

    def block(name: str, x: Tensor) -> Tensor:
        for position in range(3):
            layer = part(w, f"{name}.{position}.")
            if "in_layers.0.weight" in layer:
                x = residual(layer, x, emb)
            elif "norm.weight" in layer:
                x = attention(layer, x)
            elif "op.weight" in layer:
                x = conv(layer, "op", x, stride=2)
            elif "conv.weight" in layer:
                x = conv(layer, "conv", F.interpolate(x, scale_factor=2, mode="nearest"))
            elif "weight" in layer:
                x = F.conv2d(x, layer["weight"], layer["bias"], padding=1)
        return x

    skips: list[Tensor] = []
    while any(key.startswith(f"input_blocks.{len(skips)}.") for key in w):
        x = block(f"input_blocks.{len(skips)}", x)
        skips.append(x)
    x = block("middle_block", x)
    for number in range(len(skips)):
        x = block(f"output_blocks.{number}", torch.cat([x, skips.pop()], dim=1))
    return conv(w, "out.2", F.silu(norm(w, "out.0", x, 1e-5)))


def decoder(w: Tensors, latent: Tensor) -> Tensor:
    """A first stage's decoder, post_quant_conv first; tensors without "first_stage_model."."""
    d = part(w, "decoder.")
    x = conv(d, "conv_in", conv(w, "post_quant_conv", latent))
    x = _res(part(d, "mid.block_1."), x)
    a = part(d, "mid.attn_1.")
    q, k, v = (conv(a, name, norm(a, "norm", x, 1e-6)).flatten(2).transpose(1, 2) for name in "qkv")
    x = x + conv(a, "proj_out", attended(q, k, v).transpose(1, 2).reshape(x.shape))
    x = _res(part(d, "mid.block_2."), x)
    for level in (2, 1, 0):
        for number in range(3):
            x = _res(part(d, f"up.{level}.block.{number}."), x)
        if level:
            x = conv(d, f"up.{level}.upsample.conv", F.interpolate(x, scale_factor=2, mode="nearest"))
    return conv(d, "conv_out", F.silu(norm(d, "norm_out", x, 1e-6)))


def _res(w: Tensors, x: Tensor) -> Tensor:
    h = conv(w, "conv1", F.silu(norm(w, "norm1", x, 1e-6)))
    h = conv(w, "conv2", F.silu(norm(w, "norm2", h, 1e-6)))
    return h + (conv(w, "nin_shortcut", x) if "nin_shortcut.weight" in w else x)
