"""Prompts from file or textbox: a job a line, plain text or `--field value` pairs."""

from __future__ import annotations

import random
import shlex
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hires.errors import SettingError
from hires.recipes.request import RANDOM_SEEDS
from hires.server.bodies import Drawn

Asked = TypeVar("Asked", bound=Drawn)
MOST_LINES = 1000


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise ValueError(text)
    return text.lower() in ("true", "1", "yes")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


FIELDS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("prompt", "negative_prompt", "sampler_name", "sd_model"), str),
    **dict.fromkeys(("seed", "subseed", "seed_resize_from_h", "seed_resize_from_w", "batch_size", "n_iter"), int),
    **dict.fromkeys(("steps", "width", "height"), int),
    **dict.fromkeys(("subseed_strength", "cfg_scale"), float),
    **dict.fromkeys(("restore_faces", "tiling", "do_not_save_samples", "do_not_save_grid"), _flag),
    "styles": _names,
}


def jobs_of_lines(body: Asked, values: Mapping[str, Any], chooser: random.Random | None = None) -> list[Asked]:
    """The request once for each line that is not empty, with what the line says. SettingError names the line."""
    lines = [(number, line.strip()) for number, line in enumerate(values["List of prompt inputs"].splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line]
    if not lines:
        raise SettingError("there is no line with a prompt", "Write one prompt a line.")
    if len(lines) > MOST_LINES:
        raise SettingError(f"{len(lines)} lines of prompts are too many", f"There may be {MOST_LINES}.")
    iterated = values["Iterate seed every line"]
    seed = body.seed
    if seed < 0 and (iterated or values["Use same random seed for all lines"]):
        seed = (chooser or random.SystemRandom()).randrange(RANDOM_SEEDS)
    jobs = []
    for number, line in lines:
        changes = _with_base(body, fields_of(line, number), values["Insert prompts at the"])
        if seed >= 0:
            changes = {"seed": seed, **changes}
        if (model := changes.pop("sd_model", None)) is not None:
            changes["override_settings"] = {**(body.override_settings or {}), "sd_model_checkpoint": model}
        job = body.model_copy(update=changes)
        if iterated:
            seed += job.batch_size * job.n_iter
        jobs.append(job)
    return jobs


def fields_of(line: str, number: int = 1) -> dict[str, Any]:
    """The fields that one line gives: `--steps 20 --prompt "..."`, or a prompt."""
    if not line.startswith("--"):
        return {"prompt": line}
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise SettingError(f"line {number} of the prompts: {error}", "Close the quotation mark.") from error
    found: dict[str, Any] = {}
    for name, text in zip(words[::2], words[1::2], strict=False):
        key = name.removeprefix("--")
        if not name.startswith("--") or key not in FIELDS:
            raise SettingError(
                f"line {number} of the prompts: there is no field {name}", f"There are: {', '.join(FIELDS)}."
            )
        try:
            found[key] = FIELDS[key](text)
        except ValueError:
            raise SettingError(f"line {number} of the prompts: {key} cannot be {text!r}") from None
    if len(words) % 2:
        raise SettingError(f"line {number} of the prompts: {words[-1]} has no value", "Put text in quotation marks.")
    return found


def _with_base(body: Drawn, changes: dict[str, Any], place: str) -> dict[str, Any]:
    """The line's prompts joined to those of the request."""
    for name in ("prompt", "negative_prompt"):
        own = getattr(body, name)
        if name in changes and own:
            parts = (changes[name], own) if place == "start" else (own, changes[name])
            changes[name] = " ".join(parts)
    return changes
