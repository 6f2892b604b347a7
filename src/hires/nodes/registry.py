"""All nodes of hires, collected once."""

from __future__ import annotations

from hires.graph.declare import Registry
from hires.nodes import (
    areas,
    conditioning,
    controlnets,
    image_batches,
    image_filters,
    image_sizes,
    images,
    latent_algebra,
    latents,
    loaders,
    loras,
    masks,
    merging,
    model_patches,
    sampling,
    vae,
)


def node_registry() -> Registry:
    """The vocabulary that workflows are checked against."""
    return Registry.of(
        loaders,
        conditioning,
        latents,
        images,
        sampling,
        loras,
        model_patches,
        merging,
        controlnets,
        areas,
        image_batches,
        image_filters,
        image_sizes,
        masks,
        vae,
        latent_algebra,
    )
