"""Which tags a picture shows: a small network trained on nothing but our drawings, to measure models with.

classifier = shipped_classifier()
found = classifier.labels([picture])           # (1, groups) classes, in the order of tag_groups.GROUPS
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from hires.pocket import BUILT_IN_FOLDER
from hires.pocket.captions import tags
from hires.pocket.curves import contact_sheet
from hires.pocket.pool import Pool
from hires.pocket.scene import random_scene
from hires.pocket.shards import Shards
from hires.pocket.sight import Block, Merge, Picture, Trunk, looked_at, read_weights, reduced, start
from hires.pocket.tag_groups import CLASS_NAMES, GROUPS, labels
from hires.pocket.training import Learner, Recipe

SHIPPED = BUILT_IN_FOLDER / "measures" / "tags.safetensors"
LARGEST_BLUR, LARGEST_NOISE, LARGEST_SHIFT = 0.9, 8.0, 4
"""Blur in pixels of the looked-at size, noise in levels of 255, and how far a picture is moved, in pixels."""
SIZES = tuple(len(names) for names in CLASS_NAMES.values())


class TagNetwork(nn.Module):
    """A trunk, and for each group of tags its own place to look at: attention over the map, then a linear map."""

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.trunk = Trunk(widths)
        self.deep = Block(widths[-1], widths[-1])
        self.merge = Merge(widths[-1], widths[-2])
        self.places = nn.Conv2d(widths[-2], len(SIZES), 1)
        self.answers = nn.ModuleList(nn.Linear(widths[-2] + widths[-1], size) for size in SIZES)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """(batch, 3, h, w) in -1..1 -> maps at 1/2, 1/4, 1/8 (the merged one) and 1/16."""
        *large, small = self.trunk(pixels)
        small = self.deep(small)
        return [*large[:-1], self.merge(small, large[-1]), small]

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(batch, 3, h, w) in -1..1 -> a (batch, classes) of logits for every group."""
        *_, merged, small = self.maps(pixels)
        where = self.places(merged).flatten(2).softmax(2)
        seen = torch.einsum("bgp,bcp->bgc", where, merged.flatten(2))
        whole = small.mean((2, 3))
        return [answer(torch.cat([seen[:, g], whole], 1)) for g, answer in enumerate(self.answers)]


class Classifier:
    """A trained network with what evaluation asks of it."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False)

    @torch.inference_mode()
    def labels(self, pictures: Sequence[Picture]) -> NDArray[np.int64]:
        """(batch, groups): the likeliest class of each group. Pictures are of one size, whatever it is."""
        logits = self.network(looked_at([reduced(picture) for picture in pictures]))
        found: NDArray[np.int64] = torch.stack([each.argmax(1) for each in logits], 1).numpy()
        return found

    @torch.inference_mode()
    def distance(self, first: Picture, second: Picture) -> float:
        """How differently the network sees two pictures, after LPIPS (Zhang et al. 2018), with all weights one.

        At each place of each map the features are brought to length one; the squared difference is taken, summed over
        channels, meant over places, and meant over the maps: 0 for equal pictures, at most 4. Both pictures are
        reduced to the looked-at size before, so a large one is compared by what it shows and not by its detail.
        """
        pixels = looked_at([reduced(first), reduced(second)])
        apart = []
        for features in self.network.maps(pixels):  # type: ignore[operator]
            one, other = normalize(features, dim=1)
            apart.append((one - other).square().sum(0).mean())
        return float(torch.stack(apart).mean())


def load_classifier(path: Path) -> Classifier:
    """The classifier of a file that the training exported."""
    weights, facts = read_weights(path)
    network = TagNetwork(facts["widths"])
    network.load_state_dict(weights)
    return Classifier(network)


@cache
def shipped_classifier() -> Classifier:
    """The one in the package."""
    return load_classifier(SHIPPED)


@dataclass(frozen=True)
class ClassifierRecipe:
    """Numbers of the training. `pool_share` of a batch comes from the pool: drawn large and reduced, or decoded."""

    seed: int = 0
    batch: int = 32
    pool_share: float = 0.5
    widths: tuple[int, ...] = (16, 32, 64, 96)
    optimizer: Recipe = field(default_factory=lambda: Recipe(rate=2e-3, weight_decay=2e-2, average=0.995))


class ClassifierStage:
    """Training of the classifier on whole drawings, and on the pool's pictures with one subject."""

    def __init__(self, pool: Pool, shards: Shards, recipe: ClassifierRecipe, device: torch.device) -> None:
        self.pool, self.shards, self.recipe, self.device = pool, shards, recipe, device
        network = TagNetwork(recipe.widths)
        start(network, recipe.seed)
        self.learner = Learner(network.to(device).to(memory_format=torch.channels_last), recipe.optimizer)
        self.singles = list(pool.singles())
        scenes = [pool.scenes[index][0] for index in self.singles]
        scenes += [random_scene(shards.plan.seed + index) for index in range(len(shards))]
        self.answers = torch.tensor([labels(tags(scene)) for scene in scenes])

    @property
    def learners(self) -> Mapping[str, Learner]:
        """The one network."""
        return {"classifier": self.learner}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a checkpoint must share."""
        return {"seed": self.recipe.seed, "widths": list(self.recipe.widths), "classes": list(SIZES)}

    def batch(self, index: int) -> tuple[Tensor, Tensor]:
        """Pixels (batch, 3, SIDE, SIDE) and classes (batch, groups) of step `index`."""
        rng = np.random.default_rng([self.recipe.seed, index])
        kept = rng.random(self.recipe.batch) < self.recipe.pool_share
        counts = np.where(kept, len(self.singles), len(self.shards))
        chosen = rng.integers(counts) + np.where(kept, 0, len(self.singles))
        pixels = looked_at([varied(self.picture(int(place)), rng) for place in chosen])
        return pixels.to(self.device), self.answers[torch.from_numpy(chosen)].to(self.device)

    def picture(self, place: int) -> Picture:
        """A picture in the order of `answers`: the pool's, then the shards'."""
        if place < len(self.singles):
            return self.pool.picture(self.singles[place])
        return reduced(self.shards.picture(place - len(self.singles), 0))

    def step(self, index: int, progress: float, share: float) -> dict[str, Tensor]:
        """Cross entropy, the mean of all groups."""
        pixels, answers = self.batch(index)
        logits = self.learner.network(pixels)
        losses = [cross_entropy(each, answers[:, group]) for group, each in enumerate(logits)]
        loss = torch.stack(losses).mean()
        norm = self.learner.update(loss, share, index)
        right = torch.stack([each.argmax(1) == answers[:, group] for group, each in enumerate(logits)])
        return {"loss": loss.detach(), "right": right.float().mean(), "gradient": norm}

    def sheet(self) -> NDArray[np.uint8]:
        """Some of the pictures that are learned from, as they are varied."""
        rng = np.random.default_rng(self.recipe.seed)
        pictures = [varied(self.picture(place), rng) for place in range(min(24, len(self.answers)))]
        return contact_sheet([np.stack(pictures[row : row + 8]) for row in range(0, len(pictures), 8)])


def varied(picture: Picture, rng: np.random.Generator, moves: bool = True) -> Picture:
    """Lighter or darker, blurred and noisy now and then: no tag changes by it. With `moves`, also mirrored and moved
    by a few pixels."""
    if moves:
        picture = moved(picture, rng)
    if rng.random() < 0.3:
        sigma = float(rng.uniform(0.2, LARGEST_BLUR))
        blurred = Image.fromarray(np.ascontiguousarray(picture)).filter(ImageFilter.GaussianBlur(sigma))
        picture = np.asarray(blurred)
    levels = picture * rng.uniform(0.93, 1.07) + rng.normal(0, 3, 3)
    if rng.random() < 0.3:
        levels = levels + rng.normal(0, rng.uniform(1, LARGEST_NOISE), levels.shape)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def moved(picture: Picture, rng: np.random.Generator) -> Picture:
    """Moved by a few pixels, its edges repeated, and mirrored half of the time."""
    shift = rng.integers(-LARGEST_SHIFT, LARGEST_SHIFT + 1, 2)
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((LARGEST_SHIFT,) * 2, (LARGEST_SHIFT,) * 2, (0, 0)), mode="edge")
    top, left = LARGEST_SHIFT + shift
    picture = padded[top : top + height, left : left + width]
    return picture[:, ::-1] if rng.random() < 0.5 else picture


@dataclass(frozen=True)
class TagScore:
    """How often a group is right: over all pictures, and over those whose tags state a class of it."""

    group: str
    stated: int
    stated_right: int
    pictures: int
    right: int

    @property
    def accuracy(self) -> float:
        """Share of right answers over all pictures, those without a stated tag included."""
        return self.right / self.pictures if self.pictures else float("nan")

    @property
    def recall(self) -> float:
        """Share of stated tags that are seen."""
        return self.stated_right / self.stated if self.stated else float("nan")


def tag_scores(stated: NDArray[np.int64], seen: NDArray[np.int64]) -> list[TagScore]:
    """Scores of each group; both arrays are (pictures, groups) of classes."""
    scores = []
    for group, name in enumerate(GROUPS):
        told, found = stated[:, group], seen[:, group]
        right, there = told == found, told > 0
        numbers = (int(there.sum()), int((right & there).sum()), len(told), int(right.sum()))
        scores.append(TagScore(name, *numbers))
    return scores


def mean_accuracy(scores: Sequence[TagScore]) -> float:
    """The mean tag accuracy: over all tags that were stated, the share that is seen."""
    stated = sum(score.stated for score in scores)
    return sum(score.stated_right for score in scores) / stated if stated else float("nan")
