"""What the tests of shared work have in common: an engine alone, and one with two workers that are threads here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.workers.threads import use_threads

from hires.api import Engine
from hires.settings import Settings


def engine_at(models: Path, folder: Path, workers: str = "") -> Engine:
    """An engine in folders of its own, of one thread a worker."""
    places: dict[str, Any] = {"models_dir": models, "output_dir": folder / "out", "cache_dir": folder / "cache"}
    return Engine(Settings(**places, device="cpu", threads=1, workers=workers, keep_megabytes=50))


@pytest.fixture(scope="module")
def here(thin_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return engine_at(thin_models, tmp_path_factory.mktemp("here"))


@pytest.fixture(scope="module")
def two(thin_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        use_threads(patch)
        yield engine_at(thin_models, tmp_path_factory.mktemp("two"), "2")
