"""Pictures that the measures learn from: drawings with one or several subjects, as large as the measures see them.

Each is drawn at one to three times that size and reduced; some are drawn at one or two times the model's own size and
pass through its autoencoder before, so that decoded pictures are nothing new. Which picture an index holds follows
from the plan's seed alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hires.errors import Interrupted, ModelFileError, SettingError
from hires.models.checkpoint import load_checkpoint
from hires.pocket.drawing import draw_group, random_group, random_scene
from hires.pocket.scene import Scene
from hires.pocket.sight import SIDE, Picture, reduced
from hires.pocket.train_vae import as_signed, decode, from_signed, latent_mean

PLAN = "plan.json"
COUNTS, COUNT_SHARES = (1, 2, 3, 4, 5), (0.62, 0.16, 0.1, 0.07, 0.05)
"""Subjects in a picture, and how often."""
SCALES, SCALE_SHARES = (1, 2, 3), (0.5, 0.35, 0.15)
"""How many times larger than SIDE a picture is drawn before it is reduced."""
MOST_DECODED = 2
"""How many times the model's own size a picture has at most that is decoded: a first pass or a second one."""

Pass = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Pictures (batch, height, width, 3) through an autoencoder and back."""


@dataclass(frozen=True)
class PoolPlan:
    """What a folder of pictures holds. `decoded` is the share that goes through the autoencoder, of a model whose own
    size is `base` pixels."""

    pictures: int
    seed: int = 0
    decoded: float = 0.3
    base: int = 160
    shard: int = 100


@dataclass(frozen=True)
class Subjectful:
    """One picture of the pool as it is planned: who is in it, how large it is drawn, and whether it is decoded."""

    scenes: tuple[Scene, ...]
    scale: int
    decoded: bool


def planned(plan: PoolPlan, index: int) -> Subjectful:
    """The picture at `index`, before it is drawn."""
    rng = np.random.default_rng([plan.seed, index, 5])
    count = int(rng.choice(COUNTS, p=COUNT_SHARES))
    scale = int(rng.choice(SCALES, p=SCALE_SHARES))
    decoded = bool(rng.random() < plan.decoded)
    return Subjectful(subjects(plan.seed + index, count), scale, decoded)


def subjects(seed: int, count: int) -> tuple[Scene, ...]:
    """The scenes of a picture with `count` subjects."""
    return (random_scene(seed),) if count == 1 else random_group(seed, count)


def drawn(picture: Subjectful, base: int, through: Pass) -> Picture:
    """The picture (SIDE, SIDE, 3)."""
    if not picture.decoded:
        side = SIDE * picture.scale
        return reduced(draw_group(picture.scenes, side, side))
    side = base * min(picture.scale, MOST_DECODED)
    return reduced(through(draw_group(picture.scenes, side, side)[None])[0])


def autoencoder_pass(checkpoint: Path) -> Pass:
    """Encode and decode with a checkpoint's autoencoder. ModelFileError where it has none."""
    handle = load_checkpoint(checkpoint).vae
    if handle is None:
        raise ModelFileError(f"{checkpoint.name} has no autoencoder ({checkpoint})", "Name a complete checkpoint.")
    vae = handle.vae.float().eval()

    @torch.inference_mode()
    def through(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return from_signed(decode(vae, latent_mean(vae, as_signed(pictures, torch.device("cpu")))))

    return through


def write_pool(
    folder: Path,
    plan: PoolPlan,
    through: Pass,
    *,
    say: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Draw what is not there yet: `pictures_NNNN.npy` (shard, SIDE, SIDE, 3), each written in one piece.

    Raises SettingError for a folder of another plan, Interrupted when `stop` says so between two shards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PLAN
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != vars(plan):
        raise SettingError(f"{folder} holds pictures of another plan ({path})", "Give another --out, or delete it.")
    path.write_text(json.dumps(vars(plan), indent=1) + "\n", encoding="utf-8")
    for first in range(0, plan.pictures, plan.shard):
        file = shard_file(folder, first // plan.shard)
        count = min(plan.shard, plan.pictures - first)
        if not file.exists():
            chosen = [planned(plan, first + index) for index in range(count)]
            pictures = np.stack([drawn(each, plan.base, through) for each in chosen])
            new = file.with_suffix(".new")
            with new.open("wb") as opened:
                np.save(opened, pictures)
            new.replace(file)
        say(first + count, plan.pictures)
        if stop():
            raise Interrupted


def shard_file(folder: Path, number: int) -> Path:
    """Where a shard lies."""
    return folder / f"pictures_{number:04d}.npy"


class Pool:
    """A folder of pictures, read where it lies, with who is in each."""

    def __init__(self, folder: Path) -> None:
        if not (folder / PLAN).exists():
            raise SettingError(f"there are no pictures in {folder}", "Make them: hires pocket train pictures.")
        self.plan = PoolPlan(**json.loads((folder / PLAN).read_text(encoding="utf-8")))
        files = [shard_file(folder, n) for n in range(-(-self.plan.pictures // self.plan.shard))]
        missing = [file for file in files if not file.exists()]
        if missing:
            raise SettingError(f"{len(missing)} of {len(files)} shards of {folder} are not drawn yet", "Run it again.")
        self._pictures: list[Any] = [np.load(file, mmap_mode="r") for file in files]
        chosen = [planned(self.plan, index) for index in range(self.plan.pictures)]
        self.scenes = [each.scenes for each in chosen]
        self.decoded = [each.decoded for each in chosen]

    def __len__(self) -> int:
        """Pictures."""
        return self.plan.pictures

    def picture(self, index: int) -> Picture:
        """A copy of a picture (SIDE, SIDE, 3)."""
        return np.array(self._pictures[index // self.plan.shard][index % self.plan.shard])

    def singles(self) -> Iterator[int]:
        """Where the pictures with one subject are."""
        return (index for index, scenes in enumerate(self.scenes) if len(scenes) == 1)
