"""A1111's further options of sampling: told and read back in every form, and what they do to a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hires.api import Engine, Txt2Img
from hires.errors import SettingError
from hires.graph.context import PlainContext
from hires.graph.validate import validate
from hires.graph.workflow import Workflow
from hires.models.handles import DiffusionModel
from hires.nodes.guiding import noise_levels
from hires.nodes.registry import node_registry
from hires.nodes.webui_sampling import webui_sampling
from hires.recipes.facts import ModelFacts
from hires.recipes.fine_sampling import (
    CHOICES,
    LABELS,
    OPTIONS,
    RANGES,
    FineSampling,
    fine_from_options,
    fine_from_words,
)
from hires.recipes.infotext import infotext, request_from
from hires.recipes.read_workflow import request_of_workflow
from hires.recipes.request import HiresFix, Refiner
from hires.recipes.samplers import switch_step
from hires.recipes.txt2img import txt2img
from hires.sampling import run as runs
from hires.sampling.state import Plan
from hires.settings import Settings

NAME = "base.safetensors"
FACTS = {NAME: ModelFacts(NAME, "0123456789", "sd1", 512)}
BASE = Txt2Img(prompt="a cat", checkpoint=NAME, width=512, height=512, seed=1)


def values(name: str) -> st.SearchStrategy[Any]:
    usual = getattr(FineSampling(), name)
    if isinstance(usual, bool):
        return st.booleans()
    if name in CHOICES:
        return st.sampled_from(CHOICES[name])
    low, high = RANGES[name]
    if isinstance(usual, int):
        return st.integers(int(low), int(high))
    return st.floats(low, high).map(lambda value: round(value, 4))


FINE = st.fixed_dictionaries({name: values(name) for name in LABELS}).map(lambda given: FineSampling(**given))


@given(FINE)
def test_an_infotext_tells_them_and_is_read_back(fine: FineSampling) -> None:
    assert request_from(infotext(replace(BASE, fine=fine), FACTS)).fine == fine


@given(FINE)
def test_words_set_them(fine: FineSampling) -> None:
    words = [f"{name}={value}" for name, value in fine.changed().items()]
    if 0 < fine.schedule_max <= fine.schedule_min:
        with pytest.raises(SettingError, match="not above its smallest"):
            fine_from_words(words)
    else:
        assert fine_from_words(words) == fine


@given(FINE)
def test_the_servers_options_set_them(fine: FineSampling) -> None:
    options = {key: getattr(fine, name) for key, name in OPTIONS.items()}
    assert fine_from_options(options, FineSampling()) == fine


def test_an_option_that_is_as_usual_leaves_what_an_infotext_says() -> None:
    options = {key: getattr(FineSampling(rho := 0.0), name) for key, name in OPTIONS.items()}
    assert rho == 0.0 and fine_from_options(options, FineSampling(ngms=2.0)) == FineSampling(ngms=2.0)


def test_labels_ranges_and_options_name_every_field() -> None:
    names = set(asdict(FineSampling()))
    assert set(LABELS) == set(OPTIONS.values()) == names
    assert {name for name in names if not isinstance(getattr(FineSampling(), name), bool)} == {*RANGES, *CHOICES}


@pytest.mark.parametrize("hires", [None, HiresFix(denoise=0.5)])
def test_a_workflow_carries_them_and_is_read_back(hires: HiresFix | None) -> None:
    fine = FineSampling(schedule_rho=5.0, ngms=1.5, unipc_skip="logSNR")
    request = replace(BASE, fine=fine, hires=hires)
    workflow = Workflow.parse(txt2img(request, FACTS))
    assert len(workflow.find("HiresWebuiSampling")) == 1
    assert request_of_workflow(workflow, node_registry()).fine == fine


def test_a_workflow_of_before_some_options_is_sound() -> None:
    flow = txt2img(replace(BASE, fine=FineSampling(ngms=1.5)), FACTS)
    (node,) = (node for node in flow.values() if node["class_type"] == "HiresWebuiSampling")
    del node["inputs"]["noise_schedule"], node["inputs"]["downcast_alphas"]
    workflow = Workflow.parse(flow)
    assert not validate(workflow, node_registry(), PlainContext({"checkpoints": [NAME]})).faults
    assert request_of_workflow(workflow, node_registry()).fine == FineSampling(ngms=1.5)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("rho", "sets no sampling option"),
        ("karras=1", "sets no sampling option"),
        ("schedule_rho=many", "must be a number"),
        ("ngms_all=perhaps", "true or false"),
        ("skip_early=2", "from 0 to 1"),
        ("unipc_variant=bh9", "bh1, bh2, vary_coeff"),
    ],
)
def test_a_wrong_word_is_refused_in_a_line(word: str, said: str) -> None:
    with pytest.raises(SettingError, match=said) as caught:
        fine_from_words([word])
    assert "\n" not in str(caught.value)


# ---- what they do ---------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"prompt": "1girl, beach", "steps": 3, "width": 64, "height": 64, "seed": 7}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    folders = {"models_dir": tmp_path / "models", "output_dir": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    return Engine(Settings(**folders, device="cpu"))


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans of the runs that begin."""
    seen: list[Plan] = []
    start = runs.start

    def watched(plan: Plan, *args: Any, **more: Any) -> Any:
        seen.append(plan)
        return start(plan, *args, **more)

    monkeypatch.setattr(runs, "start", watched)
    return seen


def drawn(engine: Engine, **fields: Any) -> np.ndarray:
    return np.asarray(engine.txt2img(**{**SMALL, **fields}).pictures[0]).astype(int)


def test_bounds_and_rho_of_a_karras_schedule(engine: Engine, plans: list[Plan]) -> None:
    fine = FineSampling(schedule_min=0.1, schedule_max=10.0, schedule_rho=5.0)
    drawn(engine, sampler="Euler", schedule="Karras", fine=fine)
    low, high = 0.1**0.2, 10.0**0.2
    expected = [(high + share * (low - high)) ** 5 for share in (0.0, 0.5, 1.0)] + [0.0]
    assert plans[-1].sigmas.tolist() == pytest.approx(expected, rel=1e-4)


def test_the_level_before_the_last_is_left_out(engine: Engine, plans: list[Plan]) -> None:
    drawn(engine, sampler="Euler", schedule="Karras", steps=4)
    drawn(engine, sampler="Euler", schedule="Karras", steps=3, fine=FineSampling(discard_penultimate=True))
    long, short = (plan.sigmas.tolist() for plan in plans)
    assert short == pytest.approx([*long[:3], 0.0])


def test_unipc_is_told_its_variant_and_order(engine: Engine, plans: list[Plan]) -> None:
    fine = FineSampling(unipc_order=2, unipc_variant="bh2", unipc_skip="logSNR", unipc_lower_order_final=False)
    drawn(engine, sampler="UniPC", fine=fine)
    said = {name: plans[-1].options[name] for name in ("variant", "order", "lower_order_final")}
    assert said == {"variant": "bh2", "order": 2, "lower_order_final": False}
    ratios = (plans[-1].sigmas[:-1] / plans[-1].sigmas[1:]).tolist()
    assert ratios == pytest.approx([ratios[0]] * 3, rel=1e-3)  # even in the logarithm of signal to noise


def test_the_negative_prompt_below_every_level_is_no_guidance(engine: Engine) -> None:
    guided, alone = drawn(engine, cfg=7.0), drawn(engine, cfg=1.0)
    skipped = drawn(engine, cfg=7.0, fine=FineSampling(ngms=100.0, ngms_all=True))
    assert abs(skipped - alone).max() <= 1 and abs(guided - alone).mean() > 2
    early = drawn(engine, cfg=7.0, fine=FineSampling(skip_early=1.0))
    assert abs(early - alone).max() <= 1


def test_sgm_noise_is_a_little_more_noise(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    factors: list[float] = []
    start: Callable[..., Any] = runs.start

    def watched(plan: Plan, latent: Any, noise: Any, **more: Any) -> Any:
        state = start(plan, latent, noise, **more)
        factors.append(float(state.x.norm() / noise.norm()))
        return state

    monkeypatch.setattr(runs, "start", watched)
    fine = FineSampling(sgm_noise=True)
    drawn(engine, sampler="Euler", schedule="Karras", fine=fine, hires=HiresFix(scale=1.0, denoise=0.5, steps=2))
    drawn(engine, sampler="Euler", schedule="Karras")
    sigma = 14.614642
    assert factors[0] == pytest.approx(math.sqrt(1 + sigma**2), rel=1e-4)
    assert factors[2] == pytest.approx(sigma, rel=1e-4)


def test_comfyuis_dialect_has_none_of_them(engine: Engine) -> None:
    with pytest.raises(SettingError, match="no sampling options"):
        drawn(engine, dialect="comfyui", fine=FineSampling(ngms=1.0))


def test_a_schedule_of_zero_terminal_snr_begins_at_noise_alone(engine: Engine, plans: list[Plan]) -> None:
    plain = drawn(engine, sampler="Euler", schedule="Karras")
    fine = FineSampling(noise_schedule="Zero Terminal SNR")
    ended = drawn(engine, sampler="Euler", schedule="Karras", fine=fine)
    # a cosine of alpha-bar's roots, moved so that the last is A1111's 4.9e-8
    assert plans[-1].sigmas[0].item() == pytest.approx(math.sqrt(1 / 4.8973451890853435e-8 - 1), rel=1e-5)
    assert plans[0].sigmas[0].item() == pytest.approx(14.614642, rel=1e-5)
    assert np.abs(ended - plain).mean() > 1


def test_another_table_is_another_network_to_the_cache() -> None:
    """At one noise level the network is told another timestep, so that no step may be shared."""
    model = DiffusionModel("sd1", None, "eps", False, 0.18215, 4, "a", torch.device("cpu"), torch.float32)  # type: ignore[arg-type]
    ways: list[dict[str, Any]] = [{}, {"noise_schedule": "Zero Terminal SNR"}, {"downcast_alphas": True}]
    made = [webui_sampling(model=model, **way) for way in [*ways, ways[1] | ways[2]]]
    assert len({one.identity for one in made}) == 4
    tops = [noise_levels(one).sigma_max for one in made]
    assert tops[0] == pytest.approx(14.614642) and tops[1] == pytest.approx(4518.76, rel=1e-5)
    half = float(np.float16(0.0046600983))
    assert tops[2] == pytest.approx(math.sqrt((1 - half) / half), rel=1e-5)
    assert tops[3] == pytest.approx(4518.76, rel=1e-5)


@pytest.mark.parametrize(
    ("version", "rounded"),
    [
        *[(text, True) for text in ("v1.6.0", "V1.2.1", "v1.7.0", "v1.7.0-99-gabc", "v1.7.0-RC-5-gabc")],
        *[
            (text, False)
            for text in ("v1.7.0-225-gabc", "v1.7.0-1000-gabc", "v1.8.0", "v1.10.1", "hires 0.1", "f2.0.1")
        ],
    ],
)
def test_versions_that_rounded_their_alphas(version: str, rounded: bool) -> None:
    text = f"a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64, Version: {version}"
    assert request_from(text).fine.downcast_alphas is rounded
    assert "Downcast alphas_cumprod" not in request_from(text).extra_fields


def test_the_refiner_switches_by_the_table_in_force() -> None:
    usual, ended = (
        switch_step(replace(BASE, fine=fine), "Euler", "Karras", 20, 0, Refiner("x", 0.5))
        for fine in (FineSampling(), FineSampling(noise_schedule="Zero Terminal SNR"))
    )
    assert usual < ended
