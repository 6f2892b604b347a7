"""The sky: gradients, clouds, stars, moon and sun. Units are the picture's height, x counted from its middle."""

from __future__ import annotations

import math

import numpy as np

from hires.pocket.brush import SPAN, Brush, Path, arcs, ellipse, rectangle, segments, skia, smooth, star
from hires.pocket.palette import WHITE, Color, light, mix


def wash(brush: Brush, top: float, bottom: float, *colors: Color) -> None:
    """Evenly spaced colours from the height `top` down to `bottom`, over the whole width."""
    stops = [(i / (len(colors) - 1), color, 1.0) for i, color in enumerate(colors)]
    band = rectangle(-SPAN, top - (0.01 if top == 0 else 0), SPAN, bottom + (0.01 if bottom == 1 else 0))
    brush.draw(band, brush.linear((0, top), (0, bottom), *stops))


def cloud(brush: Brush, x: float, y: float, size: float, color: Color, under: Color, rng: np.random.Generator) -> None:
    """A heap of bumps on a flat base, `size` half its width; small curls inside when large."""
    bumps = rng.uniform(0, 1, (6, 2)).tolist()
    if not brush.sees(x - size * 1.3, y - size, x + size * 1.3, y + size * 0.3):
        return
    sk = skia()
    builder = sk.PathBuilder()
    curls = []
    for i, (u, v) in enumerate(bumps):
        t = i / 5 * 2 - 1
        r = size * (0.44 - 0.2 * abs(t)) * (0.85 + 0.4 * u)
        cx, cy = x + t * size * 0.8 + (v - 0.5) * 0.1 * size, y - r * 0.6 - (1 - abs(t)) * size * 0.12
        builder.addOval(sk.Rect.MakeLTRB(cx - r, cy - r, cx + r, cy + r))
        curls.append((cx - r * 0.5, cy - r * 0.2, cx - r * 0.2, cy - r * 0.75, cx + r * 0.3, cy - r * 0.5))
    base = sk.Rect.MakeLTRB(x - size * 1.05, y - size * 0.2, x + size * 1.05, y + size * 0.03)
    builder.addRRect(sk.RRect.MakeRectXY(base, size * 0.11, size * 0.11))
    path = builder.detach()
    brush.falling(path, y - size * 0.75, y + size * 0.05, color, under)
    brush.fine(arcs(curls), mix(under, WHITE, 0.3), size * 0.025, 0.7)


def clouds(
    brush: Brush, rng: np.random.Generator, top: float, bottom: float, count: int, color: Color = WHITE,
    under: Color = (206, 226, 246), size: float = 0.13,
) -> None:  # fmt: skip
    """`count` to a width of one height; larger ones are lower, as if nearer."""
    total = count * 3
    places = (np.arange(total) + rng.uniform(0, 1, total)) / total
    heights = rng.permuted((np.arange(total) + rng.uniform(0, 1, total)) / total)
    scales = rng.uniform(0.6, 1.25, total)
    for u, v, s in zip(places.tolist(), heights.tolist(), scales.tolist(), strict=True):
        cloud(brush, (u * 2 - 1) * SPAN, top + (bottom - top) * v, size * s, color, under, rng)


def birds(brush: Brush, rng: np.random.Generator, color: Color = (70, 84, 120)) -> None:
    spots = rng.uniform(0, 1, (9, 3)).tolist()
    curves = []
    for u, v, s in spots:
        x, y, w = (u * 2 - 1) * SPAN, 0.06 + 0.24 * v, 0.012 + 0.012 * s
        curves += [
            (x, y, x - w * 0.6, y - w * 0.8, x - w, y - w * 0.2),
            (x, y, x + w * 0.6, y - w * 0.8, x + w, y - w * 0.2),
        ]
    brush.stroke(arcs(curves), color, 0.0045)


def stars(brush: Brush, rng: np.random.Generator, bottom: float) -> None:
    """Few bright ones with rays, and very many faint ones that only show when large."""
    bright = rng.uniform(0, 1, (150, 3))
    bright[:, 0] = (bright[:, 0] * 2 - 1) * SPAN
    bright[:, 1] *= bottom
    order = bright[:, 2]
    brush.dots(bright[order < 0.55, :2], 0.0032, (255, 250, 226))
    brush.dots(bright[(order >= 0.55) & (order < 0.85), :2], 0.005, (255, 252, 236))
    for x, y, s in bright[order >= 0.85].tolist():
        brush.fill(star(x, y, 0.014 + 0.05 * (s - 0.85), 4, 0.22), (255, 252, 232))
    faint = rng.uniform(0, 1, (900, 2))
    dust = np.stack([(faint[:, 0] * 2 - 1) * SPAN, faint[:, 1] * bottom], axis=1)
    brush.dots(dust[:600], 0.0012, (214, 222, 255), 0.8)
    # the milky way: dust along a slanted band
    band = rng.normal(0, 0.06, 700)
    along = rng.uniform(-SPAN, SPAN, 700)
    milky = np.stack([along, 0.32 - 0.3 * along + band], axis=1)
    brush.dots(milky[milky[:, 1] < bottom], 0.0013, (226, 226, 255), 0.75)


def moon(brush: Brush, x: float, y: float, radius: float) -> None:
    brush.soft(x, y, radius * 2.6, radius * 2.6, (255, 244, 200), 0.5)
    disc = ellipse(x, y, radius)
    brush.draw(
        disc,
        brush.radial(
            x - radius * 0.3, y - radius * 0.3, radius * 1.5, (0, (255, 252, 232), 1), (1, (246, 222, 150), 1)
        ),
    )
    for dx, dy, r in ((-0.3, -0.2, 0.22), (0.25, 0.3, 0.28), (0.35, -0.4, 0.14), (-0.4, 0.45, 0.12)):
        brush.fill(ellipse(x + dx * radius, y + dy * radius, r * radius), (236, 212, 146), 0.7)


def sun(brush: Brush, x: float, y: float, radius: float, color: Color) -> None:
    brush.soft(x, y, radius * 4.2, radius * 4.2, light(color, 0.4), 0.75)
    disc = ellipse(x, y, radius)
    brush.draw(disc, brush.radial(x, y, radius, (0, (255, 252, 226), 1), (0.7, light(color, 0.5), 1), (1, color, 1)))


def rays(brush: Brush, x: float, y: float, length: float, color: Color, alpha: float) -> None:
    """Broad shafts of light from a point above."""
    for i in range(7):
        a, half = math.pi * (0.16 + 0.68 * i / 6), 0.035 + 0.02 * (i % 3)
        points = [
            (x, y),
            (x + length * math.cos(a - half), y + length * math.sin(a - half)),
            (x + length * math.cos(a + half), y + length * math.sin(a + half)),
        ]
        path = smooth([(px, py, 0) for px, py in points])
        brush.draw(path, brush.radial(x, y, length, (0, color, alpha), (1, color, 0)))


def glitter(
    brush: Brush, rng: np.random.Generator, top: float, bottom: float, color: Color, alpha: float = 1.0
) -> None:
    """Light on water: short strokes, finer and closer towards the horizon."""
    spots = rng.uniform(0, 1, (260, 3))
    for part, (low, high) in enumerate(((0.0, 0.25), (0.25, 0.6), (0.6, 1.0))):
        near = (low + high) / 2
        rows = spots[part::3]
        lines = []
        for u, v, w in rows.tolist():
            x, y = (u * 2 - 1) * SPAN, top + (bottom - top) * (low + (high - low) * v)
            lines.append((x, y, x + (0.012 + 0.06 * near) * (0.4 + w), y))
        brush.fine(segments(lines), color, 0.0018 + 0.0042 * near, alpha)


def ridge(
    rng: np.random.Generator, base: float, height: float, steps: int = 24, rough: float = 1.0
) -> list[tuple[float, float]]:
    """A mountain's or hill's profile from left to right: a few waves, rougher on demand."""
    phases = rng.uniform(0, math.tau, 4).tolist()
    points = []
    for i in range(steps + 1):
        x = -SPAN + 2 * SPAN * i / steps
        y = sum(
            a * math.sin(f * x + p)
            for a, f, p in zip((0.5, 0.3, 0.2 * rough, 0.1 * rough), (2.1, 4.3, 9.1, 17.0), phases, strict=True)
        )
        points.append((x, base - height * (0.5 + 0.5 * y)))
    return points


def hill(brush: Brush, profile: list[tuple[float, float]], bottom: float, top_color: Color, low_color: Color) -> Path:
    """A smooth land below a profile; the path is returned for what grows on it."""
    path = smooth([(-SPAN, bottom, 0), *[(x, y) for x, y in profile], (SPAN, bottom, 0)])
    top = min(y for _, y in profile)
    brush.falling(path, top, bottom, top_color, low_color)
    return path


def haze(brush: Brush, y: float, height: float, color: Color, alpha: float) -> None:
    """Mist that is thickest at y and gone `height` above."""
    brush.draw(
        rectangle(-SPAN, y - height, SPAN, y), brush.linear((0, y - height), (0, y), (0, color, 0), (1, color, alpha))
    )
