"""The classifier of tags: its groups against the drawings' tags, scores by hand, the shipped weights on drawings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("skia", reason="drawings need skia-python (hires[train])")

import torch

from hires.errors import ModelFileError
from hires.pocket.captions import known_tags, tags
from hires.pocket.checking import held_out_group, tag_check
from hires.pocket.classifier import (
    SHIPPED,
    ClassifierRecipe,
    ClassifierStage,
    load_classifier,
    mean_accuracy,
    shipped_classifier,
    tag_scores,
)
from hires.pocket.pool import Pool, PoolPlan, write_pool
from hires.pocket.scene import random_scene
from hires.pocket.shards import Plan, Shards, write_shards
from hires.pocket.sight import SIDE, write_weights
from hires.pocket.tag_groups import CLASS_NAMES, GROUPS, labels
from hires.pocket.training import Limits, train

HELD_OUT_DRAWINGS = 30


def named(found: tuple[int, ...]) -> dict[str, str]:
    return {group: CLASS_NAMES[group][label] for group, label in zip(GROUPS, found, strict=True)}


def test_every_tag_is_in_a_group() -> None:
    grouped = {tag for classes in GROUPS.values() for names in classes.values() for tag in names}
    assert known_tags() - grouped == {"looking at viewer"}


def test_labels_of_tags() -> None:
    found = named(
        labels({"1girl", "pink hair", "closed eyes", "white dress", "lace", "red knit hat", "beach", "ocean"})
    )
    assert (found["hair colour"], found["eyes"], found["eye colour"]) == ("pink", "closed eyes", "none")
    assert (found["garment"], found["garment colour"], found["pattern"]) == ("dress", "white", "lace")
    assert (found["headwear"], found["headwear colour"], found["scene"]) == ("knit hat", "red", "beach")
    assert found["bottom"] == found["mask"] == "none"


def test_a_wink_is_no_open_eyes_though_its_eye_has_a_colour() -> None:
    found = named(labels({"one eye closed", "blue eyes"}))
    assert (found["eyes"], found["eye colour"]) == ("one eye closed", "blue")


@pytest.mark.parametrize("seed", range(40))
def test_labels_follow_the_scene(seed: int) -> None:
    scene = random_scene(seed)
    found = named(labels(tags(scene)))
    assert (found["hair colour"], found["hair style"]) == (scene.hair_color, scene.hair_style)
    assert (found["framing"], found["scene"]) == (scene.framing, scene.background)
    assert (found["glasses"] == "glasses", found["mask"] == "mask") == (scene.glasses, scene.mask)


def test_scores_by_hand() -> None:
    stated, seen = np.zeros((3, len(GROUPS)), int), np.zeros((3, len(GROUPS)), int)
    stated[:, 0], seen[:, 0] = (1, 2, 0), (1, 1, 2)
    score = tag_scores(stated, seen)[0]
    assert (score.stated, score.stated_right, score.pictures, score.right) == (2, 1, 3, 1)
    assert (score.recall, score.accuracy) == (0.5, pytest.approx(1 / 3))
    assert mean_accuracy(tag_scores(stated, seen)) == 0.5


def test_the_shipped_weights_are_small_and_right_on_drawings_they_never_saw() -> None:
    assert SHIPPED.stat().st_size < 2e6
    for scale in (1, 2):
        scores = tag_check(shipped_classifier(), HELD_OUT_DRAWINGS, scale)
        assert mean_accuracy(scores) > 0.72, scale
        by_group = {score.group: score.recall for score in scores}
        for group in ("subject", "framing", "hair colour", "eye colour", "scene"):
            assert by_group[group] > 0.85, (group, scale)


def test_distance_is_zero_for_itself_and_grows_with_change() -> None:
    classifier = shipped_classifier()
    first, other = (held_out_group(index, 1, SIDE) for index in range(2))
    large = held_out_group(0, 1, 2 * SIDE)
    assert classifier.distance(first, first) == 0
    assert classifier.distance(first, large) < 0.5 * classifier.distance(first, other)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tags.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelFileError, match=r"tags\.safetensors"):
        load_classifier(tmp_path / "tags.safetensors")


def test_training_learns_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    write_pool(tmp_path / "pictures", PoolPlan(4, decoded=0.0), lambda pictures: pictures)
    write_shards(tmp_path / "drawings", Plan(2, size=64), 1)
    recipe = ClassifierRecipe(batch=2, widths=(8, 8, 16, 16))

    def stage() -> ClassifierStage:
        return ClassifierStage(Pool(tmp_path / "pictures"), shards, recipe, torch.device("cpu"))

    shards = Shards(tmp_path / "drawings")
    quiet = {"say": lambda line: None}
    whole = stage()
    train(whole, tmp_path / "whole", Limits(4), **quiet)
    train(stage(), tmp_path / "parts", Limits(4, minutes=0), **quiet)
    parts = stage()
    train(parts, tmp_path / "parts", Limits(4), **quiet)
    for one, other in zip(whole.learner.average.parameters(), parts.learner.average.parameters(), strict=True):
        assert torch.equal(one, other)
    write_weights(tmp_path / "whole", "classifier", tmp_path / "tags.safetensors")
    found = load_classifier(tmp_path / "tags.safetensors").labels([np.zeros((64, 96, 3), np.uint8)])
    assert found.shape == (1, len(GROUPS))
