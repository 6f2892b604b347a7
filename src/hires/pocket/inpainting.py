"""The model with nine channels, trained further to fill holes (after RunwayML's sd-v1-5-inpainting): beside the noisy
latent it sees the hole's mask and the latent of the picture without it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn

from hires.models.checkpoint import load_checkpoint
from hires.models.export import hires_config, single_file_tensors
from hires.models.sizes import METADATA_KEY
from hires.pocket.additions import Base
from hires.pocket.captions import caption
from hires.pocket.latents import HeldLatents
from hires.pocket.lessons import Lessons, drawn_views, encoded
from hires.pocket.scene import random_scene

HOLES_FROM = 3_000_000
"""Seeds of the scenes begin here."""
ALL_MASKED = 0.15
"""Share of samples without any picture: so it also draws from nothing."""
GREY = 128
CHANNELS = 9


class InpaintBeside(nn.Module):
    """A UNet of nine channels under a frozen text encoder; it begins as the base's, deaf to the five new ones."""

    def __init__(self, base: Base) -> None:
        super().__init__()
        self.base = [base]  # in a list: its weights are not this module's
        old = base.model.requires_grad_(False).unet
        self.unet = UNet2DConditionModel.from_config({**old.config, "in_channels": CHANNELS})
        state = {name: value.detach().clone() for name, value in old.state_dict().items()}
        first = state["conv_in.weight"]
        state["conv_in.weight"] = torch.cat([first, first.new_zeros(len(first), CHANNELS - first.shape[1], 3, 3)], 1)
        self.unet.load_state_dict(state)

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, beside: Tensor) -> Tensor:
        """The noise in (batch, 4, h, w); `beside` (batch, 5, h, w) is the mask, 1 in the hole, and the latent of the
        picture that is grey in it."""
        context = self.base[0].model.text(input_ids=tokens)[0]
        seen = torch.cat([noisy, beside], 1)
        noise: Tensor = self.unet(seen, timesteps, encoder_hidden_states=context, return_dict=False)[0]
        return noise

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of a whole checkpoint, in half precision: this UNet with the base's text encoder and VAE."""
        return {key: value.detach().half() for key, value in single_file_tensors(*self._parts()).items()}

    def facts(self) -> dict[str, str]:
        """Metadata: what the tensors cannot tell."""
        config = {**hires_config(*self._parts()), "native_size": self.base[0].size}
        return {METADATA_KEY: json.dumps(config)}

    def _parts(self) -> tuple[Any, Any, Any]:
        checkpoint = load_checkpoint(self.base[0].path)
        assert checkpoint.model is not None
        return replace(checkpoint.model, unet=self.unet, in_channels=CHANNELS), checkpoint.clip, checkpoint.vae


def lessons_of_holes(base: Base, scenes: int, seed: int, device: torch.device) -> Lessons:
    """Drawings of `scenes` scenes under the ordinary captions, each beside itself with a hole in it."""
    chosen = [random_scene(HOLES_FROM + seed + index) for index in range(scenes)]
    rng = np.random.default_rng([seed, HOLES_FROM])
    pictures = np.stack(list(drawn_views(chosen, base.size)))
    captions = [[caption(scene, np.random.default_rng([scene.seed, 3]))] for scene in chosen]
    holes = np.stack([[hole(base.size, rng) for _ in each] for each in pictures])
    without = (np.where(of[..., None], GREY, each).astype(np.uint8) for each, of in zip(pictures, holes, strict=True))
    known = encoded(base.vae, without, device)
    masks = in_cells(holes)[:, :, None]

    def shown(
        which: NDArray[np.int64], views: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], ...]:
        return (np.concatenate([masks[which, views], known[which, views].astype(np.float32)], 1),)

    return Lessons(HeldLatents(encoded(base.vae, pictures, device), captions), base.words, shown)


def hole(size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where a picture of `size` pixels a side is to be filled: some boxes, discs and strokes, or everything."""
    if rng.random() < ALL_MASKED:
        return np.ones((size, size), bool)
    image = Image.new("1", (size, size))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 5))):
        x, y = rng.uniform(0, size, 2)
        wide, high = rng.uniform(0.08, 0.35, 2) * size
        kind = rng.integers(3)
        if kind == 0:
            pen.rectangle((x - wide, y - high, x + wide, y + high), fill=1)
        elif kind == 1:
            pen.ellipse((x - wide, y - high, x + wide, y + high), fill=1)
        else:
            bends = np.array([x, y]) + np.cumsum(rng.normal(0, 0.15 * size, (5, 2)), 0)
            pen.line([tuple(each) for each in bends.tolist()], fill=1, width=int(rng.uniform(0.06, 0.2) * size))
    return np.array(image)


def in_cells(holes: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Masks (..., height, width) in cells of the latent: 1 where half of a cell or more lies in the hole."""
    *before, height, width = holes.shape
    share = holes.reshape(*before, height // 8, 8, width // 8, 8).mean((-3, -1))
    found: NDArray[np.float32] = (share >= 0.5).astype(np.float32)
    return found
