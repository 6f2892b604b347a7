"""Modules from pieces: built without memory, then given their tensors one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from hires.models.clip import ClipKind, ClipModel
from hires.models.keys import PROJECTION, Piece, Pieces
from hires.models.precision import FLOAT8, hold, lay_out_norms
from hires.models.sizes import Hints, LayoutError, text_config, unet_config, vae_config
from hires.models.threads import steady_layers
from hires.models.weights import Weights

Module = TypeVar("Module", bound=nn.Module)

OPENCLIP_H_LAYERS = 24
OPENCLIP_H_WIDTH = 1024


@dataclass(frozen=True)
class Holding:
    """How a network's weights are held: precision and place, and the precision of its arithmetic.

    `mapped` leaves tensors in the mapped file where neither precision nor place asks for a copy; else they are copied
    into memory of their own, which a change of the file cannot touch. float8: linear layers and convolutions are held
    in 8 bits, all others as `held` says.
    """

    held: torch.dtype
    compute: torch.dtype
    device: torch.device
    mapped: bool
    float8: bool = False


def take(weights: Weights, piece: Piece, holding: Holding) -> Tensor:
    """One parameter's tensor. Weights of convolutions lie channels last: on CPUs the full-size UNets run five to ten
    times as fast that way, since oneDNN need not rearrange them at every call."""
    wide = len(piece.shape) == 4 and piece.shape[-1] > 1
    tensor = piece.of(weights.read_as(piece.key, holding.held, mapped=holding.mapped and not wide))
    order = torch.channels_last if wide else torch.contiguous_format
    return tensor.contiguous(memory_format=order).to(holding.device)


def check(expected: Mapping[str, Tensor], pieces: Pieces, what: str) -> None:
    """LayoutError unless every parameter has a tensor of its shape."""
    missing = [name for name in expected if name not in pieces]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise LayoutError(f"{what} is not whole: tensor {missing[0]}{more} missing")
    for name, parameter in expected.items():
        if pieces[name].shape != tuple(parameter.shape):
            shapes = f"{list(pieces[name].shape)}, not {list(parameter.shape)}"
            raise LayoutError(f"{what}'s tensor {pieces[name].key} has shape {shapes}")


def filled(
    make: Callable[[], Module],
    pieces: Pieces,
    weights: Weights,
    what: str,
    holding: Holding,
) -> Module:
    """The module that `make` builds, with its weights from the file."""
    try:
        with torch.device("meta"):
            module = make()
    except (ValueError, TypeError, KeyError) as problem:
        raise LayoutError(f"{what} has sizes that do not fit together: {problem}") from None
    expected = dict(module.named_parameters())
    check(expected, pieces, what)
    for name in expected:
        parent, leaf = name.rpartition(".")[::2]
        owner = module.get_submodule(parent)
        tensor = take(weights, pieces[name], holding)
        if holding.float8 and isinstance(owner, nn.Linear | nn.Conv2d):
            tensor = tensor.to(FLOAT8)
        owner._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    if holding.held != holding.compute or holding.float8:
        hold(module, holding.compute)
    lay_out_norms(module)
    steady_layers(module)
    return module.eval()


def build_unet(pieces: Pieces, weights: Weights, hints: Hints, holding: Holding) -> UNet2DConditionModel:
    """The UNet of a file."""
    config = unet_config(pieces, hints)
    return filled(lambda: UNet2DConditionModel(**config), pieces, weights, "the UNet", holding)


def build_vae(pieces: Pieces, weights: Weights, hints: Hints, holding: Holding) -> AutoencoderKL:
    """The autoencoder of a file, to be held as it computes: its decoder asks for its own precision."""
    config = vae_config(pieces, hints)
    return filled(lambda: AutoencoderKL(**config), pieces, weights, "the VAE", holding)


def build_text(kind: ClipKind, pieces: Pieces, weights: Weights, hints: Hints, holding: Holding) -> ClipModel:
    """A text tower, which always computes in float32."""
    config: dict[str, Any] = text_config(pieces, kind, hints)
    what = f"the text encoder (CLIP {kind.upper()})"
    # SD 2.x folders of diffusers leave out the last layer, whose output SD 2.x never uses. A layer that adds nothing
    # in its place keeps "the layer before the last" what it is everywhere else.
    cut = (
        kind == "h"
        and config["num_hidden_layers"] == OPENCLIP_H_LAYERS - 1
        and config["hidden_size"] == OPENCLIP_H_WIDTH
    )
    module = filled(lambda: CLIPTextModel(CLIPTextConfig(**config)), pieces, weights, what, holding)
    positions = torch.arange(config["max_position_embeddings"], device=holding.device)
    module.embeddings.position_ids = positions.expand((1, -1))
    if cut:
        add_idle_layer(module)
    projection = take(weights, pieces[PROJECTION], holding).float() if PROJECTION in pieces else None
    return ClipModel(kind, module, projection)


def add_idle_layer(module: CLIPTextModel) -> None:
    """Append a layer whose two branches give zero, so that its output is its input."""
    last = module.encoder.layers[-1]
    idle = type(last)(module.config)
    for parameter in idle.parameters():
        parameter.requires_grad_(False).zero_()
    module.encoder.layers.append(idle.to(next(last.parameters())).eval())
    module.config.num_hidden_layers += 1
    if any(parameter.dtype != torch.float32 for parameter in idle.parameters()):
        hold(idle, torch.float32)
