"""A scene: every choice that a drawing depends on, and the chance that makes scenes from seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hires.pocket.palette import CLOTHES, EYES, FLOWERS, HAIR, PLAIN, SKINS

FRAMINGS = ("close-up", "upper body", "cowboy shot", "full body")
HAIR_STYLES = {
    "girl": ("long hair", "short hair", "twintails", "ponytail", "twin braids", "double bun"),
    "boy": ("short hair",),
}
FRINGES = {"girl": ("blunt", "swept", "parted", "tufts"), "boy": ("tufts", "swept", "spiky")}
MOUTHS = ("smile", "open mouth", "frown", "expressionless")
HATS = ("straw hat", "witch hat", "beret", "knit hat")
HEADWEAR = (*HATS, "crown", "cat ears", "headphones")
GARMENTS = {
    "girl": ("dress", "shirt", "sweater", "hoodie", "sailor uniform", "kimono"),
    "boy": ("shirt", "sweater", "hoodie", "kimono"),
}
PATTERNS = ("plain", "striped", "polka dot", "checked", "lace")
PATTERNED = {"dress": PATTERNS, "shirt": PATTERNS[:4], "kimono": ("plain", "polka dot", "checked")}
"""What a garment may be patterned with; sweaters are knitted, hoodies and uniforms plain."""
BOTTOMS = {"girl": ("skirt", "pants", "shorts"), "boy": ("pants", "shorts")}
BOTTOM_COLORS = ("blue", "black", "white", "red", "green")
HEADWEAR_COLORS = ("red", "blue", "black", "pink", "green", "white")
RIBBON_COLORS = ("red", "blue", "white", "black")
SCARF_COLORS = ("red", "blue", "white", "green")
HELD_COLORS = ("red", "blue", "yellow", "pink")
POSES = ("arms down", "arms behind back", "arms up", "waving", "hand on hip")
HELD = ("umbrella", "bouquet", "balloon", "book")
BACKGROUNDS = (
    "simple background",
    "blue sky",
    "beach",
    "city",
    "flower field",
    "forest",
    "mountains",
    "night sky",
    "sunset",
    "snow",
    "room",
    "autumn",
    "cherry blossoms",
    "brick wall",
)


@dataclass(frozen=True)
class Scene:
    """One subject before one background. `x`, `y` (of the face's centre) and `size` (the face's half width) are in
    units of the picture's height, x counted from its middle; angles in radians; colours by name."""

    seed: int
    """For what no field names: how strands fall, where clouds and flowers stand, small shifts of colours."""
    subject: str
    framing: str
    x: float
    y: float
    size: float
    tilt: float
    turn: float
    """-1..1: how far the head is turned, to the picture's left or right."""
    skin: int
    hair_color: str
    hair_style: str
    fringe: str
    eyes: str
    """open, closed or wink"""
    eye_color: str
    mouth: str
    blush: bool
    headwear: str | None
    headwear_color: str
    hair_flower: str | None
    hair_ribbon: str | None
    glasses: bool
    mask: bool
    scarf: str | None
    garment: str
    garment_color: str
    pattern: str
    bottom: str | None
    """None under a garment that reaches the knees."""
    bottom_color: str
    socks: str
    """bare, socks or thighhighs"""
    shoe_color: str
    pose: str
    held: str | None
    held_color: str
    background: str
    background_color: str
    night: bool
    """City by night: lit windows."""


TOP = {None: -1.5, "straw hat": -2.1, "witch hat": -2.75, "beret": -1.85, "knit hat": -2.1, "crown": -2.0,
       "cat ears": -2.0, "headphones": -1.65}  # fmt: skip
"""How high a head reaches with what it wears, in face half widths from the face's centre."""
UMBRELLA_TOP = -2.9
BODY, COLLAR = 0.76, 1.3
"""A body is drawn so much smaller than its head's units say, from this height on: large heads keep their features where
a whole figure is small."""


def below(y: float) -> float:
    """Where a height of the body comes to lie, in the face's units."""
    return COLLAR + (y - COLLAR) * BODY


SOLE = below(5.3)
"""Where the shoes end."""


class _Chance:
    """Draws from one generator, in the words of this file."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 7])

    def of(self, choices: Sequence[str], *shares: float) -> str:
        if not shares:
            return choices[int(self.rng.integers(len(choices)))]
        edges = np.cumsum(shares) / np.sum(shares)
        return choices[int(np.searchsorted(edges, self.rng.random(), side="right"))]

    def one_in(self, count: float) -> bool:
        return bool(self.rng.random() * count < 1)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def about(self, middle: float, spread: float) -> float:
        """Normal, cut at two spreads."""
        return middle + spread * float(np.clip(self.rng.normal(), -2, 2))


def _place(chance: _Chance, framing: str, headwear: str | None, held: str | None) -> tuple[float, float, float]:
    """x, y, size so that the framing is what its name says and what is worn fits in."""
    top = min(TOP[headwear], UMBRELLA_TOP if held == "umbrella" else 0.0)
    if framing == "close-up":
        size = chance.between(0.27, 0.34)
        return chance.about(0, 0.04), chance.between(0.5, 0.56) + 0.03 * (top < -1.6), size
    if framing == "upper body":
        size = chance.between(0.205, 0.25)
        if held == "umbrella":
            size *= 0.88
        return chance.about(0, 0.06), max(chance.between(0.36, 0.42), 0.03 - 0.8 * top * size), size
    if framing == "cowboy shot":
        size = chance.between(0.18, 0.2)
        y = max(chance.between(0.3, 0.34), 0.03 - 0.9 * top * size)
        return chance.about(0, 0.08), y, min(size, (1 - y) / below(4.1))
    size = min(chance.between(0.152, 0.167), 0.95 / (SOLE - top))
    return chance.about(0, 0.1), chance.between(0.955, 0.975) - SOLE * size, size


def random_scene(seed: int) -> Scene:
    """The scene of a seed, the same on every machine."""
    chance = _Chance(seed)
    subject = chance.of(("girl", "boy"), 0.76, 0.24)
    girl = subject == "girl"
    framing = chance.of(FRAMINGS, 0.25, 0.33, 0.2, 0.22)
    hair_style = chance.of(HAIR_STYLES[subject])
    background = chance.of(BACKGROUNDS, 2.2, *[1.0] * (len(BACKGROUNDS) - 1))
    headwear = chance.of(HEADWEAR) if chance.one_in(3.2) else None
    mask = chance.one_in(16)
    garment = chance.of(GARMENTS[subject], *((3, 2, 1.3, 1.3, 1.3, 1.1) if girl else (3, 2, 2, 1)))
    pattern = "plain"
    if garment in PATTERNED and not chance.one_in(2.6):
        pattern = chance.of(PATTERNED[garment][1:])
    close = framing == "close-up"
    held = chance.of(HELD, 2.2, 1, 1, 1) if not close and chance.one_in(3) else None
    if held == "umbrella" and headwear in ("witch hat", "straw hat"):
        headwear = None
    pose = "arms down" if close or held else chance.of(POSES, 2, 1, 1, 1.2, 1.2)
    if headwear in HATS and hair_style == "double bun":
        hair_style = "twin braids"  # a hat would hide the buns
    x, y, size = _place(chance, framing, headwear, held)
    if held == "balloon":
        x = min(x, 0.48 - 2.6 * size)
    turn = 0.0 if chance.one_in(1.7) else chance.between(0.45, 1.0) * (1 if chance.one_in(2) else -1)
    return Scene(
        seed=seed,
        subject=subject,
        framing=framing,
        x=x,
        y=y,
        size=size,
        tilt=chance.between(0.12, 0.2) * (1 if chance.one_in(2) else -1) if chance.one_in(4) else 0.0,
        turn=turn,
        skin=int(chance.of("01234"[: len(SKINS)], 0.36, 0.27, 0.17, 0.11, 0.09)),
        hair_color=chance.of(tuple(HAIR)),
        hair_style=hair_style,
        fringe=chance.of(FRINGES[subject]),
        eyes=chance.of(("open", "closed", "wink"), 0.68, 0.24, 0.08),
        eye_color=chance.of(tuple(EYES)),
        mouth=chance.of(MOUTHS, 0.4, 0.25, 0.15, 0.2),
        blush=chance.one_in(4),
        headwear=headwear,
        headwear_color=chance.of(HEADWEAR_COLORS),
        hair_flower=chance.of(tuple(FLOWERS)) if girl and headwear not in HATS and chance.one_in(4) else None,
        hair_ribbon=(
            chance.of(RIBBON_COLORS)
            if girl and headwear is None and hair_style not in ("twintails", "double bun") and chance.one_in(6)
            else None
        ),
        glasses=chance.one_in(9),
        mask=mask,
        scarf=chance.of(SCARF_COLORS) if chance.one_in(12 if background != "snow" else 2) else None,
        garment=garment,
        garment_color=chance.of(tuple(CLOTHES)),
        pattern=pattern,
        bottom=None
        if garment in ("dress", "kimono")
        else chance.of(BOTTOMS[subject], *((5, 2, 2) if girl else (3, 2))),
        bottom_color=chance.of(BOTTOM_COLORS),
        socks=chance.of(("bare", "socks", "thighhighs"), 1, 2, 1 if girl else 0),
        shoe_color=chance.of(("brown", "red", "white", "black", "blue")),
        pose=pose,
        held=held,
        held_color=chance.of(HELD_COLORS),
        background=background,
        background_color=chance.of(tuple(PLAIN)),
        night=background == "city" and chance.one_in(3),
    )


def random_group(seed: int, count: int) -> tuple[Scene, ...]:
    """`count` (2 or more) scenes placed in one picture, the first one's background, for what must learn to count.

    Subjects stand side by side; now and then one is above another, as when a model repeats itself on a large canvas.
    """
    chance = _Chance(seed + 0x5EED)
    stacked = chance.one_in(4)
    spread = 0.92 if stacked else 1.0
    scenes = []
    for index in range(count):
        scene = random_scene(int(chance.rng.integers(1 << 40)))
        place = (index + 0.5) / count - 0.5
        largest = spread * 0.5 / count * chance.between(0.62, 0.9)
        size = min(scene.size, largest)
        x = place * spread + chance.about(0, 0.02)
        y = chance.between(0.3, 0.5)
        if scene.framing == "full body":
            size = min(size, 0.95 / (SOLE - TOP[scene.headwear]))
            y = chance.between(0.94, 0.975) - SOLE * size
        if stacked:
            size = min(size, 0.5 / (count - 1) / 2.7)  # a head's height, so that none hides another
            x, y = chance.about(0, 0.12), 0.22 + 0.5 * index / (count - 1) + chance.about(0, 0.03)
        held = None if scene.held == "umbrella" else scene.held
        scenes.append(replace(scene, x=x, y=y, size=size, held=held))
    return tuple(scenes)
