"""Restoring the faces of pictures by GFPGAN and CodeFormer, as the web UI's Extras do."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from hires.errors import Interrupted
from hires.graph.declare import node
from hires.graph.inputs import FileChoice, Float
from hires.imaging.faces import put_back, similarity, soft_mask, upright
from hires.imaging.lanczos import lanczos_pixels
from hires.imaging.strips import new_pixels, rows_at_once
from hires.models.faces.parsenet import face_mask
from hires.models.faces.restorer import FaceRestorer
from hires.models.faces.retinaface import Face, RetinaFace, find_faces
from hires.nodes.context import RunContext
from hires.nodes.types import Image

Share = Annotated[float, Float(0.0, 1.0, 0.001)]
DETECTION_SIDE = 640
"""Pixels of the shorter side of what faces are looked for in."""
SMALLEST_EYE_DISTANCE = 5.0
"""Faces whose eyes are closer, in pixels of the picture, are left as they are."""


@node("HiresRestoreFaces", title="Restore faces (hires)", category="image/upscaling", outputs=("IMAGE",))
def restore_faces(
    *,
    image: Image,
    restorer: Annotated[str, FileChoice("face restorers")],
    visibility: Share = 1.0,
    weight: Share = 0.5,
    context: RunContext,
) -> Tensor:
    """Find faces, restore each at 512x512 and put it back. visibility 0 changes nothing; weight is CodeFormer's: 0
    changes a face most, 1 least."""
    if visibility == 0:
        return image
    model = context.store.face_restorer(restorer)
    made = [restored(picture, model, visibility, weight, context) for picture in image]
    return made[0][None] if len(made) == 1 else torch.stack(made)


def restored(picture: Tensor, model: FaceRestorer, visibility: float, weight: float, context: RunContext) -> Tensor:
    """A picture (h, w, 3 or 4) with its faces restored; itself where it has none."""
    faces = [face for face in faces_in(picture, model.detector) if face.eye_distance >= SMALLEST_EYE_DISTANCE]
    context.note(f"{model.title}: {len(faces) or 'no'} {'face' if len(faces) == 1 else 'faces'}")
    if not faces:
        return picture
    made = copied(picture)
    # All are taken from the picture as it came: a face beside another is not restored twice.
    for number, face in enumerate(faces, start=1):
        if context.is_stopped():
            raise Interrupted
        matrix = similarity(face.points)
        new = model.restore(upright(picture, matrix), weight)
        put_back(made, new, soft_mask(face_mask(model.parser, new)), matrix, visibility)
        context.progress(number, len(faces))
    return made


def faces_in(picture: Tensor, detector: RetinaFace) -> list[Face]:
    """The faces of a picture (h, w, 3 or 4), found in a copy whose shorter side has 640 pixels."""
    height, width = picture.shape[:2]
    scale = min(height, width) / DETECTION_SIDE
    small = lanczos_pixels(picture[..., :3].numpy(), max(1, int(width / scale)), max(1, int(height / scale)))
    times = np.array([width / small.shape[1], height / small.shape[0]])
    found = find_faces(detector, torch.from_numpy(small))
    return [Face(face.score, face.box * np.tile(times, 2), face.points * times) for face in found]


def copied(picture: Tensor) -> Tensor:
    """The same picture in room of its own, which is a file for a large one."""
    made = torch.from_numpy(new_pixels(*picture.shape))
    step = rows_at_once(picture[0].numpy())
    for top in range(0, len(made), step):
        made[top : top + step] = picture[top : top + step]
    return made
