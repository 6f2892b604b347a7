"""Guidance rules in closed form, the noise levels of EDM, masks that change, and controls that reach the network."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hires.sampling.guidance import Answer, Cond, Guidance, Seen, masked
from hires.sampling.levels import ContinuousLevels, continuous_levels, denoised, standard_levels
from hires.sampling.rules import (
    DifferentialMask,
    ImageCfg,
    PerpNeg,
    PerturbedAttention,
    RescaleCfg,
    SelfAttentionGuidance,
    blurred_where_attended,
    gaussian_blur,
)
from hires.sampling.state import Prediction

LEVELS = standard_levels()
SIGMA = torch.tensor(2.0)


@dataclass(frozen=True)
class Network:
    """Answers its text's first number at every cell; with a control, that is added."""

    factor: float = 1.0
    prediction: str = "x0"
    identity: str = "network"
    wants_sigma: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)

    def predict(
        self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None, **named: Any
    ) -> Tensor:
        self.calls.append({"batch": len(x), **named})
        added = named.get("control") or 0.0
        return torch.ones_like(x[:, :4]) * context[:, :1, :1, None] * self.factor + x[:, :4] * 0.1 + added


def text(value: float, **more: Any) -> Cond:
    return Cond(torch.full((1, 77, 8), value), **more)


def guidance(*rules: Any, cfg: float = 5.0, network: Network | None = None) -> Guidance:
    return Guidance(network or Network(), LEVELS, [text(1.0)], [text(0.5)], cfg, rules=tuple(rules))


def noise(seed: int = 0, *shape: int) -> Tensor:
    return torch.randn(shape or (2, 4, 8, 8), generator=torch.Generator().manual_seed(seed))


def answer(cond: Tensor, uncond: Tensor | None, x: Tensor, rule: Any, cfg: float = 5.0) -> Tensor:
    guided = cond if uncond is None else uncond + cfg * (cond - uncond)
    result: Tensor = rule(Answer(guidance(cfg=cfg), x, SIGMA, 0, cond, uncond, guided))
    return result


@dataclass(frozen=True)
class Editor(Network):
    """Answers its text's first number at every cell, and what it is shown beside the noise."""

    def predict(
        self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None, **named: Any
    ) -> Tensor:
        return context[:, :1, :1, None] + x[:, 4:]


@given(st.floats(0, 20), st.floats(0, 5))
def test_image_cfg_weighs_text_and_picture_apart(cfg: float, scale: float) -> None:
    """u + scale (i - u) + cfg (c - i), where here i - u is the picture and c - i the texts' difference."""
    picture = noise(4, 1, 4, 8, 8)
    sides = [text(1.0, concat=picture)], [text(0.25, concat=picture)]
    edit = Guidance(Editor(), LEVELS, *sides, cfg, rules=(ImageCfg(scale),))
    made = edit(noise(1, 1, 4, 8, 8), SIGMA, 0).denoised
    torch.testing.assert_close(made, 0.25 + scale * picture + cfg * 0.75, rtol=1e-4, atol=1e-4)


def test_rescale_cfg_without_rescaling_is_plain_guidance() -> None:
    cond, uncond, x = noise(1), noise(2), noise(3) * 3
    torch.testing.assert_close(
        answer(cond, uncond, x, RescaleCfg(0.0)), uncond + 5 * (cond - uncond), rtol=0, atol=1e-4
    )


def test_rescale_cfg_gives_v_the_spread_of_the_conditional() -> None:
    cond, uncond, x = noise(1), noise(2), noise(3) * 3
    got = answer(cond, uncond, x, RescaleCfg(1.0))

    def v(estimate: Tensor) -> Tensor:
        return (x / 5.0 - estimate) * math.sqrt(5.0) / 2.0

    torch.testing.assert_close(v(got).std(dim=(1, 2, 3)), v(cond).std(dim=(1, 2, 3)), rtol=1e-4, atol=1e-4)


def test_perp_neg_ignores_what_is_parallel() -> None:
    """The empty prompt's estimate is measured from; a negative along the positive changes nothing."""
    empty = [text(0.25)]
    x = noise(3)
    nothing = 0.25 + x / math.sqrt(5.0) * 0.1
    positive = noise(1)
    cond, uncond = nothing + positive, nothing + 3.0 * positive
    got = answer(cond, uncond, x, PerpNeg(empty, 2.0))
    torch.testing.assert_close(got, nothing + 5.0 * positive, rtol=1e-4, atol=1e-4)
    aside = noise(2)
    aside -= (aside * positive).sum() / positive.norm() ** 2 * positive
    got = answer(cond, nothing + aside, x, PerpNeg(empty, 2.0))
    torch.testing.assert_close(got, nothing + 5.0 * (positive - 2.0 * aside), rtol=1e-3, atol=1e-3)


def test_perturbed_attention_moves_away_from_the_worse_network() -> None:
    rule = PerturbedAttention(3.0, lambda network: replace(network, factor=0.5))  # type: ignore[type-var]
    x = noise(1)
    plain, steered = guidance()(x, SIGMA, 0), guidance(rule)(x, SIGMA, 0)
    torch.testing.assert_close(steered.denoised, plain.denoised + 3.0 * 0.5)
    at_one = guidance(rule, cfg=1.0)(x, SIGMA, 0)
    assert at_one.uncond is None
    torch.testing.assert_close(at_one.denoised, guidance(cfg=1.0)(x, SIGMA, 0).denoised + 1.5)


def test_self_attention_guidance_without_attention_costs_nothing_but_time() -> None:
    """Attention of mass below 1 blurs nothing: the degraded input is x, so the difference is that of uncond itself."""
    seen = torch.full((2, 4, 4), 0.1)
    rule = SelfAttentionGuidance(0.7, 2.0, lambda network: (network, [seen]))
    x = noise(1)
    torch.testing.assert_close(guidance(rule)(x, SIGMA, 0).denoised, guidance()(x, SIGMA, 0).denoised)
    assert guidance(rule, cfg=1.0)(x, SIGMA, 0).uncond is not None


def test_blur_only_where_attention_gathers() -> None:
    x0 = noise(1, 1, 4, 8, 8)
    attention = torch.zeros(2, 4, 4)
    attention[:, :, 0] = 1.0
    got = blurred_where_attended(x0, attention, 2.0)
    blurred = gaussian_blur(x0, 9, 2.0)
    torch.testing.assert_close(got[:, :, :4, :4], blurred[:, :, :4, :4])
    torch.testing.assert_close(got[:, :, 4:], x0[:, :, 4:])


@given(st.floats(0.1, 10.0))
def test_blur_keeps_constants(sigma: float) -> None:
    flat = torch.full((1, 4, 9, 9), 0.3)
    torch.testing.assert_close(gaussian_blur(flat, 9, sigma), flat)


def test_rules_are_part_of_the_key_and_ask_for_uncond() -> None:
    keys = {
        guidance(*rules).key(0, 0, 5.0, 4.0)
        for rules in ((), (RescaleCfg(0.5),), (RescaleCfg(0.7),), (RescaleCfg(0.5),) * 2)
    }
    assert len(keys) == 4
    perp = {PerpNeg([text(value)], scale).key for value in (0.0, 1.0) for scale in (1.0, 2.0)}
    assert len(perp) == 4


def test_rules_follow_one_another() -> None:
    @dataclass(frozen=True)
    class Plus:
        amount: float
        needs_uncond: bool = False
        key: bytes = b"plus"

        def __call__(self, answer: Answer) -> Tensor:
            return answer.denoised * 2 + self.amount

    x = noise(1)
    plain = guidance()(x, SIGMA, 0).denoised
    torch.testing.assert_close(guidance(Plus(1.0), Plus(3.0))(x, SIGMA, 0).denoised, (plain * 2 + 1) * 2 + 3)


def test_rules_see_and_parts_as_one_conditional() -> None:
    seen: list[Answer] = []

    @dataclass(frozen=True)
    class Look:
        needs_uncond: bool = False
        key: bytes = b"look"

        def __call__(self, answer: Answer) -> Tensor:
            seen.append(answer)
            return answer.denoised

    parts = [text(1.0, and_weight=1.0), text(2.0, and_weight=0.5)]
    Guidance(Network(), LEVELS, parts, [text(0.5)], 4.0, rules=(Look(),))(noise(1), SIGMA, 0)
    assert seen[0].uncond is not None
    difference = seen[0].cond - seen[0].uncond
    torch.testing.assert_close(difference, torch.full_like(difference, 0.5 + 0.5 * 1.5))


# ---- noise levels ---------------------------------------------------------------------------------------------------


def test_continuous_levels() -> None:
    levels = continuous_levels(0.002, 120.0, 0.5)
    assert isinstance(levels, ContinuousLevels) and len(levels.sigmas) == 1000
    assert levels.sigma_min == pytest.approx(0.002) and levels.sigma_max == pytest.approx(120.0, rel=1e-5)
    assert float(levels.timestep(torch.tensor(math.e))) == pytest.approx(0.25)
    assert float(levels.sigma(levels.timestep(torch.tensor(3.3)))) == pytest.approx(3.3, rel=1e-5)
    assert levels.percent_to_sigma(0.5) == pytest.approx(math.sqrt(0.002 * 120.0))
    assert levels.percent_to_sigma(0.0) > 1e8 and levels.percent_to_sigma(1.0) == 0.0


@given(st.floats(0.01, 80.0))
def test_edm_preconditioning_of_the_exact_answer(sigma: float) -> None:
    """Karras et al. 2022, table 1: for data of spread 0.5 the ideal network's output of x is zero at the mean."""
    levels = continuous_levels(0.002, 80.0, 0.5)
    x, s = noise(1), torch.tensor(sigma)
    skip = denoised("edm", torch.zeros_like(x), x, s, levels)
    torch.testing.assert_close(skip, x * 0.25 / (s**2 + 0.25))
    output = denoised("edm", torch.ones_like(x), torch.zeros_like(x), s, levels)
    torch.testing.assert_close(output, torch.ones_like(x) * s * 0.5 / (s**2 + 0.25) ** 0.5)
    torch.testing.assert_close(levels.scaled(x, s), x / (s**2 + 0.25) ** 0.5)


def test_image_to_image_networks_see_x_as_it_is() -> None:
    @dataclass(frozen=True)
    class Echo(Network):
        prediction: str = "img_to_img"

        def predict(
            self, x: Tensor, timestep: Tensor, context: Tensor, vector: Tensor | None = None, **named: Any
        ) -> Tensor:
            return x

    x = noise(1)
    got = Guidance(Echo(), LEVELS, [text(1.0)], [text(0.5)], 1.0)(x, SIGMA, 0)
    torch.testing.assert_close(got.denoised, x)


# ---- masks ----------------------------------------------------------------------------------------------------------


def test_differential_mask_opens_cell_by_cell() -> None:
    sigmas = torch.tensor([14.614643, 5.0, 1.0, 0.0])
    mask = torch.linspace(0, 1, 5).reshape(1, 1, 1, 5)
    at = DifferentialMask.of(LEVELS, sigmas, 1.0)
    assert at(mask, sigmas[0]).flatten().tolist() == [0, 0, 0, 0, 1]
    half = LEVELS.sigma(torch.tensor(500.0))
    assert at(mask, half).flatten().tolist() == [0, 0, 0, 1, 1]
    assert at(mask, torch.tensor(LEVELS.sigma_min)).flatten().tolist() == [1, 1, 1, 1, 1]
    blend = DifferentialMask.of(LEVELS, sigmas, 0.5)(mask, half)
    torch.testing.assert_close(blend, 0.5 * at(mask, half) + 0.5 * mask)


def test_masked_asks_for_the_mask_of_each_level() -> None:
    latent = torch.zeros(1, 4, 2, 2)
    wrapped = masked(
        lambda x, sigma, call: Prediction(torch.ones_like(x), None),
        torch.ones(1, 1, 2, 2),
        latent,
        latent,
        lambda mask, sigma: mask * (sigma < 1.0),
    )
    assert not wrapped(latent, torch.tensor(2.0), 0).denoised.any()
    assert wrapped(latent, torch.tensor(0.5), 0).denoised.all()


# ---- controls -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Steer:
    amount: float
    seen: list[Seen] = field(default_factory=list)

    @property
    def key(self) -> bytes:
        return hashlib.sha256(str(self.amount).encode()).digest()

    def residuals(self, seen: Seen) -> float:
        self.seen.append(seen)
        return self.amount


def test_entries_that_share_a_control_share_a_call() -> None:
    steer, network = Steer(2.0), Network()
    both = Guidance(network, LEVELS, [text(1.0, control=steer)], [text(0.5, control=steer)], 5.0)
    x = noise(1)
    torch.testing.assert_close(both(x, SIGMA, 0).denoised, guidance()(x, SIGMA, 0).denoised + 2.0)
    assert network.calls == [{"batch": 4, "control": 2.0}]
    assert steer.seen[0].place == (8, 8, 0, 0) and steer.seen[0].batch == 2 and steer.seen[0].sigma == 2.0


def test_a_control_on_one_side_only_splits_the_call() -> None:
    network = Network()
    one = Guidance(network, LEVELS, [text(1.0, control=Steer(2.0))], [text(0.5)], 5.0)
    x = noise(1)
    torch.testing.assert_close(one(x, SIGMA, 0).denoised, guidance()(x, SIGMA, 0).denoised + 10.0)
    assert [call["batch"] for call in network.calls] == [2, 2]


def test_a_control_sees_the_entrys_area() -> None:
    steer = Steer(0.0)
    entry = text(1.0, control=steer, area=(4, 6, 2, 1))
    Guidance(Network(), LEVELS, [entry], [], 1.0)(noise(1), SIGMA, 0)
    assert steer.seen[0].place == (4, 6, 2, 1) and steer.seen[0].size == (8, 8) and steer.seen[0].x.shape[2:] == (4, 6)


def test_controls_are_part_of_an_entrys_key() -> None:
    assert len({text(1.0).key, text(1.0, control=Steer(1.0)).key, text(1.0, control=Steer(2.0)).key}) == 3


def test_sigma_is_told_only_to_those_that_want_it() -> None:
    wants, plain = Network(wants_sigma=True), Network()
    for network in (wants, plain):
        guidance(network=network)(noise(1), SIGMA, 0)
    assert wants.calls[0]["sigma"] == 2.0 and "sigma" not in plain.calls[0]
