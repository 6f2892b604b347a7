"""A grid as a run would leave it, with pictures that are drawn by arithmetic: denoising x upscaler x sampler."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from hires.recipes.grids.measuring import measure_cell
from hires.recipes.grids.noise import noise_floor

EVIL = '</script><script>window.harmed = 1</script><img src=x onerror="window.harmed = 2"> {{script}} & "quoted"'
DENOISING = ("0.2", "0.4", "0.6", "0.8")
UPSCALERS = ("Latent", "R-ESRGAN 4x+ Anime6B", "<b>None</b>")
SAMPLERS = ("Euler a", "DPM++ 2M")
SIDE = 96
FAILED, WAITING = [3, 2, 1], [2, 2, 1]


@lru_cache(maxsize=8)
def scene(seed: int, side: int = SIDE) -> Image.Image:
    """Hills under a sky."""
    rng = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    sky = np.stack([0.45 + 0.4 * down, 0.62 + 0.25 * down, 0.9 - 0.1 * down], axis=-1)
    for layer in range(4):
        waves = sum(rng.uniform(0.02, 0.07) * np.sin(rng.uniform(3, 14) * across + rng.uniform(0, 7)) for _ in range(4))
        hill = down > 0.42 + 0.14 * layer + waves
        sky[hill] = np.array([0.25 + 0.05 * layer, 0.5 - 0.08 * layer, 0.35 - 0.06 * layer])
    return Image.fromarray((sky.clip(0, 1) * 255).astype(np.uint8))


def cell_picture(first: Image.Image, denoise: float, upscaler: int, sampler: int) -> Image.Image:
    """More denoising, more texture and more of another scene; the second sampler changes next to nothing.

    At 0.2 all upscalers give the same picture, at 0.4 next to the same.
    """
    nearly = 0.4 * (sampler + upscaler * (denoise < 0.5)) if denoise > 0.3 else 0.0
    upscaler = upscaler if denoise > 0.5 else 0
    large = first.resize((SIDE * 2, SIDE * 2), (Image.Resampling.BILINEAR, Image.Resampling.LANCZOS)[upscaler % 2])
    noise = np.random.default_rng(5 + upscaler).normal(0, 28 * denoise**1.5, (SIDE * 2, SIDE * 2, 1))
    other = np.asarray(scene(9 + upscaler, SIDE * 2), float)
    mixed = np.asarray(large, float) * (1 - 0.5 * denoise**3) + other * 0.5 * denoise**3 + noise + nearly
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.4))


def written_grid(folder: Path, samplers: int = 2) -> dict[str, Any]:
    """The data of its grid.json; the pictures are written into the folder."""
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    first = scene(1)
    first.save(folder / "cells" / "first #1.png")
    cells: list[dict[str, Any]] = []
    for z in range(samplers):
        for y in range(len(UPSCALERS)):
            for x, denoise in enumerate(DENOISING):
                cells.append(written_cell(folder, [x, y, z], first, float(denoise)))
    repeats = []
    for seed in range(6):
        picture = cell_picture(scene(20 + seed), 0.35 + 0.02 * seed, 1, 0)
        picture.save(folder / "repeat.png")
        scene(20 + seed).save(folder / "repeat-first.png")
        repeats.append(measure_cell(folder / "repeat.png", folder / "repeat-first.png"))
    return {
        "format": 1,
        "title": "Hires denoising, upscaler & sampler <i>",
        "created": "2026-11-21T18:30:00",
        "version": "0.1.0",
        "base": {"prompt": EVIL, "steps": 20, "cfg": 7.0, "hires": {"scale": 2.0, "steps": 0}, "negative_prompt": ""},
        "axes": [
            {"label": "Denoising", "values": list(DENOISING)},
            {"label": "Hires upscaler", "values": [f"Hires upscaler: {name}" for name in UPSCALERS]},
            {"label": "Sampler", "values": list(SAMPLERS[:samplers])},
        ],
        "options": {"draw_legend": True, "margin": 0},
        "cells": cells,
        "noise_floor": noise_floor(repeats),
        "parts": ["grid.png"],
    }


def written_cell(folder: Path, index: list[int], first: Image.Image, denoise: float) -> dict[str, Any]:
    x, y, z = index
    name = f"cells/{x:02}-{y:02}-{z:02}.png"
    state = "failed" if index == FAILED else "waiting" if index == WAITING else "done"
    measures: dict[str, float] = {}
    if state == "done":
        cell_picture(first, denoise, y, z).save(folder / name)
        measures = measure_cell(folder / name, folder / "cells" / "first #1.png")
    return {
        "index": index,
        "labels": [DENOISING[x], UPSCALERS[y], SAMPLERS[z]],
        "state": state,
        "settings": {"denoise": denoise, "upscaler": UPSCALERS[y], "prompt": EVIL},
        "infotext": f"{EVIL}\nSteps: 20, Sampler: {SAMPLERS[z]}, Denoising strength: {denoise}, Size: {SIDE}x{SIDE}",
        "pictures": [name] if state == "done" else [],
        "first_pass": "cells/first #1.png" if state == "done" else None,
        "seconds": 1.5 + denoise * 4 if state == "done" else 0.0,
        "calls": int(20 + 20 * denoise) if state == "done" else 0,
        "reused": 20 if x and state == "done" else 0,
        "measures": measures,
        "error": f"the upscaler {UPSCALERS[y]} could not be read" if state == "failed" else None,
    }
