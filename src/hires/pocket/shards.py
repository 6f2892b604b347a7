"""Drawings on disk: shards of uint8 pictures with their captions, made by a stated number of processes.

A scene gives three pictures of one size: the whole, and a window of it drawn twice and three times as large. Each has
the scene's ordinary captions, since the second pass sees enlarged parts under the prompt of the whole.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from hires.errors import Interrupted, SettingError
from hires.pocket.brush import Box
from hires.pocket.drawing import caption, draw, random_scene
from hires.pocket.geometry import regions
from hires.pocket.scene import Scene

VIEWS = (1, 2, 3)
"""How many times larger than the base size a picture's content is drawn."""
PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """What a folder of drawings holds. Scenes have the seeds `seed`, `seed` + 1, ..."""

    scenes: int
    size: int = 256
    seed: int = 0
    captions: int = 4
    """How many wordings of a scene are kept."""
    shard: int = 100
    """Scenes a shard: what a process draws at a time, and what is lost when it is stopped."""


def shard_sizes(plan: Plan) -> list[int]:
    """Scenes in each shard."""
    whole, rest = divmod(plan.scenes, plan.shard)
    return [plan.shard] * whole + [rest] * (rest > 0)


def window(scene: Scene, view: int, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top left corner of a square of `size` pixels in the drawing of side `view` * `size`, mostly near the subject."""
    side, room = view * size, (view - 1) * size
    centre = side * np.array([scene.y + 0.06, scene.x + 0.5])
    corner = np.clip(rng.normal(centre, 0.22 * side) - size / 2, 0, room).astype(int)
    return int(corner[0]), int(corner[1])


def windows(scene: Scene, size: int, rng: np.random.Generator) -> list[Box]:
    """What each view shows of the scene, in shares of the picture."""
    found = []
    for view in VIEWS:
        top, left = window(scene, view, size, rng)
        side = view * size
        found.append((left / side, top / side, (left + size) / side, (top + size) / side))
    return found


def views(scene: Scene, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The scene's pictures (views, size, size, 3)."""
    return np.stack([draw(scene, size, size, box) for box in windows(scene, size, rng)])


def write_shard(job: tuple[str, Plan, int, int]) -> int:
    """Draw one shard: `pictures_NNNN.npy` (scenes, views, size, size, 3) and `captions_NNNN.json`; the scenes drawn.

    The captions are written last and in one piece: a shard is complete when they are there.
    """
    folder, plan, number, count = Path(job[0]), *job[1:]
    captions_path = folder / f"captions_{number:04d}.json"
    if captions_path.exists():
        return count
    shape = (count, len(VIEWS), plan.size, plan.size, 3)
    pictures = open_memmap(folder / f"pictures_{number:04d}.npy", "w+", np.uint8, shape)
    captions = []
    for index in range(count):
        seed = plan.seed + number * plan.shard + index
        scene, rng = random_scene(seed), np.random.default_rng([seed, 1])
        pictures[index] = views(scene, plan.size, rng)
        captions.append([caption(scene, rng) for _ in range(plan.captions)])
    pictures.flush()
    new = captions_path.with_suffix(".new")
    new.write_text(json.dumps(captions), encoding="utf-8")
    new.replace(captions_path)
    return count


def write_shards(
    folder: Path,
    plan: Plan,
    processes: int,
    *,
    say: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Draw what is not there yet. A folder that holds another plan's drawings is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    described = vars(plan)
    plan_path = folder / PLAN
    if plan_path.exists() and json.loads(plan_path.read_text(encoding="utf-8")) != described:
        raise SettingError(
            f"{folder} holds drawings of another plan ({plan_path})", "Give another --out, or delete it."
        )
    plan_path.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    jobs = [(str(folder), plan, number, count) for number, count in enumerate(shard_sizes(plan))]
    done = 0
    for count in run_jobs(jobs, processes):
        done += count
        say(done, plan.scenes)
        if stop():
            raise Interrupted


def run_jobs(jobs: list[tuple[str, Plan, int, int]], processes: int) -> Iterator[int]:
    """The shards' sizes as they are done; in this process when one is enough."""
    if processes == 1:
        yield from map(write_shard, jobs)
        return
    # spawn: a forked child inherits torch's threads in whatever state they are in
    # and the parent alone hears Ctrl-C: it ends the others
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield from pool.imap_unordered(write_shard, jobs)


class Shards:
    """A folder of drawings, read where it lies."""

    def __init__(self, folder: Path) -> None:
        if not (folder / PLAN).exists():
            raise SettingError(f"there are no drawings in {folder}", "Make them: hires pocket train data.")
        self.plan = Plan(**json.loads((folder / PLAN).read_text(encoding="utf-8")))
        self.folder = folder
        numbers = range(len(shard_sizes(self.plan)))
        missing = [n for n in numbers if not (folder / f"captions_{n:04d}.json").exists()]
        if missing:
            raise SettingError(
                f"{len(missing)} of {len(numbers)} shards of {folder} are not drawn yet", "Run it again."
            )
        self._pictures = [np.load(folder / f"pictures_{n:04d}.npy", mmap_mode="r") for n in numbers]

    def __len__(self) -> int:
        """Scenes."""
        return self.plan.scenes

    @cached_property
    def captions(self) -> list[list[str]]:
        """The wordings of every scene."""
        found: list[list[str]] = []
        for number in range(len(self._pictures)):
            found += json.loads((self.folder / f"captions_{number:04d}.json").read_text(encoding="utf-8"))
        return found

    def picture(self, scene: int, view: int) -> NDArray[np.uint8]:
        """(size, size, 3); `view` is an index into VIEWS."""
        shard: Any = self._pictures[scene // self.plan.shard]
        picture: NDArray[np.uint8] = np.array(shard[scene % self.plan.shard, view])
        return picture

    def random_picture(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Any picture of the folder."""
        return self.picture(int(rng.integers(len(self))), int(rng.integers(len(VIEWS))))

    def face(self, scene: int, view: int) -> tuple[float, float, float]:
        """The middle (x, y) and the half width of the face in a picture, in pixels; it may lie outside."""
        drawn, left, top, scale = self._seen(scene, view)
        return (drawn.x + 0.5 - left) * scale, (drawn.y - top) * scale, drawn.size * scale

    def box(self, name: str, scene: int, view: int) -> Box:
        """The box of a part of the scene (see `regions`) in a picture, in pixels; it may lie outside."""
        drawn, left, top, scale = self._seen(scene, view)
        x0, y0, x1, y1 = regions(drawn)[name]
        return (x0 - left) * scale, (y0 - top) * scale, (x1 - left) * scale, (y1 - top) * scale

    def _seen(self, scene: int, view: int) -> tuple[Scene, float, float, float]:
        """A scene with its picture's left and top edge, in shares of the whole, and the pixels of a whole side."""
        seed, size = self.plan.seed + scene, self.plan.size
        drawn = random_scene(seed)
        left, top, right, _ = windows(drawn, size, np.random.default_rng([seed, 1]))[view]
        return drawn, left, top, size / (right - left)
