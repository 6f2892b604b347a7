"""What the text room gets from the models room: text towers and how they are combined."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import CLIPTextModel

from hires.models.layers import Layers

ClipKind = Literal["l", "g", "h"]


@dataclass(frozen=True)
class ClipModel:
    """One CLIP text tower: OpenAI's CLIP-L ("l") or OpenCLIP's ViT-H ("h") and ViT-bigG ("g").

    `module` computes in float32 whatever precision its weights are held in. `projection` is (width, out), to be
    used as `pooled @ projection`; None where the file has none. `layers` is what a LoRA or merge laid over the module.
    """

    kind: ClipKind
    module: CLIPTextModel
    projection: Tensor | None = None
    layers: Layers | None = None

    @property
    def width(self) -> int:
        """Channels of a token's vector."""
        return int(self.module.config.hidden_size)

    @property
    def depth(self) -> int:
        """Transformer layers."""
        return int(self.module.config.num_hidden_layers)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.module.parameters()).device


@dataclass(frozen=True)
class TextStack:
    """The text towers of one family, in the order in which their outputs are joined (ComfyUI's CLIP).

    `clips` is ("l"), ("h"), ("l", "g") or ("g"). `layer` is what CLIPSetLastLayer chose, a negative index; None
    means the family's own. `identity` changes whenever the numbers would.
    """

    family: str
    clips: tuple[ClipModel, ...]
    layer: int | None = None
    embedding_dirs: tuple[Path, ...] = ()
    identity: str = ""
