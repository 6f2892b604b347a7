"""Training of the autoencoder: pixels and edges first, then a patch discriminator, at last the decoder alone.

The posterior is not sampled: a fixed noise on the latents and a small penalty on their size keep the latent space
smooth. With the usual variational loss from the first step, small autoencoders stay with blurs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from hires.pocket.curves import contact_sheet
from hires.pocket.networks import (
    LATENT_CHANNELS,
    PatchDiscriminator,
    Sizes,
    build_vae,
    hinge,
    start_default,
    start_vae,
)
from hires.pocket.shards import VIEWS, Shards
from hires.pocket.short import shorten
from hires.pocket.training import Learner, Recipe, read_checkpoint, step_generator

EDGE_SCALES = 3


@dataclass(frozen=True)
class VaeRecipe:
    """`adversary_from` and `decoder_from` are shares of the run: when the discriminator joins, and when the encoder
    is frozen and only the decoder goes on. `faces` is the share of crops that are laid about a face, and a pixel of a
    face counts `face_weight` times: features of small faces are what eight pixels a cell lose first."""

    seed: int = 0
    batch: int = 32
    crop: int = 96
    faces: float = 0.5
    face_weight: float = 4.0
    latent_noise: float = 0.08
    edge_weight: float = 0.4
    size_weight: float = 4e-4
    adversary_weight: float = 0.02
    adversary_from: float = 0.5
    decoder_from: float = 0.55
    short: bool = False
    sizes: Sizes = field(default_factory=Sizes)
    optimizer: Recipe = field(default_factory=lambda: Recipe(rate=1e-3, weight_decay=1e-4, average=0.995))
    adversary: Recipe = field(default_factory=lambda: Recipe(2e-4, 0.0, betas=(0.5, 0.9), average=0.0))


def as_signed(pictures: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(batch, height, width, 3) in 0..255 -> (batch, 3, height, width) in -1..1."""
    pixels = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    return pixels.contiguous(memory_format=torch.channels_last)


def from_signed(pixels: Tensor) -> NDArray[np.uint8]:
    """The way back, rounded and clamped."""
    whole = pixels.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    pictures: NDArray[np.uint8] = whole.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return pictures


def edge_distance(difference: Tensor) -> Tensor:
    """Mean absolute difference of edges of two pictures, at full, half and quarter size, from their difference."""
    total = torch.zeros((), device=difference.device)
    for scale in range(EDGE_SCALES):
        if scale:
            difference = avg_pool2d(difference, 2)
        total = total + difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
    return total


class VaeStage:
    """Training of the autoencoder on crops of all views."""

    def __init__(
        self, shards: Shards, recipe: VaeRecipe, device: torch.device, start: AutoencoderKL | None = None
    ) -> None:
        """`start` is trained further, in the place of random weights."""
        self.shards, self.recipe, self.device = shards, recipe, device
        generator = torch.Generator().manual_seed(recipe.seed)
        vae, discriminator = start or build_vae(recipe.sizes), PatchDiscriminator()
        if start is None:
            start_default(vae, generator)
        start_default(discriminator, generator)
        if start is None:
            start_vae(vae, generator)
        vae, discriminator = (
            network.to(device).to(memory_format=torch.channels_last) for network in (vae, discriminator)
        )
        if recipe.short:
            shorten(vae)
        self.learner = Learner(vae, recipe.optimizer)
        self.adversary = Learner(discriminator, recipe.adversary)

    @property
    def learners(self) -> Mapping[str, Learner]:
        """The autoencoder and what judges it."""
        return {"vae": self.learner, "discriminator": self.adversary}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a checkpoint must share."""
        return {"seed": self.recipe.seed, "sizes": self.recipe.sizes.of_vae()}

    def batch(self, index: int) -> tuple[Tensor, Tensor]:
        """Crops (batch, 3, crop, crop) in -1..1 of step `index`, and what their pixels count (batch, 1, crop, crop)."""
        rng = np.random.default_rng([self.recipe.seed, index])
        size = self.shards.plan.size
        side = min(self.recipe.crop, size)
        crops = np.empty((self.recipe.batch, side, side, 3), np.uint8)
        weights = np.ones((self.recipe.batch, 1, side, side), np.float32)
        for crop, weight in zip(crops, weights, strict=True):
            scene, view = int(rng.integers(len(self.shards))), int(rng.integers(len(VIEWS)))
            picture, (x, y, radius) = self.shards.picture(scene, view), self.shards.face(scene, view)
            top, left = rng.integers(size - side + 1, size=2)
            if rng.random() < self.recipe.faces:
                about = np.array([y, x]) + rng.uniform(-0.25, 0.25, 2) * side - side / 2
                top, left = np.clip(about, 0, size - side).astype(int)
            part, down, across = picture[top : top + side, left : left + side], *np.mgrid[:side, :side]
            near = np.maximum(abs(across + left - x), abs(down + top - y)) <= 1.1 * radius
            weight[0][near] = self.recipe.face_weight
            mirrored = rng.random() < 0.5
            crop[:] = part[:, ::-1] if mirrored else part
            weight[:] = weight[:, :, ::-1].copy() if mirrored else weight
        return as_signed(crops, self.device), torch.from_numpy(weights / weights.mean()).to(self.device)

    def step(self, index: int, progress: float, share: float) -> dict[str, Tensor]:
        """Encode, add noise, decode, compare; see `VaeRecipe` for what joins when."""
        recipe, vae = self.recipe, self.learner.network
        assert isinstance(vae.encoder, torch.nn.Module) and isinstance(vae.quant_conv, torch.nn.Module)
        frozen = progress >= recipe.decoder_from
        vae.encoder.requires_grad_(not frozen)
        vae.quant_conv.requires_grad_(not frozen)
        pixels, weights = self.batch(index)
        generator = step_generator(recipe.seed, index, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            mean = latent_mean(vae, pixels).float()
            noise = torch.randn(mean.shape, generator=generator, device=self.device)
            decoded = decode(vae, mean + recipe.latent_noise * noise).float()
        difference = decoded - pixels
        distance, squared = (weights * difference.abs()).mean(), (weights * difference.square()).mean()
        edge = edge_distance(weights * difference)
        loss = distance + recipe.edge_weight * edge + squared + recipe.size_weight * mean.square().mean()
        fooled = torch.zeros((), device=self.device)
        judged = torch.zeros((), device=self.device)
        if progress >= recipe.adversary_from:
            judge = self.adversary.network
            judge.requires_grad_(False)
            fooled = -judge(decoded).mean()
            loss = loss + recipe.adversary_weight * fooled
        norm = self.learner.update(loss, share, index)
        if progress >= recipe.adversary_from:
            judge.requires_grad_(True)
            judged = hinge(judge(pixels), judge(decoded.detach()))
            self.adversary.update(judged, share, index)
        # pixels span 2, so the peak is 2
        decibels = 10 * (4 / difference.detach().square().mean()).log10()
        row = {"l1": distance, "edge": edge, "psnr": decibels, "latent_std": mean.std()}
        row |= {"fooled": fooled, "judged": judged, "gradient": norm}
        return {name: value.detach() for name, value in row.items()}

    def sheet(self) -> NDArray[np.uint8]:
        """Whole pictures and their windows above, what comes back of them below."""
        scenes = range(min(2, len(self.shards)))
        pictures = np.stack([self.shards.picture(scene, view) for scene in scenes for view in range(len(VIEWS))])
        vae = self.learner.average
        with torch.inference_mode():
            back = decode(vae, latent_mean(vae, as_signed(pictures, self.device)))
        return contact_sheet([pictures, from_signed(back)])


def latent_mean(vae: Any, pixels: Tensor) -> Tensor:
    """The posterior's mean (batch, 4, height/8, width/8), unscaled."""
    mean: Tensor = vae.quant_conv(vae.encoder(pixels))[:, :LATENT_CHANNELS]
    return mean


def decode(vae: Any, latent: Tensor) -> Tensor:
    """Pixels (batch, 3, height, width) of an unscaled latent."""
    pixels: Tensor = vae.decoder(vae.post_quant_conv(latent))
    return pixels


def trained_vae(folder: Path) -> AutoencoderKL:
    """The averaged autoencoder of a stage's folder."""
    state = read_checkpoint(folder)
    vae = build_vae(Sizes(**state["facts"]["sizes"]))
    vae.load_state_dict(state["learners"]["vae"]["average"])
    return vae.eval().requires_grad_(False)
