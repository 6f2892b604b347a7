"""What a file asks for: a workflow in any of its forms, or a request where the file has only infotext."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hires.errors import Fault, HiresError, WorkflowError
from hires.graph.context import Context
from hires.graph.declare import Registry
from hires.graph.workflow import Workflow, read_json
from hires.metadata.workflows import carries_texts, file_texts
from hires.recipes.infotext import request_from
from hires.recipes.read_workflow import request_of_workflow
from hires.recipes.request import Txt2Img

LONGEST_INFOTEXT = 1_000_000


def read_file(path: Path, registry: Registry, context: Context) -> Workflow | Txt2Img:
    """A JSON file, a text file with infotext, or a picture or latent that carries either.

    Raises HiresError in the user's words for a file that has none.
    """
    if carries_texts(path):
        return read_texts(file_texts(path), path.name, registry, context)
    text = _infotext(path)
    if text is not None:
        return request_from(text)
    return Workflow.read(path, registry=registry, context=context)


def read_texts(texts: Mapping[str, str], name: str, registry: Registry, context: Context) -> Workflow | Txt2Img:
    """Of the texts of a picture: `prompt` where it is sound, with `workflow` beside it for the editor; else `workflow`;
    else the request that `parameters` describes."""
    error: HiresError | None = None
    for key in ("prompt", "workflow"):
        if key not in texts:
            continue
        try:
            workflow = Workflow.parse(texts[key], registry=registry, context=context, source=name)
        except HiresError as found:
            error = error or found
            continue
        if workflow.nodes:
            return _with_ui(workflow, texts) if key == "prompt" else workflow
    if texts.get("parameters", "").strip():
        return request_from(texts["parameters"])
    if error is not None:
        raise error
    message = "it carries no workflow and no generation parameters; a site or an editor may have removed them"
    raise WorkflowError([Fault("no_workflow", message)], name)


def request_in(path: Path, registry: Registry, context: Context) -> Txt2Img:
    """The request that a file's infotext describes, or its workflow where it has that alone and has txt2img's shape.

    Raises HiresError in the user's words.
    """
    text = infotext_of_file(path)
    if text is not None:
        return request_from(text)
    found = read_file(path, registry, context)
    return found if isinstance(found, Txt2Img) else request_of_workflow(found, registry)


def infotext_of_file(path: Path) -> str | None:
    """The infotext of a picture or text file; None where it has none."""
    if carries_texts(path):
        text = file_texts(path).get("parameters", "")
        return text if text.strip() else None
    return _infotext(path)


def _with_ui(workflow: Workflow, texts: Mapping[str, str]) -> Workflow:
    """The prompt with the editor's file that was saved beside it, so that it is saved again with the results."""
    if workflow.ui is not None or "workflow" not in texts:
        return workflow
    try:
        ui = read_json(texts["workflow"])
    except HiresError:
        return workflow
    return replace(workflow, ui=ui) if isinstance(ui, Mapping) and isinstance(ui.get("nodes"), list) else workflow


def _infotext(path: Path) -> str | None:
    """The text of a `.txt` file that is no JSON."""
    if path.suffix.lower() != ".txt":
        return None
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            text = file.read(LONGEST_INFOTEXT)
    except OSError:
        return None
    return None if text.lstrip().startswith("{") else text
