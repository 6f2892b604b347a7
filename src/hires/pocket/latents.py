"""Latents of all drawings on disk, made once by the trained autoencoder and read by the model's training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import nn

from hires.errors import Interrupted
from hires.pocket.drawing import random_scene
from hires.pocket.networks import LATENT_CHANNELS
from hires.pocket.shards import VIEWS, Shards
from hires.pocket.train_vae import as_signed, latent_mean

LATENTS = "latents.npy"
FACTS = "latents.json"
SCENES_AT_ONCE = 4


def weights_key(vae: nn.Module) -> str:
    """Changes whenever a weight of the encoder does."""
    digest = hashlib.sha256()
    for name, value in vae.state_dict().items():
        if not name.startswith(("encoder.", "quant_conv.")):
            continue
        digest.update(value.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def encode_shards(
    shards: Shards,
    vae: nn.Module,
    folder: Path,
    device: torch.device,
    *,
    say: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Latents:
    """Encode what has not been encoded by these very weights: (scenes, views, 4, size/8, size/8) in half precision."""
    facts = {"vae": weights_key(vae), "drawings": vars(shards.plan)}
    facts_path = folder / FACTS
    if facts_path.exists():
        known = json.loads(facts_path.read_text(encoding="utf-8"))
        if {name: known.get(name) for name in facts} == facts:
            return Latents(folder, shards)
    folder.mkdir(parents=True, exist_ok=True)
    facts_path.unlink(missing_ok=True)
    side = shards.plan.size // 8
    shape = (len(shards), len(VIEWS), LATENT_CHANNELS, side, side)
    latents = open_memmap(folder / LATENTS, "w+", np.float16, shape)
    total = squares = 0.0
    vae = vae.to(device).to(memory_format=torch.channels_last).eval()
    for first in range(0, len(shards), SCENES_AT_ONCE):
        scenes = range(first, min(first + SCENES_AT_ONCE, len(shards)))
        pictures = np.stack([shards.picture(scene, view) for scene in scenes for view in range(len(VIEWS))])
        with torch.inference_mode():
            mean = latent_mean(vae, as_signed(pictures, device)).float().cpu().numpy()
        latents[first : scenes.stop] = mean.reshape(len(scenes), *shape[1:])
        total += float(mean.sum(dtype=np.float64))
        squares += float(np.square(mean, dtype=np.float64).sum())
        say(scenes.stop, len(shards))
        if stop():
            raise Interrupted
    latents.flush()
    std = float(np.sqrt(squares / latents.size - (total / latents.size) ** 2))
    facts_path.write_text(json.dumps({**facts, "std": std}) + "\n", encoding="utf-8")
    return Latents(folder, shards)


class Latents:
    """Encoded drawings with their captions; `std` is the deviation of all numbers together."""

    def __init__(self, folder: Path, shards: Shards) -> None:
        self._latents = np.load(folder / LATENTS, mmap_mode="r")
        self.std = float(json.loads((folder / FACTS).read_text(encoding="utf-8"))["std"])
        self.shards, self.captions = shards, shards.captions
        self.views, self.side = int(self._latents.shape[1]), int(self._latents.shape[-1])

    def __len__(self) -> int:
        """Scenes."""
        return len(self._latents)

    def framings(self) -> list[str]:
        """Of each scene."""
        return [random_scene(self.shards.plan.seed + scene).framing for scene in range(len(self))]

    def read(self, scenes: NDArray[np.int64], views: NDArray[np.int64]) -> NDArray[np.float16]:
        """(batch, 4, side, side), unscaled."""
        chosen: NDArray[np.float16] = self._latents[scenes, views]
        return chosen

    def boxes(self, name: str, scenes: NDArray[np.int64], views: NDArray[np.int64]) -> NDArray[np.float32]:
        """(batch, 4): left, top, right and bottom, in cells, of a part of each scene; it may lie outside."""
        found = [self.shards.box(name, int(scene), int(view)) for scene, view in zip(scenes, views, strict=True)]
        return np.array(found, np.float32) / (self.shards.plan.size / self.side)


class HeldLatents:
    """Latents (scenes, views, 4, side, side) in memory, as the model's training reads them."""

    std = 1.0

    def __init__(self, latents: NDArray[np.float16], captions: list[list[str]]) -> None:
        self.held, self.captions = latents, captions
        self.views, self.side = int(latents.shape[1]), int(latents.shape[-1])

    def __len__(self) -> int:
        """Scenes."""
        return len(self.held)

    def framings(self) -> list[str]:
        """Of each scene: they are not known."""
        return [""] * len(self)

    def read(self, scenes: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.float16]:
        """(batch, 4, side, side) of unit deviation."""
        found: NDArray[np.float16] = self.held[scenes, chosen]
        return found

    def boxes(self, name: str, scenes: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """(batch, 4): where a part lies is not known, so it is outside."""
        return np.full((len(scenes), 4), -1, np.float32)
