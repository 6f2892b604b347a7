"""Words of the tabs beside txt2img and img2img: English text -> {ko, zh}."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hires.ui.words_form import read_words

TABLE = Path(__file__).parent / "data" / "words_tabs.txt"
TABS: Mapping[str, Mapping[str, str]] = read_words(TABLE)
