"""Faces restored while drawing: asked for and told in every form, in the web UI's place, refused where it cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.recipes.test_fine_sampling import BASE, FACTS
from torch import Tensor

from hires.api import Engine, Txt2Img
from hires.errors import ModelFileError, SettingError
from hires.graph.workflow import Workflow
from hires.models.faces import restorer
from hires.models.names import Entry
from hires.models.store import ModelStore
from hires.nodes import faces
from hires.nodes.registry import node_registry
from hires.options import request_from_options
from hires.recipes.img2img_infotext import img2img_from, img2img_infotext
from hires.recipes.img2img_request import Img2Img, Inpaint
from hires.recipes.infotext import infotext, request_from
from hires.recipes.read_workflow import request_of_workflow
from hires.recipes.request import HiresFix
from hires.recipes.sd_upscale import SDUpscale
from hires.recipes.txt2img import txt2img
from hires.server.asking import txt2img_request
from hires.server.bodies import TextToImage
from hires.server.options import Options
from hires.settings import Settings

FACED = replace(BASE, face_restoration="CodeFormer", face_weight=0.3)


def test_an_infotext_tells_it_where_a1111_does_and_is_read_back() -> None:
    text = infotext(FACED, FACTS)
    assert "Seed: 1, Face restoration: CodeFormer, Size: 512x512" in text
    found = request_from(text)
    assert (found.face_restoration, found.face_weight) == ("CodeFormer", 0.3)
    assert "weight" not in infotext(replace(FACED, face_weight=0.5), FACTS)
    assert "Face" not in infotext(replace(FACED, hires=HiresFix()), FACTS, final=False)
    over = img2img_infotext(Img2Img(FACED), FACTS)
    assert "Seed: 1, Face restoration: CodeFormer, Size: 512x512" in over
    assert img2img_from(over).base.face_restoration == "CodeFormer"


@pytest.mark.parametrize("hires", [None, HiresFix(denoise=0.5)])
def test_a_workflow_restores_once_and_is_read_back(hires: HiresFix | None) -> None:
    flow = txt2img(replace(FACED, hires=hires, save_first_pass=hires is not None), FACTS)
    workflow = Workflow.parse(flow)
    (key,) = workflow.find("HiresRestoreFaces")
    assert workflow.nodes[key].inputs["restorer"] == "CodeFormer" and workflow.nodes[key].inputs["weight"] == 0.3
    found = request_of_workflow(workflow, node_registry())
    assert (found.face_restoration, found.face_weight) == ("CodeFormer", 0.3)
    flow[key]["inputs"]["visibility"] = 0.5
    with pytest.raises(SettingError, match="restored in full"):
        request_of_workflow(Workflow.parse(flow), node_registry())


def asked(options: dict[str, Any], **fields: Any) -> tuple[str, float]:
    request = txt2img_request(TextToImage(prompt="x", **fields), Options().all(options))
    return request.face_restoration, request.face_weight


def test_clients_options_and_flags_ask_for_it() -> None:
    assert asked({}) == ("", 0.5)
    assert asked({}, restore_faces=True) == ("CodeFormer", 0.5)
    own = {"face_restoration": True, "face_restoration_model": "GFPGAN", "code_former_weight": 0.2}
    assert asked(own) == ("GFPGAN", 0.2) and asked(own, restore_faces=False)[0] == ""
    assert asked({}, infotext=infotext(FACED, FACTS)) == ("CodeFormer", 0.3)
    assert asked({}, infotext=infotext(FACED, FACTS), restore_faces=False)[0] == ""
    flags = request_from_options({"prompt": "x", "face_restoration": "gfpgan", "face_weight": 0.1})
    assert (flags.face_restoration, flags.face_weight) == ("gfpgan", 0.1)


@pytest.fixture
def engine(thin_models: Path, tmp_path: Path) -> Engine:
    folders = {"output_dir": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    return Engine(Settings(models_dir=thin_models, device="cpu", **folders))


@pytest.fixture
def darkened(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """In the place of networks: every picture is restored to half its brightness. The weights that were asked for."""
    weights: list[float] = []
    entry = Entry("x", Path("x"))
    known = dict.fromkeys((restorer.CODEFORMER, restorer.GFPGAN, restorer.DETECTOR, restorer.PARSER), entry)
    monkeypatch.setattr(restorer, "face_files", lambda store: known)
    monkeypatch.setattr(ModelStore, "face_restorer", lambda store, title: title)

    def restored(picture: Tensor, model: Any, visibility: float, weight: float, context: Any) -> Tensor:
        assert visibility == 1.0
        weights.append(weight)
        return picture * 0.5

    monkeypatch.setattr(faces, "restored", restored)
    return weights


SMALL = Txt2Img(prompt="x", checkpoint="thin_sd15", steps=1, width=64, height=64, seed=3)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def test_it_works_on_the_final_picture(engine: Engine, darkened: list[float]) -> None:
    plain = engine.txt2img(SMALL).pictures[0]
    made = engine.txt2img(SMALL, face_restoration="codeformer", face_weight=0.2).pictures[0]
    assert np.abs(pixels(plain) / 2 - pixels(made)).max() <= 1 and darkened == [0.2]
    assert "Face restoration: CodeFormer" in made.info["parameters"]
    assert pixels(engine.txt2img(SMALL, face_restoration="none").pictures[0]).tolist() == pixels(plain).tolist()


def test_it_comes_before_the_picture_is_laid_into_its_place(
    engine: Engine, darkened: list[float], tmp_path: Path
) -> None:
    """What lies outside the mask keeps its faces, byte for byte."""
    source, mask = tmp_path / "source.png", tmp_path / "mask.png"
    Image.new("RGB", (64, 64), (200, 180, 160)).save(source)
    layer = Image.new("L", (64, 64), 0)
    layer.paste(255, (0, 0, 32, 64))
    layer.save(mask)
    request = Img2Img(SMALL, denoise=0.5, inpaint=Inpaint(blur_x=0, blur_y=0, area="whole picture"))
    plain = pixels(engine.img2img(source, request, mask=mask).pictures[0])
    made = pixels(engine.img2img(source, request.of(face_restoration="GFPGAN"), mask=mask).pictures[0])
    assert np.abs(plain[:, :30] / 2 - made[:, :30]).max() <= 1
    assert (made[:, 34:] == (200, 180, 160)).all() and len(darkened) == 1


def test_what_cannot_be_is_said_in_a_line(engine: Engine) -> None:
    with pytest.raises(ModelFileError, match=r"CodeFormer needs the file .* which is not there") as caught:
        engine.txt2img(SMALL, face_restoration="CodeFormer")
    assert "\n" not in str(caught.value)
    with pytest.raises(SettingError, match="no face restorer 'Gimp'"):
        engine.txt2img(SMALL, face_restoration="Gimp")


def test_tiles_are_left_as_they_are(engine: Engine, darkened: list[float], tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "one.png")
    with pytest.raises(SettingError, match="not restored in tiles"):
        engine.sd_upscale(tmp_path / "one.png", SDUpscale(replace(SMALL, face_restoration="GFPGAN")))
