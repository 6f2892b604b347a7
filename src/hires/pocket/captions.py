"""What is seen in a scene, in the tags that people write as prompts: a canonical set, and captions as they vary."""

from __future__ import annotations

import numpy as np

from hires.pocket.geometry import regions, seen_share
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
    Scene,
)

SUBJECTS = {"girl": "1girl", "boy": "1boy"}
PLACES: dict[str, tuple[str, ...]] = {
    "blue sky": ("blue sky", "clouds"),
    "beach": ("beach", "ocean"),
    "city": ("city", "high-rises"),
    "flower field": ("flower field",),
    "forest": ("forest", "trees"),
    "mountains": ("mountains",),
    "night sky": ("night sky", "stars"),
    "sunset": ("sunset",),
    "snow": ("snow",),
    "room": ("room", "indoors"),
    "autumn": ("autumn", "falling leaves"),
    "cherry blossoms": ("cherry blossoms", "petals"),
    "brick wall": ("brick wall",),
}
COLORED_HEADWEAR = ("beret", "knit hat", "headphones")
SYNONYMS: dict[str, tuple[str, ...]] = {
    "1girl": ("girl", "a girl"),
    "1boy": ("boy", "a boy"),
    "close-up": ("portrait", "face"),
    "upper body": ("from the waist up", "bust"),
    "full body": ("full-length", "standing"),
    "cowboy shot": ("from the knees up",),
    "blonde hair": ("blond hair", "yellow hair"),
    "white hair": ("silver hair",),
    "twintails": ("pigtails",),
    "twin braids": ("braids", "braided hair"),
    "double bun": ("hair buns",),
    "closed eyes": ("eyes closed",),
    "one eye closed": ("wink", "winking"),
    "smile": ("smiling", "happy"),
    "frown": ("frowning", "sad"),
    "open mouth": ("laughing",),
    "expressionless": ("neutral expression",),
    "blush": ("blushing",),
    "mask": ("face mask",),
    "glasses": ("round glasses",),
    "straw hat": ("sun hat",),
    "knit hat": ("beanie",),
    "arms up": ("raised arms",),
    "waving": ("waving hand",),
    "bouquet": ("holding flowers",),
    "book": ("reading", "holding a book"),
    "looking to the side": ("looking away",),
    "polka dot": ("polka dots", "dotted"),
    "striped": ("stripes",),
    "checked": ("plaid",),
    "lace": ("frills",),
    "sailor uniform": ("school uniform",),
    "blue sky": ("sky",),
    "clouds": ("cloudy sky",),
    "beach": ("seaside", "sand"),
    "ocean": ("sea",),
    "city": ("cityscape", "town"),
    "high-rises": ("skyscrapers", "buildings"),
    "night": ("at night",),
    "flower field": ("field of flowers", "flowers"),
    "forest": ("woods",),
    "mountains": ("mountain landscape",),
    "night sky": ("starry sky",),
    "sunset": ("evening sun", "dusk"),
    "snow": ("winter", "snowing"),
    "indoors": ("inside a room",),
    "autumn": ("fall", "autumn trees"),
    "brick wall": ("bricks",),
    "simple background": ("plain background",),
}
SYNONYM_SHARE, MERGE_SHARE = 0.18, 0.25


def tags(scene: Scene, aspect: float = 1.0) -> set[str]:
    """The canonical tags of what is seen in a picture of this aspect, and only of that."""
    boxes = regions(scene, aspect)

    def seen(part: str, share: float) -> bool:
        return part in boxes and seen_share(boxes[part]) >= share

    found = {SUBJECTS[scene.subject], scene.framing, f"{scene.hair_color} hair", scene.hair_style}
    found.add({"open": "", "closed": "closed eyes", "wink": "one eye closed"}[scene.eyes])
    if scene.eyes != "closed":
        found.add(f"{scene.eye_color} eyes")
    if scene.mask:
        found.add("mask")
    else:
        found.add(scene.mouth)
        found.add("blush" if scene.blush else "")
    found.add("glasses" if scene.glasses else "")
    if scene.headwear is not None and seen("headwear", 0.4):
        colored = scene.headwear in COLORED_HEADWEAR
        found.add(f"{scene.headwear_color} {scene.headwear}" if colored else scene.headwear)
    if scene.hair_flower is not None:
        found.add(f"{scene.hair_flower} flower in hair")
    if scene.hair_ribbon is not None:
        found.add(f"{scene.hair_ribbon} hair ribbon")
    if scene.scarf is not None and seen("scarf", 0.6):
        found.add(f"{scene.scarf} scarf")
    found |= _clothes(scene, seen("trunk", 0.35), seen("bottom", 0.6), seen("feet", 0.8))
    if scene.pose != "arms down" and seen("hands", 0.6):
        found.add(scene.pose)
    if scene.held is not None and seen(scene.held, 0.4):
        found.add(f"{scene.held_color} {scene.held}" if scene.held in ("umbrella", "balloon") else scene.held)
    if scene.turn:
        found.add("looking to the side")
    elif scene.eyes != "closed":
        found.add("looking at viewer")
    found.add("head tilt" if scene.tilt else "")
    if scene.background == "simple background":
        found |= {"simple background", f"{scene.background_color} background"}
    else:
        found |= {*PLACES[scene.background]}
    found.add("night" if scene.night else "")
    return found - {""}


def _clothes(scene: Scene, trunk: bool, bottom: bool, feet: bool) -> set[str]:
    found = set()
    if trunk:
        found.add(_garment(scene))
        if scene.pattern != "plain":
            found.add(scene.pattern)
    if bottom and scene.bottom is not None:
        found.add(f"{scene.bottom_color} {scene.bottom}")
    if feet and scene.socks == "thighhighs" and scene.bottom != "pants" and scene.garment != "kimono":
        found.add("thighhighs")
    return found


def _garment(scene: Scene) -> str:
    return "sailor uniform" if scene.garment == "sailor uniform" else f"{scene.garment_color} {scene.garment}"


def known_tags() -> set[str]:
    """Every tag that `tags` can give."""
    garments = {garment for each in GARMENTS.values() for garment in each} - {"sailor uniform"}
    known = {*SUBJECTS.values(), *FRAMINGS, *MOUTHS, *PATTERNS[1:], *POSES[1:], "sailor uniform", "bouquet", "book"}
    known |= {style for styles in HAIR_STYLES.values() for style in styles}
    known |= {tag for place in PLACES.values() for tag in place}
    known |= {"closed eyes", "one eye closed", "mask", "blush", "glasses", "head tilt", "looking to the side",
              "looking at viewer", "simple background", "night", "thighhighs"}  # fmt: skip
    known |= {hat for hat in HEADWEAR if hat not in COLORED_HEADWEAR}
    known |= {f"{color} {hat}" for color in HEADWEAR_COLORS for hat in COLORED_HEADWEAR}
    known |= {f"{color} {held}" for color in HELD_COLORS for held in ("umbrella", "balloon")}
    known |= {f"{color} {part}" for color in BOTTOM_COLORS for parts in BOTTOMS.values() for part in parts}
    known |= {f"{color} {garment}" for color in CLOTHES for garment in garments}
    for colors, noun in ((HAIR, "hair"), (EYES, "eyes"), (FLOWERS, "flower in hair"), (PLAIN, "background"),
                         (RIBBON_COLORS, "hair ribbon"), (SCARF_COLORS, "scarf")):  # fmt: skip
        known |= {f"{color} {noun}" for color in colors}
    return known


def known_phrases() -> set[str]:
    """Every phrase that `caption` can give: tags, their synonyms, and merged tags as "long pink hair"."""
    phrases = known_tags() | {word for words in SYNONYMS.values() for word in words}
    phrases |= {f"{length} {color} hair" for length in ("long", "short") for color in HAIR}
    phrases |= {f"{color} {pattern} {garment}" for color in CLOTHES for pattern in PATTERNS[1:]
                for garment in ("dress", "shirt", "kimono")}  # fmt: skip
    return phrases


def caption(scene: Scene, rng: np.random.Generator, drop: float | None = None, aspect: float = 1.0) -> str:
    """The scene as a prompt: the subject first, the rest in varying order and words.

    Each tag but the subject is left out with the chance `drop`; None chooses none, a tenth or a third.
    """
    if drop is None:
        drop = float(rng.choice([0.0, 0.1, 0.33], p=[0.5, 0.3, 0.2]))
    found = tags(scene, aspect)
    subject = SUBJECTS[scene.subject]
    words = _merged(scene, sorted(found - {subject}, key=_usual_order), rng)
    words = [word for word in words if rng.random() >= drop]
    kind = rng.random()
    if kind < 0.4:
        rng.shuffle(words)
    elif kind < 0.6:  # the framing first, as many write
        words.sort(key=lambda word: word not in FRAMINGS)
    return ", ".join(_worded(word, rng) for word in [subject, *words])


ORDER = ("hair", "twin", "bun", "ponytail", "eyes", "eye closed", "smile", "mouth", "frown", "expressionless")


def _usual_order(tag: str) -> tuple[int, str]:
    """The head, then what is worn, then the rest; the framing last."""
    if tag in FRAMINGS:
        return 99, tag
    place = next((i for i, word in enumerate(ORDER) if word in tag), len(ORDER))
    return place + (tag in LAST) * 5, tag


LAST = {tag for place in PLACES.values() for tag in place} | {"simple background", "night"}


def _merged(scene: Scene, words: list[str], rng: np.random.Generator) -> list[str]:
    """Now and then two tags as one: "long pink hair", "white lace dress"."""
    color, style = f"{scene.hair_color} hair", scene.hair_style
    if style in ("long hair", "short hair") and rng.random() < MERGE_SHARE:
        merged = f"{style.removesuffix(' hair')} {color}"
        words = [merged if word == color else word for word in words if word != style]
    garment = _garment(scene)
    if scene.pattern in words and garment in words and rng.random() < MERGE_SHARE:
        merged = f"{scene.garment_color} {scene.pattern} {scene.garment}"
        words = [merged if word == garment else word for word in words if word != scene.pattern]
    return words


def _worded(tag: str, rng: np.random.Generator) -> str:
    if tag in SYNONYMS and rng.random() < SYNONYM_SHARE:
        return SYNONYMS[tag][int(rng.integers(len(SYNONYMS[tag])))]
    return tag
