"""Axes over the words of prompts: search and replace, the order of words, styles, the weight of LoRAs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

from hires.errors import SettingError
from hires.recipes.grids.axes import Known, Request, base_of, with_base
from hires.recipes.grids.values import MOST_VALUES, split_values
from hires.recipes.networks import LORA_KINDS, network_tags
from hires.recipes.request import Txt2Img
from hires.recipes.wording import styled
from hires.text.styles import Style

Texts = tuple[str, str, str, str]
LORA_TAG = re.compile(rf"<((?:{'|'.join(LORA_KINDS)}):[^:<>]+)((?::[^<>]*)?)>")
NUMBER = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*")


def prompt_texts(request: Txt2Img) -> Texts:
    """Prompt and negative prompt of the first pass, then of the hires pass."""
    hires = request.hires
    return (request.prompt, request.negative, *(("", "") if hires is None else (hires.prompt, hires.negative)))


def with_texts(request: Request, texts: Sequence[str]) -> Request:
    prompt, negative, own, own_negative = texts
    hires = base_of(request).hires
    if hires is not None:
        hires = replace(hires, prompt=own, negative=own_negative)
    return with_base(request, prompt=prompt, negative=negative, hires=hires)


def search_and_replace(request: Request, value: Any, values: Sequence[Any]) -> Request:
    """Every place of the first value, in all prompts, becomes this value; letter case counts.

    SettingError where the first value is in no prompt.
    """
    searched = str(values[0])
    found = prompt_texts(base_of(request))
    if not any(searched in text for text in found):
        raise SettingError(
            f"Prompt S/R looks for {searched!r}, which is in no prompt", "Begin with the words to replace."
        )
    return with_texts(request, [text.replace(searched, str(value)) for text in found])


def orders(text: str, known: Known) -> list[tuple[str, ...]]:
    """All orders of the words listed, the one given first."""
    words = split_values(text)
    count = 1
    for number in range(2, len(words) + 1):
        count *= number
        if count > MOST_VALUES:
            raise SettingError(
                f"{len(words)} words have more than the {MOST_VALUES} orders that an axis may have",
                "List 6 words or fewer.",
            )
    return list(permutations(words))


def reorder(request: Request, value: Any, values: Sequence[Any]) -> Request:
    """The words, each at its first place in the prompt, put into these places in another order."""
    prompt = base_of(request).prompt
    parts, rest = [], prompt
    for word in sorted(value, key=prompt.find):
        before, found, rest = rest.partition(word)
        if not found:
            raise SettingError(f"Prompt order lists {word!r}, which is not in the prompt (again)")
        parts.append(before)
    made = "".join(before + word for before, word in zip(parts, value, strict=True))
    return with_base(request, prompt=made + rest)


def style_lists(text: str, known: Known) -> list[tuple[Style, ...]]:
    """Each item is one style, or several between commas."""
    styles = known.styles or {}
    found = []
    for item in split_values(text):
        names = [name.strip() for name in item.split(",") if name.strip()]
        for name in names:
            if name not in styles and name.lower() != "none":
                there = ", ".join(styles) or "none at all"
                raise SettingError(f"there is no style {name!r}", f"There are: {there}.")
        found.append(tuple(styles[name] for name in names if name in styles))
    return found


def add_styles(request: Request, value: Any, values: Sequence[Any]) -> Request:
    """Styles laid over the prompts, after those that the request has."""
    named = {style.name: style for style in value}
    own = base_of(with_base(request, styles=tuple(named)))
    done = styled(own, named)
    return with_base(request, prompt=done.prompt, negative=done.negative, hires=done.hires)


def shown_styles(value: Any) -> str:
    return ", ".join(style.name for style in value) or "None"


def weigh_loras(request: Request, value: Any, values: Sequence[Any]) -> Request:
    """Every LoRA tag of the prompts at this weight, for text encoder and UNet; its named arguments stay."""

    def weighed(match: re.Match[str]) -> str:
        arguments = match[2].split(":")[1:]
        numbers = [part for part in arguments if NUMBER.fullmatch(part)]
        others = [part for part in arguments if part not in numbers and not part.startswith(("te=", "unet="))]
        weights = [format(value, "g")] * (2 if len(numbers) > 1 else 1)
        return f"<{':'.join([match[1], *weights, *numbers[2:], *others])}>"

    return with_texts(request, [LORA_TAG.sub(weighed, text) for text in prompt_texts(base_of(request))])


def needs_lora(request: Request) -> str:
    positive = prompt_texts(base_of(request))[::2]
    tags = [tag for text in positive for tag in network_tags(text)]
    return "" if any(tag.kind in LORA_KINDS for tag in tags) else "no prompt has a <lora:...> tag"
