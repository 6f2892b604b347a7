"""What is trained beside a frozen model: a LoRA (of a style), an embedding (of a character), a ControlNet (of tiles).

Each stands in the place of the network that the model's training trains, and answers as the model with it would.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from hires.models.export import unet_facts
from hires.models.native import native_size
from hires.models.sizes import METADATA_KEY
from hires.pocket import BUILT_IN_FOLDER, BUILT_IN_NAME
from hires.pocket.captions import known_phrases
from hires.pocket.short import shorten
from hires.pocket.start import read_start, started_model, started_vae
from hires.pocket.train_model import TextAndUnet
from hires.pocket.words import Words
from hires.text.tokenizer import CHUNK, END, ROOM, START, tokenize

NAME = "hires-pocket-mika"
"""What the embedding is called in captions."""
LORA_NAME, EMBEDDING_NAME = "hires-pocket-woodcut.safetensors", f"{NAME}.safetensors"
TILE_NAME = "hires-pocket-tile.safetensors"
HINT_WIDTHS = (16, 32, 64, 64)
"""Of the layers that bring a ControlNet's hint down to latent size."""
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
"""The linear maps of transformer blocks that a LoRA changes, as kohya's trainer does."""


@dataclass(frozen=True)
class Base:
    """A checkpoint's networks to train beside, the words that our captions have, and the model's own size in pixels."""

    path: Path
    model: TextAndUnet
    vae: AutoencoderKL
    words: Words
    size: int


def read_base(path: Path | None, device: torch.device, short: bool) -> Base:
    """The networks of a complete SD 1.x checkpoint [the built-in one]; ModelFileError for another file. With `short`
    the model multiplies in bfloat16."""
    path = path or BUILT_IN_FOLDER / "checkpoints" / BUILT_IN_NAME
    checkpoint, words = read_start(path), Words.of_captions([[*sorted(known_phrases()), ","]])
    model, vae = started_model(checkpoint, words).to(device), started_vae(checkpoint).to(device)
    if short:
        shorten(model)
    return Base(path, model, vae.eval().requires_grad_(False), words, native_size(path, "sd1"))


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

    def facts(self) -> dict[str, str]:
        """Metadata: the tensors tell all."""
        return {}


class EmbeddingBeside(nn.Module):
    """A frozen model with words of its own (textual inversion, Gal et al. 2022), after all others in the table."""

    def __init__(self, base: TextAndUnet, count: int, start: Tensor | None = None) -> None:
        """`start` (count, width): the vectors that the training begins with [the mean of all words']."""
        super().__init__()
        self.base = [base.requires_grad_(False)]
        self.table = word_table(base)
        if start is None:
            start = base.get_parameter(self.table).mean(0).expand(count, -1)
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

    def facts(self) -> dict[str, str]:
        """Metadata: the tensor tells all."""
        return {}


class ControlBeside(nn.Module):
    """A frozen model with a ControlNet (Zhang et al. 2023), which begins as a copy of its UNet's first half."""

    def __init__(self, base: TextAndUnet, seed: int) -> None:
        super().__init__()
        self.base = [base.requires_grad_(False)]
        self.control = ControlNetModel.from_unet(base.unet, conditioning_embedding_out_channels=HINT_WIDTHS)
        stem, generator = self.control.controlnet_cond_embedding, torch.Generator().manual_seed(seed)
        for layer in (stem.conv_in, *stem.blocks):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, hint: Tensor) -> Tensor:
        """The noise, as `TextAndUnet` tells it, led by hints (batch, 3, 8 h, 8 w) in 0..1."""
        (base,) = self.base
        context = base.text(input_ids=tokens)[0]
        down, middle = self.control(noisy, timesteps, context, hint, return_dict=False)
        noise: Tensor = base.unet(
            noisy,
            timesteps,
            encoder_hidden_states=context,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]
        return noise

    def tensors(self) -> dict[str, Tensor]:
        """The file's tensors, in diffusers' names."""
        return {name: value.detach().half() for name, value in self.control.state_dict().items()}

    def facts(self) -> dict[str, str]:
        """Metadata: what the tensors cannot tell."""
        (base,) = self.base
        return {METADATA_KEY: json.dumps({"unet": unet_facts(base.unet)})}


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
