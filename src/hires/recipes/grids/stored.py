"""Requests as JSON values and back, by the types of their fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from hires.errors import SettingError

T = TypeVar("T")


def stored(value: Any) -> Any:
    """A dataclass of plain fields, tuples and mappings as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: stored(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [stored(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): stored(item) for key, item in value.items()}
    return value


def read_stored(kind: type[T], values: Any, where: str) -> T:
    """The dataclass that `stored` gave these values for; fields that are not there have their defaults.

    SettingError, naming the place, for values of another kind and for fields that the dataclass does not have.
    """
    return typing.cast(T, _dataclass(kind, values, where))


def _dataclass(kind: Any, values: Any, where: str) -> Any:
    if not isinstance(values, Mapping):
        raise SettingError(f"{where} should be an object, not {values!r}"[:300])
    hints = typing.get_type_hints(kind)
    known = {entry.name for entry in dataclasses.fields(kind) if entry.init}
    if strange := sorted(set(values) - known):
        raise SettingError(f"{where} has a field {strange[0]!r} that is not known here", "A newer hires wrote it?")
    try:
        return kind(**{name: _value(hints[name], value, f"{where}, {name}") for name, value in values.items()})
    except TypeError as error:
        raise SettingError(f"{where} is incomplete: {error}") from error


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        return _value(next(one for one in inner if one is not type(None)), value, where)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    if origin is tuple and isinstance(value, list):
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_value(inner[0], item, where) for item in value)
        if len(inner) == len(value):
            return tuple(_value(one, item, where) for one, item in zip(inner, value, strict=True))
    elif origin is list and isinstance(value, list):
        return [_value(inner[0], item, where) for item in value]
    elif origin is not None and isinstance(value, dict) and issubclass(origin, Mapping):
        return {str(key): _value(inner[1], item, where) for key, item in value.items()}
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(kind, type) and type(value) is kind:
        return value
    raise SettingError(f"{where} should be of the kind {getattr(kind, '__name__', kind)}, not {value!r}"[:300])
