"""The page's words in English, Korean and Chinese. English text is the key of what it is in the other languages."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hires.ui.words_form import FORM
from hires.ui.words_tabs import TABS

LANGUAGES: Mapping[str, str] = {"en": "English", "ko": "한국어", "zh": "中文"}
Words = Mapping[str, Mapping[str, str]]
WORDS: Words = {**FORM, **TABS}
"""English text -> {"ko": ..., "zh": ...}."""


def speaker(language: str) -> Callable[[str], str]:
    """What says an English text in a language; texts that no table has stay English."""
    if language not in LANGUAGES or language == "en":
        return lambda text: text
    return lambda text: WORDS.get(text, {}).get(language, text)


def language_of(chosen: str, accepted: str) -> str:
    """The language of a page: the one that the options choose ("None" or "" for none), else the first of an
    `Accept-Language` that there is, by its weights; English where there is none."""
    wanted = chosen.split("-")[0].split("_")[0].lower()
    if wanted in LANGUAGES:
        return wanted
    found = []
    for place, part in enumerate(accepted.split(",")):
        name, _, weight = part.strip().partition(";")
        short = name.strip().split("-")[0].lower()
        if short in LANGUAGES:
            found.append((-_weight(weight), place, short))
    return min(found)[2] if found else "en"


def _weight(text: str) -> float:
    """The q of `;q=0.8`; 1 where there is none that can be read."""
    name, _, value = text.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
