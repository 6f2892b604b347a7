"""The handles that nodes pass on: a diffusion model and a VAE, each a frozen description around a module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from hires.models.layers import Layers
from hires.models.seamless import going_round
from hires.models.walk import Patch, Residuals, walk
from hires.steady import steady

Family = Literal["sd1", "sd2", "sdxl", "sdxl_refiner"]
Prediction = Literal["eps", "v", "edm", "x0", "lcm"]

LATENT_SCALES: Mapping[str, float] = {"sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025, "sdxl_refiner": 0.13025}
PIXELS_PER_LATENT = 8
SEAMLESS = "seamless"
"""The option of a model that names the sides its pictures go on across (see `going_round`)."""


@dataclass(frozen=True)
class DiffusionModel:
    """A UNet and what a sampler must know of it; patches are made with `dataclasses.replace`.

    `identity` is a hex key that changes whenever the numbers would. `in_channels` is 4, 8 (ip2p) or 9 (inpainting).
    `layers` says what LoRAs and merges laid over the weights. `options` holds what nodes set: "patches" (see `walk`),
    and what the rooms above read.
    """

    family: str
    unet: UNet2DConditionModel
    prediction: str
    zero_terminal_snr: bool
    latent_scale: float
    in_channels: int
    identity: str
    device: torch.device
    compute_dtype: torch.dtype
    options: Mapping[str, Any] = field(default_factory=dict)
    layers: Layers | None = None

    @property
    def patches(self) -> tuple[Patch, ...]:
        """What acts between the UNet's blocks at every call."""
        found: tuple[Patch, ...] = self.options.get("patches", ())
        return found

    @property
    def wants_sigma(self) -> bool:
        """Whether `predict` must be told the noise level."""
        return bool(self.patches)

    @property
    def vector_width(self) -> int:
        """Width V of the vector `predict` wants: pooled text and sinusoids of sizes; 0 for SD 1.x and 2.x."""
        return int(self.unet.config.projection_class_embeddings_input_dim or 0)

    @torch.inference_mode()
    def predict(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        vector: Tensor | None = None,
        *,
        sigma: float = 0.0,
        control: Residuals | None = None,
    ) -> Tensor:
        """The network's raw output (batch, 4, h, w), float32 and on x's device.

        `x` (batch, in_channels, h, w) is already scaled for its noise level, `timestep` (batch,) is 0..999 and may be
        fractional, `context` is (batch, tokens, width), `vector` (batch, V) the whole of SDXL's extra conditioning,
        `sigma` the noise level (for patches), `control` what ControlNets add. Sides of any size will do: up-sampling
        goes to the skip's size, as in ComfyUI.
        """
        where: dict[str, Any] = {"device": self.device, "dtype": self.compute_dtype}
        inputs = (
            x.to(**where),
            timestep.to(self.device, torch.float32),
            context.to(**where),
            None if vector is None else vector.to(**where),
        )
        with going_round(self.unet, self.options.get(SEAMLESS, "off")):
            if self.patches or control is not None:
                output = walk(self.unet, *inputs, patches=self.patches, sigma=sigma, control=control)
            else:
                sample, steps, text, labels = inputs
                output = self.unet(sample, steps, encoder_hidden_states=text, class_labels=labels, return_dict=False)[0]
        return output.to(x.device, torch.float32)


@dataclass(frozen=True)
class VaeModel:
    """An autoencoder between images (batch, height, width, 3) in 0..1 and raw latents (batch, 4, height/8, width/8).

    `seamless` names the sides across which its pictures go on (see `going_round`). It is made `steady`, so that
    tiles of any size give the whole's result.
    """

    vae: AutoencoderKL
    identity: str
    device: torch.device
    compute_dtype: torch.dtype
    latent_scale: float
    seamless: str = "off"

    def __post_init__(self) -> None:
        steady(self.vae)

    @torch.inference_mode()
    def encode(self, image: Tensor) -> Tensor:
        """The posterior's mean, float32 on the CPU, without the family's scale factor.

        Only the first three channels count. Sides are cropped to multiples of 8, the offset being half of the rest.
        """
        pixels = crop_to_latent_grid(image[..., :3]).movedim(-1, 1).to(self.device, torch.float32) * 2.0 - 1.0
        with going_round(self.vae, self.seamless):
            moments = self.vae.encode(pixels.to(self.compute_dtype).contiguous(), return_dict=False)[0]
        return moments.mean.to("cpu", torch.float32)

    @torch.inference_mode()
    def decode(self, latent: Tensor) -> Tensor:
        """The image of a raw latent, (batch, height, width, 3) in 0..1, float32 on the CPU."""
        return as_image(self.decode_raw(latent))

    @torch.inference_mode()
    def decode_raw(self, latent: Tensor) -> Tensor:
        """What the network gives for a raw latent: (batch, 3, height, width) about -1..1, float32 on the CPU."""
        with going_round(self.vae, self.seamless):
            pixels: Tensor = self.vae.decode(latent.to(self.device, self.compute_dtype), return_dict=False)[0]
        return pixels.to("cpu", torch.float32)


def as_image(pixels: Tensor) -> Tensor:
    """A decoder's pixels (batch, 3, height, width) in -1..1 -> an image (batch, height, width, 3) clamped to 0..1."""
    return ((pixels + 1.0) / 2.0).clamp(0.0, 1.0).movedim(1, -1).contiguous()


def crop_to_latent_grid(image: Tensor) -> Tensor:
    """The centred part of (batch, height, width, channel) whose sides are multiples of 8."""
    height, width = (side - side % PIXELS_PER_LATENT for side in image.shape[1:3])
    top, left = ((side % PIXELS_PER_LATENT) // 2 for side in image.shape[1:3])
    return image[:, top : top + height, left : left + width]
