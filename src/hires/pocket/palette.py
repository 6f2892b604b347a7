"""The colours of the drawings, named as prompts name them, and the few sums done with colours. RGB in 0..255."""

from __future__ import annotations

Color = tuple[float, float, float]

WHITE: Color = (255, 255, 255)
INK: Color = (46, 30, 44)
"""What outlines are mixed with: never black, which looks hard beside soft shading."""

HAIR: dict[str, Color] = {
    "pink": (250, 150, 185),
    "blonde": (250, 216, 118),
    "black": (62, 56, 74),
    "brown": (138, 88, 58),
    "blue": (92, 146, 232),
    "red": (208, 62, 56),
    "white": (236, 236, 246),
    "purple": (156, 108, 206),
    "green": (104, 184, 120),
    "orange": (246, 152, 62),
}
EYES: dict[str, Color] = {
    "blue": (44, 122, 226),
    "green": (40, 160, 92),
    "brown": (136, 84, 44),
    "red": (206, 44, 56),
    "purple": (144, 76, 208),
    "yellow": (232, 172, 32),
}
CLOTHES: dict[str, Color] = {
    "white": (248, 247, 250),
    "red": (216, 60, 66),
    "blue": (70, 112, 208),
    "black": (62, 58, 70),
    "yellow": (248, 218, 96),
    "green": (84, 168, 104),
    "pink": (250, 172, 198),
    "purple": (152, 106, 198),
}
FLOWERS: dict[str, Color] = {
    "red": (232, 66, 84),
    "white": (252, 250, 250),
    "yellow": (252, 206, 70),
    "pink": (252, 150, 190),
    "blue": (110, 150, 240),
}
PLAIN: dict[str, Color] = {
    "white": (246, 245, 248),
    "pink": (252, 208, 222),
    "blue": (172, 208, 244),
    "yellow": (252, 236, 172),
    "green": (190, 228, 190),
    "grey": (176, 178, 186),
    "purple": (212, 194, 240),
}
SKINS: tuple[Color, ...] = (
    (255, 230, 212),
    (253, 219, 193),
    (242, 200, 166),
    (212, 162, 122),
    (160, 112, 82),
)


def mix(first: Color, second: Color, share: float) -> Color:
    """`first` with a `share` (0..1) of `second`."""
    keep = 1 - share
    return (
        first[0] * keep + second[0] * share,
        first[1] * keep + second[1] * share,
        first[2] * keep + second[2] * share,
    )


def shade(color: Color, share: float) -> Color:
    """Darker towards a cool violet, as painters shade; a plain multiplication looks dirty."""
    return mix(color, (color[0] * 0.42, color[1] * 0.34, color[2] * 0.52), share)


def light(color: Color, share: float) -> Color:
    """Lighter towards white."""
    return mix(color, WHITE, share)


def line(color: Color) -> Color:
    """The colour of an outline round a surface of `color`."""
    return mix(shade(color, 0.85), INK, 0.35)


def jitter(color: Color, offset: tuple[float, float, float], amount: float) -> Color:
    """`color` moved by `offset` (-1..1 a channel) times `amount`, kept in range."""
    r, g, b = (min(255.0, max(0.0, c + o * amount)) for c, o in zip(color, offset, strict=True))
    return (r, g, b)


def luminance(color: Color) -> float:
    """Rec. 709 weights on the encoded values, 0..255: enough to choose a contrasting trim."""
    return 0.2126 * color[0] + 0.7152 * color[1] + 0.0722 * color[2]
