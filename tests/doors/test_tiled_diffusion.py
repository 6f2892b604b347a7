"""Tiled Diffusion through the engine and the command line, with the thin checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hires.api import Engine, HiresFix
from hires.cli import app
from hires.errors import HiresError
from hires.imaging.pictures import open_picture
from hires.metadata.files import picture_texts
from hires.metadata.infotext import read_infotext
from hires.recipes.infotext import request_from
from hires.recipes.request import Refiner, Txt2Img
from hires.recipes.tiled import DeepShrink, TiledDiffusion
from hires.recipes.tiled_img2img import NoiseInversion, TiledImg2Img
from hires.settings import load_settings
from hires.tiling.regions import Region


@pytest.fixture
def engine(thin_models: Path, tmp_path: Path) -> Engine:
    given = {"models_dir": thin_models, "output_dir": tmp_path / "out", "input_dir": tmp_path, "device": "cpu"}
    return Engine(load_settings(given))


def drawn(engine: Engine, **fields: object) -> np.ndarray:
    base = {"prompt": "a castle", "checkpoint": "thin_sd15", "steps": 2, "width": 192, "height": 128, "seed": 5}
    return np.asarray(engine.txt2img(**{**base, **fields}).pictures[0]).astype(int)  # type: ignore[arg-type]


@pytest.mark.parametrize("sampler", ["Euler a", "Heun"])
def test_a_tile_as_large_as_the_picture_changes_no_pixel(engine: Engine, sampler: str) -> None:
    tiled = TiledDiffusion(tile_width=24, tile_height=16, overlap=8)
    assert np.array_equal(drawn(engine, sampler=sampler, tiled=tiled), drawn(engine, sampler=sampler))


def test_sdxl_with_one_tile_is_sdxl(engine: Engine) -> None:
    tiled = TiledDiffusion(tile_width=24, tile_height=16, overlap=8)
    given = {"checkpoint": "thin_sdxl_base"}
    assert np.array_equal(drawn(engine, tiled=tiled, **given), drawn(engine, **given))


def test_sdxl_tiles_are_told_where_they_lie(engine: Engine) -> None:
    modes = [
        drawn(
            engine,
            checkpoint="thin_sdxl_base",
            tiled=TiledDiffusion(tile_width=16, tile_height=16, overlap=0, micro_cond=mode),
        )
        for mode in ("crop", "canvas", "native")
    ]
    assert not np.array_equal(modes[0], modes[1]) and not np.array_equal(modes[1], modes[2])


def test_tiles_hires_fix_and_a_refiner_go_together(engine: Engine) -> None:
    small = TiledDiffusion(tile_width=16, tile_height=16, overlap=4, jitter=True)
    hires = HiresFix(scale=1.5, denoise=0.6, steps=2, upscaler="Latent")
    refiner = Refiner("thin_sdxl_refiner", 0.5, passes="both passes")
    given = {"checkpoint": "thin_sdxl_base", "hires": hires, "refiner": refiner}
    picture = drawn(engine, tiled=small, **given)
    assert picture.shape == (192, 288, 3)
    assert not np.array_equal(picture, drawn(engine, **given))


def test_the_tile_batch_moves_no_pixel_by_more_than_one(engine: Engine) -> None:
    pictures = [
        drawn(engine, tiled=TiledDiffusion(tile_width=16, tile_height=16, overlap=8, tile_batch=batch))
        for batch in (1, 4)
    ]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_settings_do_not_share_a_trajectory(engine: Engine) -> None:
    """With the cache of steps on, each setting draws its own picture."""
    settings = [None, *(TiledDiffusion(method, 16, 16, 8) for method in ("Cosine", "MultiDiffusion"))]
    assert len({drawn(engine, tiled=tiled).tobytes() for tiled in settings}) == len(settings)


def test_regions_are_drawn_and_told_in_the_infotext(engine: Engine) -> None:
    regions = (
        Region(0.0, 0.0, 0.5, 1.0, "red", "blue", seed=3),
        Region(0.25, 0.25, 0.5, 0.5, "a face, close", blend="Foreground", feather=0.5),
    )
    tiled = TiledDiffusion(tile_width=16, tile_height=16, overlap=8, regions=regions)
    result = engine.txt2img(
        prompt="a castle", checkpoint="thin_sd15", steps=2, width=256, height=192, seed=5, tiled=tiled,
        deep_shrink=DeepShrink(factor=1.5),
    )  # fmt: skip
    read = request_from(picture_texts(result.pictures[0])["parameters"])
    assert read.tiled == result.request.tiled and read.deep_shrink == result.request.deep_shrink
    assert read.tiled is not None and read.tiled.regions[0].seed == 3 and read.tiled.regions[1].seed >= 0
    again = engine.txt2img(read)
    assert np.array_equal(np.asarray(result.pictures[0]), np.asarray(again.pictures[0]))


def test_bare_canvas_is_refused_without_a_background(engine: Engine) -> None:
    tiled = TiledDiffusion(tile_width=16, tile_height=16, overlap=8, regions=(Region(),), background="off")
    with pytest.raises(HiresError, match="uncovered"):
        drawn(engine, tiled=tiled)


def test_wrong_values_are_said_before_the_run(engine: Engine) -> None:
    for wrong in (
        TiledDiffusion(tile_width=8),
        TiledDiffusion(overlap=96),
        TiledDiffusion(method="Best"),
        TiledDiffusion(passes="none"),
        TiledDiffusion(tile_width=97),
        TiledDiffusion("SpotDiffusion", jitter=True),
    ):
        with pytest.raises(HiresError):
            drawn(engine, tiled=wrong)


def test_the_plan_is_said_and_nothing_is_drawn(thin_models: Path, tmp_path: Path) -> None:
    words = [
        "txt2img",
        "a castle",
        "-m",
        "thin_sd15",
        "--size",
        "512x256",
        "--tile",
        "32",
        "--tile-overlap",
        "8",
        "--plan",
    ]
    words += [
        "--scale",
        "2",
        "--models-dir",
        str(thin_models),
        "--output-dir",
        str(tmp_path / "out"),
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "64x32 latent cells in 3 tiles (3x1)" in result.output and "128x64 latent cells in 15 tiles" in result.output
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_picture_is_enlarged_and_drawn_over(engine: Engine, tmp_path: Path) -> None:
    small = engine.txt2img(prompt="a castle", checkpoint="thin_sd15", steps=1, width=96, height=64, seed=5).paths[0]
    base = Txt2Img(
        prompt="a castle", checkpoint="thin_sd15", steps=2, seed=5,
        tiled=TiledDiffusion(tile_width=16, tile_height=16, overlap=4),
    )  # fmt: skip
    request = TiledImg2Img(base, denoise=0.5, scale=2.0)
    plain = engine.tiled(small, request)
    assert plain.pictures[0].size == (192, 128)
    inverted = engine.tiled(small, replace(request, inversion=NoiseInversion(steps=2)))
    assert plain.pictures[0].tobytes() != inverted.pictures[0].tobytes()
    fields = read_infotext(picture_texts(inverted.pictures[0])["parameters"]).fields
    stated = json.loads(fields["Tiled Diffusion"])
    assert stated["NoiseInv Steps"] == 2 and stated["Upscale factor"] == 2.0 and fields["Size"] == "192x128"
    kept = engine.tiled(small, replace(request, denoise=0.0, scale=1.0))
    source = np.asarray(open_picture(small)).astype(int)
    assert np.asarray(kept.pictures[0]).shape == source.shape


def test_every_tiled_job_says_its_seams(engine: Engine, tmp_path: Path) -> None:
    tiled = TiledDiffusion(tile_width=16, tile_height=16, overlap=4)
    given = {"prompt": "a castle", "checkpoint": "thin_sd15", "steps": 1, "seed": 5}
    drawn = engine.txt2img(**given, width=256, height=128, tiled=tiled)
    assert len(drawn.seams) == 1 and "over 2 joins" in drawn.summary and "reference" not in drawn.summary
    assert engine.txt2img(**given, width=64, height=64).seams == []
    over = engine.tiled(drawn.paths[0], TiledImg2Img(Txt2Img(**given, tiled=tiled), scale=1.0))
    assert "reference" in over.seams[0] and over.seams[0].endswith("over 2 joins")


def test_the_command_says_its_plan(engine: Engine, thin_models: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "grey.png")
    words = [
        "tiled",
        str(tmp_path / "grey.png"),
        "--prompt",
        "a castle",
        "-m",
        "thin_sd15",
        "--scale",
        "4",
        "--tile",
        "16",
    ]
    words += ["--tile-overlap", "4", "--plan", "--models-dir", str(thin_models), "--device", "cpu"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0 and "32x24 latent cells in 6 tiles (3x2)" in result.output, result.output
