"""Small pictures with infotext, as a person's outputs folder holds them."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

from hires.metadata.files import save_png

FIELDS = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: {seed}, Size: 64x48, Model hash: 0123456789, Model: {model}"


def infotext(prompt: str, model: str = "pocket", seed: int = 1) -> str:
    return f"{prompt}\nNegative prompt: blurry\n{FIELDS.format(seed=seed, model=model)}"


def drawn(
    root: Path,
    name: str,
    prompt: str = "a lighthouse",
    *,
    model: str = "pocket",
    size: tuple[int, int] = (64, 48),
    colour: tuple[int, int, int] = (90, 120, 160),
    changed: float | None = None,
    texts: dict[str, str] | None = None,
) -> Path:
    """A PNG of one colour with its infotext, below `root`, changed at that time (seconds since 1970)."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(Image.new("RGB", size, colour), path, texts or {"parameters": infotext(prompt, model)})
    if changed is not None:
        os.utime(path, (changed, changed))
    return path
