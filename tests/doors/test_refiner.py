"""Base and refiner: the hand-over is exact, and what switching points share is computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hires.api import Drawn, Engine, HiresFix, Txt2Img
from hires.metadata.files import picture_texts
from hires.recipes.request import Refiner
from hires.settings import Settings

STEPS = 10
REQUEST = Txt2Img(
    prompt="a red fox on snow",
    negative="blurry",
    checkpoint="thin_sdxl_base",
    steps=STEPS,
    seed=7,
    width=64,
    height=64,
)


@pytest.fixture
def make_engine(thin_models: Path, tmp_path: Path) -> Callable[[], Engine]:
    settings = Settings(models_dir=thin_models, output_dir=tmp_path / "out", cache_dir=tmp_path / "cache", device="cpu")
    return lambda: Engine(settings)


def same(one: Drawn, other: Drawn) -> bool:
    return np.array_equal(np.asarray(one.pictures[0]), np.asarray(other.pictures[0]))


@pytest.mark.parametrize(
    ("sampler", "passes"),
    [(name, "both passes") for name in ("DPM++ 2M", "DPM++ 2M SDE", "Euler a", "LMS", "DPM++ SDE", "UniPC", "Heun")]
    + [(name, "second pass") for name in ("DPM++ 2M SDE", "Euler a", "LMS")],
)
def test_a_refiner_that_is_the_base_changes_nothing(
    sampler: str, passes: str, make_engine: Callable[[], Engine]
) -> None:
    """The refiner goes on in the middle of the sampler's history and noise, to the bit."""
    hires = None if sampler == "UniPC" else HiresFix(denoise=0.6, scale=1.5, steps=5)
    request = replace(REQUEST, sampler=sampler, steps=6, hires=hires)
    plain = make_engine().txt2img(request)
    refined = make_engine().txt2img(request, refiner=Refiner("thin_sdxl_base", switch_step=3, passes=passes))
    assert same(plain, refined)


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "DPM++ 3M SDE", "DPM2 a"])
def test_switching_points_share_their_base_steps(sampler: str, make_engine: Callable[[], Engine]) -> None:
    request = replace(REQUEST, sampler=sampler)
    together = make_engine()
    base_steps = 0
    pictures = []
    for switch in (5, 8, STEPS):
        with_refiner = replace(request, refiner=Refiner("thin_sdxl_refiner", switch_step=switch))
        shared = together.txt2img(with_refiner)
        base_steps += shared.counts.computed_steps - (STEPS - switch)
        assert same(shared, make_engine().txt2img(with_refiner))
        pictures.append(np.asarray(shared.pictures[0]))
    assert base_steps == STEPS
    assert all(not np.array_equal(pictures[0], other) for other in pictures[1:])


@pytest.mark.parametrize(
    ("refiner", "switch"),
    [
        (Refiner("thin_sdxl_refiner", switch_at=0.8), 12),
        (Refiner("thin_sdxl_refiner", switch_at=0.8, by_steps=True), 16),
        (Refiner("thin_sdxl_refiner", switch_step=7), 7),
    ],
)
def test_the_switch_is_where_the_web_ui_has_it(
    refiner: Refiner, switch: int, make_engine: Callable[[], Engine]
) -> None:
    """Karras, 20 steps, 0.8: before the 0-based step 12 by noise level, 16 by steps."""
    drawn = make_engine().txt2img(replace(REQUEST, steps=20, schedule="Karras", refiner=refiner))
    text = picture_texts(drawn.pictures[0])
    assert f'"end_at_step": {switch},' in text["prompt"]
    again = make_engine().txt2img(make_engine().request_of(drawn.paths[0]))
    assert same(drawn, again)


def test_the_refiner_works_in_the_passes_it_is_asked_for(make_engine: Callable[[], Engine]) -> None:
    request = replace(REQUEST, steps=4, hires=HiresFix(denoise=0.5, steps=4))
    pictures = {}
    for passes in ("first pass", "second pass", "both passes"):
        drawn = make_engine().txt2img(request, refiner=Refiner("thin_sdxl_refiner", switch_step=2, passes=passes))
        assert drawn.counts.denoiser_calls == 8
        pictures[passes] = np.asarray(drawn.pictures[0])
    plain = np.asarray(make_engine().txt2img(request).pictures[0])
    different = [plain, *pictures.values()]
    for index, one in enumerate(different):
        assert all(not np.array_equal(one, other) for other in different[index + 1 :])
