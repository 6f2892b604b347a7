"""Guiders: a model with what guides it, for the nodes that take noise levels as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from hires.graph.declare import node
from hires.graph.inputs import Choice, Float, Socket
from hires.models.handles import DiffusionModel
from hires.nodes.types import Cfg, Conditioning, ConditioningList, Model
from hires.sampling.guidance import Cond, Rule
from hires.sampling.rules import DualCfg, PerpNeg

CATEGORY = "sampling/custom_sampling/guiders"


@dataclass(frozen=True, eq=False)
class ChosenGuider:
    """A model, its sides, and the rule that joins them (None: classifier-free guidance by cfg)."""

    model: DiffusionModel
    positive: ConditioningList
    negative: ConditioningList
    cfg: float
    further: Mapping[str, ConditioningList] = field(default_factory=dict)
    combine: Callable[[Mapping[str, Sequence[Cond]]], Rule] | None = None


Guider = Annotated[ChosenGuider, Socket("GUIDER")]


@node("BasicGuider", category=CATEGORY, outputs=("GUIDER",))
def basic_guider(*, model: Model, conditioning: Conditioning) -> ChosenGuider:
    """One conditioning and no guidance."""
    return ChosenGuider(model, conditioning, [], 1.0)


@node("CFGGuider", category=CATEGORY, outputs=("GUIDER",))
def cfg_guider(*, model: Model, positive: Conditioning, negative: Conditioning, cfg: Cfg = 8.0) -> ChosenGuider:
    """Classifier-free guidance."""
    return ChosenGuider(model, positive, negative, cfg)


@node("DualCFGGuider", category=CATEGORY, outputs=("GUIDER",))
def dual_cfg_guider(
    *,
    model: Model,
    cond1: Conditioning,
    cond2: Conditioning,
    negative: Conditioning,
    cfg_conds: Cfg = 8.0,
    cfg_cond2_negative: Cfg = 8.0,
    style: Annotated[str, Choice(("regular", "nested"))],
) -> ChosenGuider:
    """Two guidances: from the negative to the second conditioning, and from that to the first."""

    def rule(sides: Mapping[str, Sequence[Cond]]) -> DualCfg:
        return DualCfg(sides["middle"], cfg_conds, cfg_cond2_negative, style == "nested")

    return ChosenGuider(model, cond1, negative, cfg_cond2_negative, {"middle": cond2}, rule)


@node("PerpNegGuider", category="_for_testing", outputs=("GUIDER",), experimental=True)
def perp_neg_guider(
    *,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    empty_conditioning: Conditioning,
    cfg: Cfg = 8.0,
    neg_scale: Annotated[float, Float(0.0, 100.0, 0.01)] = 1.0,
) -> ChosenGuider:
    """Of the negative prompt counts only what does not contradict the positive one."""

    def rule(sides: Mapping[str, Sequence[Cond]]) -> PerpNeg:
        return PerpNeg(sides["empty"], neg_scale, needs_uncond=True)

    return ChosenGuider(model, positive, negative, cfg, {"empty": empty_conditioning}, rule)
