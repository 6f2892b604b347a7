"""Engines of these tests share the checkpoints that they load: loading has tests of its own, and is half the work."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hires.models import store
from hires.models.checkpoint import Checkpoint, Placement

AT_ONCE = 4


@pytest.fixture(scope="session")
def kept() -> OrderedDict[tuple[Any, ...], Checkpoint]:
    return OrderedDict()


@pytest.fixture(autouse=True, scope="module")
def loaded_once(kept: OrderedDict[tuple[Any, ...], Checkpoint]) -> Iterator[None]:
    """By the module: what a session changes, it would change for the tests of other folders that follow here."""
    load = store.load_checkpoint

    def load_once(path: Path, placement: Placement, **rest: Any) -> Checkpoint:
        status = path.stat()
        key = (path, status.st_size, status.st_mtime_ns, placement, tuple(sorted(rest.items())))
        if key not in kept:
            kept[key] = load(path, placement, **rest)
            while len(kept) > AT_ONCE:
                kept.popitem(last=False)
        kept.move_to_end(key)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "load_checkpoint", load_once)
        yield
