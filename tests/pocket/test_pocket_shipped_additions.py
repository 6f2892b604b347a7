"""The LoRA and the embedding in the package: they are found like anyone's, and do what they were trained for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("skia", reason="drawings need skia-python (hires[train])")

from hires.api import Engine
from hires.pocket.classifier import shipped_classifier
from hires.pocket.tag_groups import GROUPS, labels
from hires.pocket.woodcut import INK, MIDDLE, PAPER
from hires.recipes.request import Txt2Img
from hires.settings import load_settings

SEEDS = (1, 2, 3)


def drawn(folder: Path, prompt: str) -> list[NDArray[np.uint8]]:
    engine = Engine(load_settings({"output_dir": folder}))
    requests = [Txt2Img(prompt=prompt, checkpoint="hires-pocket", seed=seed, cfg=3.0, steps=12) for seed in SEEDS]
    return [np.asarray(engine.txt2img(request).pictures[0].convert("RGB")) for request in requests]


def from_inks(picture: NDArray[np.uint8]) -> float:
    """Mean distance of the pixels from the two lines between neighbouring inks, of 255."""
    pixels = picture.reshape(-1, 3).astype(float)
    away = []
    for low, high in ((INK, MIDDLE), (MIDDLE, PAPER)):
        begin, way = np.array(low, float), np.subtract(high, low).astype(float)
        along = np.clip((pixels - begin) @ way / (way @ way), 0, 1)
        away.append(np.linalg.norm(begin + along[:, None] * way - pixels, axis=1))
    return float(np.minimum(*away).mean())


def test_the_style_prints_in_its_inks(tmp_path: Path) -> None:
    prompt = "1girl, blue hair, green eyes, upper body, flower field"
    plain, printed = drawn(tmp_path, prompt), drawn(tmp_path, f"{prompt} <lora:hires-pocket-woodcut:1>")
    for before, after in zip(plain, printed, strict=True):
        assert from_inks(after) < 0.5 * from_inks(before)


def test_the_character_is_herself_by_her_name_alone(tmp_path: Path) -> None:
    wanted = labels({"1girl", "white hair", "twin braids", "glasses"})
    groups = [index for index, name in enumerate(GROUPS) if name in ("hair colour", "hair style", "glasses")]
    named, other = (
        shipped_classifier().labels(drawn(tmp_path, prompt))
        for prompt in ("hires-pocket-mika, smile, upper body, beach", "1girl, smile, upper body, beach")
    )
    right, by_chance = (np.mean([[row[g] == wanted[g] for g in groups] for row in rows]) for rows in (named, other))
    assert right >= 0.85 and by_chance < 0.5
