"""Token merging in requests: told in infotexts, axes, workflows and options, for each pass, and what it draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.recipes.test_fine_sampling import BASE, FACTS

from hires.api import Engine, Txt2Img
from hires.errors import SettingError
from hires.graph.workflow import Workflow
from hires.nodes.registry import node_registry
from hires.options import request_from_options
from hires.recipes.img2img_infotext import img2img_from, img2img_infotext
from hires.recipes.img2img_request import Img2Img
from hires.recipes.infotext import infotext, request_from
from hires.recipes.read_workflow import request_of_workflow
from hires.recipes.request import HiresFix
from hires.recipes.txt2img import txt2img
from hires.server.asking import txt2img_request
from hires.server.asking_over import img2img_request
from hires.server.bodies import ImageToImage, TextToImage
from hires.server.options import Options
from hires.settings import Settings

RATIO = st.floats(0.0, 1.0).map(lambda value: round(value, 3))


@given(RATIO, RATIO)
def test_an_infotext_tells_the_ratios_and_is_read_back(first: float, second: float) -> None:
    request = replace(BASE, token_merging=first, token_merging_hires=second, hires=HiresFix())
    found = request_from(text := infotext(request, FACTS))
    assert found.token_merging == first
    assert (found.token_merging_hires or found.token_merging) == (second or first)
    assert ("Token merging ratio hr: " in text) == (max(first, second) > 0)
    assert "Token merging ratio hr" not in infotext(replace(request, hires=None), FACTS)


def test_img2img_tells_it_where_a1111_does() -> None:
    text = img2img_infotext(Img2Img(replace(BASE, token_merging=0.5, clip_skip=2)), FACTS)
    assert "Clip skip: 2, Token merging ratio: 0.5, RNG: NV" in text
    assert img2img_from(text).base.token_merging == 0.5 and not img2img_from(text).base.extra_fields


@pytest.mark.parametrize("ratios", [(0.0, 0.0), (0.3, 0.0), (0.3, 0.6), (0.0, 0.6)])
def test_a_workflow_carries_them_and_is_read_back(ratios: tuple[float, float]) -> None:
    request = replace(BASE, token_merging=ratios[0], token_merging_hires=ratios[1], hires=HiresFix(denoise=0.5))
    workflow = Workflow.parse(txt2img(request, FACTS))
    nodes = [workflow.nodes[key].inputs for key in workflow.find("TomePatchModel")]
    assert {node["ratio"] for node in nodes} == {ratio for ratio in (ratios[0], ratios[1] or ratios[0]) if ratio}
    assert all(node["dialect"] == "webui" for node in nodes)
    found = request_of_workflow(workflow, node_registry())
    assert (found.token_merging, found.token_merging_hires) == ratios


def test_the_servers_options_and_the_flags_set_them() -> None:
    options = Options().all({"token_merging_ratio": 0.2, "token_merging_ratio_hr": 0.4})
    request = txt2img_request(TextToImage(prompt="x", enable_hr=True), options)
    assert (request.token_merging, request.token_merging_hires) == (0.2, 0.4)
    over = ImageToImage(prompt="x", init_images=["x"])
    assert img2img_request(over, options, {}).base.token_merging == 0.2
    own = Options().all({"token_merging_ratio": 0.2, "token_merging_ratio_img2img": 0.6})
    assert img2img_request(over, own, {}).base.token_merging == 0.6
    flags = request_from_options({"prompt": "x", "token_merging": 0.5, "token_merging_hires": 0.7})
    assert (flags.token_merging, flags.token_merging_hires) == (0.5, 0.7)


def test_a_picture_with_it_is_another_and_always_the_same(thin_models: Path, tmp_path: Path) -> None:
    engine = Engine(Settings(models_dir=thin_models, output_dir=tmp_path / "o", cache_dir=tmp_path / "c", device="cpu"))
    base = Txt2Img(prompt="a castle", checkpoint="thin_sd15", steps=2, width=64, height=64, seed=3)

    def drawn(request: Txt2Img) -> bytes:
        return np.asarray(engine.txt2img(request).pictures[0]).tobytes()

    plain, merged = drawn(base), drawn(replace(base, token_merging=0.5))
    assert drawn(replace(base, token_merging=0.0)) == plain != merged == drawn(replace(base, token_merging=0.5))
    assert drawn(replace(base, token_merging=0.25)) not in (plain, merged)
    with pytest.raises(SettingError, match="token merging ratio must be from 0 to 1"):
        drawn(replace(base, token_merging=1.5))
