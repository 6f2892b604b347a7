"""Training of the text encoder and the UNet together, on the latents of drawings.

Which scale at which noise: enlarged windows, under the ordinary caption, are only shown at timesteps below 650, whole
compositions everywhere. So the model composes at its base size and refines at twice or three times that; drawn
directly at such a size it repeats its subject, as large models do.

What counts how much: a cell of the subject more than one of the background, one of its face most. The least error is
the same, but a face is right or wrong by a few cells, which a plain mean hardly sees in a picture of a whole figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hires.pocket.curves import contact_sheet
from hires.pocket.latents import HeldLatents, Latents
from hires.pocket.networks import LATENT_CHANNELS, Sizes, build_text, build_unet, start_default
from hires.pocket.short import shorten
from hires.pocket.train_vae import decode, from_signed
from hires.pocket.training import Learner, Recipe, step_generator
from hires.pocket.words import Words

TIMESTEPS = 1000
OFTEN = {"close-up": 0.5, "upper body": 0.8, "cowboy shot": 1.6, "full body": 1.4}
"""Small figures break first: of the first weights' pictures 44 % of cowboy shots, 28 % of full bodies, 9 % of upper
bodies and 4 % of close-ups were not intact."""
MOST_WEIGHT = 5.0
"""Loss weight min(SNR, 5) / SNR (Hang et al. 2023)."""


Shown = Callable[[NDArray[np.int64], NDArray[np.int64], np.random.Generator], tuple[NDArray[np.float32], ...]]
"""Of the scenes and views of a batch: what the network is given after the captions, (batch, ...) each."""


@dataclass(frozen=True)
class ModelRecipe:
    """`dropout` is the share of samples with an empty caption; `enlarged` the share of samples below timestep
    `enlarged_below` that show an enlarged window. A cell of a face counts `face_weight` times, one of the rest of
    the subject `subject_weight` times. `threads`, on a CPU: so many parts of a batch are computed beside each other,
    one thread each, which is quicker than several threads on one small operation after the other. `often` says how
    often a scene of each framing is taken, against the others."""

    seed: int = 0
    batch: int = 64
    dropout: float = 0.1
    enlarged: float = 0.35
    enlarged_below: int = 650
    face_weight: float = 4.0
    subject_weight: float = 2.5
    often: Mapping[str, float] = field(default_factory=lambda: OFTEN)
    guidance: float = 5.0
    threads: int = 1
    short: bool = False
    sizes: Sizes = field(default_factory=Sizes)
    optimizer: Recipe = field(default_factory=lambda: Recipe(rate=6e-4, muon_rate=1e-3, average=0.998))


def alphas_cumprod() -> Tensor:
    """Stable Diffusion's noise schedule (scaled linear), (1000,), in double precision until the end."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def stratified_timesteps(batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """One timestep of each of `batch` equal parts of 0..999, in any order: every noise level is in every batch."""
    places = (np.arange(batch) + rng.random(batch)) / batch
    return rng.permutation(np.minimum(places * TIMESTEPS, TIMESTEPS - 1).astype(np.int64))


def choose_views(
    timesteps: NDArray[np.int64], views: int, recipe: ModelRecipe, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The view of each sample: 0 is the whole composition, the others are enlarged windows."""
    enlarged = (timesteps < recipe.enlarged_below) & (rng.random(len(timesteps)) < recipe.enlarged)
    return np.where(enlarged, rng.integers(1, max(2, views), len(timesteps)), 0)


def dropped(count: int, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which samples lose their caption, for classifier-free guidance (Ho and Salimans 2022)."""
    return rng.random(count) < share


def counts(
    faces: NDArray[np.float32], subjects: NDArray[np.float32], side: int, recipe: ModelRecipe
) -> NDArray[np.float32]:
    """What the cells of pictures count (batch, 1, side, side): `face_weight` in a face, `subject_weight` elsewhere in
    the subject's box and 1 beside it, then made 1 in the mean of each picture. `faces` and `subjects` are boxes
    (batch, 4) in cells (left, top, right, bottom); they may lie outside."""
    found = np.ones((len(faces), side, side), np.float32)
    middles = np.arange(side) + 0.5
    for boxes, weight in ((subjects, recipe.subject_weight), (faces, recipe.face_weight)):
        left, top, right, bottom = (boxes[:, i, None] for i in range(4))
        across, down = (middles >= left) & (middles <= right), (middles >= top) & (middles <= bottom)
        found[down[:, :, None] & across[:, None, :]] = weight
    return (found / found.mean((1, 2), keepdims=True))[:, None]


class TextAndUnet(nn.Module):
    """The two networks that learn together."""

    def __init__(self, sizes: Sizes, words: int) -> None:
        super().__init__()
        self.text = build_text(sizes, words)
        self.unet = build_unet(sizes)

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Noise in (batch, 4, h, w) under captions of tokens (batch, 77)."""
        context = self.text(input_ids=tokens)[0]
        noise: Tensor = self.unet(noisy, timesteps, encoder_hidden_states=context, return_dict=False)[0]
        return noise


@dataclass(frozen=True)
class Batch:
    """Latents (batch, 4, h, w) of unit deviation, tokens (batch, 77), timesteps (batch,), what the cells count
    (batch, 1, h, w), and what the network is shown beside (batch entries each)."""

    latents: Tensor
    tokens: Tensor
    timesteps: Tensor
    counts: Tensor
    shown: tuple[Tensor, ...] = ()


class ModelStage:
    """Training on `latents`; `vae` decodes the contact sheets."""

    def __init__(
        self,
        latents: Latents | HeldLatents,
        words: Words,
        vae: nn.Module,
        recipe: ModelRecipe,
        device: torch.device,
        start: nn.Module | None = None,
        shown: Shown = lambda scenes, views, rng: (),
    ) -> None:
        """`start` is trained further, in the place of random weights: a `TextAndUnet`, or what answers as one. `shown`
        gives what it is told of the pictures beside captions."""
        self.latents, self.words, self.recipe, self.device = latents, words, recipe, device
        self.shown = shown
        self.vae = vae.to(device).eval()
        network = start or TextAndUnet(recipe.sizes, len(words))
        if start is None:
            start_default(network, torch.Generator().manual_seed(recipe.seed))
        if recipe.short:
            shorten(network)
        self.learner = Learner(network.to(device).to(memory_format=torch.channels_last), recipe.optimizer)
        self.alphas = alphas_cumprod().to(device)
        self.tokens = words.token_table(latents.captions)
        often = np.array([recipe.often.get(framing, 1.0) for framing in latents.framings()])
        self.chances = often / often.sum()
        self.beside = ThreadPoolExecutor(recipe.threads)
        if recipe.threads > 1:
            torch.set_num_threads(1)

    @property
    def learners(self) -> Mapping[str, Learner]:
        """Both networks in one."""
        return {"model": self.learner}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a checkpoint must share."""
        return {
            "seed": self.recipe.seed,
            "sizes": self.recipe.sizes.of_model(),
            "words": self.words.used,
            "latent_std": self.latents.std,
        }

    def batch(self, index: int) -> Batch:
        """The samples of step `index`."""
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, index])
        timesteps = stratified_timesteps(recipe.batch, rng)
        scenes = rng.choice(len(self.chances), recipe.batch, p=self.chances)
        chosen = choose_views(timesteps, self.latents.views, recipe, rng)
        tokens = self.tokens[scenes, rng.integers(self.tokens.shape[1], size=recipe.batch)]
        tokens[dropped(recipe.batch, recipe.dropout, rng)] = self.words.empty
        latents = torch.from_numpy(self.latents.read(scenes, chosen)).to(self.device).float() / self.latents.std
        faces, subjects = (self.latents.boxes(name, scenes, chosen) for name in ("face", "subject"))
        weights = counts(faces, subjects, self.latents.side, recipe)
        shown = self.shown(scenes, chosen, rng)
        words, times, counted, *more = (
            torch.from_numpy(each).to(self.device) for each in (tokens, timesteps, weights, *shown)
        )
        return Batch(latents, words, times, counted, tuple(more))

    def step(self, index: int, progress: float, share: float) -> dict[str, Tensor]:
        """Predict the noise; the curves tell low, middle and high noise apart."""
        batch = self.batch(index)
        timesteps = batch.timesteps
        generator = step_generator(self.recipe.seed, index, self.device)
        noise = torch.randn(batch.latents.shape, generator=generator, device=self.device)
        alpha = self.alphas[timesteps][:, None, None, None]
        noisy = alpha.sqrt() * batch.latents + (1 - alpha).sqrt() * noise
        whole = (noisy.contiguous(memory_format=torch.channels_last), noise, timesteps, batch.tokens, batch.counts)
        parts = [one.chunk(self.recipe.threads) for one in (*whole, *batch.shown)]
        results = list(self.beside.map(self.part, *parts))
        errors = torch.cat([one for one, _ in results])
        norm = self.learner.update_by([gradients for _, gradients in results], share, index)
        loss = (errors * snr_weight(self.alphas[timesteps])).mean()
        return {"loss": loss, "error": errors.mean(), "gradient": norm} | by_noise(errors, timesteps)

    def part(
        self, noisy: Tensor, noise: Tensor, timesteps: Tensor, tokens: Tensor, counts: Tensor, *shown: Tensor
    ) -> tuple[Tensor, list[Tensor | None]]:
        """A part of a batch, as `Batch` and `step` have it: the errors (part,) of its samples, of all cells alike, and
        the gradients of its share of the batch's loss, in which cells weigh what `counts` (part, 1, h, w) says."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            predicted = self.learner.network(noisy, timesteps, tokens, *shown).float()
        squared = (predicted - noise).square()
        errors, counted = squared.detach().mean((1, 2, 3)), (counts * squared).mean((1, 2, 3))
        loss = (counted * snr_weight(self.alphas[timesteps])).sum() / self.recipe.batch
        return errors, self.learner.gradients(loss)

    def sheet(self) -> NDArray[np.uint8]:
        """Sixteen captions, always the same and under the same noise, drawn by the averaged weights."""
        captions = [self.latents.captions[scene % len(self.latents)][0] for scene in range(16)]
        tokens = torch.from_numpy(self.words.tokens(captions)).to(self.device)
        side = self.latents.side
        noise = torch.randn(16, LATENT_CHANNELS, side, side, generator=torch.Generator().manual_seed(1))
        scenes = np.arange(16) % len(self.latents)
        shown = self.shown(scenes, np.zeros(16, np.int64), np.random.default_rng(self.recipe.seed))
        network, more = self.learner.average, [torch.from_numpy(each).to(self.device) for each in shown]
        guidance = self.recipe.guidance
        latents = ddim(network, noise.to(self.device), tokens, self.words.empty, self.alphas, guidance, shown=more)
        with torch.inference_mode():
            pixels = [decode(self.vae, part * self.latents.std) for part in latents.split(4)]
        pictures = from_signed(torch.cat(pixels))
        return contact_sheet([pictures[:8], pictures[8:]])


def snr_weight(alphas: Tensor) -> Tensor:
    """min(SNR, 5) / SNR of noise levels given as cumulative alphas."""
    snr = alphas / (1 - alphas)
    return snr.clamp(max=MOST_WEIGHT) / snr


def by_noise(errors: Tensor, timesteps: Tensor) -> dict[str, Tensor]:
    """Mean error at low, middle and high noise: a batch that is stratified has all three, unless it is tiny."""
    parts = {"low": timesteps <= 200, "middle": (timesteps > 200) & (timesteps <= 700), "high": timesteps > 700}
    return {name: (errors * part).sum() / part.sum().clamp(min=1) for name, part in parts.items()}


@torch.inference_mode()
def ddim(
    network: nn.Module,
    latents: Tensor,
    tokens: Tensor,
    empty: NDArray[np.int64],
    alphas: Tensor,
    guidance: float,
    steps: int = 25,
    shown: Sequence[Tensor] = (),
) -> Tensor:
    """Deterministic DDIM (Song et al. 2020) with classifier-free guidance from noise (batch, 4, h, w). What is `shown`
    to the network beside captions has `batch` entries each."""
    blank = torch.from_numpy(empty).to(tokens.device).expand_as(tokens)
    both, twice = torch.cat([blank, tokens]), [torch.cat([one, one]) for one in shown]
    times: Sequence[int] = np.linspace(TIMESTEPS - 1, 0, steps + 1).round().astype(int).tolist()
    for now, after in pairwise(times):
        timesteps = torch.full((len(both),), now, device=latents.device)
        uncond, cond = network(torch.cat([latents, latents]), timesteps, both, *twice).chunk(2)
        noise = uncond + guidance * (cond - uncond)
        clean = (latents - (1 - alphas[now]).sqrt() * noise) / alphas[now].sqrt()
        latents = alphas[after].sqrt() * clean + (1 - alphas[after]).sqrt() * noise
    return latents
