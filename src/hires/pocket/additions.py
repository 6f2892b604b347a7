"""What is trained beside a frozen model: a LoRA of a style, and an embedding of a character.

Both stand in the place of the network that the model's training trains, and answer as the model with them would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from hires.pocket.captions import caption
from hires.pocket.scene import Scene, random_scene
from hires.pocket.shards import views
from hires.pocket.train_model import TextAndUnet
from hires.pocket.train_vae import as_signed, latent_mean
from hires.pocket.words import Words
from hires.text.tokenizer import CHUNK, END, ROOM, START, tokenize

CHARACTER: dict[str, Any] = {
    "subject": "girl", "skin": 0, "hair_color": "white", "hair_style": "twin braids", "fringe": "blunt",
    "eye_color": "red", "headwear": None, "hair_flower": "red", "hair_ribbon": None, "glasses": True, "mask": False,
    "scarf": None, "garment": "dress", "garment_color": "purple", "pattern": "plain", "bottom": None,
}  # fmt: skip
"""Mika, whom the built-in embedding names: what she always looks like. The rest (pose, mouth, place) is the scene's."""
HERS = ("hair", "braid", "glasses", "dress", "red eyes")
"""What her captions do not say, for her name says it."""
NAME = "hires-pocket-mika"
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
"""The linear maps of transformer blocks that a LoRA changes, as kohya's trainer does."""


def word_table(base: TextAndUnet) -> str:
    """The name of the parameter that holds the words' vectors (transformers has moved it between versions)."""
    return next(name for name, _ in base.named_parameters() if name.endswith("token_embedding.weight"))


class LoraBeside(nn.Module):
    """A frozen model with low-rank changes of its UNet's transformer blocks (Hu et al. 2021)."""

    def __init__(self, base: TextAndUnet, rank: int, seed: int) -> None:
        super().__init__()
        self.base = [base.requires_grad_(False)]  # in a list: its weights are not this module's
        self.rank = rank
        generator = torch.Generator().manual_seed(seed)
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        self.names: dict[str, str] = {}
        for name, layer in base.unet.named_modules():
            if isinstance(layer, nn.Linear) and ".transformer_blocks." in name and name.endswith(TARGETS):
                stem = "lora_unet_" + name.replace(".", "_")
                down = torch.empty(rank, layer.in_features)
                nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=generator)
                self.names[stem] = f"unet.{name}.weight"
                self.down[stem] = nn.Parameter(down)
                self.up[stem] = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """The noise, as `TextAndUnet` tells it, with the changed weights."""
        (base,) = self.base
        weights = dict(base.named_parameters())
        changed = {name: weights[name] + self.up[stem] @ self.down[stem] for stem, name in self.names.items()}
        noise: Tensor = functional_call(base, changed, (noisy, timesteps, tokens))
        return noise

    def tensors(self) -> dict[str, Tensor]:
        """The file's tensors, in kohya's names."""
        found = {}
        for stem in self.names:
            found[f"{stem}.lora_down.weight"] = self.down[stem].detach().half()
            found[f"{stem}.lora_up.weight"] = self.up[stem].detach().half()
            found[f"{stem}.alpha"] = torch.tensor(float(self.rank))
        return found


class EmbeddingBeside(nn.Module):
    """A frozen model with words of its own (textual inversion, Gal et al. 2022), after all others in the table."""

    def __init__(self, base: TextAndUnet, count: int, start: Tensor) -> None:
        """`start` (count, width): the vectors that the training begins with."""
        super().__init__()
        self.base = [base.requires_grad_(False)]
        self.table = word_table(base)
        self.vectors = nn.Parameter(start.clone().reshape(count, -1))

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """The noise, as `TextAndUnet` tells it, with the new words in its table."""
        (base,) = self.base
        table = torch.cat([base.get_parameter(self.table), self.vectors])
        noise: Tensor = functional_call(base, {self.table: table}, (noisy, timesteps, tokens))
        return noise

    def tensors(self) -> dict[str, Tensor]:
        """The file's tensor, in the web UI's name."""
        return {"emb_params": self.vectors.detach().float()}


class WordsWithVectors(Words):
    """`words`, and `count` new ones that stand where a text says NAME."""

    def __init__(self, words: Words, count: int) -> None:
        self.new = list(range(len(words), len(words) + count))
        super().__init__(words.used)

    def tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """(texts, 77) words."""
        rows = []
        for text in texts:
            before, found, after = text.partition(NAME)
            inner = [*self._words(before), *(self.new if found else []), *self._words(after)][:ROOM]
            rows.append([*self._ids([START]), *inner, *self._ids([END] * (CHUNK - 1 - len(inner)))])
        return np.array(rows, np.int64)

    def _words(self, text: str) -> list[int]:
        return self._ids(tokenize(text.strip(" "))) if text.strip(" ") else []

    def _ids(self, ids: Sequence[int]) -> list[int]:
        return [int(self._word[each]) for each in ids]


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


def drawn_scenes(seeds: Iterable[int], change: Callable[[Scene], Scene] = lambda scene: scene) -> list[Scene]:
    """The scenes of `seeds` as `change` has them."""
    return [change(random_scene(seed)) for seed in seeds]


def drawn_views(scenes: Sequence[Scene], size: int) -> Iterator[NDArray[np.uint8]]:
    """All views (views, size, size, 3) of each scene."""
    return (views(scene, size, np.random.default_rng([scene.seed, 1])) for scene in scenes)
