"""Hypernetworks (NovelAI, A1111): by width of the text vectors a pair of small networks for keys and values."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hires.errors import ModelFileError

Networks = Mapping[int, tuple[nn.Module, nn.Module]]

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "elu": nn.ELU,
    "swish": nn.Hardswish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softsign": nn.Softsign,
    "mish": nn.Mish,
}


def load_hypernetwork(path: Path) -> Networks:
    """Read an A1111 hypernetwork (.pt): width -> (network for keys, network for values), float32, on the CPU."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError) as problem:
        reason = type(problem).__name__
        raise ModelFileError(f"{path.name} cannot be read as a hypernetwork: {reason} ({path})") from None
    if not isinstance(content, Mapping):
        raise ModelFileError(f"{path.name} is not a hypernetwork ({path})")
    networks = {int(width): content[width] for width in content if str(width).isdigit()}
    if not networks:
        raise ModelFileError(f"{path.name} is not a hypernetwork: it names no width ({path})")
    try:
        return {width: (_network(pair[0], content), _network(pair[1], content)) for width, pair in networks.items()}
    except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as problem:
        raise ModelFileError(f"{path.name} is a damaged hypernetwork: {problem} ({path})") from None


def _network(weights: Mapping[str, Tensor], facts: Mapping[Any, Any]) -> nn.Module:
    """Linear layers in the file's order, each followed by the activation and, if the file says so, a layer norm."""
    activation = ACTIVATIONS[str(facts.get("activation_func") or "linear").lower()]
    names = [key.removesuffix(".weight") for key in weights if key.endswith(".weight")]
    layers: list[nn.Module] = []
    normed = bool(facts.get("is_layer_norm", False))
    linears = names[::2] if normed else names
    for number, name in enumerate(linears):
        matrix = weights[f"{name}.weight"]
        layers.append(_filled(nn.Linear(matrix.shape[1], matrix.shape[0]), weights, name))
        if number < len(linears) - 1 or facts.get("activate_output", False):
            layers.append(activation())
        if normed:
            norm = names[2 * number + 1]
            layers.append(_filled(nn.LayerNorm(weights[f"{norm}.weight"].shape[0]), weights, norm))
    return nn.Sequential(*layers).requires_grad_(False).eval()


def _filled(layer: nn.Module, weights: Mapping[str, Tensor], name: str) -> nn.Module:
    layer.load_state_dict({leaf: weights[f"{name}.{leaf}"].float() for leaf in ("weight", "bias")})
    return layer
