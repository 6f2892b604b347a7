"""What a model's pictures are worth, in numbers: tags, yield, detail added, content kept; and the rules behind them.

Pure measures on pictures, and the tables and the plot made of them. `hires.evaluating` draws what is measured.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from io import StringIO
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hires.imaging.measures import fine_energy
from hires.imaging.similarity import Picture, luma
from hires.pocket.classifier import TagScore, mean_accuracy

BLURRY_BELOW = 0.5
"""Share of the detail that the model's autoencoder keeps of true drawings: a pass that has less is called blurry."""
CHANGED_FROM = 0.5
"""Share of the distance between pictures of different captions: a pass that goes farther has changed its picture."""
YIELD_KEPT = 0.9
"""A pass that leaves less than this share of the first pass's yield has changed its pictures, too."""
BLURRY, RIGHT, CHANGED = "blurry", "right", "changed"
RANGE_COLORS = {BLURRY: (222, 230, 246), RIGHT: (218, 242, 220), CHANGED: (250, 224, 218)}
PANEL, MARGIN = (560, 260), (64, 40)
INK, GRID = (60, 60, 66), (206, 206, 214)
LINE_COLORS = ((36, 92, 190), (20, 140, 70), (200, 60, 50), (150, 90, 190))


def detail(picture: Picture, base: int) -> float:
    """The energy of what a picture with its shorter side at `base` could not hold: the mean square of the luma
    (0..255) less the same after Lanczos down to that size and back. 0 for a picture of that size."""
    height, width = picture.shape[:2]
    scale = base / min(height, width)
    if scale >= 1:
        return 0.0
    return fine_energy(luma(picture), round(width * scale), round(height * scale))


def lanczos(picture: Picture, side: int) -> Picture:
    """The picture with its shorter side at `side`, by Lanczos."""
    height, width = picture.shape[:2]
    scale = side / min(height, width)
    enlarged = Image.fromarray(picture).resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    return np.asarray(enlarged)


@dataclass(frozen=True)
class Pass:
    """Means over the pictures of one setting of the second pass. Shares are 0..1 unless more is possible.

    detail, decoded and lanczos are shares of a true drawing's detail at that size: of the result, of the drawing after
    the model's autoencoder, and of the first pass enlarged by Lanczos. distance is that of the result, reduced, from
    its first pass; other that of first passes of different captions from one another.
    """

    scale: float
    denoise: float
    pictures: int
    detail: float
    decoded: float
    lanczos: float
    distance: float
    other: float
    same_tags: float
    yielded: float
    base_yield: float

    @property
    def range(self) -> str:
        """What the setting does: "blurry", "right" or "changed", by the rules at the top of this file."""
        if self.distance > CHANGED_FROM * self.other or self.yielded < YIELD_KEPT * self.base_yield:
            return CHANGED
        return BLURRY if self.detail < BLURRY_BELOW * self.decoded else RIGHT


def best(passes: Sequence[Pass]) -> Pass:
    """The setting to recommend: right before blurry before changed, then the higher yield, then the more detail."""
    order = {RIGHT: 2, BLURRY: 1, CHANGED: 0}
    return max(passes, key=lambda each: (order[each.range], each.yielded, each.detail))


def ranges_line(passes: Sequence[Pass]) -> str:
    """The ranges in a sentence."""
    parts = []
    for name in (BLURRY, RIGHT, CHANGED):
        found = [f"{each.denoise:g}" for each in passes if each.range == name]
        parts.append(f"{name}: {', '.join(found) or 'none'}")
    return "Denoising by range. " + "; ".join(parts) + "."


def share(value: float) -> str:
    """As a percentage; a dash for what could not be measured."""
    return "-" if np.isnan(value) else f"{100 * value:.0f} %"


def tag_table(drawn: Sequence[TagScore], true: Sequence[TagScore]) -> str:
    """Accuracy of each group in Markdown, the classifier's own on true drawings beside it."""
    lines = ["| tags | stated | seen in pictures | seen in true drawings |", "|---|---|---|---|"]
    for score, own in zip(drawn, true, strict=True):
        lines.append(f"| {score.group} | {score.stated} | {share(score.recall)} | {share(own.recall)} |")
    stated = sum(score.stated for score in drawn)
    lines.append(f"| **all** | {stated} | **{share(mean_accuracy(drawn))}** | **{share(mean_accuracy(true))}** |")
    return "\n".join(lines)


def yield_table(yields: Mapping[str, tuple[int, int, float]]) -> str:
    """How many pictures of a method have exactly one intact subject, how many were drawn, subjects a picture."""
    lines = ["| drawn | pictures | one intact subject | subjects found |", "|---|---|---|---|"]
    for name, (good, count, subjects) in yields.items():
        lines.append(f"| {name} | {count} | {share(good / count)} | {subjects:.2f} |")
    return "\n".join(lines)


def pass_table(passes: Sequence[Pass]) -> str:
    """The settings of the second pass in Markdown."""
    lines = [
        "| denoising | detail | Lanczos | distance | same tags | yield | range |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in passes:
        away = each.distance / each.other if each.other else float("nan")
        cells = (share(each.detail), share(each.lanczos), share(away), share(each.same_tags), share(each.yielded))
        lines.append(f"| {each.denoise:g} | {' | '.join(cells)} | {each.range} |")
    return "\n".join(lines)


def pass_csv(passes: Sequence[Pass]) -> str:
    """The same with all numbers, for a spreadsheet."""
    text = StringIO()
    writer = csv.DictWriter(text, [*(each.name for each in fields(Pass)), "range"], lineterminator="\n")
    writer.writeheader()
    for each in passes:
        writer.writerow({**asdict(each), "range": each.range})
    return text.getvalue()


def plot_passes(passes: Sequence[Pass], out_path: Path) -> None:
    """Detail, content kept, same tags and yield over the denoising strength; the ranges as coloured ground."""
    width, height = PANEL[0] + 2 * MARGIN[0], PANEL[1] + 2 * MARGIN[1]
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    left, top = MARGIN
    right, bottom = left + PANEL[0], top + PANEL[1]
    first, last = passes[0].denoise, passes[-1].denoise
    span = (last - first) or 1.0

    def across(denoise: float) -> float:
        return left + (right - left) * (denoise - first) / span

    edges = [(a.denoise + b.denoise) / 2 for a, b in pairwise(passes)]
    for each, low, high in zip(passes, [first, *edges], [*edges, last], strict=True):
        pen.rectangle((across(low), top, across(high), bottom), fill=RANGE_COLORS[each.range])
    for tenth in range(0, 11, 2):
        y = bottom - (bottom - top) * tenth / 10
        pen.line((left, y, right, y), fill=GRID)
        pen.text((left - 40, y - 6), f"{10 * tenth} %", fill=INK)
    for each in passes:
        pen.text((across(each.denoise) - 10, bottom + 6), f"{each.denoise:g}", fill=INK)
    pen.text(((left + right) / 2 - 40, bottom + 22), "denoising", fill=INK)
    lines = {
        "detail (of true drawings')": [each.detail for each in passes],
        "content kept": [1 - each.distance / each.other if each.other else 0.0 for each in passes],
        "same tags": [each.same_tags for each in passes],
        "yield": [each.yielded for each in passes],
    }
    for index, (name, values) in enumerate(lines.items()):
        places = [
            (across(each.denoise), bottom - (bottom - top) * min(max(value, 0.0), 1.0))
            for each, value in zip(passes, values, strict=True)
        ]
        color = LINE_COLORS[index]
        if len(places) > 1:
            pen.line(places, fill=color, width=3)
        for x, y in places:
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=color)
        pen.text((left + 150 * index, 6), name, fill=color)
    for index, (name, ground) in enumerate(RANGE_COLORS.items()):
        pen.rectangle((left + 90 * index, 23, left + 90 * index + 12, 35), fill=ground, outline=GRID)
        pen.text((left + 90 * index + 18, 23), name, fill=INK)
    picture.save(out_path)
