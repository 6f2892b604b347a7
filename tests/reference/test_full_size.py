"""The full-size layouts, with random weights in half precision: they load within their memory and run every case.

Slow, and needs some 20 GB of disk: `make slow`. The values mean nothing, so what is checked is that they are numbers of
the right shape.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hires.api import Engine
from hires.settings import Settings

HERE = Path(__file__).parent
CASES: dict[str, Any] = json.loads((HERE / "cases.json").read_text(encoding="utf-8"))
FULL = ("sd15", "sd15_inpainting", "sdxl_base", "sdxl_refiner", "sd21")
NEED_THIN = {"text_embedding", "text_embedding_weighted", "lora"}
"""Cases with files whose widths are those of the thin layouts."""

LOAD = """
import sys
from pathlib import Path
import torch
from hires.models.checkpoint import Placement, load_checkpoint

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1000 for line in lines if line.startswith(name))

before = status("VmHWM")
checkpoint = load_checkpoint(Path(sys.argv[1]), Placement(torch.device("cpu")))
print(status("VmHWM") - before)
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def full_models(
    thin_models: Path, write_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("full")
    for kind in ("loras", "embeddings", "upscale_models"):
        shutil.copytree(thin_models / kind, root / kind)
    (root / "checkpoints").mkdir()
    for layout in FULL:
        write_checkpoint(layout, root / "checkpoints" / f"{layout}.safetensors", "float16")
    yield root
    shutil.rmtree(root)


@pytest.mark.parametrize("layout", FULL)
def test_loading_needs_little_more_than_the_file(layout: str, full_models: Path) -> None:
    path = full_models / "checkpoints" / f"{layout}.safetensors"
    done = subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 1.2 * path.stat().st_size


@pytest.fixture(scope="module")
def engine(full_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("full_run")
    (folder / "input").mkdir()
    for name in ("ref_a.png", "mask_a.png"):
        shutil.copy(HERE / name, folder / "input")
    return Engine(
        Settings(
            models_dir=full_models, input_dir=folder / "input", output_dir=folder / "out", cache_dir=folder / "cache"
        )
    )


@pytest.mark.parametrize("name", sorted(CASES.keys() - NEED_THIN))
def test_case_runs_at_full_size(name: str, engine: Engine) -> None:
    case = CASES[name]
    workflow = json.loads(json.dumps(case["workflow"]).replace('"thin_sd', '"sd'))
    report = engine.run(workflow, targets=[case["node"]])
    report.raise_for_failure()
    value = report.value(case["node"])
    ours = value["samples"].numpy() if case["kind"] == "latent" else value.numpy()
    with np.load(HERE / "expected.npz") as stored:
        assert ours.shape == stored[name].shape
    assert np.isfinite(ours).all()
