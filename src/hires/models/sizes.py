"""Sizes of networks, read from their tensors' shapes; what shapes cannot tell comes from `Hints`.

Rules where neither tells: text heads of width 64; UNets with convolutional proj_in have 8 heads a block, those with
linear proj_in have heads of width 64; 32 groups in norms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hires.models.clip import ClipKind
from hires.models.keys import Pieces

HEAD_WIDTH = 64
CONVOLUTIONAL_HEADS = 8
GROUPS = 32
LATENT_CHANNELS = 4
ACTIVATIONS: Mapping[ClipKind, str] = {"l": "quick_gelu", "h": "gelu", "g": "gelu"}
METADATA_KEY = "hires.config"
PARTS = ("unet", "vae", "clip_l", "clip_g", "clip_h")


class LayoutError(ValueError):
    """Tensors that do not make the network; the message says which, in a user's words."""


@dataclass(frozen=True)
class Hints:
    """What a file's metadata, or a folder's configs, say of its networks beyond the tensors.

    `parts` holds, under "unet", "vae", "clip_l", "clip_g" and "clip_h", num_attention_heads (a number, or for the UNet
    a list of one a level), norm_num_groups, hidden_act and (vae) scaling_factor.
    """

    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prediction: str | None = None
    zero_terminal_snr: bool | None = None

    def of(self, part: str, name: str) -> Any:
        """The hint, or None."""
        return self.parts.get(part, {}).get(name)


def metadata_hints(metadata: Mapping[str, str]) -> Hints:
    """The hints in a safetensors file's metadata: "hires.config" (JSON), then the modelspec fields."""
    config: Any = {}
    if METADATA_KEY in metadata:
        try:
            config = json.loads(metadata[METADATA_KEY])
        except ValueError:
            raise LayoutError(f'its metadata "{METADATA_KEY}" is not JSON') from None
        if not isinstance(config, dict) or not all(isinstance(config.get(part, {}), dict) for part in PARTS):
            raise LayoutError(f'its metadata "{METADATA_KEY}" is not an object of objects')
    stated = (
        config.get("prediction") or metadata.get("modelspec.prediction_type") or metadata.get("modelspec.predict_key")
    )
    return Hints(
        {part: config[part] for part in PARTS if part in config},
        prediction_name(stated) if stated else None,
        bool(config["zero_terminal_snr"]) if "zero_terminal_snr" in config else None,
    )


def prediction_name(stated: object) -> str:
    """The short name of a prediction type, from any of the names that files use."""
    names = {"epsilon": "eps", "v_prediction": "v", "v-prediction": "v", "vpred": "v", "sample": "x0"}
    name = names.get(str(stated), str(stated))
    if name not in ("eps", "v", "x0", "edm", "lcm"):
        raise LayoutError(f"its prediction type {stated!r} is unknown")
    return name


def shape(pieces: Pieces, name: str) -> tuple[int, ...]:
    """A parameter's shape; LayoutError with the module's name for it when the file has none."""
    if name not in pieces:
        raise LayoutError(f"tensor {name} is missing")
    return pieces[name].shape


def count(pieces: Pieces, pattern: str) -> int:
    """How many of `pattern`, with {} = 0, 1, 2 ..., there are."""
    number = 0
    while pattern.format(number) in pieces:
        number += 1
    return number


def positive(value: Any, what: str) -> int:
    """A hint that must be a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise LayoutError(f"{what} is {value!r}, not a positive whole number")
    return value


def groups_for(hint: Any, widths: list[int], what: str) -> int:
    """The number of norm groups, which must divide every width."""
    groups = positive(GROUPS if hint is None else hint, f"{what}'s norm_num_groups")
    odd = [width for width in widths if width % groups]
    if odd:
        raise LayoutError(f"{what} has {odd[0]} channels, which {groups} norm groups do not divide")
    return groups


def transformer_depth(pieces: Pieces, block: str) -> int:
    """Transformer layers in one attention block."""
    return count(pieces, block + ".transformer_blocks.{}.norm1.weight")


def level_depth(pieces: Pieces, block: str, layers: int) -> int | tuple[int, ...]:
    """Transformer layers of each of a level's blocks: one number when all agree, 0 without attention."""
    depths = tuple(transformer_depth(pieces, f"{block}.attentions.{layer}") for layer in range(layers))
    if 0 in depths and any(depths):
        raise LayoutError(f"{block} has attention in some of its layers only")
    return depths[0] if len(set(depths)) == 1 else depths


def unet_config(pieces: Pieces, hints: Hints, channels: tuple[int, ...] = (4, 8, 9)) -> dict[str, Any]:
    """Arguments of diffusers' UNet2DConditionModel. `channels` are the numbers that it may take.

    SDXL's vector goes through `class_embedding`, which is the same arithmetic as latent-diffusion's label_emb
    (linear, SiLU, linear, added to the time embedding) and takes the vector whole.
    """
    levels = count(pieces, "down_blocks.{}.resnets.0.conv1.weight")
    if levels == 0:
        raise LayoutError("the UNet has no down blocks")
    widths = [shape(pieces, f"down_blocks.{level}.resnets.0.conv1.weight")[0] for level in range(levels)]
    layers = [count(pieces, f"down_blocks.{level}.resnets.{{}}.conv1.weight") for level in range(levels)]
    down = [level_depth(pieces, f"down_blocks.{level}", layers[level]) for level in range(levels)]
    up = [level_depth(pieces, f"up_blocks.{level}", layers[-1 - level] + 1) for level in range(levels)]
    middle = transformer_depth(pieces, "mid_block.attentions.0")
    if middle and not down[-1]:
        # diffusers gives the middle the depth of the last level, which has no attention of its own to mind it.
        down[-1] = middle
        last_has_attention = False
    else:
        last_has_attention = bool(down[-1])
        if middle and down[-1] != middle:
            raise LayoutError(f"the UNet's middle has {middle} transformer layers, its last level {down[-1]}")
    attention = [bool(depth) for depth in down[:-1]] + [last_has_attention]
    if [bool(depth) for depth in up] != attention[::-1]:
        raise LayoutError("the UNet's way up has attention on other levels than its way down")
    up_depths = [depth or other for depth, other in zip(up, down[::-1], strict=True)]
    config: dict[str, Any] = {
        "in_channels": shape(pieces, "conv_in.weight")[1],
        "out_channels": shape(pieces, "conv_out.weight")[0],
        "block_out_channels": tuple(widths),
        "layers_per_block": tuple(layers),
        "down_block_types": tuple("CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attention),
        "mid_block_type": "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        "up_block_types": tuple("CrossAttnUpBlock2D" if has else "UpBlock2D" for has in attention[::-1]),
        "transformer_layers_per_block": tuple(depth or 1 for depth in down),
        "norm_num_groups": groups_for(hints.of("unet", "norm_num_groups"), widths, "the UNet"),
        "time_embedding_dim": None,
    }
    if tuple(up_depths) != tuple(down[::-1]):
        config["reverse_transformer_layers_per_block"] = tuple(depth or 1 for depth in up_depths)
    config |= attention_config(pieces, hints, widths, attention)
    if "class_embedding.linear_1.weight" in pieces:
        config["class_embed_type"] = "projection"
        config["projection_class_embeddings_input_dim"] = shape(pieces, "class_embedding.linear_1.weight")[1]
    check_unet_ends(pieces, config, channels)
    return config


def attention_config(pieces: Pieces, hints: Hints, widths: list[int], attention: list[bool]) -> dict[str, Any]:
    """Heads, context width and kind of projection, from the first attention block there is."""
    first = next((name for name in pieces if name.endswith("transformer_blocks.0.attn2.to_k.weight")), None)
    if first is None:
        raise LayoutError("the UNet has no cross attention")
    block = first.split(".transformer_blocks.")[0]
    linear = len(shape(pieces, f"{block}.proj_in.weight")) == 2
    stated = hints.of("unet", "num_attention_heads")
    if stated is None:
        heads = [max(width // HEAD_WIDTH, 1) if linear else CONVOLUTIONAL_HEADS for width in widths]
    elif isinstance(stated, list):
        heads = [positive(number, "the UNet's num_attention_heads") for number in stated]
    else:
        heads = [positive(stated, "the UNet's num_attention_heads")] * len(widths)
    if len(heads) != len(widths):
        raise LayoutError(f"the UNet's num_attention_heads names {len(heads)} levels of {len(widths)}")
    for width, number, has in zip(widths, heads, [*attention[:-1], True], strict=True):
        if has and width % number:
            raise LayoutError(f"the UNet's {number} attention heads do not divide {width} channels")
    return {
        # diffusers calls the number of heads attention_head_dim
        "attention_head_dim": tuple(heads),
        "cross_attention_dim": shape(pieces, first)[1],
        "use_linear_projection": linear,
    }


def check_unet_ends(pieces: Pieces, config: Mapping[str, Any], channels: tuple[int, ...]) -> None:
    """The channels that make it a network for latents."""
    if config["out_channels"] != LATENT_CHANNELS:
        raise LayoutError(f"the UNet makes {config['out_channels']} channels, not {LATENT_CHANNELS}")
    if config["in_channels"] not in channels:
        raise LayoutError(
            f"the UNet takes {config['in_channels']} channels; 4, 8 (ip2p) and 9 (inpainting) are supported"
        )
    wide = shape(pieces, "time_embedding.linear_1.weight")[0]
    if wide != 4 * config["block_out_channels"][0]:
        raise LayoutError(f"the UNet's time embedding has width {wide}, not four times its first level's")


def vae_config(pieces: Pieces, hints: Hints, halvings: int = 3) -> dict[str, Any]:
    """Arguments of diffusers' AutoencoderKL of `halvings` from pixels to latent cells."""
    levels = count(pieces, "encoder.down_blocks.{}.resnets.0.conv1.weight")
    if levels == 0:
        raise LayoutError("the VAE has no encoder")
    widths = [shape(pieces, f"encoder.down_blocks.{level}.resnets.0.conv1.weight")[0] for level in range(levels)]
    layers = {count(pieces, f"encoder.down_blocks.{level}.resnets.{{}}.conv1.weight") for level in range(levels)}
    layers |= {count(pieces, f"decoder.up_blocks.{level}.resnets.{{}}.conv1.weight") - 1 for level in range(levels)}
    if len(layers) != 1:
        raise LayoutError("the VAE's levels differ in their number of layers")
    if levels != halvings + 1:
        raise LayoutError(f"the VAE has {levels} levels, not {halvings + 1} ({2**halvings} pixels a latent cell)")
    latent = shape(pieces, "decoder.conv_in.weight")[1]
    if latent != LATENT_CHANNELS:
        raise LayoutError(f"the VAE's latents have {latent} channels, not {LATENT_CHANNELS}")
    return {
        "block_out_channels": tuple(widths),
        "layers_per_block": layers.pop(),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "latent_channels": latent,
        "norm_num_groups": groups_for(hints.of("vae", "norm_num_groups"), widths, "the VAE"),
        "mid_block_add_attention": "encoder.mid_block.attentions.0.to_q.weight" in pieces,
        "use_quant_conv": "quant_conv.weight" in pieces,
        "use_post_quant_conv": "post_quant_conv.weight" in pieces,
    }


def text_config(pieces: Pieces, kind: ClipKind, hints: Hints) -> dict[str, Any]:
    """Arguments of transformers' CLIPTextConfig."""
    words, width = shape(pieces, "embeddings.token_embedding.weight")
    part = f"clip_{kind}"
    stated = hints.of(part, "num_attention_heads")
    heads = max(width // HEAD_WIDTH, 1) if stated is None else positive(stated, f"{part}'s num_attention_heads")
    if width % heads:
        raise LayoutError(f"{part}'s {heads} attention heads do not divide {width} channels")
    layers = count(pieces, "encoder.layers.{}.layer_norm1.weight")
    if layers == 0:
        raise LayoutError(f"{part} has no layers")
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": shape(pieces, "encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": shape(pieces, "embeddings.position_embedding.weight")[0],
        "hidden_act": hints.of(part, "hidden_act") or ACTIVATIONS[kind],
        "layer_norm_eps": 1e-5,
    }
