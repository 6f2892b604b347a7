"""All nodes of hires, collected once."""

from __future__ import annotations

from functools import cache

from hires.graph.declare import Registry
from hires.nodes import (
    areas,
    conditioning,
    control_hints,
    controlnets,
    custom_sampling,
    faces,
    guiders,
    image_batches,
    image_filters,
    image_sizes,
    images,
    img2img,
    inpainting,
    latent_algebra,
    latents,
    loaders,
    loras,
    masks,
    merging,
    model_patches,
    picture_files,
    redraw,
    redraw_comfy,
    samplers,
    sampling,
    schedules,
    seamless,
    tile_words,
    tiled_diffusion,
    upscaling,
    vae,
    vae_tiled,
    webui_sampling,
)
from hires.nodes.efficiency import evaluate, pictures, scripts, stacks, xy_files, xy_manual, xy_numbers
from hires.nodes.efficiency import loaders as efficient_loaders
from hires.nodes.efficiency import samplers as efficient_samplers

EFFICIENCY = (
    stacks,
    efficient_loaders,
    efficient_samplers,
    scripts,
    xy_numbers,
    xy_files,
    xy_manual,
    pictures,
    evaluate,
)


@cache
def own_nodes() -> Registry:
    """The same, as one that is never added to."""
    return node_registry()


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
        control_hints,
        controlnets,
        areas,
        image_batches,
        image_filters,
        image_sizes,
        masks,
        vae,
        vae_tiled,
        latent_algebra,
        schedules,
        samplers,
        guiders,
        custom_sampling,
        tiled_diffusion,
        upscaling,
        faces,
        picture_files,
        redraw,
        redraw_comfy,
        tile_words,
        img2img,
        inpainting,
        webui_sampling,
        seamless,
        *EFFICIENCY,
    )
