"""Words of the form page's frame, txt2img and img2img: English text -> {ko, zh}."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

TABLE = Path(__file__).parent / "data" / "words_form.txt"


def read_words(table: Path) -> dict[str, Mapping[str, str]]:
    """Lines of `English | Korean | Chinese`."""
    rows = [[part.strip() for part in line.split(" | ")] for line in table.read_text(encoding="utf-8").splitlines()]
    return {english: {"ko": korean, "zh": chinese} for english, korean, chinese in rows}


FORM: Mapping[str, Mapping[str, str]] = read_words(TABLE)
