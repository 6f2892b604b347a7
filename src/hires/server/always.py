"""Always-on scripts laid over a request: Tiled Diffusion, Tiled VAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hires.errors import SettingError
from hires.recipes.request import Txt2Img
from hires.recipes.tiled import DeepShrink, TiledDiffusion
from hires.recipes.tiled_img2img import NoiseInversion, TiledImg2Img
from hires.server.scripts import REGION_ARGUMENTS, REGIONS, named
from hires.tiling.regions import Region

PIXELS_PER_CELL = 8
TILES_OF_VAE = (128, 4096)
IMG2IMG_OVERLAP = 8


def with_always_on(request: Txt2Img, given: Mapping[str, Sequence[Any]]) -> Txt2Img:
    """A request with the always-on scripts that do not depend on the tab."""
    if (tiled := tiled_diffusion(given)) is not None:
        values = named("tiled diffusion").values(given["tiled diffusion"])
        if values["Overwrite image size"]:
            size = {"overwrite_width": values["Image width"], "overwrite_height": values["Image height"]}
            tiled = replace(tiled, **size)
        request = replace(request, tiled=tiled)
    if (shrink := deep_shrink(given)) is not None:
        request = replace(request, deep_shrink=shrink)
    vae = named("tiled vae").values(given.get("tiled vae", ()))
    if vae["Enable Tiled VAE"]:
        side = min(max(vae["Decoder Tile Size"] * PIXELS_PER_CELL, TILES_OF_VAE[0]), TILES_OF_VAE[1])
        mode = "fast" if vae["Fast Decoder"] and vae["Fast Encoder"] else "exact"
        request = replace(request, vae_mode=mode, vae_tile=side)
    return request


def deep_shrink(given: Mapping[str, Sequence[Any]]) -> DeepShrink | None:
    """Deep Shrink as Forge's "Kohya HRFix" asks for it; None where it is off."""
    title = "kohya hrfix integrated"
    values = named(title).values(given.get(title, ()))
    if not values["Enabled"]:
        return None
    if values["Start Percent"] != 0 or not values["Downscale After Skip"]:
        raise SettingError("Deep Shrink begins with the first step, after the skip, in this interface", "Send 0, true.")
    return DeepShrink(values["Block Number"], float(values["Downscale Factor"]), float(values["End Percent"]))


def tiled_diffusion(given: Mapping[str, Sequence[Any]], tab: str = "txt2img") -> TiledDiffusion | None:
    """The tiles that Tiled Diffusion asks for; None where it is off."""
    args = given.get("tiled diffusion", ())
    values = named("tiled diffusion").values(args)
    if not values["Enabled"]:
        return None
    overlap = values["Latent tile overlap"]
    if tab == "img2img" and len(args) <= OVERLAP_PLACE:
        overlap = IMG2IMG_OVERLAP
    return TiledDiffusion(
        method=values["Method"],
        tile_width=values["Latent tile width"],
        tile_height=values["Latent tile height"],
        overlap=overlap,
        tile_batch=values["Latent tile batch size"],
        control_on_cpu=values["Move ControlNet tensor to CPU"],
        jitter=values["Jitter"],
        regions=_regions(values),
        background="on" if values["Draw full canvas background"] else "off" if values["Enable Control"] else "fill",
    )


OVERLAP_PLACE = 8


def _regions(values: Mapping[str, Any]) -> tuple[Region, ...]:
    if not values["Enable Control"]:
        return ()
    found = []
    for index in range(REGIONS):
        of_region = {label: values[f"region {index + 1} {label}"] for label, _ in REGION_ARGUMENTS}
        if of_region["enable"]:
            x, y, width, height = (float(of_region[name]) for name in "xywh")
            prompt, negative, blend = (of_region[name] for name in ("prompt", "neg_prompt", "blend_mode"))
            feather, seed = float(of_region["feather_ratio"]), int(of_region["seed"])
            found.append(Region(x, y, width, height, prompt, negative, blend, feather, seed))
    return tuple(found)


def tiled_img2img(base: Txt2Img, denoise: float, given: Mapping[str, Sequence[Any]]) -> TiledImg2Img | None:
    """Tiled Diffusion in img2img: its own enlarging and noise inversion; None where it is off."""
    tiled = tiled_diffusion(given, "img2img")
    if tiled is None:
        return None
    values = named("tiled diffusion").values(given["tiled diffusion"])
    if values["Causalize layers"]:
        raise SettingError("Tiled Diffusion's causal layers are not there in this interface", "Send false.")
    inversion = None
    if values["Enable Noise Inversion"]:
        labels = ("Inversion steps", "Retouch", "Renoise strength", "Renoise kernel size")
        inversion = NoiseInversion(*(values[label] for label in labels))
    return TiledImg2Img(
        base=replace(base, tiled=tiled),
        denoise=denoise,
        upscaler=values["Upscaler"],
        scale=values["Scale Factor"],
        keep_input_size=values["Keep input image size"],
        inversion=inversion,
    )
