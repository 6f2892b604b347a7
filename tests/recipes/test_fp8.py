"""FP8 weights in requests: told in infotexts, workflows and options, and what they draw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.recipes.test_fine_sampling import BASE, FACTS, NAME

from hires.api import Engine, Txt2Img
from hires.errors import SettingError
from hires.graph.workflow import Workflow
from hires.nodes.registry import node_registry
from hires.options import request_from_options
from hires.recipes.infotext import infotext, request_from
from hires.recipes.read_workflow import request_of_workflow
from hires.recipes.request import FP8_MODES, HiresFix
from hires.recipes.txt2img import txt2img
from hires.server.asking import txt2img_request
from hires.server.bodies import TextToImage
from hires.server.options import Options
from hires.settings import Settings

SDXL = {NAME: replace(FACTS[NAME], family="sdxl")}


def test_an_infotext_tells_it_where_it_is_so() -> None:
    for mode in FP8_MODES:
        request = replace(BASE, fp8=mode)
        texts = infotext(request, FACTS), infotext(request, SDXL)
        assert [f"FP8 weight: {mode}" in text for text in texts] == [mode == "Enable", mode != "Disable"]
        assert request_from(texts[1]).fp8 == mode
    assert "Model: base, FP8 weight: Enable, VAE hash" in infotext(
        replace(BASE, fp8="Enable", vae="v"), FACTS | {"v": replace(FACTS[NAME], name="v")}
    )


@pytest.mark.parametrize("mode", list(FP8_MODES))
def test_a_workflow_loads_so_everywhere_and_is_read_back(mode: str) -> None:
    workflow = Workflow.parse(txt2img(replace(BASE, fp8=mode, hires=HiresFix(denoise=0.5)), FACTS))
    loaders = [workflow.nodes[key].inputs.get("float8", "off") for key in workflow.find("CheckpointLoaderSimple")]
    assert set(loaders) == {FP8_MODES[mode]}
    assert request_of_workflow(workflow, node_registry()).fp8 == mode


def test_options_and_flags_set_it() -> None:
    options = Options().all({"fp8_storage": "Enable for SDXL"})
    assert txt2img_request(TextToImage(prompt="x"), options).fp8 == "Enable for SDXL"
    assert request_from_options({"prompt": "x", "fp8": "Enable"}).fp8 == "Enable"


def test_a_picture_by_rounded_weights_is_another(thin_models: Path, tmp_path: Path) -> None:
    engine = Engine(Settings(models_dir=thin_models, output_dir=tmp_path / "o", cache_dir=tmp_path / "c", device="cpu"))
    base = Txt2Img(prompt="a castle", checkpoint="thin_sd15", steps=1, width=64, height=64, seed=3)
    plain, sdxl, small = (np.asarray(engine.txt2img(base, fp8=mode).pictures[0]).astype(int)
                          for mode in ("Disable", "Enable for SDXL", "Enable"))  # fmt: skip
    assert np.array_equal(plain, sdxl) and np.abs(plain - small).max() > 0
    with pytest.raises(SettingError, match="no FP8 mode 'Float'"):
        engine.txt2img(base, fp8="Float")
