"""What is shown of a picture in the making: the picture itself, small and in its colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("skia", reason="drawings need skia-python (hires[train])")

from hires.models.checkpoint import load_checkpoint
from hires.pocket import BUILT_IN_FOLDER, BUILT_IN_NAME, INPAINTING_NAME
from hires.pocket.drawing import draw
from hires.pocket.scene import random_scene
from hires.server.previews import preview_picture


def test_the_built_in_model_s_latents_are_shown_in_their_colours() -> None:
    checkpoint = load_checkpoint(BUILT_IN_FOLDER / "checkpoints" / BUILT_IN_NAME)
    vae, model = checkpoint.vae, checkpoint.model
    assert vae is not None and model is not None
    left = whole = 0.0
    for seed in range(9_300_000, 9_300_006):
        drawing = draw(random_scene(seed), 160, 160)
        latent = vae.encode(torch.from_numpy(drawing)[None] / 255) * model.latent_scale
        shown = preview_picture(latent, BUILT_IN_NAME, "sd1")
        again = preview_picture(latent, INPAINTING_NAME, "sd1")
        assert shown is not None and again is not None
        assert shown.size == (40, 40) and shown.tobytes() == again.tobytes()
        small = np.asarray(Image.fromarray(drawing).resize((40, 40), Image.Resampling.BOX), float)
        left += np.square(np.asarray(shown, float) - small).sum()
        whole += np.square(small - small.mean((0, 1))).sum()
    assert left < 0.35 * whole


def test_what_is_no_latent_is_not_shown() -> None:
    for shape in ((1, 16, 8, 8), (4, 8, 8), (1, 3, 8, 8)):
        assert preview_picture(torch.zeros(shape), "", "sd1") is None
