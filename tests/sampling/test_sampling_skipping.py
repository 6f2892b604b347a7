"""NGMS and "skip early CFG": which calls leave the negative prompt out, what they answer, and what they share."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hires.sampling.guidance import Cond, Guidance
from hires.sampling.levels import standard_levels
from hires.sampling.skipping import SkippedNegative

LEVELS = standard_levels()


@dataclass(frozen=True)
class Network:
    """Answers its text's first number at every cell."""

    prediction: str = "x0"
    identity: str = "network"
    batches: list[int] = field(default_factory=list)

    def predict(self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None) -> Tensor:
        self.batches.append(len(x))
        return torch.ones_like(x[:, :4]) * context[:, :1, :1, None]


def text(value: float, and_weight: float | None = None) -> Cond:
    return Cond(torch.full((1, 77, 8), value), and_weight=and_weight)


def guidance(skipped: SkippedNegative, *positive: Cond) -> Guidance:
    return Guidance(Network(), LEVELS, positive or [text(1.0)], [text(0.5)], 5.0, skipped=skipped)


def answer(guided: Guidance, sigma: float, call: int) -> float:
    return float(guided(torch.zeros(1, 4, 2, 2), torch.tensor(sigma), call).denoised[0, 0, 0, 0])


@pytest.mark.parametrize(
    ("skipped", "sigma", "call", "skips"),
    [
        (SkippedNegative(), 0.1, 1, False),
        (SkippedNegative(below=2.0), 1.9, 1, True),
        (SkippedNegative(below=2.0), 1.9, 2, False),
        (SkippedNegative(below=2.0), 2.0, 1, False),
        (SkippedNegative(below=2.0, every_call=True), 1.9, 2, True),
        (SkippedNegative(early=0.2, calls=10), 14.0, 0, True),
        (SkippedNegative(early=0.2, calls=10), 14.0, 2, True),
        (SkippedNegative(early=0.2, calls=10), 14.0, 3, False),
    ],
)
def test_the_calls_that_go_by_the_positive_prompt_alone(
    skipped: SkippedNegative, sigma: float, call: int, skips: bool
) -> None:
    guided = guidance(skipped)
    # 0.5 + 5 (1 - 0.5) with the negative prompt, 1 without
    assert answer(guided, sigma, call) == pytest.approx(1.0 if skips else 3.0)
    network = guided.network
    assert isinstance(network, Network) and sum(network.batches) == (1 if skips else 2)


def test_of_and_parts_the_first_stands_where_the_negative_prompt_would() -> None:
    guided = guidance(SkippedNegative(below=2.0, every_call=True), text(1.0, 1.0), text(4.0, 0.5))
    # 1 + 1 (1 - 1) + 0.5 (4 - 1)
    assert answer(guided, 1.0, 0) == pytest.approx(2.5)


def test_a_sampler_that_asks_for_the_negative_side_is_given_the_positive_one() -> None:
    prediction = guidance(SkippedNegative(below=2.0))(torch.zeros(1, 4, 2, 2), torch.tensor(1.0), 1)
    assert prediction.uncond is not None and torch.equal(prediction.uncond, prediction.denoised)


@given(
    below=st.floats(0, 3), every=st.booleans(), early=st.floats(0, 1), first=st.integers(0, 19),
    sigma=st.floats(0.05, 14), fall=st.floats(0.1, 0.99),
)  # fmt: skip
def test_a_step_shares_its_key_with_plain_guidance_only_if_none_of_its_calls_may_be_skipped(
    below: float, every: bool, early: float, first: int, sigma: float, fall: float
) -> None:
    skipped = SkippedNegative(below, every, early, calls=20)
    guided, plain = guidance(skipped), guidance(SkippedNegative())
    same = guided.key(first, first, sigma, sigma * fall) == plain.key(first, first, sigma, sigma * fall)
    levels = (sigma, sigma * fall)
    skips = any(skipped.applies(level, first + call) for level in levels for call in range(guided.calls_a_step))
    assert not (same and skips)
    if sigma * fall >= below and first > early * 20:
        assert same
