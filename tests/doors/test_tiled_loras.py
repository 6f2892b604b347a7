"""LoRA tags where pictures are drawn in tiles: one tile as large as the picture changes nothing, and the LoRA holds in
every tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hires.api import Engine
from hires.metadata.files import picture_texts
from hires.recipes.tiled import TiledDiffusion
from hires.settings import Settings

TAG = "<lora:lora_thin_sd15:1>"


@pytest.fixture
def engine(thin_models: Path, tmp_path: Path) -> Engine:
    return Engine(
        Settings(models_dir=thin_models, output_dir=tmp_path / "out", cache_dir=tmp_path / "cache", device="cpu")
    )


def drawn(engine: Engine, prompt: str, tiled: TiledDiffusion | None) -> np.ndarray:
    result = engine.txt2img(
        prompt=prompt, checkpoint="thin_sd15", steps=2, width=192, height=128, seed=5, sampler="Euler a", tiled=tiled
    )
    return np.asarray(result.pictures[0]).astype(int)


@pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
def test_one_tile_with_a_lora_is_the_picture_with_it(engine: Engine, method: str) -> None:
    one = TiledDiffusion(method, tile_width=24, tile_height=16, overlap=8)
    untiled = drawn(engine, f"a castle {TAG}", None)
    assert np.array_equal(drawn(engine, f"a castle {TAG}", one), untiled)
    assert not np.array_equal(untiled, drawn(engine, "a castle ", None))


@pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
def test_a_lora_holds_in_every_tile(engine: Engine, method: str) -> None:
    """Over all the picture, and not at strength 0."""
    tiles = TiledDiffusion(method, tile_width=16, tile_height=16, overlap=8)
    plain, with_it, off = (drawn(engine, f"a castle {tag}", tiles) for tag in ("", TAG, "<lora:lora_thin_sd15:0>"))
    assert np.array_equal(plain, off)
    changed = np.abs(with_it - plain)
    for left in (0, 64, 128):
        assert changed[:, left : left + 64].max() > 0, left


def test_a_redraw_takes_the_lora_of_its_prompt(engine: Engine, tmp_path: Path) -> None:
    source = tmp_path / "source.png"
    Image.linear_gradient("L").resize((64, 48)).convert("RGB").save(source)
    given = {"checkpoint": "thin_sd15", "steps": 2, "seed": 3, "denoise": 0.5, "tile_width": 64, "tile_height": 64}
    made = [engine.ultimate(source, prompt=f"a castle{tag}", **given) for tag in ("", TAG)]
    plain, with_it = (np.asarray(done.pictures[0]).astype(int) for done in made)
    changed = np.abs(with_it - plain).max(axis=2)
    assert all(changed[top : top + 48, left : left + 64].max() > 0 for top in (0, 48) for left in (0, 64))
    assert 'Lora hashes: "lora_thin_sd15: ' in picture_texts(made[1].pictures[0])["parameters"]
