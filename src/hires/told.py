"""`hires info`: what files say of themselves, and whether the models that they name are here."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from hires.api import Engine
from hires.errors import HiresError, ImageFileError
from hires.graph.workflow import Workflow
from hires.imaging.pictures import FORMATS
from hires.metadata.infotext import Infotext, read_infotext
from hires.metadata.origin import KEY as ORIGIN
from hires.metadata.workflows import carries_texts, file_texts
from hires.models.inspection import inspect
from hires.recipes.img2img_infotext import not_acted_on
from hires.recipes.infotext import request_from
from hires.recipes.named_files import LookedUp, look_up_all, named_in_request, named_in_workflow
from hires.recipes.read_file import infotext_of_file

WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
OWN_LINES = ("parameters", "prompt", "workflow", ORIGIN)


@dataclass(frozen=True)
class Told:
    """What one file says. kind: its format; size in pixels, (0, 0) where it is no picture; nodes and editor: of its
    workflow; model: a line on a file of weights; problems: what could not be read, in words."""

    file: Path
    bytes: int = 0
    kind: str = ""
    size: tuple[int, int] = (0, 0)
    info: Infotext = field(default_factory=Infotext)
    nodes: int = 0
    editor: bool = False
    files: list[LookedUp] = field(default_factory=list)
    texts: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def says_nothing(self) -> bool:
        """Whether there is nothing in it that this command tells."""
        return not (self.info.prompt or self.info.fields or self.nodes or self.model)

    def lines(self) -> list[str]:
        """Everything, in lines to read."""
        size = "" if self.size == (0, 0) else f", {self.size[0]}x{self.size[1]}"
        lines = [f"{self.file}: {self.kind or 'unknown'}{size}, {self.bytes} bytes"]
        lines += [f"  {self.model}"] if self.model else []
        for label, text in (("prompt", self.info.prompt), ("negative prompt", self.info.negative)):
            first, *more = text.split("\n")
            lines += [f"  {label}: {first}", *(f"    {line}" for line in more)] if text else []
        width = max(map(len, self.info.fields), default=0)
        lines += [f"  {key:<{width}}  {value}" for key, value in self.info.fields.items()]
        if self.nodes:
            lines.append(f"  ComfyUI workflow: {self.nodes} nodes{', with the editor file' if self.editor else ''}")
        origin = _object(self.texts.get(ORIGIN, ""))
        if origin:
            lines.append("  computed on: " + ", ".join(f"{key} {value}" for key, value in origin.items() if value))
        lines += [f"  {one.line()}" for one in self.files]
        unknown = not_acted_on(self.info)
        if unknown:
            lines.append(f"  kept, but not acted on: {', '.join(unknown)}")
        others = [key for key in self.texts if key not in OWN_LINES]
        if others:
            lines.append(f"  other texts: {', '.join(others)}")
        lines += [f"  problem: {problem}" for problem in self.problems]
        if self.says_nothing and not self.problems:
            lines.append("  it says nothing of how it was made")
        return [printable(line) for line in lines]

    def record(self) -> dict[str, Any]:
        """The same for scripts, as JSON has it."""
        return {
            "file": str(self.file),
            "bytes": self.bytes,
            "format": self.kind,
            "width": self.size[0],
            "height": self.size[1],
            "prompt": self.info.prompt,
            "negative": self.info.negative,
            "fields": dict(self.info.fields),
            "nodes": self.nodes,
            "editor": self.editor,
            "computed_on": _object(self.texts.get(ORIGIN, "")),
            "files": [
                {
                    "role": one.named.role,
                    "name": one.named.name,
                    "hash": one.named.hash,
                    "state": one.state,
                    "found": one.found,
                }
                for one in self.files
            ],
            "texts": sorted(self.texts),
            "model": self.model,
            "problems": self.problems,
        }


def told(engine: Engine, path: Path) -> Told:
    """What a file says of itself; what is wrong with it stands in `problems`, nothing is raised."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise ImageFileError(f"{path} is a folder", "Name the files in it.")
    except OSError as error:
        return Told(path, problems=[f"it cannot be read: {error.strerror or error}"])
    except HiresError as error:
        return Told(path, problems=[str(error)])
    kind, pixels = _format(path)
    problems: list[str] = []
    texts: Mapping[str, str] = {}
    text = ""
    try:
        texts = file_texts(path) if carries_texts(path) or kind else {}
        text = texts.get("parameters", "") or ("" if texts else infotext_of_file(path) or "")
    except HiresError as error:
        problems.append(str(error))
    info = read_infotext(text)
    workflow = _workflow(engine, path, texts, problems)
    return Told(
        path,
        size,
        kind or path.suffix.removeprefix(".").upper(),
        pixels,
        info,
        0 if workflow is None else len(workflow.nodes),
        "workflow" in texts,
        _files(engine, text, info, workflow, problems),
        texts,
        _model(path),
        problems,
    )


def _format(path: Path) -> tuple[str, tuple[int, int]]:
    """Format and size of a picture, no pixel decoded; ("", (0, 0)) of any other file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=FORMATS) as picture:
                return picture.format or "", picture.size
        except Exception:  # Pillow raises nearly anything for bytes that are no picture
            return "", (0, 0)


def _workflow(engine: Engine, path: Path, texts: Mapping[str, str], problems: list[str]) -> Workflow | None:
    try:
        if any(key in texts for key in ("prompt", "workflow")):
            found = engine.read_texts(texts, path.name)
            return found if isinstance(found, Workflow) else None
        return engine.read(path) if path.suffix.lower() == ".json" else None
    except HiresError as error:
        problems.append(str(error))
        return None


def _files(engine: Engine, text: str, info: Infotext, workflow: Workflow | None, problems: list[str]) -> list[LookedUp]:
    named = []
    try:
        named = named_in_request(request_from(text)) if info.fields else []
    except HiresError as error:
        problems.append(str(error))
    if not named and workflow is not None:
        named = named_in_workflow(workflow, engine.registry)
    try:
        return look_up_all(engine.store, named)
    except (HiresError, OSError) as error:
        problems.append(str(error))
        return []


def _model(path: Path) -> str:
    """A file of weights in a line: kind, family, precision, hash."""
    if path.suffix.lower() not in WEIGHTS:
        return ""
    try:
        found = inspect(path)
    except (HiresError, OSError) as error:
        return f"weights that cannot be read: {error}"
    known = [found.kind, found.family, found.precision, f"[{found.hash}]" if found.hash else "", found.problem]
    return ", ".join(part for part in known if part)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def printable(text: str) -> str:
    """A line without the control characters by which a file could steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
