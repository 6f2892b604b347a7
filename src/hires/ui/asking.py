"""From the form's values to the request that a program would send: the body of /sdapi/v1/txt2img or img2img."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hires.errors import SettingError
from hires.server.scripts import named
from hires.ui.choices import AUTOMATIC, SAME

Values = Mapping[str, Any]
NONE = ("", "None", None)
AXIS_LABELS = tuple(f"{letter} type" for letter in "XYZ")


def drawn_body(values: Values) -> dict[str, Any]:
    """What both tabs ask for."""
    settings = {
        "sd_model_checkpoint": values["checkpoint"],
        "sd_vae": values["vae"] or AUTOMATIC,
        "CLIP_stop_at_last_layers": _whole(values, "clip_skip", 1),
    }
    body: dict[str, Any] = {
        "prompt": values["prompt"] or "",
        "negative_prompt": values["negative_prompt"] or "",
        "styles": list(values["styles"] or ()),
        "seed": _whole(values, "seed", -1),
        "subseed": _whole(values, "subseed", -1),
        "subseed_strength": float(values["subseed_strength"] or 0),
        "seed_resize_from_w": _whole(values, "seed_resize_from_w", 0),
        "seed_resize_from_h": _whole(values, "seed_resize_from_h", 0),
        "sampler_name": values["sampler"],
        "scheduler": values["scheduler"] or AUTOMATIC,
        "batch_size": _whole(values, "batch_size", 1),
        "n_iter": _whole(values, "batch_count", 1),
        "steps": _whole(values, "steps", 20),
        "cfg_scale": float(values["cfg"]),
        "width": _whole(values, "width", 512),
        "height": _whole(values, "height", 512),
        "override_settings": settings,
        "save_images": True,
        "send_images": False,
        "alwayson_scripts": always_on(values),
    }
    if values["refiner"] not in NONE:
        body |= {"refiner_checkpoint": values["refiner"], "refiner_switch_at": float(values["refiner_at"])}
    return body | script(values)


def txt2img_body(values: Values) -> dict[str, Any]:
    """POST /sdapi/v1/txt2img"""
    body = drawn_body(values)
    if not values["hr"]:
        return body
    body |= {
        "enable_hr": True,
        "hr_upscaler": values["hr_upscaler"],
        "hr_scale": float(values["hr_scale"]),
        "hr_resize_x": _whole(values, "hr_width", 0),
        "hr_resize_y": _whole(values, "hr_height", 0),
        "hr_second_pass_steps": _whole(values, "hr_steps", 0),
        "denoising_strength": float(values["hr_denoise"]),
        "hr_prompt": values["hr_prompt"] or "",
        "hr_negative_prompt": values["hr_negative"] or "",
    }
    for name, field in (
        ("hr_checkpoint_name", "hr_checkpoint"),
        ("hr_sampler_name", "hr_sampler"),
        ("hr_scheduler", "hr_scheduler"),
    ):
        if values[field] not in (SAME, None):
            body[name] = values[field]
    if values["hr_cfg"]:
        body["hr_cfg"] = float(values["hr_cfg"])
    if values["hr_compare"]:
        body["override_settings"]["save_images_before_highres_fix"] = True
    return body


def script(values: Values) -> dict[str, Any]:
    """The script that is chosen, and its arguments in their order."""
    title = values.get("script", "None")
    if title in NONE:
        return {}
    return {"script_name": title, "script_args": arguments(title, values, title)}


def arguments(title: str, values: Values, prefix: str) -> list[Any]:
    """A script's arguments from the fields `prefix/label`; those without a field have their defaults."""
    found = []
    for argument in named(title).arguments:
        value = values.get(f"{prefix}/{argument.label}", argument.default)
        value = argument.default if value is None else value
        if argument.label in AXIS_LABELS and value == argument.default:
            value = "Nothing"
        found.append(value)
    return found


def always_on(values: Values) -> dict[str, Any]:
    """The scripts that work beside the others, those that are on."""
    found: dict[str, Any] = {}
    if values["tiled"]:
        found["Tiled Diffusion"] = {"args": _tiled_diffusion(values)}
    if values["shrink"]:
        shrink = [int(values["shrink_block"]), float(values["shrink_factor"]), 0.0, float(values["shrink_end"])]
        found["Kohya HRFix Integrated"] = {"args": [True, *shrink]}
    if values["vae_tiled"]:
        args = arguments("tiled vae", {**values, "vae_tiled/Enable Tiled VAE": True}, "vae_tiled")
        args[4] = args[5] = bool(values["vae_fast"])
        found["Tiled VAE"] = {"args": args}
    if values.get("soft"):
        found["Soft Inpainting"] = {"args": [True, *arguments("soft inpainting", values, "soft")[1:]]}
    if units := _units(values):
        found["ControlNet"] = {"args": units}
    return found


def _tiled_diffusion(values: Values) -> list[Any]:
    on = {"Enabled": True, "Enable Control": bool(values["tiled_regions"])}
    on["Draw full canvas background"] = bool(values["tiled_background"])
    if values["tiled_regions"]:
        for number, row in enumerate(_rows(values["regions"]), 1):
            x, y, width, height, prompt, negative, blend, feather, seed = row
            region: dict[str, Any] = {"x": x, "y": y, "w": width, "h": height, "feather_ratio": feather}
            given: dict[str, Any] = {key: _share(number, key, value) for key, value in region.items()}
            given |= {"prompt": str(prompt or ""), "neg_prompt": str(negative or ""), "enable": True}
            given |= {"blend_mode": str(blend or "Background"), "seed": int(_share(number, "seed", seed, -1))}
            on |= {f"region {number} {key}": value for key, value in given.items()}
    return arguments("tiled diffusion", {**values, **{f"tiled/{key}": value for key, value in on.items()}}, "tiled")


def _rows(table: Any) -> list[Sequence[Any]]:
    """The rows of the regions' table that have a place; a table of arrays or a data frame's values."""
    rows = table.values.tolist() if hasattr(table, "values") else table
    return [row for row in rows or () if row[2] not in ("", None) and row[3] not in ("", None)][:8]


def _share(number: int, name: str, value: Any, otherwise: float = 0.0) -> float:
    if value in ("", None):
        return otherwise
    try:
        return float(value)
    except (TypeError, ValueError):
        raise SettingError(f"region {number}: {name} must be a number, not {value!r}") from None


def _units(values: Values) -> list[dict[str, Any]]:
    found = []
    for number in range(10):
        unit = f"control{number}"
        if values.get(f"{unit}/model") in NONE:
            continue
        found.append(
            {
                "enabled": True,
                "module": "none",
                "model": values[f"{unit}/model"],
                "image": coded(values[f"{unit}/image"]) if values[f"{unit}/image"] else None,
                "weight": float(values[f"{unit}/weight"]),
                "guidance_start": float(values[f"{unit}/start"]),
                "guidance_end": float(values[f"{unit}/end"]),
                "resize_mode": values[f"{unit}/resize"],
                "hr_option": values[f"{unit}/passes"],
            }
        )
    return found


def coded(path: str | Path) -> str:
    """A picture file as requests carry it. SettingError where it is gone."""
    try:
        return base64.b64encode(Path(path).read_bytes()).decode()
    except OSError as error:
        raise SettingError(f"the picture cannot be read: {error.strerror or error}", "Choose it again.") from error


def _whole(values: Values, name: str, otherwise: int) -> int:
    value = values.get(name)
    if value in (None, ""):
        return otherwise
    return int(value)
