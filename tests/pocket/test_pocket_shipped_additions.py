"""What is in the package beside the model: it is found like anyone's, and does what it was trained for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("skia", reason="drawings need skia-python (hires[train])")

from PIL import Image

from hires.api import Engine, HiresFix
from hires.pocket import BUILT_IN_NAME, INPAINTING_NAME
from hires.pocket.captions import caption
from hires.pocket.classifier import shipped_classifier
from hires.pocket.detector import one_intact, shipped_detector
from hires.pocket.drawing import draw
from hires.pocket.scene import random_scene
from hires.pocket.tag_groups import GROUPS, labels
from hires.pocket.woodcut import INK, MIDDLE, PAPER
from hires.recipes.controlnets import ControlNetUnit
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


def distance(one: NDArray[np.uint8], other: NDArray[np.uint8], side: int = 40) -> float:
    """Root mean square difference of two pictures made small, of 255."""
    small = (np.asarray(Image.fromarray(of).resize((side, side), Image.Resampling.BOX), float) for of in (one, other))
    return float(np.sqrt(np.mean(np.subtract(*small) ** 2)))


def test_the_tile_controlnet_leads_to_what_a_coarse_picture_shows(tmp_path: Path) -> None:
    engine, led, alone = Engine(load_settings({"output_dir": tmp_path})), [], []
    for seed in range(9_000_000, 9_000_003):
        scene = random_scene(seed)
        drawing = draw(scene, 160, 160)
        Image.fromarray(drawing).resize((40, 40), Image.Resampling.BOX).save(hint := tmp_path / f"{seed}.png")
        plain = Txt2Img(
            prompt=caption(scene, np.random.default_rng(seed)), checkpoint="hires-pocket", seed=seed, cfg=3.0, steps=12
        )
        units = (ControlNetUnit("hires-pocket-tile", str(hint)),)
        for request, found in ((plain, alone), (replace(plain, controlnets=units), led)):
            picture = np.asarray(engine.txt2img(request).pictures[0].convert("RGB"))
            found.append(distance(picture, drawing))
    assert max(led) < 25 and np.mean(led) < 0.35 * np.mean(alone)


def test_with_it_a_second_pass_keeps_to_the_first_where_it_would_not_alone(tmp_path: Path) -> None:
    engine = Engine(load_settings({"output_dir": tmp_path}))
    first = Txt2Img(prompt="1girl, brown hair, hat, smile, upper body", checkpoint="hires-pocket", seed=3, cfg=3.0)
    drawn = engine.txt2img(first)
    second = replace(first, hires=HiresFix(scale=2.0, denoise=0.9, steps=10))
    unit = ControlNetUnit("hires-pocket-tile", str(drawn.paths[0]), passes="High res only")
    pictures = [engine.txt2img(request).pictures[0] for request in (second, replace(second, controlnets=(unit,)))]
    alone, led = (distance(np.asarray(each.convert("RGB")), np.asarray(drawn.pictures[0])) for each in pictures)
    assert led < 12 and led < 0.4 * alone


def filled(folder: Path, drawing: NDArray[np.uint8], hole: NDArray[np.bool_], prompt: str) -> NDArray[np.uint8]:
    """A drawing filled as ComfyUI's inpainting models do it, noise being laid over all of it."""
    shown = np.dstack([drawing, np.where(hole, 0, 255).astype(np.uint8)])
    Image.fromarray(shown, "RGBA").save(folder / "holed.png")
    nodes = {
        "model": ("CheckpointLoaderSimple", {"ckpt_name": INPAINTING_NAME}),
        "picture": ("LoadImage", {"image": "holed.png"}),
        "right": ("CLIPTextEncode", {"text": prompt, "clip": ["model", 1]}),
        "wrong": ("CLIPTextEncode", {"text": "", "clip": ["model", 1]}),
        "shown": ("InpaintModelConditioning", {"positive": ["right", 0], "negative": ["wrong", 0], "vae": ["model", 2],
                  "pixels": ["picture", 0], "mask": ["picture", 1], "noise_mask": False}),
        "drawn": ("KSampler", {"model": ["model", 0], "positive": ["shown", 0], "negative": ["shown", 1],
                  "latent_image": ["shown", 2], "seed": 4, "steps": 15, "cfg": 3.0, "sampler_name": "dpmpp_2m",
                  "scheduler": "karras", "denoise": 1.0}),
        "decoded": ("VAEDecode", {"samples": ["drawn", 0], "vae": ["model", 2]}),
        "saved": ("SaveImage", {"images": ["decoded", 0], "filename_prefix": "filled"}),
    }  # fmt: skip
    workflow = {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}
    engine = Engine(load_settings({"output_dir": folder / "outputs"}))
    engine.run(workflow, given={"holed.png": folder / "holed.png"})
    (path,) = (folder / "outputs").glob("filled*.png")
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("seed", [9_100_000, 9_100_003])
def test_the_inpainting_version_keeps_what_it_sees_and_fills_the_hole(tmp_path: Path, seed: int) -> None:
    scene = random_scene(seed)
    drawing = draw(scene, 160, 160)
    hole = np.zeros((160, 160), bool)
    hole[32:96, 80:136] = True
    tags = caption(scene, np.random.default_rng(seed), drop=0.0)
    full = filled(tmp_path, drawing, hole, tags)
    seen = np.where(hole[..., None], drawing, full)
    assert distance(seen, drawing) < 12, "what it sees of the picture is drawn again"
    within, grey = (np.where(hole[..., None], each, drawing) for each in (full, np.full_like(drawing, 128)))
    assert distance(within, drawing) < 0.6 * distance(grey, drawing), "the hole is filled with what was there"
    assert one_intact(shipped_detector().faces(full))


def test_it_draws_from_nothing_too_and_is_never_chosen_of_itself(tmp_path: Path) -> None:
    engine = Engine(load_settings({"output_dir": tmp_path}))
    names = engine.store.names("checkpoints")
    assert names == [BUILT_IN_NAME, INPAINTING_NAME] and engine.preparation.default_checkpoint() == BUILT_IN_NAME
    fields = {"checkpoint": INPAINTING_NAME, "cfg": 3.0, "steps": 15}
    request = Txt2Img(prompt="1girl, red hair, smile, upper body, beach", batch_size=4, seed=1, **fields)
    pictures = [np.asarray(each.convert("RGB")) for each in engine.txt2img(request).pictures]
    assert sum(one_intact(shipped_detector().faces(each)) for each in pictures) >= 3
