"""Stable Diffusion's UNet written out over a checkpoint's own tensors, as latent-diffusion defines it: the yardstick
that the loaded modules are held against."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Tensors = Mapping[str, Tensor]


def part(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def linear(w: Tensors, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def conv(w: Tensors, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)


def norm(w: Tensors, name: str, x: Tensor, eps: float) -> Tensor:
    return F.group_norm(x, 32, w[f"{name}.weight"], w[f"{name}.bias"], eps)


def layer_norm(w: Tensors, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def sinusoids(values: Tensor, width: int) -> Tensor:
    frequencies = torch.exp(-math.log(10000) * torch.arange(width // 2) / (width // 2))
    angles = values[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def residual(w: Tensors, x: Tensor, emb: Tensor) -> Tensor:
    h = conv(w, "in_layers.2", F.silu(norm(w, "in_layers.0", x, 1e-5)))
    h = h + linear(w, "emb_layers.1", F.silu(emb))[:, :, None, None]
    h = conv(w, "out_layers.3", F.silu(norm(w, "out_layers.0", h, 1e-5)))
    return h + (conv(w, "skip_connection", x) if "skip_connection.weight" in w else x)


def attention(w: Tensors, x: Tensor, context: Tensor, heads: int) -> Tensor:
    q, k, v = linear(w, "to_q", x), linear(w, "to_k", context), linear(w, "to_v", context)
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    return linear(w, "to_out.0", (scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def transformer(w: Tensors, x: Tensor, context: Tensor) -> Tensor:
    channels, height, width = x.shape[1:]
    is_linear = w["proj_in.weight"].ndim == 2
    heads = max(channels // 64, 1) if is_linear else 8
    h = norm(w, "norm", x, 1e-6)
    h = h if is_linear else conv(w, "proj_in", h)
    h = h.flatten(2).transpose(1, 2)
    h = linear(w, "proj_in", h) if is_linear else h
    depth = 0
    while f"transformer_blocks.{depth}.norm1.weight" in w:
        b = part(w, f"transformer_blocks.{depth}.")
        normed = layer_norm(b, "norm1", h)
        h = h + attention(part(b, "attn1."), normed, normed, heads)
        h = h + attention(part(b, "attn2."), layer_norm(b, "norm2", h), context, heads)
        value, gate = linear(b, "ff.net.0.proj", layer_norm(b, "norm3", h)).chunk(2, dim=-1)
        h = h + linear(b, "ff.net.2", value * F.gelu(gate))
        depth += 1
    h = linear(w, "proj_out", h) if is_linear else h
    h = h.transpose(1, 2).unflatten(2, (height, width))
    return x + (h if is_linear else conv(w, "proj_out", h))


def block(w: Tensors, x: Tensor, emb: Tensor, context: Tensor, skip_size: tuple[int, ...] | None) -> Tensor:
    for position in range(3):
        layer = part(w, f"{position}.")
        if "in_layers.0.weight" in layer:
            x = residual(layer, x, emb)
        elif "norm.weight" in layer:
            x = transformer(layer, x, context)
        elif "op.weight" in layer:
            x = conv(layer, "op", x, stride=2)
        elif "conv.weight" in layer:
            x = conv(layer, "conv", F.interpolate(x, size=skip_size, mode="nearest"))
        elif "weight" in layer:
            x = F.conv2d(x, layer["weight"], layer["bias"], padding=1)
    return x


def unet(tensors: Tensors, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None) -> Tensor:
    """The network's output; every up-sampling goes to the size of the skip that comes next."""
    w = part(tensors, "model.diffusion_model.")
    width = w["input_blocks.0.0.weight"].shape[0]
    emb = linear(w, "time_embed.2", F.silu(linear(w, "time_embed.0", sinusoids(timestep, width))))
    if vector is not None:
        emb = emb + linear(w, "label_emb.0.2", F.silu(linear(w, "label_emb.0.0", vector)))
    skips = []
    number = 0
    while any(key.startswith(f"input_blocks.{number}.") for key in w):
        x = block(part(w, f"input_blocks.{number}."), x, emb, context, None)
        skips.append(x)
        number += 1
    x = block(part(w, "middle_block."), x, emb, context, None)
    number = 0
    while skips:
        x = torch.cat([x, skips.pop()], dim=1)
        size = tuple(skips[-1].shape[2:]) if skips else None
        x = block(part(w, f"output_blocks.{number}."), x, emb, context, size)
        number += 1
    return conv(w, "out.2", F.silu(norm(w, "out.0", x, 1e-5)))
