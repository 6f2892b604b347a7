"""Drawings as no one would draw them: halves of two, doubled heads, torn, warped and smeared faces, grids of pictures.

A bad picture of a model looks like these more than like a drawing. Each comes with the faces that are still in it and
with what has become of them, so that the detector learns what "intact" means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from hires.pocket.geometry import regions
from hires.pocket.scene import Scene
from hires.pocket.sight import Picture, reduced

WHOLE, HIDDEN = 0.88, 0.25
"""Above the one share of a face that is left it is whole, below the other it is gone; between them it is damaged."""
BODY_WHOLE, BODY_TORN = 0.8, 0.55
"""The same for the trunk below a whole face; between the two nobody can say, and nothing is learned from it."""
DISC = np.array([(x, y) for x in np.linspace(-0.9, 0.9, 9) for y in np.linspace(-1, 1.05, 10) if x * x + y * y <= 1.1])

Mask = NDArray[np.float64]


@dataclass(frozen=True)
class Mark:
    """A face in a picture: its centre and half width in pixels, the box of its trunk (left, top, right, bottom).

    `intact` is None where it cannot be said whether it is.
    """

    x: float
    y: float
    radius: float
    trunk: tuple[float, ...]
    intact: bool | None = True


Marked = tuple[Picture, list[Mark]]
Damage = Callable[[Marked, Marked, np.random.Generator], Marked]
"""What is done to the first of two pictures of one size, the second one at hand."""


def marks(scenes: Sequence[Scene], side: int) -> list[Mark]:
    """The faces of a drawing of `side` pixels a side."""
    found = []
    for scene in scenes:
        boxes = regions(scene)
        left, _, right, bottom = (side * edge for edge in boxes["face"])
        trunk = tuple(float(np.clip(side * edge, 0, side)) for edge in boxes["trunk"])
        found.append(Mark((left + right) / 2, bottom - 1.1 * side * scene.size, side * scene.size, trunk))
    return found


def _left_of(mask: Mask, mark: Mark) -> tuple[float, float]:
    """Shares of a mark's face and trunk where the mask is set; 1 for a trunk that is not in the picture."""
    points = np.array([mark.x, mark.y]) + mark.radius * DISC
    face = _share(mask, points)
    left, top, right, bottom = mark.trunk
    if bottom - top < 0.4 * mark.radius:
        return face, 1.0
    across, down = np.meshgrid(np.linspace(left, right, 6), np.linspace(top, bottom, 6))
    return face, _share(mask, np.stack([across.ravel(), down.ravel()], 1))


def _share(mask: Mask, points: NDArray[np.float64]) -> float:
    height, width = mask.shape
    whole = np.rint(points).astype(int)
    inside = (whole[:, 0] >= 0) & (whole[:, 0] < width) & (whole[:, 1] >= 0) & (whole[:, 1] < height)
    if not inside.any():
        return 0.0
    return float(mask[whole[inside, 1], whole[inside, 0]].mean())


def under(mask: Mask, found: Sequence[Mark]) -> list[Mark]:
    """What is left of the marks where the mask (0..1) keeps the picture."""
    left = []
    for mark in found:
        face, trunk = _left_of(mask, mark)
        if face < HIDDEN:
            continue
        intact = mark.intact
        if face < WHOLE or trunk < BODY_TORN:
            intact = False
        elif trunk < BODY_WHOLE and intact:
            intact = None
        left.append(replace(mark, intact=intact))
    return left


def laid_over(first: Marked, second: Marked, mask: Mask) -> Marked:
    """The first picture where the mask is 1, the second where it is 0."""
    picture = first[0] * mask[..., None] + second[0] * (1 - mask[..., None])
    return np.rint(picture).astype(np.uint8), under(mask, first[1]) + under(1 - mask, second[1])


def halves(first: Marked, second: Marked, rng: np.random.Generator) -> Marked:
    """Two pictures along a line through or past a face."""
    height, width = first[0].shape[:2]
    x, y, radius = _aim(first, rng)
    angle = float(rng.choice([0.0, np.pi / 2, np.pi, -np.pi / 2])) + float(rng.normal(0, 0.25))
    down, across = np.mgrid[:height, :width]
    place = float(rng.normal(0, 1.3)) * radius
    along = (across - x) * np.cos(angle) + (down - y) * np.sin(angle) - place
    return laid_over(first, second, 1 / (1 + np.exp(-np.clip(along / float(rng.uniform(0.3, 3.0)), -40, 40))))


def pasted(first: Marked, second: Marked, rng: np.random.Generator) -> Marked:
    """A part of the second picture into the first, often over a face."""
    height, width = first[0].shape[:2]
    x, y, radius = _aim(first, rng)
    if rng.random() < 0.4:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
    rx, ry = radius * rng.uniform(0.4, 2.0, 2)
    down, across = np.mgrid[:height, :width]
    across, down = (across - x) / rx, (down - y) / ry
    distance = np.maximum(abs(across), abs(down)) if rng.random() < 0.5 else np.hypot(across, down)
    mask = 1 - np.clip((1.05 - distance) / float(rng.uniform(0.05, 0.4)), 0, 1)
    return laid_over(first, second, mask)


def doubled(first: Marked, second: Marked, rng: np.random.Generator) -> Marked:
    """A head a second time, beside or above the first one, or half over it."""
    height, width = first[0].shape[:2]
    if not first[1]:
        return first
    mark = first[1][int(rng.integers(len(first[1])))]
    angle, far = rng.uniform(0, 2 * np.pi), mark.radius * rng.uniform(0.5, 2.6)
    move = np.array([np.cos(angle) * far, np.sin(angle) * far])
    x, y = np.clip(np.array([mark.x, mark.y]) + move, 0.3 * mark.radius, np.array([width, height]) - 0.3 * mark.radius)
    dx, dy = round(float(x - mark.x)), round(float(y - mark.y))
    moved = np.roll(first[0], (dy, dx), (0, 1))
    down, across = np.mgrid[:height, :width]
    distance = np.hypot((across - mark.x - dx) / 1.25, (down - mark.y - dy + 0.1 * mark.radius) / 1.35)
    mask = np.clip((distance - mark.radius) / (0.15 * mark.radius) + 1, 0, 1)
    copy = replace(mark, x=mark.x + dx, y=mark.y + dy, trunk=(0.0, 0.0, 0.0, 0.0))
    picture, left = laid_over(first, (moved, [copy]), mask)
    return picture, left


def torn(first: Marked, second: Marked, rng: np.random.Generator) -> Marked:
    """A face whose parts are moved along a line through it."""
    return _of_a_face(first, rng, _shift)


def warped(first: Marked, second: Marked, rng: np.random.Generator) -> Marked:
    """A face as through bad glass."""
    return _of_a_face(first, rng, _warp)


def smeared(first: Marked, second: Marked, rng: np.random.Generator) -> Marked:
    """A face without features: blurred away."""
    return _of_a_face(first, rng, _smear)


def melted(first: Marked, second: Marked, rng: np.random.Generator) -> Marked:
    """The whole picture through bad glass, or blurred until no face is one."""
    height, width = first[0].shape[:2]
    radius = max((mark.radius for mark in first[1]), default=0.2 * width)
    everywhere = np.ones((height, width))
    change = _warp if rng.random() < 0.6 else _smear
    picture = change(first[0].astype(np.float64), 0.5 * width, 0.5 * height, radius, everywhere, rng)
    return _whole(picture), [replace(mark, intact=False) for mark in first[1]]


def grid(pictures: Sequence[Marked], rng: np.random.Generator) -> Marked:
    """Four or nine pictures in one, as a model repeats itself on a canvas that is too large."""
    count = 2 if len(pictures) < 9 else 3
    side = pictures[0][0].shape[0]
    cell = -(-side // count)
    sheet = np.zeros((cell * count, cell * count, 3), np.uint8)
    found = []
    for index, (picture, faces) in enumerate(pictures[: count * count]):
        top, left = index // count * cell, index % count * cell
        sheet[top : top + cell, left : left + cell] = reduced(picture, cell)
        scale = cell / side
        for face in faces:
            trunk = tuple(scale * edge + (left, top)[i % 2] for i, edge in enumerate(face.trunk))
            found.append(Mark(face.x * scale + left, face.y * scale + top, face.radius * scale, trunk, face.intact))
    shown = [face for face in found if face.x < side and face.y < side]
    return sheet[:side, :side], shown


DAMAGES: dict[str, tuple[Damage, float]] = {
    "halves": (halves, 2.0),
    "pasted": (pasted, 1.5),
    "doubled": (doubled, 1.5),
    "torn": (torn, 1.0),
    "warped": (warped, 1.5),
    "smeared": (smeared, 1.0),
    "melted": (melted, 1.5),
}
"""What may be done to a picture, and how often against the others."""


def damaged(first: Marked, second: Marked, rng: np.random.Generator) -> Marked:
    """One of DAMAGES."""
    shares = np.array([share for _, share in DAMAGES.values()])
    kind = list(DAMAGES)[int(rng.choice(len(shares), p=shares / shares.sum()))]
    return DAMAGES[kind][0](first, second, rng)


def _aim(marked: Marked, rng: np.random.Generator) -> tuple[float, float, float]:
    """Where damage is done: at one of the faces."""
    if not marked[1]:
        side = marked[0].shape[0]
        return side / 2, side / 2, side / 5
    mark = marked[1][int(rng.integers(len(marked[1])))]
    return mark.x, mark.y, mark.radius


Change = Callable[[NDArray[np.float64], float, float, float, Mask, np.random.Generator], NDArray[np.float64]]


def _of_a_face(marked: Marked, rng: np.random.Generator, change: Change) -> Marked:
    """One face of the picture changed, and so damaged."""
    picture, found = marked
    if not found:
        return marked
    which = int(rng.integers(len(found)))
    mark = found[which]
    down, across = np.mgrid[: picture.shape[0], : picture.shape[1]]
    distance = np.hypot(across - mark.x, down - mark.y) / mark.radius
    near = np.clip((1.5 - distance) / 0.3, 0, 1)
    changed = change(picture.astype(np.float64), mark.x, mark.y, mark.radius, near, rng)
    left = [replace(each, intact=False) if index == which else each for index, each in enumerate(found)]
    return _whole(changed), left


def _shift(
    picture: NDArray[np.float64], x: float, y: float, radius: float, near: Mask, rng: np.random.Generator
) -> NDArray[np.float64]:
    far = max(2, round(radius * float(rng.uniform(0.35, 0.9)))) * int(rng.choice([-1, 1]))
    axis = int(rng.integers(2))
    down, across = np.mgrid[: picture.shape[0], : picture.shape[1]]
    line = radius * float(rng.uniform(-0.2, 0.5))
    beyond = (down > y + line) if axis else (across > x + line)
    mask = (near * beyond)[..., None]
    return picture * (1 - mask) + np.roll(picture, far, axis) * mask


def _warp(
    picture: NDArray[np.float64], x: float, y: float, radius: float, near: Mask, rng: np.random.Generator
) -> NDArray[np.float64]:
    width = radius * float(rng.uniform(0.18, 0.35))
    strength = radius * float(rng.uniform(0.22, 0.4))
    places = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float64)
    for axis in range(2):
        field = gaussian_filter(rng.normal(size=near.shape), width)
        places[axis] += near * field * (strength / field.std())
    channels = [map_coordinates(picture[..., c], places, order=1, mode="nearest") for c in range(3)]
    return np.stack(channels, -1)


def _smear(
    picture: NDArray[np.float64], x: float, y: float, radius: float, near: Mask, rng: np.random.Generator
) -> NDArray[np.float64]:
    width = max(1.5, radius * float(rng.uniform(0.22, 0.5)))
    mask = near[..., None]
    return picture * (1 - mask) + gaussian_filter(picture, (width, width, 0)) * mask


def _whole(picture: NDArray[np.float64]) -> Picture:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
