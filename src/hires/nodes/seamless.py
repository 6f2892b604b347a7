"""Pictures that go on at their other side: textures, and panoramas that close."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from hires.graph.declare import node
from hires.graph.inputs import Choice
from hires.models.handles import SEAMLESS, DiffusionModel, VaeModel
from hires.models.layers import derived_identity
from hires.models.patches import with_option
from hires.models.seamless import ROUND
from hires.nodes.types import Model, Vae
from hires.nodes.vae_modes import check_vae

Sides = Annotated[str, Choice(ROUND[1:]), "All four sides, left and right (x), or top and bottom (y)."]


@node("HiresSeamlessModel", title="Seamless model (hires)", category="model_patches/unet", outputs=("MODEL",))
def seamless_model(*, model: Model, sides: Sides = "both") -> DiffusionModel:
    """Draw pictures that go on at their other side. Its VAE needs the same."""
    return with_option(model, SEAMLESS, sides, sides)


@node("HiresSeamlessVAE", title="Seamless VAE (hires)", category="model_patches/unet", outputs=("VAE",))
def seamless_vae(*, vae: Vae, sides: Sides = "both") -> VaeModel:
    """Decode and encode pictures that go on at their other side: whole, since tiles have other neighbours."""
    check_vae(vae)
    return replace(vae, seamless=sides, identity=derived_identity(vae.identity, SEAMLESS, sides))
