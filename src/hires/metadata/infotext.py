"""Infotext: the A1111 web UI's one-paragraph record of how a picture was made, written and read.

<prompt>
Negative prompt: <negative>
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x512, ...
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STRING = r'"(?:\\.|[^\\"])*"'
OBJECT = rf'\{{(?:{STRING}|[^{{}}"])*\}}'
NESTED = rf'\{{(?:{STRING}|[^{{}}"]|\{{(?:{STRING}|[^{{}}"]|{OBJECT})*\}})*\}}'
FIELD = re.compile(rf'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|{NESTED}|[^,]*)(?:,|$)')
"""A key of word characters, spaces, - and /, two or more; then a JSON string, a JSON object of up to three levels (as
Tiled Diffusion writes its settings), or anything up to the comma."""

SIZE = re.compile(r"^(\d{1,9})x(\d{1,9})$")
FEWEST_FIELDS = 3


@dataclass(frozen=True)
class Infotext:
    """What an infotext says. `fields` keeps the order of the text; sizes stay as WxH strings."""

    prompt: str = ""
    negative: str = ""
    fields: dict[str, str] = field(default_factory=dict)

    def size(self, key: str) -> tuple[int, int] | None:
        """(width, height) of a field such as Size, or None when it is absent or no size."""
        match = SIZE.match(self.fields.get(key, ""))
        return (int(match[1]), int(match[2])) if match else None


def quote(value: Any) -> str:
    """A value as it stands in the last line: a JSON string if it holds a comma, colon or line break, as the web UI
    writes it, or begins with a quote or has spaces at its ends, which would be lost; a mapping is a JSON object."""
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    text = str(value)
    if any(mark in text for mark in ",:\n") or text.startswith('"') or text != text.strip():
        return json.dumps(text, ensure_ascii=False)
    return text


def write_infotext(prompt: str, negative: str, fields: Mapping[str, Any]) -> str:
    """The paragraph. Fields of value None are left out; a value equal to its key is printed as the key alone."""
    parts = [key if key == value else f"{key}: {quote(value)}" for key, value in fields.items() if value is not None]
    lines = [prompt]
    if negative:
        lines.append(f"Negative prompt: {negative}")
    return "\n".join([*lines, ", ".join(parts)]).strip()


def read_infotext(text: str) -> Infotext:
    """Read an infotext by A1111 or hires; any text is accepted, what is no parameter line is prompt."""
    lines = text.strip().split("\n")
    fields = _taken_fields(lines)
    prompt: list[str] = []
    negative: list[str] = []
    into = prompt
    for line in lines:
        line = line.strip()
        if line.startswith("Negative prompt:"):
            into = negative
            line = line.removeprefix("Negative prompt:").strip()
        into.append(line)
    return Infotext("\n".join(prompt).strip(), "\n".join(negative).strip(), fields)


def for_image(text: str, index: int) -> str:
    """The infotext of image `index` of a batch, from that of its first: the seed counts on, or with a variation
    strength the variation seed does."""
    key = "Variation seed" if re.search(r"\bVariation seed strength: ", text) else "Seed"
    head, line, tail = text.rpartition("\n")
    counted = re.sub(rf"\b{key}: (\d+)", lambda match: f"{key}: {int(match[1]) + index}", tail, count=1)
    return head + line + counted


def _fields(line: str) -> dict[str, str]:
    return {key: _unquote(value) for key, value in FIELD.findall(line)}


def _taken_fields(lines: list[str]) -> dict[str, str]:
    """Take the parameter line from the end of the lines: three fields or more, the steps first.

    Some pictures break it; lines of nothing but fields, back to that of the steps, then belong to it.
    """
    fields = _fields(lines[-1])
    count = 1
    while "Steps" not in fields and count < len(lines) and _only_fields(lines[-count]):
        count += 1
        fields = {**_fields(lines[-count]), **fields}
    if "Steps" not in fields or not _only_fields(lines[-count]):
        fields, count = _fields(lines[-1]), 1
    if len(fields) < FEWEST_FIELDS:
        return {}
    del lines[-count:]
    return fields


def _only_fields(line: str) -> bool:
    if line.startswith("Negative prompt:"):
        return False
    return FIELD.search(line) is not None and not FIELD.sub("", line).strip()


def _unquote(value: str) -> str:
    value = value.strip()
    if value.startswith('"') and value.endswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value
