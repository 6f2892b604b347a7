"""Changed weights over a shared module: a LoRA or a merge copies the tensors it changes and shares all others.

Changes are functions of a parameter, computed in float32 and cast back once to the precision that the weights are held
in, however many were laid one over the other.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)
Change = Callable[[Tensor], Tensor]
"""A parameter in float32 -> the changed parameter, of the same shape. Must not write into its argument."""


@dataclass(frozen=True, eq=False)
class Layers:
    """The module that the file gave, and by parameter the changes that were laid over it, first to last."""

    base: nn.Module
    changes: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)


@torch.no_grad()
def lay(module: Module, layers: Layers | None, changes: Mapping[str, Change]) -> tuple[Module, Layers]:
    """The module with further changes, and all changes over its base. `layers` is what `module` itself was made of.

    Parameters that the new changes do not touch are shared with `module`.
    """
    base = layers.base if layers is not None else module
    before = layers.changes if layers is not None else {}
    together = dict(before) | {name: (*before.get(name, ()), change) for name, change in changes.items()}
    originals = dict(base.named_parameters())
    tensors = {}
    for name in changes:
        original = originals[name]
        value = original.detach().to(torch.float32)
        for change in together[name]:
            value = change(value)
        # empty_like keeps the memory layout, which convolutions depend on for speed
        tensors[name] = torch.empty_like(original).copy_(value)
    return with_tensors(module, tensors), Layers(base, together)


def with_tensors(module: Module, tensors: Mapping[str, Tensor]) -> Module:
    """A module that computes with other tensors; submodules without any of them are the very same objects."""
    below: dict[str, dict[str, Tensor]] = {}
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        if rest:
            below.setdefault(first, {})[rest] = tensor
        else:
            own[first] = tensor
    result = cast(Module, shallow(module))
    for leaf, tensor in own.items():
        result._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    for name, inner in below.items():
        child = module._modules[name]
        assert child is not None
        changed = with_tensors(child, inner)
        for alias, other in module._modules.items():  # a child may go by two names
            if other is child:
                result._modules[alias] = changed
    return result


def shallow(module: nn.Module) -> nn.Module:
    """A module object of its own with the same tensors and children."""
    result = copy.copy(module)
    for table in ("_parameters", "_modules", "_buffers"):
        result.__dict__[table] = dict(module.__dict__[table])
    return result


def derived_identity(identity: str, what: str, *facts: object) -> str:
    """The key of a handle that was made from another."""
    return hashlib.sha256(repr((identity, what, facts)).encode()).hexdigest()
