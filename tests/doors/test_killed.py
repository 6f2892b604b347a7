"""A run that was killed goes on where it stood, and ends in the same bytes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.dying import die

from hires.api import Engine
from hires.graph.report import NodeProgress
from hires.models.upscale import UpscaleModel
from hires.recipes.request import HiresFix
from hires.recipes.tiled import TiledDiffusion
from hires.settings import Settings

UPSCALE = UpscaleModel.upscale
JOINT = {"prompt": "1girl, beach", "width": 192, "height": 128, "steps": 4, "seed": 3, "sampler": "DPM++ SDE"}
TWO_PASS = {"prompt": "1girl, beach", "width": 128, "height": 128, "steps": 4, "seed": 3, "sampler": "Euler a"}
REDRAW = {"prompt": "beach", "scale": 2.0, "tile_width": 128, "tile_height": 128, "steps": 8, "seed": 3, "denoise": 0.5}


def engine_in(folder: Path) -> Engine:
    return Engine(
        Settings(
            models_dir=folder / "models",
            input_dir=folder / "input",
            output_dir=folder / "outputs",
            cache_dir=folder / "cache",
            device="cpu",
        )
    )


def drawn(method: str, engine: Engine, folder: Path, on_event: Any = None) -> Any:
    if method == "joint tiles":
        tiles = TiledDiffusion(tile_width=16, tile_height=16, overlap=8)
        return engine.txt2img(**JOINT, tiled=tiles, on_event=on_event)
    if method == "two passes":
        return engine.txt2img(**TWO_PASS, hires=HiresFix(scale=1.5, steps=4), on_event=on_event)
    source = folder / "source.png"
    if method == "upscale":
        return engine.upscale(source, upscaler="hires-pocket-x4", scale=4.0, tile=32, on_event=on_event)
    if method == "ultimate":
        return engine.ultimate(source, **REDRAW, on_event=on_event)
    return engine.sd_upscale(source, **{**REDRAW, "overlap": 32}, on_event=on_event)


def dying(method: str, folder: Path, after: int) -> None:
    """Draw until so many steps are told of."""
    seen = 0

    def on_event(event: Any) -> None:
        nonlocal seen
        seen += isinstance(event, NodeProgress)
        if seen >= after:
            os.kill(os.getpid(), signal.SIGKILL)

    drawn(method, engine_in(folder), folder, on_event)


def killed(method: str, folder: Path, after: int) -> None:
    die(dying, method, folder, after)
    assert not list((folder / "outputs").rglob("*.*"))


@pytest.mark.parametrize(
    ("method", "after", "calls_left"),
    [("joint tiles", 7, 0.8), ("two passes", 6, 0.7), ("ultimate", 12, 0.8), ("sd upscale", 12, 0.8)],
)
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    method: str, after: int, calls_left: float, tmp_path: Path
) -> None:
    made = {}
    for name in ("whole", "cut"):
        folder = tmp_path / name
        folder.mkdir()
        Image.radial_gradient("L").resize((96, 80)).convert("RGB").save(folder / "source.png")
        if name == "cut":
            killed(method, folder, after)
            assert list((folder / "cache" / "work").rglob("*.safetensors"))
        result = drawn(method, engine_in(folder), folder)
        made[name] = (result.paths[0].read_bytes(), result.counts.denoiser_calls)
        assert not list((folder / "cache" / "work").rglob("*.safetensors")), "what is finished is let go of"
    assert made["cut"][0] == made["whole"][0]
    assert 0 < made["cut"][1] <= calls_left * made["whole"][1]
    if method in ("ultimate", "sd upscale"):
        assert any("tiles were drawn before" in note for note in result.notes)


def test_a_killed_enlargement_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {}
    for name in ("whole", "cut"):
        folder, runs = tmp_path / name, []
        folder.mkdir()
        Image.radial_gradient("L").resize((96, 80)).convert("RGB").save(folder / "source.png")
        if name == "cut":
            killed("upscale", folder, 4)
        with monkeypatch.context() as patch:
            patch.setattr(UpscaleModel, "upscale", lambda *words, runs=runs: runs.append(1) or UPSCALE(*words))
            path = drawn("upscale", engine_in(folder), folder).path
        made[name] = (path.read_bytes(), len(runs))
    assert made["cut"][0] == made["whole"][0]
    assert made["cut"][1] <= made["whole"][1] - 3
