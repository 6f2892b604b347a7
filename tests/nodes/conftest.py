"""A context over the thin models, with folders of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from hires.models.store import ModelStore
from hires.nodes.context import RunContext, TempFolder
from hires.sampling.trajectories import TrajectoryCache


@pytest.fixture
def context(thin_models: Path, tmp_path: Path) -> RunContext:
    folders = [tmp_path / name for name in ("input", "output", "temp")]
    for folder in folders:
        folder.mkdir()
    return RunContext(
        store=ModelStore([thin_models], cache_dir=tmp_path),
        input_dir=folders[0],
        output_dir=folders[1],
        trajectories=TrajectoryCache(10**7),
        temp=TempFolder(folders[2]),
    )
