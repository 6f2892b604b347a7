"""How right the classifier and the detector are on held-out drawings, whole and damaged: what one may make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hires.pocket.captions import tags
from hires.pocket.classifier import Classifier, TagScore, mean_accuracy, tag_scores
from hires.pocket.damage import DAMAGES, Marked, marks
from hires.pocket.detector import Detector, one_intact
from hires.pocket.drawing import draw_group
from hires.pocket.evaluate import share
from hires.pocket.pool import subjects
from hires.pocket.sight import SIDE, Picture, reduced
from hires.pocket.tag_groups import labels
from hires.pocket.upscaler import HELD_OUT


@dataclass(frozen=True)
class Counted:
    """Of `pictures`: how many had the right number of subjects, and how many were taken for one intact subject."""

    pictures: int
    counted: int
    one_intact: int


def held_out_group(index: int, count: int, side: int) -> Picture:
    """A drawing with `count` subjects that was not trained on, `side` pixels a side."""
    return draw_group(subjects(HELD_OUT + index, count), side, side)


def tag_check(classifier: Classifier, count: int = 200, scale: int = 1) -> list[TagScore]:
    """Scores on held-out drawings with one subject, drawn `scale` times larger than they are looked at."""
    numbers = range(count)
    told = np.array([labels(tags(subjects(HELD_OUT + index, 1)[0])) for index in numbers])
    found = [classifier.labels([held_out_group(index, 1, SIDE * scale)])[0] for index in numbers]
    return tag_scores(told, np.stack(found))


def count_check(detector: Detector, count: int, pictures: int = 100, scale: int = 1) -> Counted:
    """Held-out drawings with `count` subjects."""
    found = [detector.faces(held_out_group(index, count, SIDE * scale)) for index in range(pictures)]
    right = sum(len(faces) == count for faces in found)
    return Counted(pictures, right, sum(one_intact(faces) for faces in found))


def damage_check(detector: Detector, kind: str, pictures: int = 50) -> Counted:
    """Held-out drawings with one subject, damaged in one way; those that are still intact after it do not count."""
    change = DAMAGES[kind][0]
    found = []
    for index in range(4 * pictures):
        rng = np.random.default_rng([index, 11])
        picture, left = change(_marked(2 * index), _marked(2 * index + 1), rng)
        if len(left) == 1 and left[0].intact is not False:
            continue
        found.append((len(left), detector.faces(picture)))
        if len(found) == pictures:
            break
    right = sum(len(faces) == count for count, faces in found)
    return Counted(len(found), right, sum(one_intact(faces) for _, faces in found))


def _marked(index: int) -> Marked:
    scenes = subjects(HELD_OUT + index, 1)
    return reduced(draw_group(scenes, SIDE, SIDE)), marks(scenes, SIDE)


def check_text(classifier: Classifier, detector: Detector) -> str:
    """All of it as two tables in Markdown."""
    checks: Mapping[str, Callable[[], Counted]] = {
        **{f"{count} subject{'s' * (count > 1)}, drawn at {scale}x": _counting(detector, count, scale)
           for scale in (1, 2) for count in (1, 2, 3)},
        **{f"one, {kind}": _damaging(detector, kind) for kind in DAMAGES},
    }  # fmt: skip
    lines = ["| drawings | pictures | counted rightly | taken for one intact |", "|---|---|---|---|"]
    for name, check in checks.items():
        found = check()
        total = max(found.pictures, 1)
        lines.append(
            f"| {name} | {found.pictures} | {share(found.counted / total)} | {share(found.one_intact / total)} |"
        )
    scores = [tag_check(classifier, scale=scale) for scale in (1, 2)]
    lines += ["", "| tags | stated | seen at 1x | seen at 2x |", "|---|---|---|---|"]
    for one, two in zip(*scores, strict=True):
        lines.append(f"| {one.group} | {one.stated} | {share(one.recall)} | {share(two.recall)} |")
    lines.append(f"| **all** | | {share(mean_accuracy(scores[0]))} | {share(mean_accuracy(scores[1]))} |")
    return "\n".join(lines)


def _counting(detector: Detector, count: int, scale: int) -> Callable[[], Counted]:
    return lambda: count_check(detector, count, scale=scale)


def _damaging(detector: Detector, kind: str) -> Callable[[], Counted]:
    return lambda: damage_check(detector, kind)
