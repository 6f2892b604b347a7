"""The detector of subjects: its targets and peaks by hand, damage that is told, the shipped weights on drawings."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("skia", reason="drawings need skia-python (hires[train])")

import torch
from scipy.ndimage import gaussian_filter

from hires.pocket.checking import count_check, damage_check, held_out_group
from hires.pocket.damage import DAMAGES, Mark, grid, laid_over, marks
from hires.pocket.detector import KNOWN_RADIUS, SHIPPED, Face, focal, one_intact, peaks, shipped_detector, targets
from hires.pocket.pool import subjects
from hires.pocket.sight import SIDE, reduced

NOWHERE = (0.0, 0.0, 0.0, 0.0)


def test_one_intact() -> None:
    whole, broken = Face(0.5, 0.4, 0.1, 0.9, 0.9), Face(0.5, 0.4, 0.1, 0.9, 0.1)
    assert one_intact([whole])
    assert not one_intact([]) and not one_intact([broken]) and not one_intact([whole, whole])


def test_peaks_give_back_what_targets_were_made_of() -> None:
    found = [Mark(40, 60, 20, NOWHERE, True), Mark(100, 30, 10, NOWHERE, False)]
    wanted, _ = targets(found, SIDE)
    maps = torch.from_numpy(wanted.copy())
    maps[0] = torch.logit(maps[0].clamp(1e-4, 1 - 1e-4))
    maps[2] = torch.where(maps[2] > 0, 4.0, -4.0)
    first, second = sorted(peaks(maps, SIDE), key=lambda face: face.x)
    assert (first.x * SIDE, first.y * SIDE, first.radius * SIDE) == pytest.approx((42, 62, 20), abs=0.01)
    assert (second.x * SIDE, second.y * SIDE, second.radius * SIDE) == pytest.approx((102, 30, 10), abs=0.01)
    assert first.intact > 0.5 > second.intact


def test_centres_within_one_face_are_one() -> None:
    maps = torch.zeros(3, 32, 32)
    maps[0] = -9
    maps[0, 10, 10], maps[0, 10, 12], maps[0, 10, 20] = 3, 2, 1
    assert [round(face.x * SIDE) for face in peaks(maps, SIDE)] == [42, 82]
    assert peaks(maps, SIDE)[0].radius * SIDE == pytest.approx(KNOWN_RADIUS)


def test_focal_loss_is_none_where_the_map_is_right() -> None:
    wanted = torch.zeros(1, 8, 8)
    wanted[0, 3, 3] = 1
    right = torch.where(wanted == 1, 12.0, -12.0)
    assert float(focal(right, wanted)) < 1e-6
    assert float(focal(-right, wanted)) > 10


@pytest.mark.parametrize("count", [1, 2, 3])
def test_marks_lie_on_the_faces(count: int) -> None:
    scenes = subjects(5, count)
    found = marks(scenes, SIDE)
    assert len(found) == count
    for scene, mark in zip(scenes, found, strict=True):
        if not scene.tilt:
            assert (mark.x, mark.y) == pytest.approx((SIDE * (scene.x + 0.5), SIDE * scene.y))


def test_half_a_face_is_damaged_and_a_hidden_one_gone() -> None:
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    face = [Mark(64, 40, 20, NOWHERE)]
    across = np.tile(np.arange(SIDE), (SIDE, 1))
    for edge, left in ((0, [True]), (64, [False]), (100, [])):
        _, found = laid_over((picture, face), (picture, []), (across >= edge).astype(float))
        assert [mark.intact for mark in found] == left


def test_a_grid_has_everyone_in_it() -> None:
    scenes = subjects(1, 1)
    picture = held_out_group(0, 1, SIDE)
    sheet, found = grid([(picture, marks(scenes, SIDE))] * 4, np.random.default_rng(0))
    assert sheet.shape == picture.shape and len(found) == 4
    assert np.array_equal(sheet[:64, :64], reduced(picture, 64))
    assert found[3].x == pytest.approx(found[0].x + 64)


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_changes_the_picture_and_is_the_same_again(kind: str) -> None:
    first = (held_out_group(0, 1, SIDE), marks(subjects(9_000_000_000, 1), SIDE))
    second = (held_out_group(1, 2, SIDE), marks(subjects(9_000_000_001, 2), SIDE))
    once, again = (DAMAGES[kind][0](first, second, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(once[0], again[0]) and once[1] == again[1]
    assert not np.array_equal(once[0], first[0])


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_shipped_weights_see_one_intact_subject_at_every_size(scale: int) -> None:
    found = count_check(shipped_detector(), 1, 16, scale)
    assert found.one_intact >= 14


def test_the_shipped_weights_count() -> None:
    assert SHIPPED.stat().st_size < 2e6
    for count in (2, 3):
        found = count_check(shipped_detector(), count, 16, scale=2)
        assert found.counted >= 12 and found.one_intact <= 1, count


def test_damage_is_not_taken_for_one_intact_subject() -> None:
    for kind in ("melted", "smeared", "warped"):
        found = damage_check(shipped_detector(), kind, 12)
        assert found.pictures == 12 and found.one_intact <= 3, kind


def test_a_blurred_picture_has_no_intact_subject() -> None:
    picture = held_out_group(3, 1, SIDE)
    blurred = gaussian_filter(picture.astype(float), (8, 8, 0)).astype(np.uint8)
    assert one_intact(shipped_detector().faces(picture))
    assert not one_intact(shipped_detector().faces(blurred))
