"""What nodes set on a model for a run: its noise levels and its rules of guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hires.models.handles import DiffusionModel
from hires.sampling.guidance import Rule
from hires.sampling.levels import NoiseLevels, continuous_levels, lcm_levels, levels_of

DOWNCAST = "downcast alphas"
"""The option of a model whose table is made of rounded alphas."""
RuleMaker = Callable[[DiffusionModel, NoiseLevels, Sequence[int]], Rule]
"""(model, levels, shape of the latent) -> the rule of a run."""


def noise_levels(model: DiffusionModel) -> NoiseLevels:
    """The table of sigmas that a model was trained on, or that a node gave it."""
    edm = model.options.get("edm")
    if edm is not None:
        return continuous_levels(*edm)
    base = levels_of(model.zero_terminal_snr, DOWNCAST in model.options)
    return lcm_levels(base) if model.prediction == "lcm" else base


def guidance_rules(
    model: DiffusionModel, levels: NoiseLevels, shape: Sequence[int], instead: Rule | None = None
) -> tuple[Rule, ...]:
    """The rule that takes the place of classifier-free guidance, of which the last set counts, and those behind it.

    `instead` is a guider's own, which goes before the model's.
    """
    combine: RuleMaker | None = model.options.get("combine")
    if instead is None and combine is not None:
        instead = combine(model, levels, shape)
    behind = tuple(maker(model, levels, shape) for maker in model.options.get("after_cfg", ()))
    return behind if instead is None else (instead, *behind)
