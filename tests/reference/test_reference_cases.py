"""ComfyUI's own outputs for small workflows, held against ours.

A table of all errors: pytest tests/reference -s --error-table
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hires.api import Engine
from hires.settings import Settings

HERE = Path(__file__).parent
CASES: dict[str, Any] = json.loads((HERE / "cases.json").read_text(encoding="utf-8"))
LATENT_BOUND = 1e-3
"""Relative L2 error."""
IMAGE_BOUND = 1.0
"""Mean absolute difference of 8-bit values."""


@pytest.fixture(scope="module")
def engine(thin_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """One engine for all cases, as a user's session would have: what they share is computed once."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "input").mkdir()
    for name in ("ref_a.png", "mask_a.png"):
        shutil.copy(HERE / name, folder / "input")
    return Engine(
        Settings(
            models_dir=thin_models,
            input_dir=folder / "input",
            output_dir=folder / "output",
            cache_dir=folder / "cache",
            device="cpu",
        )
    )


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(HERE / "expected.npz") as stored:
        return {name: stored[name] for name in stored.files}


@pytest.fixture(scope="module")
def errors(request: pytest.FixtureRequest) -> Any:
    """Collects the errors; with --error-table they are printed at the end, the worst first."""
    collected: dict[str, tuple[str, float]] = {}
    yield collected
    if request.config.getoption("--error-table"):
        print()
        for name, (kind, error) in sorted(collected.items(), key=lambda item: (item[1][0], -item[1][1])):
            print(f"{kind:7}{name:40}{error:.2e}")


@pytest.mark.parametrize("name", CASES)
def test_case_agrees(name: str, engine: Engine, expected: dict[str, np.ndarray], errors: dict[str, Any]) -> None:
    case = CASES[name]
    report = engine.run(case["workflow"], targets=[case["node"]])
    report.raise_for_failure()
    value = report.value(case["node"])
    theirs = expected[name]
    if case["kind"] == "latent":
        ours = value["samples"].numpy()
        assert ours.shape == theirs.shape
        error = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
        bound = LATENT_BOUND
    else:
        pixels = np.clip(value.numpy() * 255, 0, 255).astype(np.uint8)
        assert pixels.shape == theirs.shape
        error = float(np.abs(pixels.astype(float) - theirs.astype(float)).mean())
        bound = IMAGE_BOUND
    errors[name] = (case["kind"], error)
    assert error <= bound
