"""Finding faces and their parts: the networks' layouts, the decoding of their output, the files by what they hold."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.face_networks import SIDE, gfpgan, spot_detector, spotted, thin_parser

from hires.errors import ModelFileError, SettingError
from hires.imaging.faces import TEMPLATE
from hires.models.faces.parsenet import build_parsenet, face_mask
from hires.models.faces.restorer import (
    CODEFORMER,
    DETECTOR,
    GFPGAN,
    PARSER,
    FaceRestorer,
    face_restorer_names,
    find_face_restorer,
    load_face_restorer,
    sign_of,
)
from hires.models.faces.retinaface import RetinaFace, anchors, decoded, find_faces
from hires.models.inspection import inspect
from hires.models.store import ModelStore


@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 33)])
def test_there_is_an_anchor_pair_for_every_cell_of_three_strides(height: int, width: int) -> None:
    found = anchors(height, width)
    assert len(found) == sum(2 * math.ceil(height / stride) * math.ceil(width / stride) for stride in (8, 16, 32))
    assert found[0].tolist() == [4, 4, 16, 16] and found[1].tolist() == [4, 4, 32, 32]
    assert found[2].tolist() == [12, 4, 16, 16]
    assert found[-1, 2:].tolist() == [512, 512]


def test_boxes_and_points_are_read_as_they_were_taught() -> None:
    """The formulas by which RetinaFace's training writes a box and points against an anchor, undone."""
    numbers = torch.Generator().manual_seed(0)
    priors = anchors(64, 64)
    low = torch.rand(len(priors), 2, generator=numbers) * 50
    box = torch.cat([low, low + 1 + torch.rand(len(priors), 2, generator=numbers) * 90], dim=1)
    points = torch.rand(len(priors), 5, 2, generator=numbers) * 64
    centre, size = priors[:, :2], priors[:, 2:]
    offsets = ((box[:, :2] + box[:, 2:]) / 2 - centre) / (0.1 * size)
    sizes = torch.log((box[:, 2:] - box[:, :2]) / size) / 0.2
    places = (points - centre[:, None]) / (0.1 * size[:, None])
    found, where = decoded(torch.cat([offsets, sizes], dim=1), places.reshape(-1, 10), priors)
    torch.testing.assert_close(found, box, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(where, points, rtol=1e-4, atol=1e-3)


def test_a_face_is_found_where_the_network_sees_it() -> None:
    """Two spots a face apart: the anchors over their cells; of two that overlap by more than 0.4 one is kept."""
    found = find_faces(spot_detector(), spotted(128, 512, (64, 64), (352, 64)))
    centres = [(80.0, 80.0), (368.0, 80.0)]
    assert [face.score > 0.999 for face in found] == [True, True]
    for face, centre in zip(sorted(found, key=lambda face: face.box[0]), centres, strict=True):
        half = SIDE / 2
        expected = [centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half]
        np.testing.assert_allclose(face.box, expected, atol=1e-3)
        np.testing.assert_allclose(face.points, (TEMPLATE - 256) / 2 + centre, atol=1e-3)
        assert face.eye_distance == pytest.approx(125.92 / 2, abs=0.01)
    assert len(find_faces(spot_detector(), spotted(128, 512, (64, 64), (128, 64)))) == 1
    assert find_faces(spot_detector(), spotted(128, 256)) == []


def test_random_weights_give_as_many_numbers_as_there_are_anchors() -> None:
    with torch.inference_mode():
        boxes, classes, points = RetinaFace().eval()(torch.zeros(1, 3, 72, 100))
    count = len(anchors(72, 100))
    assert boxes.shape == (count, 4) and classes.shape == (count, 2) and points.shape == (count, 10)


def test_a_parsers_sizes_are_read_from_its_tensors() -> None:
    skin = thin_parser(1)
    again = build_parsenet(skin.state_dict())
    face = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(face_mask(again, face), torch.ones(64, 64))
    for part in (0, 14, 16, 17, 18):  # background, hat ... are left as they are
        assert not face_mask(thin_parser(part), face).any()
    with pytest.raises(KeyError):
        build_parsenet({"out_mask_conv.conv2d.weight": torch.zeros(19, 8, 3, 3)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Detector and parser as their files lie in A1111's folders; the detector's keys as data-parallel training has."""
    models = tmp_path / "models"
    (models / "GFPGAN").mkdir(parents=True)
    state = {f"module.{key}": value.half() for key, value in spot_detector().state_dict().items()}
    torch.save(state, models / "GFPGAN" / "detection_Resnet50_Final.pth")
    torch.save(thin_parser(1).state_dict(), models / "GFPGAN" / "parsing_parsenet.pth")
    return models


def test_files_are_known_by_what_they_hold(folder: Path) -> None:
    thin = gfpgan(1 / 16)
    assert sign_of(thin.state_dict().keys()) == GFPGAN
    assert sign_of({"position_emb", "idx_pred_layer.1.weight", "quantize.embedding.weight"}) == CODEFORMER
    assert sign_of(spot_detector().state_dict().keys()) == DETECTOR
    assert sign_of(thin_parser(1).state_dict().keys()) == PARSER
    assert sign_of({"conv_first.weight"}) is None
    for name, kind in (("detection_Resnet50_Final.pth", "face_restorer"), ("parsing_parsenet.pth", "face_restorer")):
        info = inspect(folder / "GFPGAN" / name)
        assert (info.kind, info.problem) == (kind, "")


def test_a_missing_file_is_named_with_its_folder(folder: Path) -> None:
    store = ModelStore([folder])
    assert face_restorer_names(store) == []
    with pytest.raises(ModelFileError, match=r"GFPGAN needs the file GFPGANv1\.4\.pth, .* Put it into .*GFPGAN"):
        find_face_restorer(store, "gfpgan")
    with pytest.raises(ModelFileError, match=r"codeformer-v0\.1\.0\.pth, .*Codeformer"):
        find_face_restorer(store, "codeformer")
    with pytest.raises(SettingError, match="There are GFPGAN and CodeFormer"):
        find_face_restorer(store, "GPEN")
    torch.save(gfpgan(1 / 16).state_dict(), folder / "GFPGAN" / "mine.pth")
    assert face_restorer_names(store) == ["GFPGAN"] and find_face_restorer(store, "gfpgan") == "GFPGAN"
    (folder / "GFPGAN" / "parsing_parsenet.pth").unlink()
    with pytest.raises(ModelFileError, match=r"parsing_parsenet\.pth \(face parsing\), which is not there"):
        find_face_restorer(store, "GFPGAN")


def test_a_file_that_does_not_fit_is_refused(folder: Path) -> None:
    torch.save(gfpgan(1 / 16).state_dict(), folder / "GFPGAN" / "GFPGANv1.4.pth")
    with pytest.raises(ModelFileError, match="this is not a GFPGAN for faces of 512 pixels"):
        ModelStore([folder]).face_restorer("GFPGAN")


def test_the_same_face_is_restored_alike() -> None:
    """GFPGAN's noise is its file's; nothing is drawn from a global seed."""
    model = FaceRestorer(GFPGAN, gfpgan(1 / 16), spot_detector(), thin_parser(1), "x", torch.device("cpu"))
    face = torch.rand(512, 512, 3, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    first = model.restore(face)
    assert torch.equal(first, model.restore(face)) and torch.equal(before, torch.get_rng_state())
    assert first.shape == (512, 512, 3) and float(first.min()) >= 0 and float(first.max()) <= 1
    assert float(first.std()) > 0


@pytest.mark.slow
def test_full_size_files_are_loaded_and_restore(folder: Path) -> None:
    network = gfpgan(1)
    path = folder / "GFPGAN" / "GFPGANv1.4.pth"
    torch.save({"params_ema": network.state_dict()}, path)
    store = ModelStore([folder])
    model = store.face_restorer("GFPGAN")
    face = torch.rand(512, 512, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pixels = (face * 2 - 1).movedim(-1, 0)[None]
        expected = network(pixels, return_rgb=False, randomize_noise=False)[0][0].movedim(0, -1)
    torch.testing.assert_close(model.restore(face), ((expected + 1) / 2).clamp(0, 1))
    assert store.held_bytes() > 300_000_000
    path.unlink()


@pytest.mark.slow
def test_codeformer_follows_its_weight(folder: Path) -> None:
    arch = pytest.importorskip("spandrel_extra_arches.architectures.CodeFormer")
    network = arch.CodeFormer(dim_embd=64, n_head=8, n_layers=1, codebook_size=32, latent_size=256)
    (folder / "Codeformer").mkdir()
    path = folder / "Codeformer" / "codeformer-v0.1.0.pth"
    torch.save({"params_ema": network.state_dict()}, path)
    files = (path, folder / "GFPGAN" / "detection_Resnet50_Final.pth", folder / "GFPGAN" / "parsing_parsenet.pth")
    model = load_face_restorer(CODEFORMER, files, identity="x")
    face = torch.rand(512, 512, 3, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(model.restore(face, 0.0), model.restore(face, 1.0))
    assert torch.equal(model.restore(face, 0.5), model.restore(face, 0.5))
    path.unlink()
