"""What one picture file says of itself: its size, and the words by which it is searched for. No pixels are decoded."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from hires.errors import HiresError, ImageFileError
from hires.metadata.infotext import Infotext, read_infotext
from hires.metadata.workflows import file_texts

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif")
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF")
MOST_WORDS = 20_000
"""Letters of a picture's texts that are searched; a longer text is searched in its beginning."""
MOST_WORKFLOW = 4_000_000
"""Letters of a workflow that is looked through for prompts; a longer one is passed by."""


@dataclass(frozen=True)
class Said:
    """Width and height in pixels; words are the prompts, model the checkpoint's name."""

    width: int
    height: int
    words: str = ""
    model: str = ""


def read_picture(path: Path) -> Said:
    """What is known of a picture file. ImageFileError for one that cannot be read as a picture."""
    width, height = picture_size(path)
    try:
        texts = file_texts(path)
    except HiresError:
        return Said(width, height)
    info = read_infotext(texts.get("parameters", ""))
    if info.prompt or info.fields:
        return Said(width, height, words_of(info), info.fields.get("Model", ""))
    words, model = words_of_workflow(texts.get("prompt", ""))
    return Said(width, height, words, model)


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) by the file's header. ImageFileError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=FORMATS) as picture:
                return picture.size
        except Exception as error:  # whatever a decoder stumbles over: the file is from anywhere
            raise ImageFileError(f"{path.name} is not a picture that can be read ({type(error).__name__})") from error


def words_of(info: Infotext) -> str:
    """The prompts and the fields of an infotext, as they are searched."""
    fields = ", ".join(f"{key}: {value}" for key, value in info.fields.items())
    return "\n".join(part for part in (info.prompt, info.negative, fields) if part)[:MOST_WORDS]


def words_of_workflow(text: str) -> tuple[str, str]:
    """(prompts, checkpoint) of a workflow in the API's form; ("", "") for anything else."""
    if not text or len(text) > MOST_WORKFLOW:
        return "", ""
    try:
        nodes = json.loads(text)
    except (ValueError, RecursionError):
        return "", ""
    words, model = list[str](), ""
    for inputs in _inputs(nodes):
        words += [value for key, value in inputs.items() if isinstance(value, str) and key.startswith("text")]
        name = inputs.get("ckpt_name")
        model = model or (Path(name.replace("\\", "/")).stem if isinstance(name, str) else "")
    return "\n".join(words)[:MOST_WORDS], model


def _inputs(nodes: Any) -> Iterator[Mapping[str, Any]]:
    for node in nodes.values() if isinstance(nodes, dict) else ():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if isinstance(inputs, dict):
            yield inputs
