"""Records of other programs, told as the web UI's infotext."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hires.metadata.infotext import write_infotext


def with_infotext(texts: Mapping[str, str], width: int, height: int) -> dict[str, str]:
    """The texts of a picture of so many pixels, with `parameters` where only another program's record is there.

    NovelAI writes the prompt as Description and JSON as Comment; the web UI repeats its pictures with clip skip 2 and
    the noise seed delta 31337. A GIF's or JPEG's bare comment is infotext.
    """
    found = dict(texts)
    if found.get("parameters", "").strip():
        return found
    if texts.get("Software") == "NovelAI":
        told = _novelai(texts, width, height)
        if told:
            found["parameters"] = told
    elif "comment" in texts:
        found["parameters"] = found.pop("comment")
    return found


def _novelai(texts: Mapping[str, str], width: int, height: int) -> str | None:
    try:
        record = json.loads(texts.get("Comment", ""))
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    fields = {
        "Steps": record.get("steps"),
        "Sampler": record.get("sampler"),
        "CFG scale": record.get("scale"),
        "Seed": record.get("seed"),
        "Size": f"{width}x{height}",
        "Clip skip": 2,
        "ENSD": 31337,
    }
    return write_infotext(texts.get("Description", ""), str(record.get("uc") or ""), fields)
