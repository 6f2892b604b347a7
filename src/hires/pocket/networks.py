"""The built-in model's networks, in Stable Diffusion 1.x's shape and at a fraction of its size."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.functional import relu
from transformers import CLIPTextConfig, CLIPTextModel

from hires.text.tokenizer import CHUNK

LATENT_CHANNELS = 4


@dataclass(frozen=True)
class Sizes:
    """Widths and depths. The UNet has cross attention on all levels but the last, and in the middle."""

    vae: tuple[int, ...] = (32, 48, 64, 96)
    vae_groups: int = 8
    unet: tuple[int, ...] = (64, 128, 160)
    unet_heads: int = 4
    text_width: int = 96
    text_layers: int = 2
    text_heads: int = 4

    def of_vae(self) -> dict[str, Any]:
        """What makes an autoencoder another one."""
        return {"vae": self.vae, "vae_groups": self.vae_groups}

    def of_model(self) -> dict[str, Any]:
        """What makes a text encoder and UNet other ones."""
        return {name: value for name, value in asdict(self).items() if name not in self.of_vae()}


def build_vae(sizes: Sizes) -> AutoencoderKL:
    """AutoencoderKL, eight pixels a latent cell. Groups of norms are few: 32 of them on 32 channels would be instance
    norm, which forgets how bright a picture is."""
    levels = len(sizes.vae)
    return AutoencoderKL(
        block_out_channels=sizes.vae,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=sizes.vae_groups,
        scaling_factor=1.0,
    )


def build_unet(sizes: Sizes) -> UNet2DConditionModel:
    """UNet2DConditionModel with convolutional projections, as SD 1.x."""
    attention = [True] * (len(sizes.unet) - 1) + [False]
    return UNet2DConditionModel(
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=1,
        block_out_channels=sizes.unet,
        down_block_types=tuple("CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attention),
        up_block_types=tuple("CrossAttnUpBlock2D" if has else "UpBlock2D" for has in attention[::-1]),
        cross_attention_dim=sizes.text_width,
        # diffusers calls the number of heads attention_head_dim
        attention_head_dim=(sizes.unet_heads,) * len(sizes.unet),
    )


def build_text(sizes: Sizes, words: int) -> CLIPTextModel:
    """CLIP's text model over a vocabulary of `words`, the last two of which begin and end a text."""
    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=sizes.text_width,
        intermediate_size=4 * sizes.text_width,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=sizes.text_heads,
        max_position_embeddings=CHUNK,
        hidden_act="quick_gelu",
        projection_dim=sizes.text_width,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    return CLIPTextModel(config)


@torch.no_grad()
def start_vae(vae: AutoencoderKL, generator: torch.Generator) -> None:
    """Initial weights that let pictures through from the first step.

    Delta-orthogonal convolutions (Xiao et al. 2018) wherever the size or the width changes, with most of the weight on
    an average or an interpolation of neighbours; second convolutions of residual blocks scaled down, so that blocks
    begin near the identity. From default weights, training stalls with blurs.
    """
    for name, layer in vae.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        if name.endswith("conv2"):
            layer.weight.mul_(0.1)
        elif any(part in name for part in ("conv_in", "downsamplers", "upsamplers", "conv_shortcut", "quant_conv")):
            layer.weight.mul_(0.3)
            through = orthogonal(layer.weight.shape[0], layer.weight.shape[1], generator)
            if "downsamplers" in name:
                # strided, and padded at the right and lower side only: the four pixels of a cell are the first 2x2
                layer.weight[:, :, :2, :2] += 1.5 / 4 * through[:, :, None, None]
            elif "upsamplers" in name:
                tent = torch.tensor([0.25, 0.5, 0.25])
                layer.weight.add_(through[:, :, None, None] * tent[:, None] * tent)
            elif layer.kernel_size == (1, 1):
                layer.weight.copy_(through[:, :, None, None])
            else:
                layer.weight[:, :, 1, 1] += through
        else:
            continue
        if layer.bias is not None:
            layer.bias.zero_()


def orthogonal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """A matrix with orthonormal rows or columns, a little larger where it widens."""
    matrix = torch.empty(rows, columns)
    nn.init.orthogonal_(matrix, gain=max(1.0, rows / columns) ** 0.25, generator=generator)
    return matrix


def start_default(module: nn.Module, generator: torch.Generator) -> None:
    """Draw again, from a generator of one's own, what PyTorch's constructors draw from the global one."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
            if layer.bias is not None:
                bound = 1 / math.sqrt(layer.weight[0].numel())
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        elif isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight, std=0.1, generator=generator)


class PatchDiscriminator(nn.Module):
    """Tells drawings from decoded ones, patch by patch (Isola et al. 2017): 34 pixels a patch."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.GroupNorm(8, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, padding=1),
            nn.GroupNorm(8, 4 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 4, padding=1),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 3, h, w) in -1..1 -> (batch, 1, about h/4, about w/4): above 0 for drawings."""
        scores: Tensor = self.layers(pixels)
        return scores


def hinge(real: Tensor, made: Tensor) -> Tensor:
    """The discriminator's loss (Lim and Ye 2017)."""
    return 0.5 * (relu(1 - real).mean() + relu(1 + made).mean())
