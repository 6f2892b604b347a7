"""Text towers of random weights, small enough for a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from hires.models.clip import ClipModel, TextStack

WIDTHS = {"l": 32, "g": 48, "h": 40}


def _tower(kind: str, seed: int) -> ClipModel:
    width = WIDTHS[kind]
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        hidden_act="quick_gelu" if kind == "l" else "gelu",
        bos_token_id=49406,
        eos_token_id=49407,
    )
    generator = torch.Generator().manual_seed(seed)
    module = CLIPTextModel(config).eval()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(1 + 0.1 * noise if "norm" in name and name.endswith("weight") else 0.3 * noise)
    projection = None if kind == "l" else torch.randn(width, width, generator=generator)
    return ClipModel(kind, module, projection)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def towers() -> dict[str, ClipModel]:
    return {kind: _tower(kind, seed) for seed, kind in enumerate(WIDTHS)}


@pytest.fixture(scope="session")
def make_stack(towers: dict[str, ClipModel]) -> Callable[..., TextStack]:
    def make(family: str = "sd1", layer: int | None = None, folder: Path | None = None) -> TextStack:
        kinds = {"sd1": "l", "sd2": "h", "sdxl": "lg", "sdxl_refiner": "g"}[family]
        return TextStack(family, tuple(towers[kind] for kind in kinds), layer, (folder,) if folder else ())

    return make
