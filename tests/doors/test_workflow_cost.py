"""What a changed workflow costs in denoiser calls: only what the change touches is drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import workflows

from hires.api import Engine
from hires.settings import Settings

BASE, HIRES = 4, 3
"""Steps of the passes of two_pass.json, each one denoiser call."""


@pytest.fixture
def make(thin_models: Path, tmp_path: Path) -> Callable[[], Engine]:
    folders = {"models_dir": thin_models, "output_dir": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    return lambda: Engine(Settings(**folders, device="cpu"))


def test_the_same_workflow_again_costs_nothing(make: Callable[[], Engine]) -> None:
    assert [row.calls for row in workflows.twice(make)] == [BASE + HIRES, 0]


def test_an_edit_costs_what_it_touches(make: Callable[[], Engine]) -> None:
    rows = {row.what: row for row in workflows.edits(make)}
    whole = BASE + HIRES
    assert {what: row.calls for what, row in rows.items()} == {
        "as it was": whole,
        "file name": 0,
        "size of the second pass": HIRES,
        "enlarging": HIRES,
        "denoising of the second pass": HIRES,
        "steps of the second pass": HIRES + 1,
        "guidance of the second pass": HIRES,
        "seed of the first pass": whole,
        "sampler of the first pass": whole,
        "negative prompt": whole,
        "size of the first pass": whole,
    }
    assert all(row.alone == whole + (row.what == "steps of the second pass") for row in rows.values())


def test_a_sweep_of_the_switching_point_draws_each_base_step_once(make: Callable[[], Engine]) -> None:
    rows = workflows.switches(make)
    assert [row.calls for row in rows] == [5 + 5, 1 + 4, 1 + 3, 1 + 2, 1 + 1]
    assert all(row.alone == 10 for row in rows)


def test_a_sweep_of_hires_denoising_draws_the_first_pass_once(make: Callable[[], Engine]) -> None:
    rows = workflows.denoisings(make)
    assert [row.calls for row in rows] == [BASE + HIRES] + [HIRES] * 4
