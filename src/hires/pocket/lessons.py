"""What is learned beside the model: drawings printed in a style, drawings of one character under her name, and
drawings led by a coarse copy of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from hires.pocket.additions import NAME, Base, WordsWithVectors
from hires.pocket.captions import caption
from hires.pocket.degrade import KERNELS
from hires.pocket.latents import HeldLatents
from hires.pocket.scene import Scene, random_scene
from hires.pocket.shards import views
from hires.pocket.train_model import Shown
from hires.pocket.train_vae import as_signed, latent_mean
from hires.pocket.woodcut import woodcut
from hires.pocket.words import Words

STYLE_FROM, CHARACTER_FROM = 1_000_000, 2_000_000
"""Seeds of the scenes begin here: the model was trained on none of them."""
CAPTIONS = 4
"""Wordings of a scene with the character."""
CHARACTER: dict[str, Any] = {
    "subject": "girl", "skin": 0, "hair_color": "white", "hair_style": "twin braids", "fringe": "blunt",
    "eye_color": "red", "headwear": None, "hair_flower": "red", "hair_ribbon": None, "glasses": True, "mask": False,
    "scarf": None, "garment": "dress", "garment_color": "purple", "pattern": "plain", "bottom": None,
}  # fmt: skip
"""Mika, whom the built-in embedding names: what she always looks like. The rest (pose, mouth, place) is the scene's."""
HERS = ("hair", "braid", "glasses", "dress", "red eyes")
"""What her captions do not say, for her name says it."""


@dataclass(frozen=True)
class Lessons:
    """Encoded drawings with their captions, the words that these are written in, and what is shown beside them."""

    latents: HeldLatents
    words: Words
    shown: Shown = lambda scenes, views, rng: ()


def lessons_of_style(base: Base, scenes: int, seed: int, device: torch.device) -> Lessons:
    """Prints in two inks of `scenes` scenes, under the ordinary captions."""
    chosen = [random_scene(STYLE_FROM + seed + index) for index in range(scenes)]
    printed = (np.stack([woodcut(view) for view in each]) for each in drawn_views(chosen, base.size))
    captions = [[caption(scene, np.random.default_rng([scene.seed, 3]))] for scene in chosen]
    return Lessons(HeldLatents(encoded(base.vae, printed, device), captions), base.words)


def lessons_of_character(base: Base, scenes: int, vectors: int, seed: int, device: torch.device) -> Lessons:
    """Mika in `scenes` scenes, under captions that name her by `vectors` new words."""
    chosen = [as_character(random_scene(CHARACTER_FROM + seed + index)) for index in range(scenes)]
    captions = [
        [character_caption(scene, np.random.default_rng([scene.seed, wording])) for wording in range(CAPTIONS)]
        for scene in chosen
    ]
    pictures = drawn_views(chosen, base.size)
    words = WordsWithVectors(base.words, vectors)
    return Lessons(HeldLatents(encoded(base.vae, pictures, device), captions), words)


def lessons_of_tiles(base: Base, scenes: int, seed: int, device: torch.device) -> Lessons:
    """Drawings of `scenes` scenes under the ordinary captions, each led by a coarse copy of itself."""
    chosen = [random_scene(STYLE_FROM + seed + index) for index in range(scenes)]
    pictures = np.stack(list(drawn_views(chosen, base.size)))
    captions = [[caption(scene, np.random.default_rng([scene.seed, 3]))] for scene in chosen]

    def shown(
        which: NDArray[np.int64], views: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], ...]:
        return (np.stack([coarse(picture, rng) for picture in pictures[which, views]]),)

    return Lessons(HeldLatents(encoded(base.vae, pictures, device), captions), base.words, shown)


def coarse(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """A picture (height, width, 3) made 2 to 8 times smaller by one kernel and large again by another, as a hint
    (3, height, width) in 0..1: what a tile of an enlarged picture looks like before it is drawn over."""
    height, width = picture.shape[:2]
    factor = float(2 ** rng.uniform(1, 3))
    down, up = (KERNELS[tuple(KERNELS)[int(rng.integers(len(KERNELS)))]] for _ in range(2))
    small = Image.fromarray(picture).resize((max(1, round(width / factor)), max(1, round(height / factor))), down)
    large = np.asarray(small.resize((width, height), up), np.float32) / 255
    return np.ascontiguousarray(large.transpose(2, 0, 1))


def as_character(scene: Scene) -> Scene:
    """Mika in this scene's place, pose and mood."""
    return replace(scene, **CHARACTER)


def character_caption(scene: Scene, rng: np.random.Generator) -> str:
    """The caption of a scene with Mika, her name for all that she always is: at the beginning, or after the subject."""
    words = [word for word in caption(scene, rng).split(", ") if not any(part in word for part in HERS)]
    place = int(rng.integers(2))
    return ", ".join([*words[:place], NAME, *words[place:]])


def encoded(vae: nn.Module, pictures: Iterable[NDArray[np.uint8]], device: torch.device) -> NDArray[np.float16]:
    """Latents (scenes, views, 4, h/8, w/8) of pictures (views, h, w, 3), a scene at a time."""
    latents = []
    for scene in pictures:
        with torch.inference_mode():
            latents.append(latent_mean(vae, as_signed(scene, device)).cpu().half().numpy())
    return np.stack(latents)


def drawn_views(scenes: Sequence[Scene], size: int) -> Iterator[NDArray[np.uint8]]:
    """All views (views, size, size, 3) of each scene."""
    return (views(scene, size, np.random.default_rng([scene.seed, 1])) for scene in scenes)
