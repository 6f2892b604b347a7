"""Results of nodes, kept across runs and workflows under their content keys, bounded by bytes."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hires.errors import SettingError

OVERHEAD_BYTES = 512
"""What an entry costs beside its values, so that many empty results are bounded too."""


@dataclass(frozen=True)
class CachedResult:
    """What a node gave: per output slot the list of values, and what it sent to the client."""

    outputs: tuple[list[Any], ...]
    ui: Mapping[str, list[Any]] | None = None


class ResultCache:
    """Least recently used results go first when the limit is passed. For one worker thread at a time."""

    def __init__(self, limit_bytes: int) -> None:
        if limit_bytes < 0:
            raise SettingError(f"The result cache cannot hold {limit_bytes} bytes", "Give 0 or more.")
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._results: OrderedDict[str, tuple[CachedResult, int]] = OrderedDict()
        self._instances: dict[tuple[str, str], Any] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._results

    @property
    def count(self) -> int:
        """How many results are kept. (No `__len__`: an empty cache must not count as none.)"""
        return len(self._results)

    def get(self, key: str) -> CachedResult | None:
        """The result under a key, which counts as used now."""
        if key not in self._results:
            return None
        self._results.move_to_end(key)
        return self._results[key][0]

    def put(self, key: str, result: CachedResult) -> None:
        """Keep a result; one that is larger than the limit is not kept and drives nothing out."""
        self.discard(key)
        size = nbytes((result.outputs, result.ui)) + OVERHEAD_BYTES
        if size > self.limit_bytes:
            return
        self._results[key] = (result, size)
        self.used_bytes += size
        while self.used_bytes > self.limit_bytes:
            _, (_, freed) = self._results.popitem(last=False)
            self.used_bytes -= freed

    def discard(self, key: str) -> None:
        if key in self._results:
            self.used_bytes -= self._results.pop(key)[1]

    def clear(self) -> None:
        self._results.clear()
        self._instances.clear()
        self.used_bytes = 0

    def instance(self, node_id: str, class_type: str, make: Callable[[], Any]) -> Any:
        """The object of a class-style node; it lives as long as the node is in consecutive workflows."""
        place = (node_id, class_type)
        if place not in self._instances:
            self._instances[place] = make()
        return self._instances[place]

    def keep_instances(self, places: Iterable[tuple[str, str]]) -> None:
        kept = set(places)
        self._instances = {place: value for place, value in self._instances.items() if place in kept}


def nbytes(value: Any) -> int:
    """An estimate of the memory that a value holds: arrays, texts and whatever says `cache_nbytes`.

    Looks into containers and dataclasses; storage that is shared is counted once. Other objects, model handles
    above all, count nothing: whoever made them keeps account of them.
    """
    seen: set[int] = set()
    total, rest = 0, [value]
    while rest:
        current = rest.pop()
        if id(current) in seen or current is None:
            continue
        seen.add(id(current))
        stated = getattr(current, "cache_nbytes", None)
        if stated is not None and not isinstance(current, type):
            total += int(stated() if callable(stated) else stated)
        elif isinstance(current, Mapping):
            rest.extend(current.keys())
            rest.extend(current.values())
        elif isinstance(current, list | tuple | set | frozenset):
            total += 8 * len(current)
            rest.extend(current)
        elif isinstance(current, str | bytes | bytearray):
            total += len(current)
        elif hasattr(current, "untyped_storage"):  # a view of a tensor keeps the whole storage alive
            storage = current.untyped_storage()
            place = storage.data_ptr()
            if place not in seen:
                seen.add(place)
                total += storage.nbytes()
        elif dataclasses.is_dataclass(current) and not isinstance(current, type):
            rest.extend(getattr(current, entry.name) for entry in dataclasses.fields(current))
        elif isinstance(size := getattr(current, "nbytes", None), int):
            total += size
    return total
