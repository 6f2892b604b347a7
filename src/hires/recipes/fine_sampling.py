"""The options of A1111's settings page that change how every pass is sampled: in requests, words and infotexts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hires.errors import SettingError
from hires.recipes.draft import Draft, Link
from hires.sampling.webui_names import NOISE_SCHEDULES, UNIPC_SKIPS, UNIPC_VARIANTS


@dataclass(frozen=True)
class FineSampling:
    """Under the names of the node HiresWebuiSampling, which carries them out; 0 is the schedule's or the model's own.

    schedule_min, schedule_max: noise levels that a schedule lies between. ngms: the noise level below which every
    second call of the network (with ngms_all each) leaves the negative prompt out; skip_early: the share of the calls
    (0..1) before which each one does. noise_schedule "Zero Terminal SNR" lets the model's levels end in noise alone,
    downcast_alphas rounds them as A1111 did before 1.7.
    """

    schedule_min: float = 0.0
    schedule_max: float = 0.0
    schedule_rho: float = 0.0
    beta_alpha: float = 0.6
    beta_beta: float = 0.6
    old_karras: bool = False
    discard_penultimate: bool = False
    sgm_noise: bool = False
    unipc_variant: str = "bh1"
    unipc_skip: str = "time_uniform"
    unipc_order: int = 3
    unipc_lower_order_final: bool = True
    ngms: float = 0.0
    ngms_all: bool = False
    skip_early: float = 0.0
    noise_schedule: str = "Default"
    downcast_alphas: bool = False

    def changed(self) -> dict[str, Any]:
        """What is not as usual, by name."""
        usual = asdict(FineSampling())
        return {name: value for name, value in asdict(self).items() if value != usual[name]}


LABELS: Mapping[str, str] = {
    "discard_penultimate": "Discard penultimate sigma",
    "sgm_noise": "SGM noise multiplier",
    "schedule_min": "Schedule min sigma",
    "schedule_max": "Schedule max sigma",
    "schedule_rho": "Schedule rho",
    "beta_alpha": "Beta schedule alpha",
    "beta_beta": "Beta schedule beta",
    "old_karras": "Old Karras sigmas",
    "unipc_variant": "UniPC variant",
    "unipc_skip": "UniPC skip type",
    "unipc_order": "UniPC order",
    "unipc_lower_order_final": "UniPC lower order final",
    "skip_early": "Skip Early CFG",
    "ngms": "NGMS",
    "ngms_all": "NGMS all steps",
    "noise_schedule": "Noise Schedule",
    "downcast_alphas": "Downcast alphas_cumprod",
}
"""Name -> field of the infotext, in the order in which they are written."""
OF_THE_LEVELS = ("noise_schedule", "downcast_alphas")
"""What stands at the end of an infotext, as A1111 writes it."""
OPTIONS: Mapping[str, str] = {
    "sigma_min": "schedule_min",
    "sigma_max": "schedule_max",
    "rho": "schedule_rho",
    "beta_dist_alpha": "beta_alpha",
    "beta_dist_beta": "beta_beta",
    "use_old_karras_scheduler_sigmas": "old_karras",
    "always_discard_next_to_last_sigma": "discard_penultimate",
    "sgm_noise_multiplier": "sgm_noise",
    "uni_pc_variant": "unipc_variant",
    "uni_pc_skip_type": "unipc_skip",
    "uni_pc_order": "unipc_order",
    "uni_pc_lower_order_final": "unipc_lower_order_final",
    "skip_early_cond": "skip_early",
    "s_min_uncond": "ngms",
    "s_min_uncond_all": "ngms_all",
    "sd_noise_schedule": "noise_schedule",
    "use_downcasted_alpha_bar": "downcast_alphas",
}
"""A1111's option -> name."""
RANGES: Mapping[str, tuple[float, float]] = {
    "schedule_min": (0.0, 1000.0),
    "schedule_max": (0.0, 1000.0),
    "schedule_rho": (0.0, 100.0),
    "beta_alpha": (0.01, 50.0),
    "beta_beta": (0.01, 50.0),
    "unipc_order": (1, 50),
    "ngms": (0.0, 1000.0),
    "skip_early": (0.0, 1.0),
}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "unipc_variant": UNIPC_VARIANTS,
    "unipc_skip": UNIPC_SKIPS,
    "noise_schedule": NOISE_SCHEDULES,
}
ROUNDED_BEFORE = re.compile(r"[vV]?(0\.\d{1,9}|1\.[0-6]|1\.7\.0(?!-\d{4}|-2[3-9]\d|-22[5-9]|-[3-9]\d\d))(\D|$)")
"""Versions of A1111 that held its alphas in half precision; no other program's."""
YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def server_options() -> dict[str, Any]:
    """A1111's options with their usual values."""
    usual = asdict(FineSampling())
    return {key: usual[name] for key, name in OPTIONS.items()}


def check_fine(fine: FineSampling) -> None:
    """SettingError for the first value that is out of its range or no choice."""
    for name, value in asdict(fine).items():
        if name in RANGES and not RANGES[name][0] <= value <= RANGES[name][1]:
            low, high = RANGES[name]
            raise SettingError(f"{LABELS[name]} must be from {low:g} to {high:g}, not {value!r}")
        if name in CHOICES and value not in CHOICES[name]:
            raise SettingError(f"there is no {LABELS[name]} {value!r}", f"Use one of {', '.join(CHOICES[name])}.")
    if 0 < fine.schedule_max <= fine.schedule_min:
        raise SettingError(
            f"the schedule's largest noise level {fine.schedule_max:g} is not above its smallest {fine.schedule_min:g}",
            "Swap them, or leave one out.",
        )


def fine_from_words(words: Iterable[str], known: FineSampling | None = None) -> FineSampling:
    """The options that `name=value` words set, over those that are known. SettingError for another name or value."""
    fine = known or FineSampling()
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in LABELS:
            raise SettingError(f"{word!r} sets no sampling option", f"Use NAME=VALUE with one of {', '.join(LABELS)}.")
        fine = replace(fine, **{name: read_value(name, text.strip())})
    check_fine(fine)
    return fine


def read_value(name: str, text: str) -> Any:
    """The value that a text stands for. SettingError where it is of another kind."""
    usual = getattr(FineSampling(), name)
    if isinstance(usual, str):
        return text
    if isinstance(usual, bool):
        if text.lower() in (*YES, *NO):
            return text.lower() in YES
        raise SettingError(f"{LABELS[name]} is true or false, not {text!r}")
    try:
        return type(usual)(text)
    except ValueError as error:
        raise SettingError(f"{LABELS[name]} must be a number, not {text!r}") from error


def fine_fields(fine: FineSampling, number: Callable[[float], str], *, of_levels: bool = False) -> dict[str, Any]:
    """What an infotext says of them, or of_levels of those at its end; `number` writes its numbers."""
    changed = fine.changed()
    found: dict[str, Any] = {}
    for name, label in LABELS.items():
        if name in changed and (name in OF_THE_LEVELS) == of_levels:
            value = changed[name]
            found[label] = value if isinstance(value, bool | str) else number(value)
    return found


def fine_in(stated: Mapping[str, str]) -> FineSampling:
    """What an infotext's fields say, and its version: alphas were rounded before 1.7.0-225."""
    names = {label: name for name, label in LABELS.items()}
    given = {names[label]: read_value(names[label], text) for label, text in stated.items() if label in names and text}
    if LABELS["downcast_alphas"] not in stated and ROUNDED_BEFORE.match(stated.get("Version", "")):
        given["downcast_alphas"] = True
    return FineSampling(**given)


def fine_from_options(options: Mapping[str, Any], known: FineSampling) -> FineSampling:
    """What a server's options say where they are not as usual; the rest as it is known."""
    usual = asdict(FineSampling())
    given = {name: options[key] for key, name in OPTIONS.items() if options[key] != usual[name]}
    return replace(known, **given)


def fine_model(draft: Draft, model: Link, fine: FineSampling) -> Link:
    """The model with the options, where there are any."""
    return model if not fine.changed() else draft.add("HiresWebuiSampling", model=model, **asdict(fine)).out()
