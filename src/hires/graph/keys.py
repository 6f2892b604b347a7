"""Content keys: a node's result is named by everything it depends on, and by nothing else.

The key is a SHA-256 over the class type, the fingerprint, the constants by structure, and for every link the
source's key and slot. Ids, titles and positions do not enter.
"""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

from hires.errors import HiresError
from hires.graph.context import Context
from hires.graph.declare import call_hook
from hires.graph.inputs import FileChoice
from hires.graph.node_check import ValidNode


class UnnameableError(Exception):
    """A value that has no name by content: a result that depends on it is never reused."""


def node_key(node: ValidNode, source_keys: Mapping[str, str], context: Context) -> tuple[str, bool]:
    """The key of the node, given the keys of its sources by node id, and whether the result may be reused.

    A result that may not be reused gets a key of its own, which never comes again; so do its descendants.
    """
    constants = {**node.type.defaults, **node.constants}
    try:
        fingerprint = None
        if node.type.fingerprint is not None:
            fingerprint = _fingerprint(node, constants, context)
        inputs: list[tuple[str, Any]] = []
        for name in sorted({*constants, *node.links}):
            if name in node.links:
                link = node.links[name]
                inputs.append((name, ("link", source_keys[link.node], link.slot)))
            else:
                inputs.append((name, ("value", constants[name], _identity(node, name, constants[name], context))))
        own_id = node.id if node.type.depends_on_id else None
        return digest((node.type.name, fingerprint, own_id, inputs)), True
    except UnnameableError:
        return uuid.uuid4().hex, False


def digest(value: Any) -> str:
    """SHA-256 of a value by structure; raises `UnnameableError` for NaN and for objects without an identity."""
    sha = hashlib.sha256()
    _feed(sha, value)
    return sha.hexdigest()


def _fingerprint(node: ValidNode, constants: Mapping[str, Any], context: Context) -> Any:
    """What the node's own hook says of its state; links arrive as None."""
    assert node.type.fingerprint is not None
    values: dict[str, Any] = {**constants, **dict.fromkeys(node.links)}
    if node.type.input_is_list:
        values = {name: [value] for name, value in values.items()}
    try:
        return call_hook(node.type.fingerprint, values, context)
    except Exception as error:  # e.g. the file is gone: the node itself will say so when it runs
        raise UnnameableError from error


def _identity(node: ValidNode, name: str, value: Any, context: Context) -> str:
    entry = node.type.by_name.get(name)
    if entry is None or not isinstance(entry.declaration, FileChoice) or not isinstance(value, str):
        return ""
    if value in entry.declaration.also:
        return ""
    try:
        return context.file_identity(entry.declaration.kind, value)
    except OSError as error:
        raise UnnameableError from error
    except HiresError:  # the file is not there: the node says so if it needs it
        return ""


def _feed(sha: Any, value: Any) -> None:
    """Feed a value with its type and length, so that different structures never give the same bytes."""
    if value is None or isinstance(value, bool | int):
        _feed_bytes(sha, type(value).__name__, hex(value).encode() if value is not None else b"")
    elif isinstance(value, float):
        if value != value:
            raise UnnameableError
        _feed_bytes(sha, "float", value.hex().encode())
    elif isinstance(value, str):
        _feed_bytes(sha, "str", value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, bytes | bytearray | memoryview):
        _feed_bytes(sha, "bytes", bytes(value))
    elif isinstance(value, list | tuple):
        _feed_bytes(sha, "list", str(len(value)).encode())
        for entry in value:
            _feed(sha, entry)
    elif isinstance(value, Mapping):
        _feed_bytes(sha, "dict", str(len(value)).encode())
        for key in sorted(value, key=lambda key: (type(key).__name__, str(key))):
            _feed(sha, key)
            _feed(sha, value[key])
    elif isinstance(identity := getattr(value, "identity", None), str):
        _feed_bytes(sha, "identity", f"{type(value).__qualname__}:{identity}".encode())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _feed_bytes(sha, "dataclass", type(value).__qualname__.encode())
        _feed(sha, {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)})
    else:
        _feed_array(sha, value)


def _feed_array(sha: Any, value: Any) -> None:
    """Arrays of NumPy and tensors of torch by dtype, shape and bytes, without importing either."""
    library = type(value).__module__.partition(".")[0]
    if library == "torch" and hasattr(value, "detach"):
        import torch

        flat = value.detach().cpu().contiguous().reshape(-1)
        _feed_bytes(sha, f"torch {value.dtype} {tuple(value.shape)}", flat.view(torch.uint8).numpy().tobytes())
    elif library == "numpy" and hasattr(value, "tobytes") and value.dtype != object:
        _feed_bytes(sha, f"numpy {value.dtype} {value.shape}", value.tobytes())
    else:
        raise UnnameableError


def _feed_bytes(sha: Any, kind: str, data: bytes) -> None:
    sha.update(f"{kind}:{len(data)}:".encode())
    sha.update(data)
