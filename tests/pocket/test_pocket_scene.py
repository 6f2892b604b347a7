"""Scenes come from seeds, and their captions say what is seen."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hires.pocket.captions import SYNONYMS, caption, known_phrases, known_tags, tags
from hires.pocket.geometry import regions, seen_share
from hires.pocket.palette import CLOTHES
from hires.pocket.scene import (
    BODY,
    COLLAR,
    FRAMINGS,
    GARMENTS,
    HATS,
    SOLE,
    TOP,
    Scene,
    below,
    random_group,
    random_scene,
)

SEEDS = st.integers(0, 2**40)


def test_a_seed_gives_the_same_scene_and_another_seed_another() -> None:
    assert random_scene(12) == random_scene(12)
    assert len({random_scene(seed) for seed in range(200)}) == 200


def test_the_scene_of_a_seed_stays_as_it_was_written_down() -> None:
    """Models and pages name seeds: a change here changes what they show."""
    scene = random_scene(3)
    assert (scene.subject, scene.framing, scene.background) == ("girl", "cowboy shot", "city")
    assert scene.y == pytest.approx(0.33993960096222936, abs=1e-12)


@given(SEEDS)
@settings(max_examples=150, deadline=None)
def test_captions_hold_only_known_phrases_and_begin_with_the_subject(seed: int) -> None:
    scene = random_scene(seed)
    rng = np.random.default_rng(seed)
    words = caption(scene, rng).split(", ")
    subject = "1girl" if scene.subject == "girl" else "1boy"
    assert words[0] in (subject, *SYNONYMS[subject])
    assert set(words) <= known_phrases()
    assert len(set(words)) == len(words)


@given(SEEDS)
@settings(max_examples=100, deadline=None)
def test_a_caption_without_dropping_or_chance_of_words_says_every_tag(seed: int) -> None:
    """A generator whose every draw is 0.999 takes no synonym, merges nothing and shuffles nothing."""

    class Never:
        def random(self) -> float:
            return 0.999

    scene = random_scene(seed)
    assert set(caption(scene, Never(), drop=0.0).split(", ")) == tags(scene)  # type: ignore[arg-type]


def test_dropping_leaves_the_subject() -> None:
    scene = random_scene(5)
    assert caption(scene, np.random.default_rng(0), drop=1.0) in ("1girl", "1boy", "girl", "boy", "a girl", "a boy")


def test_captions_vary_in_order_and_words() -> None:
    scene = random_scene(9)
    written = [caption(scene, np.random.default_rng(i), drop=0.0).split(", ") for i in range(30)]
    assert len({tuple(words) for words in written}) > 20
    assert len({tuple(sorted(words)) for words in written}) > 5


def test_every_tag_occurs_for_some_seed_and_no_other() -> None:
    seen: set[str] = set()
    for seed in range(9000):
        seen |= tags(random_scene(seed))
    assert seen == known_tags()


def test_clothes_are_not_named_where_they_are_not_seen() -> None:
    garments = {f"{color} {garment}" for color in CLOTHES for each in GARMENTS.values() for garment in each}
    unnamed = []
    for seed in range(600):
        scene = random_scene(seed)
        named = bool(tags(scene) & (garments | {"sailor uniform"}))
        assert not (named and scene.framing == "close-up"), scene
        if not named and scene.framing != "close-up":
            unnamed.append(scene)
    assert len(unnamed) < 6, "a tall hat may push an upper body out of the picture, and nothing else"
    assert all(scene.framing == "upper body" and scene.y > 0.5 for scene in unnamed)


def test_a_body_is_smaller_below_the_collar_alone() -> None:
    assert below(COLLAR) == COLLAR
    assert below(COLLAR + 1) == pytest.approx(COLLAR + BODY)
    scene = next(scene for seed in range(99) if (scene := random_scene(seed)).framing == "full body")
    feet, face = regions(scene)["feet"], regions(scene)["face"]
    assert (feet[3] - scene.y) / scene.size == pytest.approx(SOLE)
    assert feet[2] - feet[0] == pytest.approx(1.6 * BODY * scene.size)
    assert face[2] - face[0] == pytest.approx(1.9 * scene.size)


def test_shoes_hems_and_hats_lie_where_the_framing_says() -> None:
    for seed in range(600):
        scene = random_scene(seed)
        boxes = regions(scene)
        assert seen_share(boxes["face"]) > 0.85, scene
        feet = seen_share(boxes["feet"])
        assert (feet > 0.9) == (scene.framing == "full body"), scene
        if scene.framing == "full body":
            assert 2.45 * scene.size > 1 / 7, "the face's height, hair to chin"
            assert scene.y + TOP[scene.headwear] * scene.size > -0.01
            assert scene.y + SOLE * scene.size < 1.0
        if scene.headwear in HATS:
            assert scene.headwear in " ".join(tags(scene)), scene


def test_what_a_mask_hides_is_not_named() -> None:
    for seed in range(40):
        scene = dataclasses.replace(random_scene(seed), mask=True)
        assert "mask" in tags(scene) and not tags(scene) & {"smile", "frown", "open mouth", "expressionless", "blush"}


@given(SEEDS, st.integers(2, 3))
@settings(max_examples=200, deadline=None)
def test_groups_have_their_subjects_in_the_picture(seed: int, count: int) -> None:
    group = random_group(seed, count)
    assert len(group) == count and all(isinstance(scene, Scene) for scene in group)
    for scene in group:
        assert seen_share(regions(scene)["face"]) > 0.5
    assert all(scene.framing in FRAMINGS for scene in group)
    faces = [regions(scene)["face"] for scene in group]
    for a, b in itertools.combinations(faces, 2):
        wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        assert max(0, wide) * max(0, high) < 0.15 * (a[2] - a[0]) * (a[3] - a[1])
