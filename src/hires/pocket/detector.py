"""How many subjects a picture shows, and whether they are intact: what "yield" is counted with.

    faces = shipped_detector().faces(picture)       # of any size: it is reduced so that subjects look as they do
    one_intact(faces)                               # exactly one face, and nothing broken about it

The network gives a map of faces' centres, of their sizes, and of how intact what lies round them is. It is trained on
drawings with one and several subjects and on damaged ones (hires.pocket.damage), and on nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, max_pool2d, silu

from hires.pocket import BUILT_IN_FOLDER
from hires.pocket.classifier import varied
from hires.pocket.curves import contact_sheet
from hires.pocket.damage import Mark, Marked, damaged, grid, marks
from hires.pocket.pool import Pool
from hires.pocket.sight import SIDE, Block, Merge, Picture, Trunk, looked_at, read_weights, reduced, start
from hires.pocket.training import Learner, Recipe

SHIPPED = BUILT_IN_FOLDER / "measures" / "faces.safetensors"
STRIDE = 4
"""Pixels between places of the map."""
SURE, INTACT = 0.4, 0.5
"""From here on a place is a face, and a face intact."""
APART = 0.75
"""Two centres nearer than this many half widths are one face."""
BLURRED_BELOW = 15.5
"""Faces of a smaller half width in pixels come out of a small autoencoder in any state: nothing is learned from it."""
KNOWN_RADIUS = 12.0
"""Half width in pixels that the size map's zero means."""


class FaceNetwork(nn.Module):
    """A trunk, widened views added back up to a quarter of the size, and three maps."""

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.trunk = Trunk(widths)
        self.deep = Block(widths[3], widths[3])
        self.eighth = Merge(widths[3], widths[2])
        self.quarter = Merge(widths[2], widths[1])
        self.widen = nn.Conv2d(widths[1], widths[1], 3, 1, 1)
        self.answer = nn.Conv2d(widths[1], 3, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 3, h, w) in -1..1 -> (batch, 3, h/4, w/4): logits of a centre, log of the half width over
        KNOWN_RADIUS, logits of being intact."""
        _, quarter, eighth, small = self.trunk(pixels)
        merged = self.quarter(self.eighth(self.deep(small), eighth), quarter)
        answer: Tensor = self.answer(silu(self.widen(merged)))
        return answer

    def start(self, seed: int) -> None:
        """Random weights; a face is taken to be rare at first, as in focal loss (Lin et al. 2017)."""
        start(self, seed)
        assert self.answer.bias is not None
        with torch.no_grad():
            self.answer.weight.mul_(0.1)
            self.answer.bias[0] = -4.0


@dataclass(frozen=True)
class Face:
    """A face in shares of the picture's shorter side, how sure the detector is of it, and how intact it is (0..1)."""

    x: float
    y: float
    radius: float
    sure: float
    intact: float


def one_intact(faces: Sequence[Face]) -> bool:
    """Exactly one subject, and it is intact."""
    return len(faces) == 1 and faces[0].intact >= INTACT


class Detector:
    """A trained network with what evaluation asks of it."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False)

    @torch.inference_mode()
    def faces(self, picture: Picture) -> list[Face]:
        """The faces of a picture (height, width, 3) of any size, the surest first."""
        seen = reduced(picture)
        maps = self.network(looked_at([seen]))[0]
        return peaks(maps, min(seen.shape[:2]))


def peaks(maps: Tensor, side: int) -> list[Face]:
    """The faces of the network's maps (3, h/4, w/4) for a picture whose shorter side has `side` pixels."""
    sure = maps[0].sigmoid()
    highest = sure == max_pool2d(sure[None, None], 3, 1, 1)[0, 0]
    places = ((sure >= SURE) & highest).nonzero().tolist()
    found: list[Face] = []
    for row, column in sorted(places, key=lambda place: -float(sure[place[0], place[1]])):
        radius = KNOWN_RADIUS * math.exp(min(max(float(maps[1, row, column]), -3.0), 2.0)) / side
        x, y = (column + 0.5) * STRIDE / side, (row + 0.5) * STRIDE / side
        near = any(math.hypot(x - face.x, y - face.y) < APART * max(radius, face.radius) for face in found)
        if not near:
            intact = float(maps[2, row, column].sigmoid())
            found.append(Face(x, y, radius, float(sure[row, column]), intact))
    return found


def load_detector(path: Path) -> Detector:
    """The detector of a file that the training exported."""
    weights, facts = read_weights(path)
    network = FaceNetwork(facts["widths"])
    network.load_state_dict(weights)
    return Detector(network)


@cache
def shipped_detector() -> Detector:
    """The one in the package."""
    return load_detector(SHIPPED)


@dataclass(frozen=True)
class DetectorRecipe:
    """Numbers of the training. `damaged` and `grids` are shares of the samples."""

    seed: int = 0
    batch: int = 24
    widths: tuple[int, ...] = (16, 32, 64, 96)
    damaged: float = 0.45
    grids: float = 0.07
    optimizer: Recipe = field(default_factory=lambda: Recipe(rate=2e-3, weight_decay=2e-2, average=0.995))


class DetectorStage:
    """Training of the detector on the pool's pictures."""

    def __init__(self, pool: Pool, recipe: DetectorRecipe, device: torch.device) -> None:
        self.pool, self.recipe, self.device = pool, recipe, device
        network = FaceNetwork(recipe.widths)
        network.start(recipe.seed)
        self.learner = Learner(network.to(device).to(memory_format=torch.channels_last), recipe.optimizer)

    @property
    def learners(self) -> Mapping[str, Learner]:
        """The one network."""
        return {"detector": self.learner}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a checkpoint must share."""
        return {"seed": self.recipe.seed, "widths": list(self.recipe.widths)}

    def taken(self, rng: np.random.Generator) -> Marked:
        """Any picture of the pool with its faces."""
        index = int(rng.integers(len(self.pool)))
        found = marks(self.pool.scenes[index], SIDE)
        if self.pool.decoded[index]:
            found = [face if face.radius >= BLURRED_BELOW else replace(face, intact=None) for face in found]
        return self.pool.picture(index), found

    def sample(self, rng: np.random.Generator) -> Marked:
        """A picture as it is, damaged, or in a grid with others; varied."""
        chance = float(rng.random())
        if chance < self.recipe.grids:
            marked = grid([self.taken(rng) for _ in range(4 if rng.random() < 0.7 else 9)], rng)
        elif chance < self.recipe.grids + self.recipe.damaged:
            marked = damaged(self.taken(rng), self.taken(rng), rng)
        else:
            marked = self.taken(rng)
        return varied(marked[0], rng, moves=False), marked[1]

    def batch(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels, targets and weights (see `targets`) of step `index`; half of the pictures mirrored."""
        rng = np.random.default_rng([self.recipe.seed, index])
        samples = [self.sample(rng) for _ in range(self.recipe.batch)]
        pixels = looked_at([picture for picture, _ in samples])
        wanted = [targets(found, SIDE) for _, found in samples]
        answers, weights = (torch.from_numpy(np.stack([each[i] for each in wanted])) for i in range(2))
        if index % 2:
            pixels, answers, weights = pixels.flip(3), answers.flip(3), weights.flip(3)
        return pixels.to(self.device), answers.to(self.device), weights.to(self.device)

    def step(self, index: int, progress: float, share: float) -> dict[str, Tensor]:
        """Focal loss of centres, L1 of log sizes, cross entropy of being intact."""
        pixels, wanted, weights = self.batch(index)
        maps = self.learner.network(pixels)
        centre = focal(maps[:, 0], wanted[:, 0])
        size = ((maps[:, 1] - wanted[:, 1]).abs() * weights[:, 0]).sum() / weights[:, 0].sum().clamp_min(1)
        each = binary_cross_entropy_with_logits(maps[:, 2], wanted[:, 2], weights[:, 1], reduction="sum")
        intact = each / weights[:, 1].sum().clamp_min(1)
        norm = self.learner.update(centre + 0.5 * size + intact, share, index)
        return {"centre": centre.detach(), "size": size.detach(), "intact": intact.detach(), "gradient": norm}

    def sheet(self) -> NDArray[np.uint8]:
        """Samples with what the averaged weights find: green for intact, red for not."""
        rng = np.random.default_rng(self.recipe.seed)
        pictures = [self.sample(rng)[0] for _ in range(32)]
        detector = Detector(self.learner.average)
        shown = [outlined(picture, detector.faces(picture)) for picture in pictures]
        return contact_sheet([np.stack(shown[row : row + 8]) for row in range(0, len(shown), 8)])


def targets(found: Sequence[Mark], side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the maps should be for a square picture: (3, side/4, side/4) of centres (a Gaussian bump a face, 1 at the
    middle), log sizes and intact (0 or 1); and (2, side/4, side/4) of weights of the latter two, about the centres."""
    cells = side // STRIDE
    wanted, weights = np.zeros((3, cells, cells), np.float32), np.zeros((2, cells, cells), np.float32)
    down, across = np.mgrid[:cells, :cells]
    for mark in sorted(found, key=lambda each: -each.radius):
        column, row = int(mark.x / STRIDE), int(mark.y / STRIDE)
        if not (0 <= column < cells and 0 <= row < cells):
            continue
        spread = max(0.7, 0.22 * mark.radius / STRIDE)
        bump = np.exp(-((across - column) ** 2 + (down - row) ** 2) / (2 * spread**2))
        wanted[0] = np.maximum(wanted[0], bump)
        middle = bump > 0.3
        wanted[1][middle] = math.log(mark.radius / KNOWN_RADIUS)
        wanted[2][middle] = float(bool(mark.intact))
        weights[0][middle] = 1
        weights[1][middle] = float(mark.intact is not None)
    return wanted, weights


def focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """The penalty-reduced focal loss of CornerNet (Law and Deng 2018), alpha 2 and beta 4, a centre."""
    sure = logits.sigmoid()
    is_centre = (wanted == 1).float()
    hit = -((1 - sure) ** 2) * logsigmoid(logits) * is_centre
    miss = -((1 - wanted) ** 4) * sure**2 * logsigmoid(-logits) * (1 - is_centre)
    return (hit + miss).sum() / is_centre.sum().clamp_min(1)


def outlined(picture: Picture, faces: Sequence[Face]) -> Picture:
    """The picture with its faces marked: a green box round an intact one, a red one round any other."""
    shown = Image.fromarray(picture)
    pen = ImageDraw.Draw(shown)
    side = min(picture.shape[:2])
    for face in faces:
        left, top, right, bottom = (
            side * edge
            for edge in (face.x - face.radius, face.y - face.radius, face.x + face.radius, face.y + face.radius)
        )
        color = (20, 170, 60) if face.intact >= INTACT else (225, 30, 40)
        pen.rectangle((left, top, right, bottom), outline=color, width=max(1, side // 96))
    return np.asarray(shown)
