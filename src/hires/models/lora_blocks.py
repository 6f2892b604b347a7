"""Strengths of a LoRA block by block, as the "LoRA block weight" extension of the A1111 web UI writes them.

A list of 12, 17, 20 or 26 numbers, or the name of a preset. BASE is the text encoder, INnn, MID and OUTnn are the
blocks of the UNet in latent-diffusion's numbering. 17 and 26 are for SD 1.x and 2.x (with attention; all blocks), 12
and 20 for SDXL. A block that a list does not name gets 0; layers outside of all blocks keep the full strength.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from hires.errors import SettingError


def _ins(*numbers: int) -> tuple[str, ...]:
    return tuple(f"IN{number:02}" for number in numbers)


def _outs(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"OUT{number:02}" for number in range(first, last + 1))


LISTS: Final[Mapping[int, tuple[str, ...]]] = {
    12: ("BASE", *_ins(4, 5, 7, 8), "MID", *_outs(0, 5)),
    17: ("BASE", *_ins(1, 2, 4, 5, 7, 8), "MID", *_outs(3, 11)),
    20: ("BASE", *_ins(*range(9)), "MID", *_outs(0, 8)),
    26: ("BASE", *_ins(*range(12)), "MID", *_outs(0, 11)),
}
FULL: Final[Mapping[bool, int]] = {True: 20, False: 26}
"""The list that names every block, by whether the model is SDXL."""
SHORT: Final[Mapping[bool, int]] = {True: 12, False: 17}
"""The list of the blocks with attention, which most LoRAs change."""

PRESETS: Final[Mapping[str, tuple[str, ...]]] = {
    "INS": ("BASE", *_ins(1, 2, 4)),
    "IND": ("BASE", *_ins(5, 7, 8)),
    "INALL": ("BASE", *_ins(1, 2, 4, 5, 7, 8)),
    "MIDD": ("BASE", *_ins(5, 7, 8), "MID", *_outs(3, 6)),
    "OUTD": ("BASE", *_outs(3, 6)),
    "OUTS": ("BASE", *_outs(7, 11)),
    "OUTALL": ("BASE", *_outs(3, 11)),
}
"""Presets of the extension by the blocks at 1, drawn up for SD 1.x."""
BOTH_FAMILIES: Final = ("INALL", "OUTALL")
"""Those whose name says what they are for SDXL too: all of one half."""


def block_weights(text: str, family: str) -> dict[str, float]:
    """Latent-diffusion block ("text", "input_blocks.4", "middle_block", "output_blocks.3") -> factor of the strength.

    `text` is a list of numbers or a preset's name (ALL, NONE, ALL0.5, INALL, MIDD ..., a block's name for it alone, or
    N and a block's name for all but it); `family` is "sd1", "sd2", "sdxl" or "sdxl_refiner". SettingError otherwise.
    """
    sdxl = family.startswith("sdxl")
    text = text.strip()
    factors = _listed(text, sdxl) if "," in text else _preset(text.upper(), sdxl)
    named = {block: factors.get(block, 0.0) for block in LISTS[FULL[sdxl]]}
    return {_ldm(block): factor for block, factor in named.items()}


def _listed(text: str, sdxl: bool) -> dict[str, float]:
    numbers = [_number(item) for item in text.split(",")]
    fitting = (SHORT[sdxl], FULL[sdxl])
    if len(numbers) not in fitting:
        model = "an SDXL model" if sdxl else "this model"
        raise SettingError(
            f"{len(numbers)} block weights do not fit {model}",
            f"It takes {fitting[0]} ({', '.join(LISTS[fitting[0]])}) or {fitting[1]}.",
        )
    return dict(zip(LISTS[len(numbers)], numbers, strict=True))


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        why = " (random weights R and U cannot be drawn again)" if text.strip() in ("R", "U") else ""
        raise SettingError(f"the block weight {text.strip()!r} is not a number{why}", "Write numbers like 0.5.")
    return value


def _preset(name: str, sdxl: bool) -> dict[str, float]:
    every = LISTS[FULL[sdxl]]
    if name == "NONE":
        return {}
    if name.startswith("ALL"):
        return dict.fromkeys(every, _number(name[3:]) if name[3:] else 1.0)
    if name in every:
        return {name: 1.0}
    if name.startswith("N") and name[1:] in every:
        return {block: float(block != name[1:]) for block in every}
    if sdxl and name in BOTH_FAMILIES:
        half = "IN" if name == "INALL" else "OUT"
        return {block: float(block == "BASE" or block.startswith(half)) for block in every}
    if not sdxl and name in PRESETS:
        return dict.fromkeys(PRESETS[name], 1.0)
    if name in PRESETS:
        raise SettingError(
            f"the block weights {name} are drawn up for SD 1.x, not SDXL",
            f"Write {SHORT[True]} numbers: {', '.join(LISTS[SHORT[True]])}.",
        )
    raise SettingError(f"there are no block weights {name!r}", f"There are: {_names(sdxl)}, or a block as IN04.")


def _names(sdxl: bool) -> str:
    own: Sequence[str] = BOTH_FAMILIES if sdxl else tuple(PRESETS)
    return ", ".join(("ALL", "NONE", "ALL0.5", *own))


def _ldm(block: str) -> str:
    if block == "BASE":
        return "text"
    if block == "MID":
        return "middle_block"
    half = "input" if block.startswith("IN") else "output"
    return f"{half}_blocks.{int(block[-2:])}"
