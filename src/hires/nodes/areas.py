"""Conditioning for a part of the picture: rectangles, fractions of the latent, masks."""

from __future__ import annotations

from typing import Annotated

from hires.graph.declare import node
from hires.graph.inputs import Choice, Float, Int
from hires.imaging.masks import as_masks
from hires.imaging.sizes import LATENT
from hires.nodes.conditioning import with_options
from hires.nodes.types import MAX_RESOLUTION, Conditioning, ConditioningList, Fraction, Mask, Side

AreaSide = Annotated[int, Int(64, MAX_RESOLUTION, 8)]
Strength = Annotated[float, Float(0.0, 10.0, 0.01)]


@node("ConditioningSetArea", title="Conditioning (Set Area)", category="conditioning", outputs=("CONDITIONING",))
def set_area(
    *,
    conditioning: Conditioning,
    width: AreaSide = 64,
    height: AreaSide = 64,
    x: Side = 0,
    y: Side = 0,
    strength: Strength = 1.0,
) -> ConditioningList:
    """In force in a rectangle only, given in pixels."""
    area = (height // LATENT, width // LATENT, y // LATENT, x // LATENT)
    return with_options(conditioning, area=area, strength=strength, set_area_to_bounds=False)


@node(
    "ConditioningSetAreaPercentage",
    title="Conditioning (Set Area with Percentage)",
    category="conditioning",
    outputs=("CONDITIONING",),
)
def set_area_percentage(
    *,
    conditioning: Conditioning,
    width: Fraction = 1.0,
    height: Fraction = 1.0,
    x: Fraction = 0.0,
    y: Fraction = 0.0,
    strength: Strength = 1.0,
) -> ConditioningList:
    """In force in a rectangle only, given in fractions of the picture."""
    area = ("percentage", height, width, y, x)
    return with_options(conditioning, area=area, strength=strength, set_area_to_bounds=False)


@node("ConditioningSetAreaStrength", category="conditioning", outputs=("CONDITIONING",))
def set_area_strength(*, conditioning: Conditioning, strength: Strength = 1.0) -> ConditioningList:
    """How much it weighs against what else is in force in the same place."""
    return with_options(conditioning, strength=strength)


@node("ConditioningSetMask", title="Conditioning (Set Mask)", category="conditioning", outputs=("CONDITIONING",))
def set_mask(
    *,
    conditioning: Conditioning,
    mask: Mask,
    strength: Strength = 1.0,
    set_cond_area: Annotated[str, Choice(("default", "mask bounds"))],
) -> ConditioningList:
    """Weighted by a mask; with "mask bounds" it is also evaluated on the mask's box alone."""
    return with_options(
        conditioning,
        mask=as_masks(mask),
        mask_strength=strength,
        set_area_to_bounds=set_cond_area == "mask bounds",
    )
