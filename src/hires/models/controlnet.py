"""ControlNets and T2I-Adapters: opened by their tensors, built as diffusers' modules, run to what they add to a UNet.

Files may be in the single-file layout ("control_model."), in diffusers', union ControlNets, difference ControlNets
and Control-LoRAs (both need the UNet they are used with), and T2I-Adapters in either spelling.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter
from torch import Tensor, nn

from hires.errors import ModelFileError
from hires.models.build import Holding, filled
from hires.models.checkpoint import Placement, part_identity
from hires.models.export import ldm_unet_tensors
from hires.models.handles import DiffusionModel
from hires.models.keys import Piece, Pieces, ldm_unet, module_unet, under
from hires.models.kinds import recognise
from hires.models.precision import held_dtype
from hires.models.sizes import (
    Hints,
    LayoutError,
    attention_config,
    count,
    groups_for,
    level_depth,
    metadata_hints,
    shape,
    transformer_depth,
)
from hires.models.walk import Residuals
from hires.models.weights import LoadedWeights, TensorInfo, Weights, main_dtype, open_weights

UNION_TYPES = (
    "openpose",
    "depth",
    "hed/pidi/scribble/ted",
    "canny/lineart/anime_lineart/mlsd",
    "normal",
    "segment",
    "tile",
    "repaint",
)
TYPE_EMBEDDING = 256  # sinusoids for each type of a union ControlNet
HINT_SHRINKS = 8  # pixels a latent cell
XL_INPUTS = (256, 768)  # channels of a T2I-Adapter's unshuffled hint that mark the SDXL form


@dataclass(frozen=True, eq=False)
class ControlNet:
    """A ControlNet or adapter. `module` is None for one that is built over the UNet it steers; see `bound`.

    `types` are the numbers of a union ControlNet's kinds of hint; none = it is not told.
    """

    name: str
    module: nn.Module | None
    identity: str
    placement: Placement
    source: Weights
    types: tuple[int, ...] = ()

    @property
    def is_adapter(self) -> bool:
        return isinstance(self.module, T2IAdapter)

    @property
    def multiple(self) -> int:
        """Pixels that a hint's sides must be a multiple of."""
        return 1 if not isinstance(self.module, T2IAdapter) else int(self.module.config.downscale_factor)

    def bound(self, model: DiffusionModel) -> ControlNet:
        """The ControlNet for use with a UNet: itself, or built from the UNet's weights and what the file adds."""
        if self.module is not None:
            self._check(model)
            return self
        base = ldm_unet_tensors(model.unet)
        tensors = _difference(self.source, base) if "difference" in self.source.tensors else _lora(self.source, base)
        weights = _in_memory(self.source.path, tensors)
        hints = Hints({"unet": {"num_attention_heads": list(model.unet.config.attention_head_dim)}})
        module = _network(weights, ldm_control(weights.tensors), hints, self.placement)
        return replace(self, module=module, identity=part_identity(self.identity, "bound", model.identity))

    def _check(self, model: DiffusionModel) -> None:
        if self.is_adapter:
            return
        config: Any = self.module.config if self.module is not None else None
        width = int(config.cross_attention_dim)
        wanted = int(model.unet.config.cross_attention_dim)
        if width != wanted:
            raise ModelFileError(
                f"the ControlNet {self.name} takes texts of width {width}, the model's are {wanted} wide",
                "Choose a ControlNet made for the model's family.",
            )

    @torch.inference_mode()
    def residuals(self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None, hint: Tensor) -> Residuals:
        """What it adds to a UNet's blocks.

        x (batch, 4, h, w) scaled, timestep (batch,), context (batch, tokens, width), vector (batch, v) or None;
        hint (1 or batch, 3, 8 h, 8 w) in 0..1.
        """
        where: dict[str, Any] = {"device": self.placement.device, "dtype": self.placement.compute_dtype}
        hint = hint.to(**where)
        if isinstance(self.module, T2IAdapter):
            return _adapter_residuals(self.module, hint)
        assert self.module is not None
        inputs = (
            x.to(**where),
            timestep.to(self.placement.device, torch.float32),
            context.to(**where),
            None if vector is None else vector.to(**where),
        )
        return control_pass(self.module, *inputs, hint, self.types)


def control_pass(
    net: Any,
    x: Tensor,
    timestep: Tensor,
    context: Tensor,
    vector: Tensor | None,
    hint: Tensor,
    types: tuple[int, ...] = (),
) -> Residuals:
    """A ControlNet's pass (Zhang et al. 2023), with the type embedding and hint transformer of a union ControlNet."""
    emb = net.time_embedding(net.time_proj(timestep.expand(len(x))).to(x.dtype))
    if net.class_embedding is not None and vector is not None:
        emb = emb + net.class_embedding(vector)
    seen = net.controlnet_cond_embedding(hint)
    if isinstance(net, ControlNetUnionModel):
        emb = emb + _type_embedding(net, types).to(emb)
        seen = _told(net, seen, types) if types else seen
    h = net.conv_in(x) + seen
    skips = [h]
    for level in net.down_blocks:
        for index, resnet in enumerate(level.resnets):
            h = resnet(h, emb)
            for transformer in (getattr(level, "attentions", None) or ())[index : index + 1]:
                h = transformer(h, encoder_hidden_states=context, return_dict=False)[0]
            skips.append(h)
        for downsampler in level.downsamplers or ():
            h = downsampler(h)
            skips.append(h)
    middle = net.mid_block
    h = middle.resnets[0](h, emb)
    for transformer, resnet in zip(middle.attentions, middle.resnets[1:], strict=True):
        if transformer is not None:
            h = transformer(h, encoder_hidden_states=context, return_dict=False)[0]
        h = resnet(h, emb)
    zeros = zip(skips, net.controlnet_down_blocks, strict=True)
    return Residuals({number: zero(skip) for number, (skip, zero) in enumerate(zeros)}, net.controlnet_mid_block(h))


def _type_embedding(net: Any, types: tuple[int, ...]) -> Tensor:
    """(1, width): sinusoids of a row with a 1 at each type given."""
    first = net.control_add_embedding.linear_1.weight
    marks = torch.zeros(net.task_embedding.shape[0], device=first.device)
    marks[list(types)] = 1.0
    angles = net.control_type_proj(marks).reshape(1, -1)
    return net.control_add_embedding(angles.to(first.dtype))


def _told(net: Any, seen: Tensor, types: tuple[int, ...]) -> Tensor:
    """The embedded hint, shifted by what the small transformer makes of its mean and its type."""
    token = seen.mean(dim=(2, 3)) + net.task_embedding[types[0]]
    # one token a picture, and the layers count tokens first
    sequence = token[None]
    for layer in net.transformer_layes:
        sequence = layer(sequence)
    shift: Tensor = net.spatial_ch_projs(sequence[0])[:, :, None, None]
    return seen + shift


def _adapter_residuals(adapter: Any, hint: Tensor) -> Residuals:
    """T2I-Adapter (Mou et al. 2023): features behind input blocks; the SDXL form's last goes behind the middle."""
    channels = int(adapter.config.in_channels)
    if channels == 1 and hint.shape[1] != 1:
        hint = hint.mean(dim=1, keepdim=True)
    features = adapter(hint)
    if adapter.config.adapter_type == "full_adapter_xl":
        return Residuals(middle=features[3], inputs=dict(zip((3, 5, 8), features, strict=False)))
    return Residuals(inputs={2 + 3 * level: feature for level, feature in enumerate(features)})


# ---- files ----------------------------------------------------------------------------------------------------------


def load_controlnet(path: Path, placement: Placement, identity: str) -> ControlNet:
    """Open a ControlNet or T2I-Adapter of any known layout; ModelFileError for anything else."""
    weights = open_weights(path)
    tensors = weights.tensors
    handle = ControlNet(
        path.name, None, part_identity(identity, "control", placement.compute_dtype), placement, weights
    )
    if "lora_controlnet" in tensors or "difference" in tensors:
        return handle
    try:
        hints = metadata_hints(weights.metadata)
        if (adapter := adapter_pieces(tensors)) is not None:
            return replace(handle, module=_adapter(weights, adapter, placement))
        pieces = ldm_control(tensors) or module_control(tensors)
        if not pieces:
            raise weights.error(f"this is {recognise(tensors.keys()).label}, not a ControlNet or T2I-Adapter")
        return replace(handle, module=_network(weights, pieces, hints, placement))
    except LayoutError as problem:
        raise weights.error(str(problem)) from None


def ldm_control(tensors: Mapping[str, TensorInfo]) -> Pieces:
    """Pieces of a ControlNet in the single-file layout; empty for any other file."""
    for prefix in ("control_model.", "module.control_model.", "model.control_model.", ""):
        if f"{prefix}input_hint_block.0.weight" not in tensors:
            continue
        below = under(tensors, prefix)
        pieces = ldm_unet(below)
        for key, info in below.items():
            if match := re.fullmatch(r"zero_convs\.(\d+)\.0\.(\w+)", key):
                pieces[f"controlnet_down_blocks.{match[1]}.{match[2]}"] = Piece(key, info)
            elif match := re.fullmatch(r"middle_block_out\.0\.(\w+)", key):
                pieces[f"controlnet_mid_block.{match[1]}"] = Piece(key, info)
            elif match := re.fullmatch(r"input_hint_block\.(\d+)\.(\w+)", key):
                pieces[f"controlnet_cond_embedding.{_hint_layer(below, int(match[1]))}.{match[2]}"] = Piece(key, info)
        return {name: replace(piece, key=prefix + piece.key) for name, piece in pieces.items()}
    return {}


def _hint_layer(tensors: Mapping[str, TensorInfo], number: int) -> str:
    """diffusers' name of a layer of the hint's stem; activations between the layers count too."""
    last = max(int(key.split(".")[1]) for key in tensors if key.startswith("input_hint_block."))
    return "conv_in" if number == 0 else "conv_out" if number == last else f"blocks.{number // 2 - 1}"


def module_control(tensors: Mapping[str, TensorInfo]) -> Pieces:
    """Pieces of a ControlNet in diffusers' layout; empty for any other file."""
    return module_unet(tensors) if "controlnet_cond_embedding.conv_in.weight" in tensors else {}


def adapter_pieces(tensors: Mapping[str, TensorInfo]) -> Pieces | None:
    """Pieces of a T2I-Adapter, in diffusers' spelling or its authors'; None for any other file."""
    if "adapter.body.0.resnets.0.block1.weight" in tensors:
        return {key: Piece(key, info) for key, info in tensors.items()}
    if "body.0.resnets.0.block1.weight" in tensors:
        return {f"adapter.{key}": Piece(key, info) for key, info in tensors.items()}
    if "body.0.block1.weight" not in tensors or "conv_in.weight" not in tensors:
        return None
    pieces = {}
    for key, info in tensors.items():
        if match := re.fullmatch(r"body\.(\d+)\.(block[12]|in_conv)\.(\w+)", key):
            level, layer = divmod(int(match[1]), 2)
            place = "in_conv" if match[2] == "in_conv" else f"resnets.{layer}.{match[2]}"
            pieces[f"adapter.body.{level}.{place}.{match[3]}"] = Piece(key, info)
        else:
            pieces[f"adapter.{key}"] = Piece(key, info)
    return pieces


def _adapter(weights: Weights, pieces: Pieces, placement: Placement) -> nn.Module:
    inputs = shape(pieces, "adapter.conv_in.weight")[1]
    factor = 16 if inputs in XL_INPUTS else 8
    levels = count(pieces, "adapter.body.{}.resnets.0.block1.weight")
    config = {
        "in_channels": inputs // factor**2,
        "channels": [shape(pieces, f"adapter.body.{level}.resnets.0.block1.weight")[0] for level in range(levels)],
        "num_res_blocks": count(pieces, "adapter.body.0.resnets.{}.block1.weight"),
        "downscale_factor": factor,
        "adapter_type": "full_adapter_xl" if factor == 16 else "full_adapter",
    }
    compute = placement.compute_dtype
    holding = Holding(compute, compute, placement.device, mapped=False)
    return filled(lambda: T2IAdapter(**config), pieces, weights, "the T2I-Adapter", holding)


def _network(weights: Weights, pieces: Pieces, hints: Hints, placement: Placement) -> nn.Module:
    """diffusers' module, its sizes read from the tensors."""
    config = control_config(pieces, hints)
    union = "task_embedding" in pieces
    compute = placement.compute_dtype
    numbers = sum(piece.info.numel for piece in pieces.values())
    dtype = main_dtype({piece.key: piece.info for piece in pieces.values()})
    held = compute if union else held_dtype(placement.weights, dtype, numbers, compute)
    holding = Holding(held, compute, placement.device, mapped=False)
    make = ControlNetUnionModel if union else ControlNetModel
    return filled(lambda: make(**config), pieces, weights, "the ControlNet", holding)


def control_config(pieces: Pieces, hints: Hints) -> dict[str, Any]:
    """Arguments of ControlNetModel, or of ControlNetUnionModel where there is a task embedding."""
    levels = count(pieces, "down_blocks.{}.resnets.0.conv1.weight")
    if levels == 0:
        raise LayoutError("the ControlNet has no blocks")
    widths = [shape(pieces, f"down_blocks.{level}.resnets.0.conv1.weight")[0] for level in range(levels)]
    layers = count(pieces, "down_blocks.0.resnets.{}.conv1.weight")
    depths = [level_depth(pieces, f"down_blocks.{level}", layers) for level in range(levels)]
    middle = transformer_depth(pieces, "mid_block.attentions.0")
    attention = [bool(depth) for depth in depths]
    if middle and not depths[-1]:
        depths[-1] = middle  # diffusers gives the middle the last level's depth
    stem = "controlnet_cond_embedding"
    hint_widths = [shape(pieces, f"{stem}.conv_in.weight")[0]]
    hint_widths += [
        shape(pieces, f"{stem}.blocks.{block}.weight")[0]
        for block in range(1, count(pieces, f"{stem}.blocks.{{}}.weight"), 2)
    ]
    config: dict[str, Any] = {
        "in_channels": shape(pieces, "conv_in.weight")[1],
        "conditioning_channels": shape(pieces, f"{stem}.conv_in.weight")[1],
        "conditioning_embedding_out_channels": tuple(hint_widths),
        "block_out_channels": tuple(widths),
        "layers_per_block": layers,
        "down_block_types": tuple("CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attention),
        "transformer_layers_per_block": tuple(depth or 1 for depth in depths),
        "norm_num_groups": groups_for(hints.of("unet", "norm_num_groups"), widths, "the ControlNet"),
    }
    config |= attention_config(pieces, hints, widths, attention)
    if "class_embedding.linear_1.weight" in pieces:
        config["class_embed_type"] = "projection"
        config["projection_class_embeddings_input_dim"] = shape(pieces, "class_embedding.linear_1.weight")[1]
    if "task_embedding" not in pieces:
        config["mid_block_type"] = "UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D"
        return config
    types, width = shape(pieces, "task_embedding")
    return config | {
        "num_control_type": types,
        "num_trans_channel": width,
        "num_trans_layer": count(pieces, "transformer_layes.{}.ln_1.weight"),
        "num_proj_channel": shape(pieces, "spatial_ch_projs.weight")[0],
        "addition_time_embed_dim": TYPE_EMBEDDING,
    }


def _in_memory(path: Path, tensors: Mapping[str, Tensor]) -> Weights:
    infos = {key: TensorInfo(tuple(tensor.shape), tensor.dtype) for key, tensor in tensors.items()}
    return LoadedWeights(path, infos, {}, dict(tensors))


def _difference(source: Weights, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A difference ControlNet's tensors added to the UNet's of the same name."""
    tensors = {}
    for key in source.tensors:
        tensor = source.read_as(key, torch.float32)
        name = key.removeprefix("control_model.")
        same = base.get(name)
        tensors[name] = tensor if same is None or same.shape != tensor.shape else tensor + same.to("cpu", torch.float32)
    return tensors


def _lora(source: Weights, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A Control-LoRA's tensors: the UNet's, where the file has factors with up @ down added, where it has its own in
    their place."""
    encoder = ("time_embed.", "label_emb.", "input_blocks.", "middle_block.")
    tensors = {key: value.to("cpu", torch.float32) for key, value in base.items() if key.startswith(encoder)}
    for key in source.tensors:
        if key == "lora_controlnet" or key.endswith(".down"):
            continue
        tensor = source.read_as(key, torch.float32)
        if key.endswith(".up"):
            layer = key.removesuffix(".up")
            down = source.read_as(f"{layer}.down", torch.float32)
            weight = tensors[f"{layer}.weight"]
            tensor, key = weight + (tensor.flatten(1) @ down.flatten(1)).reshape(weight.shape), f"{layer}.weight"
        tensors[key] = tensor
    return tensors


def hint_side(cells: int, multiple: int) -> int:
    """Pixels of a hint for a number of latent cells, rounded up to what the network can take."""
    return math.ceil(cells * HINT_SHRINKS / multiple) * multiple
