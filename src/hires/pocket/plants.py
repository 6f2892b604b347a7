"""Flowers, leaves, trees and grass: what both backgrounds and people wear or hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hires.pocket.brush import SPAN, Brush, Path, arcs, ellipse, limb, segments, skia, smooth
from hires.pocket.palette import Color, light, line, mix, shade

STAMENS: Color = (252, 208, 84)


def petals(count: int, inner: float = 0.16) -> Path:
    """The petals of one flower of radius 1 round the origin, as one path."""
    builder = skia().PathBuilder()
    half = math.pi / count * 0.98
    for i in range(count):
        a = math.tau * i / count - math.pi / 2
        builder.moveTo(math.cos(a) * inner, math.sin(a) * inner)
        for side in (-1, 1):
            b = a + side * half
            start = (math.cos(a) * inner, math.sin(a) * inner)
            end = (math.cos(a) * 0.97, math.sin(a) * 0.97)
            if side > 0:
                start, end = end, start
            first = (math.cos(b) * 0.62, math.sin(b) * 0.62)
            second = (math.cos(a + side * half * 0.75) * 1.08, math.sin(a + side * half * 0.75) * 1.08)
            if side > 0:
                first, second = second, first
            builder.cubicTo(*first, *second, *end)
        builder.close()
    return builder.detach()


def flower(brush: Brush, color: Color, radius: float, width: float, count: int = 5, turn: float = 0.0) -> None:
    """One flower round the origin, seen from above; veins and stamens when large."""
    with brush.frame(0, 0, radius, turn):
        width /= radius
        blossom = petals(count)
        brush.outline(blossom, line(color), width)
        brush.draw(
            blossom, brush.radial(0, 0, 1, (0, shade(color, 0.3), 1), (0.45, color, 1), (1, light(color, 0.25), 1))
        )
        if brush.detail(0.03) > 0:
            veins = []
            for i in range(count):
                for offset in (-0.26, 0, 0.26):
                    a = math.tau * i / count - math.pi / 2
                    b = a + offset
                    length = 0.84 if offset == 0 else 0.72
                    veins.append((math.cos(a) * 0.24, math.sin(a) * 0.24, math.cos(b) * length, math.sin(b) * length))
            brush.fine(segments(veins), shade(color, 0.4), 0.03, 0.6)
        brush.fill(ellipse(0, 0, 0.25), STAMENS)
        brush.stroke(ellipse(0, 0, 0.25), shade(STAMENS, 0.5), width * 0.7)
        if brush.detail(0.07) > 0:
            ring = np.array(
                [(0.14 * math.cos(t), 0.14 * math.sin(t)) for t in np.linspace(0, math.tau, 8)[:-1].tolist()]
            )
            brush.dots(ring, 0.035, shade(STAMENS, 0.45))


def leaf_path(length: float = 1.0) -> Path:
    return smooth([(0, 0, 0), (0.3 * length, -0.2 * length), (length, 0, 0), (0.3 * length, 0.2 * length)])


def foliage(
    brush: Brush, x: float, y: float, rx: float, ry: float, color: Color, rng: np.random.Generator, leaf: float = 0.012
) -> None:
    """A round crown: bumps round an ellipse, lit from the upper left, leaves on it when large."""
    bumps = 11
    sizes = rng.uniform(0.86, 1.12, bumps).tolist()
    builder = skia().PathBuilder()
    ring = []
    for i in range(bumps):
        a = math.tau * i / bumps
        ring.append((x + rx * sizes[i] * math.cos(a) * 0.9, y + ry * sizes[i] * math.sin(a) * 0.9))
    builder.moveTo(*ring[-1])
    for i in range(bumps):
        a = math.tau * (i - 0.5) / bumps
        builder.quadTo(x + rx * 1.34 * math.cos(a), y + ry * 1.34 * math.sin(a), *ring[i])
    builder.close()
    crown = builder.detach()
    brush.falling(crown, y - ry, y + ry, light(color, 0.16), shade(color, 0.38))
    leaves = rng.uniform(-1, 1, (90, 4))
    with brush.clip(crown):
        brush.soft(x - rx * 0.35, y - ry * 0.45, rx * 0.75, ry * 0.6, light(color, 0.55), 0.5)
        shown = brush.detail(leaf)
        if shown > 0:
            length = leaf * 1.6
            for tone, rows in ((light(color, 0.3), leaves[:45]), (shade(color, 0.35), leaves[45:])):
                curves = [
                    (px, py, px + length * 0.5, py - length * 0.3 * t, px + length * u, py + length * 0.5)
                    for px, py, t, u in ((x + rx * a * 0.95, y + ry * b * 0.95, t, u) for a, b, t, u in rows.tolist())
                ]
                brush.stroke(arcs(curves), tone, leaf * 0.5, 0.6 * shown)
    brush.stroke(crown, shade(color, 0.62), 0.0045)


def trunk(
    brush: Brush, x: float, top: float, bottom: float, width: float, color: Color, rng: np.random.Generator
) -> None:
    bend = float(rng.uniform(-0.5, 0.5)) * width
    path = limb([(x + bend, top), (x, (top + bottom) / 2), (x, bottom)], [width * 0.6, width * 0.8, width * 1.35])
    brush.draw(
        path,
        brush.linear((x - width / 2, 0), (x + width / 2, 0), (0, light(color, 0.12), 1), (1, shade(color, 0.4), 1)),
    )
    bark = rng.uniform(-1, 1, (14, 3))
    lines = [
        (x + a * width * 0.3, y, x + (a * 0.3 + b * 0.1) * width, y + 0.5 * width, x + a * width * 0.3, y + width)
        for a, b, y in ((a, b, top + (c + 1) / 2 * (bottom - top)) for a, b, c in bark.tolist())
    ]
    with brush.clip(path):
        brush.fine(arcs(lines), shade(color, 0.6), width * 0.05, 0.7)
    brush.stroke(path, shade(color, 0.65), 0.0045)


def pine(brush: Brush, x: float, base: float, height: float, color: Color, snow: float = 0.0) -> None:
    """A fir of three tiers; `snow` is the share of white on them."""
    brush.fill(smooth([(x - height * 0.03, base - height * 0.2, 0), (x + height * 0.03, base - height * 0.2, 0),
                       (x + height * 0.04, base, 0), (x - height * 0.04, base, 0)]), (110, 78, 62))  # fmt: skip
    for low, high, half in ((0.12, 0.62, 0.29), (0.36, 0.82, 0.23), (0.6, 1.0, 0.16)):
        bottom, top, w = base - low * height, base - high * height, half * height
        dip = 0.035 * height
        waist = bottom - (bottom - top) * 0.4
        tier = smooth([(x, top, 0), (x + w * 0.5, waist), (x + w, bottom, 0), (x + w * 0.5, bottom - dip, 0),
                       (x + w * 0.2, bottom + dip * 0.3, 0), (x - w * 0.2, bottom - dip, 0),
                       (x - w * 0.55, bottom + dip * 0.2, 0), (x - w, bottom, 0), (x - w * 0.5, waist)])  # fmt: skip
        brush.falling(tier, top, bottom, light(color, 0.08), shade(color, 0.4))
        if snow:
            with brush.clip(tier):
                deep = (bottom - top) * snow
                edge = [(x + w * t, top + deep * d) for t, d in ((0.6, 1.0), (0.2, 1.2), (-0.1, 0.85), (-0.6, 1.15))]
                cap = smooth([(x, top - dip, 0), *edge])
                brush.fill(cap, (248, 251, 255))
        needles = [
            (x + w * u * v, top + (bottom - top) * v, x + w * u * v * 1.08, top + (bottom - top) * min(1.0, v + 0.09))
            for u in (-0.7, -0.35, 0.0, 0.35, 0.7) for v in (0.45, 0.6, 0.75, 0.9)
        ]  # fmt: skip
        brush.fine(segments(needles), shade(color, 0.55), height * 0.008, 0.7)
        brush.stroke(tier, shade(color, 0.66), 0.004)


def grass(brush: Brush, blades: Sequence[Sequence[float]], color: Color, width: float) -> None:
    """Blades (x, y, height, lean) as one path of thin strokes, dark below light."""
    shown = brush.detail(width)
    if not shown or not len(blades):
        return
    for tone, rows in ((shade(color, 0.3), blades[::2]), (light(mix(color, (250, 250, 120), 0.2), 0.2), blades[1::2])):
        curves = [(x, y, x + lean * 0.2 * h, y - h * 0.7, x + lean * h, y - h) for x, y, h, lean in rows]
        brush.stroke(arcs(curves), tone, width, shown * 0.8)


def lawn(brush: Brush, rng: np.random.Generator, top: float, color: Color) -> None:
    """Grass from a height down, larger towards the front."""
    spots = rng.uniform(0, 1, (520, 4))
    for part in range(4):
        low, high = part / 4, (part + 1) / 4
        height = 0.012 + 0.03 * high
        blades = [
            ((a * 2 - 1) * SPAN, top + (1.03 - top) * (low + (high - low) * b), height * (0.6 + c), (d - 0.5))
            for a, b, c, d in spots[part::4].tolist()
        ]
        grass(brush, blades, color, 0.0024 + 0.0024 * high)
