"""Merges of models and text encoders: weight by weight, in float32, over the first model's tensors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from hires.errors import ModelFileError
from hires.models.clip import ClipModel, TextStack
from hires.models.handles import DiffusionModel
from hires.models.keys import module_unet_blocks, renamed, unet_block_names
from hires.models.layers import Change, derived_identity, lay

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mix:
    """first * W1 + second * W2"""

    first: float
    second: float


Choose = Callable[[str], Mix]
"""latent-diffusion's key of a parameter ("input_blocks.1.0.in_layers.0.weight") -> how it is mixed"""


def interpolation(ratio: float) -> Mix:
    """model1 * ratio + model2 * (1 - ratio)"""
    return Mix(ratio, 1.0 - ratio)


def by_prefix(ratios: Mapping[str, float]) -> Choose:
    """Interpolation with the ratio of the longest prefix that a key starts with; the first ratio where none does."""
    first = next(iter(ratios.values()))

    def choose(key: str) -> Mix:
        fitting = [prefix for prefix in ratios if key.startswith(prefix)]
        return interpolation(ratios[max(fitting, key=len)] if fitting else first)

    return choose


def merge_models(model1: DiffusionModel, model2: DiffusionModel, choose: Choose, *facts: object) -> DiffusionModel:
    """The first model with its UNet's weights mixed with the second's; `facts` name what `choose` does."""
    if model1.family != model2.family:
        raise ModelFileError(
            f"models of two families cannot be merged: {model1.family} and {model2.family}", "Choose two of one family."
        )
    parameters = dict(model1.unet.named_parameters())
    names = {module: ldm for ldm, module in unet_block_names(module_unet_blocks(parameters)).items()}
    changes = _changes(model1.unet, model2.unet, lambda name: choose(renamed(name, names) or name))
    unet, layers = lay(model1.unet, model1.layers, changes)
    identity = derived_identity(model1.identity, "merge", model2.identity, *facts)
    return replace(model1, unet=unet, layers=layers, identity=identity)


def merge_texts(clip1: TextStack, clip2: TextStack, mix: Mix) -> TextStack:
    """The first text stack with its towers' weights mixed with the second's, tower by tower."""
    others = {tower.kind: tower for tower in clip2.clips}
    if not any(tower.kind in others for tower in clip1.clips):
        raise ModelFileError(
            f"text encoders of two families cannot be merged: {clip1.family} and {clip2.family}",
            "Choose two of one family.",
        )
    towers = tuple(_merged_tower(tower, others.get(tower.kind), mix) for tower in clip1.clips)
    return replace(clip1, clips=towers, identity=derived_identity(clip1.identity, "merge", clip2.identity, mix))


def _merged_tower(tower: ClipModel, other: ClipModel | None, mix: Mix) -> ClipModel:
    if other is None:
        return tower
    module, layers = lay(tower.module, tower.layers, _changes(tower.module, other.module, lambda name: mix))
    projection = tower.projection
    if projection is not None and other.projection is not None and projection.shape == other.projection.shape:
        projection = projection * mix.first + other.projection.to(projection) * mix.second
    return replace(tower, module=module, layers=layers, projection=projection)


def _changes(first: nn.Module, second: nn.Module, choose: Choose) -> dict[str, Change]:
    """The mixes of all parameters that both have in one shape; the rest stays the first's, which is logged."""
    others: Mapping[str, Tensor] = dict(second.named_parameters())
    changes: dict[str, Change] = {}
    for name, parameter in first.named_parameters():
        other = others.get(name)
        if other is None or other.shape != parameter.shape:
            LOG.warning("%s was not merged: the second model has it in another shape, or not at all", name)
            continue
        mix = choose(name)
        if mix != Mix(1.0, 0.0):
            changes[name] = _mixed(other, mix)
    return changes


def _mixed(other: Tensor, mix: Mix) -> Change:
    return lambda weight: weight * mix.first + other.detach().to(weight) * mix.second
