"""On how much of two pictures one sees a difference: known shares, known steps, grain, and sizes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from hires.imaging.cielab import cielab
from hires.imaging.visible import JUST_VISIBLE, SIDE, view, visible_area


def grey(level: int, side: int = 100) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def area(first: np.ndarray, second: np.ndarray) -> float:
    return visible_area(view(Image.fromarray(first)), view(Image.fromarray(second)))


@pytest.mark.parametrize("part", [0, 7, 50, 100])
def test_the_share_that_was_changed_is_the_share_that_is_seen(part: int) -> None:
    changed = grey(100)
    changed[:, :part] = 140
    assert area(grey(100), changed) == pytest.approx(part / 100)
    assert area(changed, grey(100)) == area(grey(100), changed)


def test_steps_about_the_just_visible_one() -> None:
    lightness = cielab(np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1))[:, 0]
    step = next(step for step in range(1, 50) if lightness[100 + step] - lightness[100] > JUST_VISIBLE)
    assert area(grey(100), grey(100 + step)) == 1.0
    assert area(grey(100), grey(100 + step - 1)) == 0.0


def test_grain_of_a_large_picture_is_not_seen_but_a_shape_is() -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.normal(128, 6, (1024, 1024, 1)).repeat(3, axis=2).astype(np.uint8) for _ in range(2))
    assert area(first, second) < 0.02
    second[200:456, 200:456] += 30
    assert area(first, second) == pytest.approx(1 / 16, abs=0.02)


def test_sizes() -> None:
    large = Image.fromarray(grey(90, 1000))
    assert view(large).shape == (3, SIDE, SIDE)
    assert view(large.crop((0, 0, 1000, 500))).shape == (3, SIDE // 2, SIDE)
    assert view(Image.fromarray(grey(90, 40))).shape == (3, 40, 40)
    assert visible_area(view(large), view(Image.fromarray(grey(90, 500)))) == 0
    assert visible_area(view(large), view(large.crop((0, 0, 1000, 500)))) == 1
