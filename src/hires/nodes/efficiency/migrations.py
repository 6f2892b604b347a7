"""Saved values of older versions of the pack, brought into the layout of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STATES = ("Sample", "Script", "Hold")
PREVIEWS = {"Enabled": "auto", "Disabled": "none", "Output Only": "none"}
TRAINED_UPSCALERS = {"SD-Latent-Upscaler.v1": "city96.v1", "SD-Latent-Upscaler.xl": "city96.xl"}
SAMPLER = ("steps", "cfg", "sampler_name", "scheduler", "denoise", "preview_method", "vae_decode")
HIRES = (
    "upscale_type", "hires_ckpt_name", "latent_upscaler", "pixel_upscaler", "upscale_by", "use_same_seed", "seed",
    "hires_steps", "denoise", "iterations", "use_controlnet", "control_net_name", "strength", "preprocessor",
    "preprocessor_imgs",
)  # fmt: skip
TILED = (
    "upscale_by", "tile_size", "tiling_strategy", "tiling_steps", "seed", "denoise", "use_controlnet",
    "tile_controlnet", "strength",
)  # fmt: skip


def migrate_loader(values: list[Any]) -> list[Any] | None:
    """Before the options of prompt encoding: a number stands where the first of them is now."""
    if len(values) == 11 and _is_number(values[8]):
        return [*values[:8], "none", "comfy", *values[8:]]
    return None


def migrate_sampler(values: list[Any]) -> Mapping[str, Any] | None:
    """1.9: a state in front. Older: a switch for the preview at the end."""
    named: dict[str, Any] = {}
    if values and values[0] in STATES:
        named["sampler_state"], values = values[0], values[1:]
    if not values or not _is_number(values[0]):
        return None
    named["seed"], values = values[0], values[1:]
    if values and (values[0] is None or isinstance(values[0], str | bool)):
        values = values[1:]  # what to do with the seed after a run
    if values and values[-1] in PREVIEWS:
        values = [*values[:-1], PREVIEWS[values[-1]], "true"]
    if len(values) > len(SAMPLER):
        return None
    return named | dict(zip(SAMPLER, values, strict=False))


def migrate_hires_fix(values: list[Any]) -> Mapping[str, Any] | None:
    """1.9: method, factor, steps, denoise, iterations, with the base's seed. Later: `_` where a pack was missing."""
    if values and values[0] in ("latent", "pixel", "both"):
        return _without_blanks(HIRES, values, ("use_controlnet", "preprocessor_imgs"))
    if not 4 <= len(values) <= 5 or not isinstance(values[0], str):
        return None
    method, factor, steps, denoise, *iterations = values
    return {
        "upscale_type": "latent",
        "hires_ckpt_name": "(use same)",
        "latent_upscaler": TRAINED_UPSCALERS.get(method, method),
        "upscale_by": factor,
        "use_same_seed": True,
        "hires_steps": steps,
        "denoise": denoise,
        "iterations": iterations[0] if iterations else 1,
    }


def migrate_tiled_upscaler(values: list[Any]) -> Mapping[str, Any] | None:
    """`_` where no tile ControlNet was found."""
    return _without_blanks(TILED, values, ("use_controlnet",)) if values and _is_number(values[0]) else None


def _without_blanks(names: tuple[str, ...], values: list[Any], switches: tuple[str, ...]) -> Mapping[str, Any] | None:
    """By name; the control slot behind the seed is dropped, and a switch that is no switch is off."""
    slots = [*names[: names.index("seed") + 1], "", *names[names.index("seed") + 1 :]]
    if len(values) == len(names):
        slots = list(names)
    if len(values) > len(slots):
        return None
    named = {name: value for name, value in zip(slots, values, strict=False) if name}
    return {name: value is True if name in switches else value for name, value in named.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
