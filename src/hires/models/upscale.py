"""Upscaler networks: weights to a module through spandrel, which tells the architecture from the tensors."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError, canonicalize_state_dict
from torch import Tensor

from hires.models.checkpoint import CPU, Placement, file_identity, part_identity
from hires.models.kinds import recognise
from hires.models.upscale_drawing import drawing_kind
from hires.models.weights import open_weights


@dataclass(frozen=True)
class UpscaleModel:
    """A network that enlarges pictures `scale` times a side. `identity` is a hex key that changes with its numbers."""

    network: ImageModelDescriptor
    scale: int
    architecture: str
    identity: str
    device: torch.device
    compute_dtype: torch.dtype

    def upscale(self, pixels: Tensor) -> Tensor:
        """pixels (1, 3, h, w) in 0..1 -> (1, 3, h * scale, w * scale) in 0..1, float32 on the CPU.

        A network for grey pictures is given each channel in turn. Where half precision overflows, the part is done
        again in float32.
        """
        result = self._run(self.network, pixels.to(self.device, self.compute_dtype))
        if self.compute_dtype != torch.float32 and not torch.isfinite(result).all():
            precise = copy.deepcopy(self.network).float()
            result = self._run(precise, pixels.to(self.device, torch.float32))
        return result.to("cpu", torch.float32)

    def _run(self, network: ImageModelDescriptor, pixels: Tensor) -> Tensor:
        if network.input_channels == 3:
            return network(pixels)
        return torch.cat([network(channel) for channel in pixels.split(1, dim=1)], dim=1)


def load_upscaler(path: Path, placement: Placement = CPU, *, identity: str | None = None) -> UpscaleModel:
    """Load a network that enlarges or restores whole pictures; ModelFileError for anything else.

    The arithmetic is the placement's only where the architecture is known to bear half precision; bfloat16 has too few
    digits for 8-bit pictures, so that such a placement computes in float32.
    """
    weights = open_weights(path)
    if (drawing := drawing_kind(weights.tensors)) is not None:
        raise weights.error(f"{drawing} draws by diffusion, which is not done here", "Use it with `hires upscale`.")
    state = canonicalize_state_dict({key: weights.read(key) for key in weights.tensors})
    try:
        network = ModelLoader().load_from_state_dict(state)
    except UnsupportedModelError:
        sign = recognise(weights.tensors.keys())
        what = f"{sign.label}, not an upscaler" if sign.kind not in ("upscaler", "unknown") else (
            "no upscaler of a known architecture"
        )  # fmt: skip
        raise weights.error(f"this is {what}", "Choose an ESRGAN, Real-ESRGAN, SwinIR, DAT ... file.") from None
    except Exception as problem:  # architectures fail in their own ways on tensors that are missing or misshapen
        raise weights.error(
            f"its tensors do not fit the architecture they belong to ({type(problem).__name__})", "Fetch it again."
        ) from None
    if not isinstance(network, ImageModelDescriptor) or network.purpose == "FaceSR":
        raise weights.error(f"{network.architecture.name} does not enlarge pictures", "Choose an upscaler.")
    if network.input_channels not in (1, 3) or network.output_channels != network.input_channels:
        raise weights.error(f"it makes {network.output_channels} channels of {network.input_channels}, not RGB of RGB")
    half = placement.compute_dtype == torch.float16 and network.supports_half
    dtype = torch.float16 if half else torch.float32
    network.to(placement.device, dtype).eval()
    key = part_identity(identity or file_identity(path), "upscaler", dtype)
    return UpscaleModel(network, network.scale, network.architecture.name, key, placement.device, dtype)
