"""The annotated types that nodes share: sockets, ranges and choices, once each."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from torch import Tensor

from hires.graph.inputs import Choice, Extra, FileChoice, Float, Int, Socket, Text
from hires.imaging.resample import EXTRA_METHODS, IMAGE_METHODS, LATENT_METHODS
from hires.models.clip import TextStack
from hires.models.handles import DiffusionModel, VaeModel
from hires.models.upscale import UpscaleModel

MAX_RESOLUTION = 16384
MAX_SEED = 2**64 - 1


class LatentDict(TypedDict):
    """samples (batch, 4, h, w) in the VAE's raw scale; noise_mask (batch, 1, h, w), any size, 1 = repaint.

    batch_index says which row of the noise batch each item uses. sampler_state is what a run that stopped half way
    hands to the next (A1111 dialect). inverted is noise that leads to these samples (see `nodes.inversion`). masking is
    what the samples began as where the A1111 dialect is to keep it outside the mask (see `sampling.inpainting`).
    """

    samples: Tensor
    noise_mask: NotRequired[Tensor]
    batch_index: NotRequired[list[int]]
    sampler_state: NotRequired[Any]
    inverted: NotRequired[Any]
    masking: NotRequired[Any]


ConditioningList = list[tuple[Tensor, dict[str, Any]]]
"""Entries of text vectors (1, tokens, width) and options, as ComfyUI's CONDITIONING."""

Model = Annotated[DiffusionModel, Socket("MODEL")]
Clip = Annotated[TextStack, Socket("CLIP")]
Vae = Annotated[VaeModel, Socket("VAE")]
Conditioning = Annotated[ConditioningList, Socket("CONDITIONING")]
Latent = Annotated[LatentDict, Socket("LATENT")]
Image = Annotated[Tensor, Socket("IMAGE")]
Mask = Annotated[Tensor, Socket("MASK")]
Sigmas = Annotated[Tensor, Socket("SIGMAS")]
Upscaler = Annotated[UpscaleModel, Socket("UPSCALE_MODEL")]

Side = Annotated[int, Int(0, MAX_RESOLUTION, 8)]
LatentSide = Annotated[int, Int(16, MAX_RESOLUTION, 8)]
Pixels = Annotated[int, Int(0, MAX_RESOLUTION)]
Seed = Annotated[int, Int(0, MAX_SEED, control_after_generate=True)]
Steps = Annotated[int, Int(1, 10_000)]
StepIndex = Annotated[int, Int(0, 10_000)]
Cfg = Annotated[float, Float(0.0, 100.0, 0.1, 0.01)]
Denoise = Annotated[float, Float(0.0, 1.0, 0.01)]
BatchSize = Annotated[int, Int(1, 4096)]
Prompt = Annotated[str, Text(multiline=True, dynamic_prompts=True)]
Crop = Annotated[str, Choice(("disabled", "center"))]
FlipMethod = Annotated[str, Choice(("x-axis: vertically", "y-axis: horizontally"))]
Rotation = Annotated[str, Choice(("none", "90 degrees", "180 degrees", "270 degrees"))]
Fraction = Annotated[float, Float(0.0, 1.0, 0.01)]
Colour = Annotated[int, Int(0, 0xFFFFFF)]
CanvasSide = Annotated[int, Int(1, MAX_RESOLUTION)]
Toggle = Annotated[str, Choice(("enable", "disable"))]
ToggleOff = Annotated[str, Choice(("disable", "enable"))]
LatentMethod = Annotated[str, Choice((*LATENT_METHODS, *EXTRA_METHODS))]
ImageMethod = Annotated[str, Choice(IMAGE_METHODS)]
UpscalerName = Annotated[str, FileChoice("upscale_models")]
CheckpointName = Annotated[str, FileChoice("checkpoints")]
VaeName = Annotated[str, FileChoice("vae")]
InputPicture = Annotated[str, FileChoice("input", upload=True)]
Dialect = Annotated[str, Choice(("comfyui", "webui")), Extra]
