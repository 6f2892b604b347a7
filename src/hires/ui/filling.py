"""From an infotext back to the form's values: what it says, and for parts that it leaves out, that they are off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hires.metadata.infotext import Infotext, read_infotext
from hires.models.names import match_name, split_title
from hires.ui.choices import AUTOMATIC, SAME, Choices

PLAIN: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "Steps": ("steps", int),
    "CFG scale": ("cfg", float),
    "Seed": ("seed", int),
    "Clip skip": ("clip_skip", int),
    "Variation seed": ("subseed", int),
    "Variation seed strength": ("subseed_strength", float),
}
"""Field of an infotext -> field of the form, and its kind."""
HIRES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "Hires upscaler": ("hr_upscaler", str),
    "Hires upscale": ("hr_scale", float),
    "Hires steps": ("hr_steps", int),
    "Hires CFG Scale": ("hr_cfg", float),
    "Hires prompt": ("hr_prompt", str),
    "Hires negative prompt": ("hr_negative", str),
}


def values_of(text: str, choices: Choices, tab: str) -> dict[str, Any]:
    """The values of a tab's fields. Names of models, samplers and upscalers that are not here are left out."""
    info = read_infotext(text)
    if not info.prompt and not info.fields:
        return {}
    found: dict[str, Any] = {"prompt": info.prompt, "negative_prompt": info.negative, "styles": []}
    found |= {"clip_skip": 1, "subseed": -1, "subseed_strength": 0.0, "refiner": "None", "script": "None"}
    found |= _read(info, PLAIN)
    if (size := info.size("Size")) is not None:
        found |= {"width": size[0], "height": size[1]}
    found |= _sampler(info, choices)
    found |= _models(info, choices)
    if tab == "txt2img":
        found |= _hires(info, choices)
    elif "Denoising strength" in info.fields:
        found |= _read(info, {"Denoising strength": ("denoise", float)})
    return found


def _read(info: Infotext, table: Mapping[str, tuple[str, Callable[[str], Any]]]) -> dict[str, Any]:
    found = {}
    for key, (name, kind) in table.items():
        if key in info.fields:
            try:
                found[name] = kind(info.fields[key])
            except ValueError:
                continue
    return found


def _sampler(info: Infotext, choices: Choices) -> dict[str, Any]:
    """The sampler, and its schedule where it is named apart or at the sampler's end, as it was until 1.9."""
    name, schedule = info.fields.get("Sampler", ""), info.fields.get("Schedule type", "")
    known, schedules = choices.samplers(), choices.schedulers()
    if name not in known:
        start, _, end = name.rpartition(" ")
        if start in known and end in schedules:
            name, schedule = start, schedule or end
    found = {"sampler": name} if name in known else {}
    return found | {"scheduler": schedule if schedule in schedules else AUTOMATIC}


def _models(info: Infotext, choices: Choices) -> dict[str, Any]:
    found = {}
    for key, name in (("Model", "checkpoint"), ("Refiner", "refiner")):
        if (here := checkpoint_here(info.fields.get(key, ""), choices)) is not None:
            found[name] = here
    if "refiner" in found:
        found |= _read(info, {"Refiner switch at": ("refiner_at", float)})
    vae = info.fields.get("VAE", "")
    return found | {"vae": vae if vae in choices.vaes() else AUTOMATIC}


def checkpoint_here(title: str, choices: Choices) -> str | None:
    """The checkpoint of a name or title, as the form lists it; None where it is not here."""
    name = split_title(title)[0]
    entry = match_name(choices.server.files.entries("checkpoints"), name) if name else None
    return None if entry is None else entry.name


def _hires(info: Infotext, choices: Choices) -> dict[str, Any]:
    fields = info.fields
    if "Hires upscaler" not in fields and "Hires upscale" not in fields and "Hires resize" not in fields:
        return {"hr": False}
    found: dict[str, Any] = {"hr": True, "hr_steps": 0, "hr_cfg": 0, "hr_prompt": "", "hr_negative": ""}
    found |= {"hr_width": 0, "hr_height": 0, "hr_checkpoint": SAME, "hr_sampler": SAME, "hr_scheduler": SAME}
    found |= _read(info, HIRES) | _read(info, {"Denoising strength": ("hr_denoise", float)})
    if (size := info.size("Hires resize")) is not None:
        found |= {"hr_width": size[0], "hr_height": size[1]}
    if found.get("hr_upscaler") not in choices.hires_upscalers():
        found.pop("hr_upscaler", None)
    if fields.get("Hires sampler") in choices.samplers():
        found["hr_sampler"] = fields["Hires sampler"]
    if fields.get("Hires schedule type") in choices.schedulers():
        found["hr_scheduler"] = fields["Hires schedule type"]
    if (here := checkpoint_here(fields.get("Hires checkpoint", ""), choices)) is not None:
        found["hr_checkpoint"] = here
    return found
