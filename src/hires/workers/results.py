"""Results of nodes on their way between processes, and on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hires.graph.cache import CachedResult


def on_cpu(result: CachedResult) -> CachedResult:
    """A result as it is sent: its tensors are copies that every process can read."""
    return CachedResult(tuple([_sent(value) for value in values] for values in result.outputs))


def _sent(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if type(value) is dict:
        return {key: _sent(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_sent(entry) for entry in value)
    return value


def to_values(result: CachedResult) -> dict[str, Any] | None:
    """A result as it is kept on disk; None where it is more than tensors, numbers and texts."""
    tensors: dict[str, Tensor] = {}
    try:
        told = [[_told(value, tensors) for value in values] for values in result.outputs]
    except TypeError:
        return None
    return {"outputs": told, **tensors}


def _told(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = f"tensor {len(tensors)}"
        tensors[name] = value
        return {"tensor": name}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: _told(entry, tensors) for key, entry in value.items()}}
    if type(value) is list:
        return {"list": [_told(entry, tensors) for entry in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(f"{type(value).__name__} is not kept")


def from_values(found: Mapping[str, Any]) -> CachedResult:
    """What `to_values` kept."""
    return CachedResult(tuple([_read(value, found) for value in values] for values in found["outputs"]))


def _read(told: Mapping[str, Any], found: Mapping[str, Any]) -> Any:
    ((kind, value),) = told.items()
    if kind == "tensor":
        return found[value]
    if kind == "dict":
        return {key: _read(entry, found) for key, entry in value.items()}
    return [_read(entry, found) for entry in value] if kind == "list" else value
