"""Faces restored in a whole picture: found, brought upright, restored and put back, by networks that are run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from tests.models.face_networks import gfpgan, spot_detector, spotted, thin_parser

from hires.errors import Interrupted
from hires.imaging.faces import TEMPLATE, covered, similarity, upright
from hires.models.faces.restorer import GFPGAN, FaceRestorer
from hires.models.faces.retinaface import RetinaFace
from hires.nodes.faces import faces_in, restored


@dataclass
class Notes:
    """What a run's context is asked for here."""

    stopped: bool = False
    notes: list[str] = field(default_factory=list)
    done: list[tuple[int, int]] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, value: int, total: int) -> None:
        self.done.append((value, total))

    def is_stopped(self) -> bool:
        return self.stopped


@pytest.fixture(scope="module")
def detector() -> RetinaFace:
    return spot_detector()


def model(detector: RetinaFace, part: int = 1) -> FaceRestorer:
    return FaceRestorer(GFPGAN, gfpgan(1 / 16), detector, thin_parser(part), "x", torch.device("cpu"))


def test_a_face_is_found_restored_and_put_back(detector: RetinaFace) -> None:
    """A picture of twice the size that is searched: the points come back in the picture's own pixels."""
    picture = torch.cat([spotted(1280, 1300, (640, 640)), torch.full((1280, 1300, 1), 0.5)], dim=-1)
    (face,) = faces_in(picture, detector)
    step = np.array([1300 / 650, 2.0])
    np.testing.assert_allclose(face.points, ((TEMPLATE - 256) / 2 + 336) * step, atol=1e-2)
    context = Notes()
    own = picture.clone()
    made = restored(picture, model(detector), 1.0, 0.5, context)  # type: ignore[arg-type]
    assert torch.equal(picture, own), "the picture that came is not written"
    assert context.notes == ["GFPGAN: 1 face"] and context.done == [(1, 1)]
    matrix = similarity(face.points)
    box = covered(matrix, 1280, 1300)
    outside = torch.ones(1280, 1300, dtype=torch.bool)
    outside[box.top : box.bottom, box.left : box.right] = False
    assert torch.equal(made[outside], picture[outside]) and torch.equal(made[..., 3], picture[..., 3])
    new = model(detector).restore(upright(picture, matrix))
    middle = (TEMPLATE[2] - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    x, y = (round(float(place)) for place in middle)
    again = np.rint(matrix[:, :2] @ np.array([x, y]) + matrix[:, 2]).astype(int)
    torch.testing.assert_close(made[y, x, :3], new[again[1], again[0]], rtol=0, atol=0.05)
    assert float((made - picture).abs().max()) > 0.1


def test_what_is_no_face_is_left_alone(detector: RetinaFace) -> None:
    context = Notes()
    plain = spotted(640, 640)
    assert restored(plain, model(detector), 1.0, 0.5, context) is plain  # type: ignore[arg-type]
    assert context.notes == ["GFPGAN: no faces"]
    spots = spotted(640, 640, (320, 320))
    hair = restored(spots, model(detector, 17), 1.0, 0.5, context)  # type: ignore[arg-type]
    assert torch.equal(hair, spots), "hair and background stay the picture's"
    with pytest.raises(Interrupted):
        restored(spots, model(detector), 1.0, 0.5, Notes(stopped=True))  # type: ignore[arg-type]
