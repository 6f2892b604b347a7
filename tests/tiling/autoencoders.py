"""Autoencoders of random weights, and what to give them, for the tests of the tiled VAE."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor

BOUND = 2e-5
"""Largest error of a tiled result in float32, in standard deviations of the whole: rounding, and nothing else."""
SMALL = (16, 32)
THIN = (16, 16, 32, 32)


def autoencoder(widths: tuple[int, ...] = THIN, layers: int = 2, groups: int = 8, seed: int = 0) -> AutoencoderKL:
    """Of Stable Diffusion's layout, with weights that keep a signal's deviation at about one."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=layers,
        latent_channels=4,
        norm_num_groups=groups,
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in vae.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0.0, weight[0].numel() ** -0.5, generator=generator)
            else:
                weight.normal_(1.0 if name.endswith("weight") else 0.0, 0.05, generator=generator)
    return vae.eval().requires_grad_(False)


def slope_latent(height: int, width: int, batch: int = 1) -> Tensor:
    """Latents whose tone changes over the picture, so that tiles differ in their statistics."""
    noise = torch.randn(batch, 4, height, width, generator=torch.Generator().manual_seed(1))
    return noise + torch.linspace(-2.0, 2.0, width) + torch.linspace(-1.0, 1.0, height)[:, None]


def slope_picture(height: int, width: int, batch: int = 1) -> Tensor:
    """Pictures (batch, height, width, 3) in 0..1 of the same kind."""
    noise = torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(2))
    return noise * 0.3 + torch.linspace(0.0, 0.7, width)[None, None, :, None]


@torch.no_grad()
def decoded_whole(vae: AutoencoderKL, latent: Tensor) -> Tensor:
    """By diffusers."""
    return torch.cat([vae.decode(one.to(vae.dtype)).sample for one in latent.split(1)])


@torch.no_grad()
def encoded_whole(vae: AutoencoderKL, picture: Tensor) -> Tensor:
    """By diffusers: the posterior's mean."""
    planes = (picture.movedim(-1, 1).to(vae.dtype) * 2.0 - 1.0).contiguous()
    return torch.cat([vae.encode(one).latent_dist.mean for one in planes.split(1)])


def worst(result: Tensor, whole: Tensor) -> float:
    """The largest difference in standard deviations of the whole."""
    return float((result - whole).abs().max() / whole.std())
