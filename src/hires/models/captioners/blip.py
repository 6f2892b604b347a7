"""BLIP: a sentence about a picture. The folder is one of transformers': config.json, weights, vocabulary."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hires.errors import ModelFileError
from hires.imaging.flatten import flattened

BEGINNING = "a picture of "
"""What BLIP is given to go on from; it is no part of the caption."""
SHORTEST, LONGEST = 24, 48
"""Tokens of a caption with its beginning (the A1111 web UI's)."""
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's pictures, which BLIP was trained with."""


@dataclass(frozen=True)
class BlipCaptioner:
    """A loaded BLIP. `side` is the square that a picture is brought to, 384 pixels for the usual one."""

    title: str
    model: Any
    tokenizer: Any
    side: int
    device: torch.device

    @torch.inference_mode()
    def caption(self, picture: Image.Image) -> str:
        """The sentence; the same for the same picture."""
        small = flattened(picture).resize((self.side, self.side), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.asarray(small, dtype=np.float32) / 255)
        pixels = ((pixels - torch.tensor(MEAN)) / torch.tensor(DEVIATION)).movedim(-1, 0)[None]
        begin = self.tokenizer(BEGINNING, return_tensors="pt").input_ids.to(self.device)
        tokens = self.model.generate(
            pixel_values=pixels.to(self.device),
            input_ids=begin,
            num_beams=1,
            do_sample=False,
            min_length=SHORTEST,
            max_length=LONGEST,
        )
        own = tokens[0, begin.shape[1] - 1 :]  # it goes on from the beginning less its end token
        text: str = self.tokenizer.decode(own, skip_special_tokens=True)
        return text.strip()


def is_blip(folder: Path) -> bool:
    """Whether a folder's config.json is a BLIP's."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "blip"


def load_blip(folder: Path, device: torch.device) -> BlipCaptioner:
    """Load a BLIP folder, in float32 and from the disk alone; ModelFileError says what is wrong with it."""
    from transformers import AutoTokenizer, BlipForConditionalGeneration

    try:
        model, report = BlipForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as problem:  # transformers raises OSError, ValueError, KeyError ... for what is missing or broken
        told = " ".join(str(problem).split())[:200]
        raise ModelFileError(
            f"{folder.name} cannot be loaded as BLIP: {told} ({folder})",
            "The folder needs config.json, model.safetensors and the tokenizer's files.",
        ) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelFileError(
            f"{folder.name} lacks {len(missing)} tensors, as {missing[0]} ({folder})", "Fetch it again."
        )
    side = int(model.config.vision_config.image_size)
    return BlipCaptioner(folder.name, model.to(device).eval(), tokenizer, side, device)
