"""An infotext as the web UI's interface tells it: every field by its key, and what a missing one means."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hires.metadata.infotext import read_infotext

SIZE = re.compile(r"(\d+)x(\d+)")
DEFAULTS: Mapping[str, str] = {
    "Clip skip": "1",
    "Hires resize-1": "0",
    "Hires resize-2": "0",
    "Hires sampler": "Use same sampler",
    "Hires schedule type": "Use same scheduler",
    "Hires checkpoint": "Use same checkpoint",
    "Hires prompt": "",
    "Hires negative prompt": "",
    "Mask mode": "Inpaint masked",
    "Masked content": "original",
    "Inpaint area": "Whole picture",
    "Masked area padding": "32",
    "RNG": "GPU",
    "Schedule type": "Automatic",
    "Schedule max sigma": "0",
    "Schedule min sigma": "0",
    "Schedule rho": "0",
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "FP8 weight": "Disable",
    "Refiner switch by sampling steps": "False",
}
BRACKETS = re.compile(r"[(\[]")


def parsed(text: str) -> dict[str, str]:
    """The fields with those that are absent at their defaults; {} for an empty text."""
    if not text.strip():
        return {}
    info = read_infotext(text)
    found = {"Prompt": info.prompt, "Negative prompt": info.negative}
    for key, value in info.fields.items():
        if (size := SIZE.fullmatch(value)) is not None:
            found |= {f"{key}-1": size[1], f"{key}-2": size[2]}
        else:
            found[key] = value
    for key, value in DEFAULTS.items():
        found.setdefault(key, value)
    if BRACKETS.search(info.prompt + info.negative):
        found.setdefault("Emphasis", "Original")
    return found
