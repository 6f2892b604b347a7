"""What tests of several rooms share: a models folder of thin networks with reproducible random weights."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
from hypothesis import settings

import hires  # before torch: it sets how OpenMP's threads wait

assert hires.__version__

# Machines are shared: no test may fail for being slow, nor on one machine and not on the next. To look further than CI
# does: pytest --hypothesis-profile explore
settings.register_profile("hires", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("hires")

REFERENCE = Path(__file__).parent / "reference"
THIN_FILES = {
    "checkpoints": ("thin_sd15", "thin_sd15_inpainting", "thin_sdxl_base", "thin_sdxl_refiner"),
    "loras": ("lora_thin_sd15",),
    "embeddings": ("embedding_thin_sd15",),
    "upscale_models": ("upscaler_compact_x4", "upscaler_esrgan_x4"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--error-table", action="store_true", help="print every reference case's error")


def checkpoint_maker() -> ModuleType:
    """tests/reference/make_checkpoint.py as a module."""
    spec = importlib.util.spec_from_file_location("make_checkpoint", REFERENCE / "make_checkpoint.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_checkpoint(layout: str, out: Path, dtype: str = "float32") -> Path:
    """Write one of the layouts with random weights."""
    with mock.patch.object(sys, "argv", ["make_checkpoint.py", layout, str(out), "--dtype", dtype]):
        checkpoint_maker().main()
    return out


@pytest.fixture(scope="session")
def write_checkpoint() -> Callable[..., Path]:
    """write_checkpoint(layout, path, dtype="float32"): random weights in one of the layouts."""
    return make_checkpoint


@pytest.fixture(scope="session")
def thin_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder as ComfyUI lays it out, with the files that the reference cases name."""
    root = tmp_path_factory.mktemp("models")
    for kind, layouts in THIN_FILES.items():
        (root / kind).mkdir()
        for layout in layouts:
            make_checkpoint(layout, root / kind / f"{layout}.safetensors")
    return root


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference cases."""
    return REFERENCE
