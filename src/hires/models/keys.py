"""Names of tensors: from the single-file layouts (latent-diffusion, OpenCLIP) to the modules' own, and back.

A module's parameter is described by a `Piece`: the key in the file and what to do with it. Nothing is read here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from hires.models.weights import TensorInfo

Tensors = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class Piece:
    """Where a parameter comes from: `key`, of it the third number `third` of the rows if given (of those of each of
    `heads`), then the matrix of a 1x1 convolution (`flat`) or the transposed matrix (`turned`)."""

    key: str
    info: TensorInfo
    third: int | None = None
    flat: bool = False
    turned: bool = False
    heads: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The parameter's shape."""
        shape = self.info.shape
        if self.third is not None:
            shape = (shape[0] // 3, *shape[1:])
        if self.flat:
            shape = shape[:2]
        return shape[::-1] if self.turned else shape

    def of(self, tensor: Tensor) -> Tensor:
        """The parameter, a view of the file's tensor."""
        if self.third is not None:
            tensor = tensor.unflatten(0, (self.heads, 3, -1))[:, self.third].flatten(0, 1)
        if self.flat:
            tensor = tensor.reshape(tensor.shape[:2])
        return tensor.t() if self.turned else tensor


Pieces = dict[str, Piece]


def under(tensors: Tensors, prefix: str) -> dict[str, TensorInfo]:
    """The tensors below a prefix, without it."""
    return {key[len(prefix) :]: info for key, info in tensors.items() if key.startswith(prefix)}


# ---- UNet -----------------------------------------------------------------------------------------------------------

UNET_ENDS: Mapping[str, str] = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "class_embedding.linear_1",
    "label_emb.0.2": "class_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
RESNET: Mapping[str, str] = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}


def ldm_unet_blocks(keys: Collection[str]) -> dict[str, str]:
    """Block of the single-file layout -> block of the module, by walking the numbered blocks that `keys` has."""
    blocks = {}
    level = layer = 0
    number = 1
    while f"input_blocks.{number}.0.op.weight" in keys or f"input_blocks.{number}.0.in_layers.0.weight" in keys:
        block, number = f"input_blocks.{number}", number + 1
        if f"{block}.0.op.weight" in keys:
            blocks[f"{block}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
            level, layer = level + 1, 0
            continue
        blocks[f"{block}.0"] = f"down_blocks.{level}.resnets.{layer}"
        if f"{block}.1.norm.weight" in keys:
            blocks[f"{block}.1"] = f"down_blocks.{level}.attentions.{layer}"
        layer += 1
    resnets = attentions = 0
    for number in range(3):
        if f"middle_block.{number}.in_layers.0.weight" in keys:
            blocks[f"middle_block.{number}"] = f"mid_block.resnets.{resnets}"
            resnets += 1
        elif f"middle_block.{number}.norm.weight" in keys:
            blocks[f"middle_block.{number}"] = f"mid_block.attentions.{attentions}"
            attentions += 1
    level = layer = number = 0
    while f"output_blocks.{number}.0.in_layers.0.weight" in keys:
        block, number = f"output_blocks.{number}", number + 1
        blocks[f"{block}.0"] = f"up_blocks.{level}.resnets.{layer}"
        if f"{block}.1.norm.weight" in keys:
            blocks[f"{block}.1"] = f"up_blocks.{level}.attentions.{layer}"
        layer += 1
        for position in (1, 2):
            if f"{block}.{position}.conv.weight" in keys:
                blocks[f"{block}.{position}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
                level, layer = level + 1, 0
    return blocks


def module_unet_blocks(keys: Collection[str]) -> dict[str, str]:
    """The same pairs, found from the module's names."""
    blocks = {}
    level, number = 0, 1
    while f"down_blocks.{level}.resnets.0.norm1.weight" in keys:
        layer = 0
        while f"down_blocks.{level}.resnets.{layer}.norm1.weight" in keys:
            blocks[f"input_blocks.{number}.0"] = f"down_blocks.{level}.resnets.{layer}"
            blocks[f"input_blocks.{number}.1"] = f"down_blocks.{level}.attentions.{layer}"
            layer, number = layer + 1, number + 1
        blocks[f"input_blocks.{number}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
        level, number = level + 1, number + 1
    attention = "mid_block.attentions.0.norm.weight" in keys
    blocks["middle_block.0"] = "mid_block.resnets.0"
    blocks["middle_block.1"] = "mid_block.attentions.0" if attention else "mid_block.resnets.1"
    if attention:
        blocks["middle_block.2"] = "mid_block.resnets.1"
    level = number = 0
    while f"up_blocks.{level}.resnets.0.norm1.weight" in keys:
        attention = f"up_blocks.{level}.attentions.0.norm.weight" in keys
        layer = 0
        while f"up_blocks.{level}.resnets.{layer}.norm1.weight" in keys:
            blocks[f"output_blocks.{number}.0"] = f"up_blocks.{level}.resnets.{layer}"
            if attention:
                blocks[f"output_blocks.{number}.1"] = f"up_blocks.{level}.attentions.{layer}"
            layer, number = layer + 1, number + 1
        blocks[f"output_blocks.{number - 1}.{2 if attention else 1}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
        level += 1
    return blocks


def unet_block_names(blocks: Mapping[str, str]) -> dict[str, str]:
    """All pairs of prefixes, down to the layers inside residual blocks."""
    names = dict(UNET_ENDS)
    for ldm, module in blocks.items():
        if ".resnets." in module:
            names |= {f"{ldm}.{leaf}": f"{module}.{name}" for leaf, name in RESNET.items()}
        else:
            names[ldm] = module
    return names


def renamed(key: str, names: Mapping[str, str]) -> str | None:
    """`key` with its longest known prefix replaced; None if no prefix is known."""
    end = len(key)
    while end > 0:
        if key[:end] in names:
            return names[key[:end]] + key[end:]
        end = key.rfind(".", 0, end)
    return None


def ldm_unet(tensors: Tensors) -> Pieces:
    """Pieces of a UNet in the single-file layout (keys without "model.diffusion_model.")."""
    names = unet_block_names(ldm_unet_blocks(tensors.keys()))
    pieces = {}
    for key, info in tensors.items():
        name = renamed(key, names)
        if name is not None:
            pieces[name] = Piece(key, info)
    return pieces


def module_unet(tensors: Tensors) -> Pieces:
    """Pieces of a UNet in diffusers' own layout; SDXL's add_embedding does what class_embedding does here."""
    return {
        key.replace("add_embedding.", "class_embedding.", 1) if key.startswith("add_embedding.") else key: Piece(
            key, info
        )
        for key, info in tensors.items()
    }


# ---- VAE ------------------------------------------------------------------------------------------------------------

VAE_MIDDLE: Mapping[str, str] = {
    "mid.block_1": "mid_block.resnets.0",
    "mid.block_2": "mid_block.resnets.1",
    "mid.attn_1.norm": "mid_block.attentions.0.group_norm",
    "mid.attn_1.q": "mid_block.attentions.0.to_q",
    "mid.attn_1.k": "mid_block.attentions.0.to_k",
    "mid.attn_1.v": "mid_block.attentions.0.to_v",
    "mid.attn_1.proj_out": "mid_block.attentions.0.to_out.0",
    "norm_out": "conv_norm_out",
}
OLD_VAE_ATTENTION: Mapping[str, str] = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def vae_names(levels: int) -> dict[str, str]:
    """Prefix of the single-file layout -> prefix of the module. The decoder's levels count the other way round."""
    names: dict[str, str] = {}
    for side in ("encoder", "decoder"):
        names |= {f"{side}.{ldm}": f"{side}.{module}" for ldm, module in VAE_MIDDLE.items()}
    for level in range(levels):
        names[f"encoder.down.{level}.block"] = f"encoder.down_blocks.{level}.resnets"
        names[f"encoder.down.{level}.downsample.conv"] = f"encoder.down_blocks.{level}.downsamplers.0.conv"
        names[f"decoder.up.{level}.block"] = f"decoder.up_blocks.{levels - 1 - level}.resnets"
        names[f"decoder.up.{level}.upsample.conv"] = f"decoder.up_blocks.{levels - 1 - level}.upsamplers.0.conv"
    return names


def vae_piece(key: str, info: TensorInfo, name: str) -> Piece:
    """A VAE's attention projects with 1x1 convolutions in the single-file layout, with matrices in the module."""
    return Piece(
        key, info, flat=bool(re.search(r"attentions\.0\.to_\w+(\.0)?\.weight$", name)) and len(info.shape) == 4
    )


def ldm_vae(tensors: Tensors) -> Pieces:
    """Pieces of an autoencoder in the single-file layout (keys without "first_stage_model.")."""
    levels = 1 + max((int(key.split(".")[2]) for key in tensors if re.match(r"decoder\.up\.\d+\.", key)), default=-1)
    names = vae_names(levels)
    pieces = {}
    for key, info in tensors.items():
        if key.split(".")[0] in ("encoder", "decoder", "quant_conv", "post_quant_conv"):
            name = (renamed(key, names) or key).replace("nin_shortcut", "conv_shortcut")
            pieces[name] = vae_piece(key, info, name)
    return pieces


def module_vae(tensors: Tensors) -> Pieces:
    """Pieces of an autoencoder in diffusers' own layout, also that from before its attention was renamed."""
    pieces = {}
    for key, info in tensors.items():
        name = re.sub(
            r"(attentions\.0\.)(query|key|value|proj_attn)\.", lambda m: f"{m[1]}{OLD_VAE_ATTENTION[m[2]]}.", key
        )
        pieces[name] = vae_piece(key, info, name)
    return pieces


# ---- Text -----------------------------------------------------------------------------------------------------------

OPENCLIP_LAYER: Mapping[str, str] = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
OPENCLIP_ENDS: Mapping[str, str] = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
PROJECTION = "text_projection"  # name of the piece (width, out) that is not a parameter of the text module


def openclip_text(tensors: Tensors) -> Pieces:
    """Pieces of an OpenCLIP text tower; its joined query, key and value matrix is cut in three."""
    pieces = {}
    for key, info in tensors.items():
        if key in OPENCLIP_ENDS:
            pieces[OPENCLIP_ENDS[key]] = Piece(key, info)
        elif key == "text_projection":
            pieces[PROJECTION] = Piece(key, info)
        elif match := re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)", key):
            layer, leaf = f"encoder.layers.{match[1]}", match[2]
            if joined := re.fullmatch(r"attn\.in_proj_(weight|bias)", leaf):
                for third, projection in enumerate(("q_proj", "k_proj", "v_proj")):
                    pieces[f"{layer}.self_attn.{projection}.{joined[1]}"] = Piece(key, info, third=third)
            elif (name := renamed(leaf, OPENCLIP_LAYER)) is not None:
                pieces[f"{layer}.{name}"] = Piece(key, info)
    return pieces


def transformers_text(tensors: Tensors) -> Pieces:
    """Pieces of a text tower in transformers' layout, with or without "text_model." in front."""
    pieces = {}
    for key, info in tensors.items():
        name = key.removeprefix("text_model.")
        if name.startswith(("encoder.layers.", "final_layer_norm.", "embeddings.")):
            if not name.endswith("position_ids"):
                pieces[name] = Piece(key, info)
        elif name == "text_projection.weight":
            pieces[PROJECTION] = Piece(key, info, turned=True)  # a Linear's weight is (out, width)
        elif name == "text_projection":
            pieces[PROJECTION] = Piece(key, info)
    return pieces


def with_prefix(pieces: Pieces, prefix: str) -> Pieces:
    """The same pieces, their keys as they stand in the file."""
    return {name: replace(piece, key=prefix + piece.key) for name, piece in pieces.items()}
