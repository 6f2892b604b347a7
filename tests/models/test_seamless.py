"""Networks that go round: a picture that is rolled before them is the one that is rolled behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hires.api import Engine, HiresFix, Txt2Img
from hires.errors import SettingError
from hires.graph.workflow import Workflow
from hires.metadata.files import picture_texts
from hires.models.checkpoint import load_checkpoint
from hires.models.handles import SEAMLESS, DiffusionModel, VaeModel
from hires.models.patches import with_option
from hires.models.seamless import going_round
from hires.nodes.registry import node_registry
from hires.pocket import BUILT_IN_FOLDER, BUILT_IN_NAME
from hires.recipes.facts import ModelFacts
from hires.recipes.infotext import infotext, request_from
from hires.recipes.read_workflow import request_of_workflow
from hires.recipes.request import Refiner
from hires.recipes.txt2img import txt2img
from hires.settings import Settings

SMALL: dict[str, Any] = {"prompt": "flower field", "steps": 2, "width": 64, "height": 64, "seed": 3}
NAME = "base.safetensors"
FACTS = {NAME: ModelFacts(NAME, "0123456789", "sd1", 512)}


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    found = load_checkpoint(BUILT_IN_FOLDER / "checkpoints" / BUILT_IN_NAME).model
    assert found is not None
    return found


@pytest.fixture(scope="module")
def vae() -> VaeModel:
    found = load_checkpoint(BUILT_IN_FOLDER / "checkpoints" / BUILT_IN_NAME).vae
    assert found is not None
    return found


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("sides", "dims"), [("both", (2, 3)), ("x", (3,)), ("y", (2,))])
def test_the_network_knows_no_edge_across_its_sides(sides: str, dims: tuple[int, ...], model: DiffusionModel) -> None:
    x, context = noise(1, 4, 16, 24), noise(1, 77, 96)
    round_model = with_option(model, SEAMLESS, sides, sides)
    shift = [8] * len(dims)  # a whole number of cells on every level

    def predict(which: DiffusionModel, x: torch.Tensor) -> torch.Tensor:
        return which.predict(x, torch.tensor([400.0]), context)

    there = predict(round_model, x.roll(shift, dims))
    back = predict(round_model, x).roll(shift, dims)
    assert torch.allclose(there, back, atol=2e-4)
    assert not torch.allclose(predict(model, x.roll(shift, dims)), predict(model, x).roll(shift, dims), atol=2e-2)
    other = ({2, 3} - set(dims)) or set()
    for dim in other:
        assert not torch.allclose(predict(round_model, x.roll(8, dim)), predict(round_model, x).roll(8, dim), atol=2e-2)


def test_the_decoder_knows_no_edge(vae: VaeModel) -> None:
    from dataclasses import replace

    latent, round_vae = noise(1, 4, 8, 12), replace(vae, seamless="both")
    there = round_vae.decode_raw(latent.roll((3, 5), (2, 3)))
    assert torch.allclose(there, round_vae.decode_raw(latent).roll((24, 40), (2, 3)), atol=2e-4)


def test_afterwards_the_network_is_as_it_was(vae: VaeModel) -> None:
    latent = noise(1, 4, 8, 8)
    before = vae.decode_raw(latent)
    with pytest.raises(RuntimeError), going_round(vae.vae, "both"):
        raise RuntimeError
    assert torch.equal(vae.decode_raw(latent), before)


@pytest.mark.parametrize("sides", ["both", "x"])
@pytest.mark.parametrize("second", [None, HiresFix(denoise=0.5), HiresFix(upscaler="Lanczos")])
@pytest.mark.parametrize("refiner", [None, Refiner(NAME, passes="first pass")])
def test_infotext_and_workflow_are_read_back(sides: str, second: HiresFix | None, refiner: Refiner | None) -> None:
    request = Txt2Img(checkpoint=NAME, seamless=sides, hires=second, refiner=refiner, width=512, height=512, seed=1)
    assert request_from(infotext(request, FACTS)).seamless == sides
    workflow = Workflow.parse(txt2img(request, FACTS))
    assert request_of_workflow(workflow, node_registry()).seamless == sides


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    folders = {"models_dir": tmp_path / "models", "output_dir": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    return Engine(Settings(**folders, device="cpu"))


def step_across(picture: np.ndarray) -> tuple[float, float]:
    """Mean step from the last column to the first, and between neighbours inside."""
    columns = picture.astype(float)
    return float(abs(columns[:, 0] - columns[:, -1]).mean()), float(abs(np.diff(columns, axis=1)).mean())


def test_a_seamless_picture_closes_and_says_so(engine: Engine) -> None:
    drawn = engine.txt2img(**SMALL, seamless="both", vae_mode="exact")
    across, inside = step_across(np.asarray(drawn.pictures[0]))
    open_across, _ = step_across(np.asarray(engine.txt2img(**SMALL).pictures[0]))
    assert across < 2 * inside and across < open_across
    assert "Tiling: True" in picture_texts(drawn.pictures[0])["parameters"]


def test_it_is_not_drawn_in_tiles(engine: Engine) -> None:
    from hires.recipes.tiled import TiledDiffusion

    with pytest.raises(SettingError, match="cannot be drawn in tiles"):
        engine.txt2img(**SMALL, seamless="both", tiled=TiledDiffusion())
    with pytest.raises(SettingError, match="across 'z'"):
        engine.txt2img(**SMALL, seamless="z")
