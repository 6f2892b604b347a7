"""The tags of the drawings in groups of which a picture shows one or none: what the classifier tells apart."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from hires.pocket.captions import COLORED_HEADWEAR, PLACES, SUBJECTS
from hires.pocket.palette import CLOTHES, EYES, FLOWERS, HAIR, PLAIN
from hires.pocket.scene import (
    BOTTOM_COLORS,
    BOTTOMS,
    FRAMINGS,
    GARMENTS,
    HAIR_STYLES,
    HEADWEAR,
    HEADWEAR_COLORS,
    HELD_COLORS,
    MOUTHS,
    PATTERNS,
    POSES,
    RIBBON_COLORS,
    SCARF_COLORS,
)

NONE = "none"
"""The first class of every group: no tag of the group is there, or its part is not seen."""

Classes = Mapping[str, frozenset[str]]
"""The classes of a group in their order; each is there where any of its tags is."""


def _each(tags: Iterable[str]) -> Classes:
    return {tag: frozenset({tag}) for tag in tags}


def _coloured(colors: Iterable[str], nouns: Collection[str]) -> Classes:
    """Classes by colour, whatever the noun."""
    return {color: frozenset(f"{color} {noun}" for noun in nouns) for color in colors}


def _nouns(nouns: Iterable[str], colors: Iterable[str]) -> Classes:
    """Classes by noun, whatever the colour, or with none."""
    colors = tuple(colors)
    return {noun: frozenset({noun, *(f"{color} {noun}" for color in colors)}) for noun in nouns}


_GARMENTS = tuple(dict.fromkeys(garment for each in GARMENTS.values() for garment in each))
_BOTTOMS = tuple(dict.fromkeys(bottom for each in BOTTOMS.values() for bottom in each))
_STYLES = tuple(dict.fromkeys(style for each in HAIR_STYLES.values() for style in each))
_HELD = ("umbrella", "balloon")

GROUPS: Mapping[str, Classes] = {
    "subject": _each(SUBJECTS.values()),
    "framing": _each(FRAMINGS),
    "hair colour": _coloured(HAIR, ("hair",)),
    "hair style": _each(_STYLES),
    "eyes": {
        **_each(("closed eyes", "one eye closed")),
        "open eyes": frozenset(f"{color} eyes" for color in EYES),
    },
    "eye colour": _coloured(EYES, ("eyes",)),
    "expression": _each(MOUTHS),
    "blush": _each(("blush",)),
    "gaze": _each(("looking to the side",)),
    "head tilt": _each(("head tilt",)),
    "scene": {
        **{place: frozenset(tags) for place, tags in PLACES.items()},
        "simple background": frozenset({"simple background"}),
    },
    "night": _each(("night",)),
    "background colour": _coloured(PLAIN, ("background",)),
    "garment": _nouns(_GARMENTS, CLOTHES),
    "garment colour": _coloured(CLOTHES, _GARMENTS),
    "pattern": _each(PATTERNS[1:]),
    "bottom": _nouns(_BOTTOMS, BOTTOM_COLORS),
    "bottom colour": _coloured(BOTTOM_COLORS, _BOTTOMS),
    "legwear": _each(("thighhighs",)),
    "headwear": _nouns(HEADWEAR, HEADWEAR_COLORS),
    "headwear colour": _coloured(HEADWEAR_COLORS, COLORED_HEADWEAR),
    "flower": _coloured(FLOWERS, ("flower in hair",)),
    "ribbon": _coloured(RIBBON_COLORS, ("hair ribbon",)),
    "scarf": _coloured(SCARF_COLORS, ("scarf",)),
    "glasses": _each(("glasses",)),
    "mask": _each(("mask",)),
    "pose": _each(POSES[1:]),
    "held": _nouns((*_HELD, "bouquet", "book"), HELD_COLORS),
    "held colour": _coloured(HELD_COLORS, _HELD),
}
"""Every tag is in at least one group; "looking at viewer" follows from open eyes and the gaze, and is left out."""

CLASS_NAMES: Mapping[str, tuple[str, ...]] = {name: (NONE, *classes) for name, classes in GROUPS.items()}


def labels(tags: Collection[str]) -> tuple[int, ...]:
    """The class of each group, in the order of GROUPS, that canonical tags state; 0 where they state none."""
    return tuple(_label(classes, tags) for classes in GROUPS.values())


def _label(classes: Classes, tags: Collection[str]) -> int:
    return next((1 + i for i, names in enumerate(classes.values()) if any(name in tags for name in names)), 0)
