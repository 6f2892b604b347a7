"""`hires workflow convert`: a workflow of any file into a new file of another kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from hires.api import Engine
from hires.errors import OutputError, SettingError
from hires.graph.workflow import Workflow
from hires.metadata.files import write_new
from hires.metadata.workflows import PICTURES, file_texts

FORMATS: Mapping[str, Callable[[Engine, Workflow], str]] = {
    "api": lambda engine, workflow: workflow.to_json(indent=2) + "\n",
    "ui": lambda engine, workflow: json.dumps(engine.editor_file(workflow), indent=2) + "\n",
    "infotext": lambda engine, workflow: engine.infotext_of(workflow) + "\n",
}


def convert(engine: Engine, file: Path, out: Path, to: str) -> list[str]:
    """Write `out`; what the reading had to mend, in words. Raises SettingError and OutputError.

    A picture that carries infotext is told by it; any other workflow must have a shape that infotext can tell.
    """
    if to not in FORMATS:
        raise SettingError(f"there is no format {to!r}", f"Use one of {', '.join(FORMATS)}.")
    workflow = engine.read(file)
    told = file_texts(file).get("parameters") if to == "infotext" and file.suffix.lower() in PICTURES else None
    text = FORMATS[to](engine, workflow) if told is None else told + "\n"
    try:
        write_new(out, lambda path: _write(path, text))
    except FileExistsError as error:
        raise OutputError(f"{out} is there already", "Choose another name.") from error
    return list(workflow.notes)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
