"""Jobs beside drawing: checkpoints merged to a new file, a picture drawn again and compared with its file.

After a kill both begin again from the start. A merge that had its name already is found by its content, and not made
twice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hires.errors import SettingError
from hires.graph.report import NodeProgress
from hires.jobs.record import Job
from hires.server.bodies import Body
from hires.server.comfy.places import file_name
from hires.server.faults import Refused
from hires.server.finished import Finished
from hires.server.kind import SAID, Accepted, Outcome
from hires.server.kinds import read
from hires.server.references import reference_of
from hires.server.work import Job as Task

if TYPE_CHECKING:
    from hires.api import Engine
    from hires.server.state import Server

CHECKPOINTS = "checkpoints"
BEGAN = time.time()
"""Temporary files that were written to last before this process are left over from a kill."""


class MergeRequest(Body):
    """Checkpoints by their names; `name` of the new file, "" for one that is made of theirs."""

    first: str
    second: str = ""
    third: str = ""
    method: Literal["weighted sum", "add difference", "no interpolation"] = "weighted sum"
    multiplier: float = Field(default=0.3, ge=0, le=1)
    half: bool = False
    vae: str = ""
    discard: str = Field(default="", max_length=1000)
    name: str = ""


class VerifyRequest(Body):
    """A picture in base64, and what its file is called."""

    image: str
    name: str = Field(default="picture", max_length=1000)


class Merging:
    """Merges: see `MergeRequest`."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def accept(self, request: Mapping[str, Any]) -> Accepted:
        """The request with its files found. SettingError, ModelFileError."""
        body = read(MergeRequest, request)
        names = [name for name in (body.first, body.second, body.third) if name]
        if not body.first:
            raise SettingError("there is no model to merge", "Choose A.")
        for name in names:
            self.server.files.find(CHECKPOINTS, name)
        try:
            re.compile(body.discard)
        except re.error as problem:
            raise SettingError(f"{body.discard!r} is no regular expression: {problem}") from None
        if body.name:
            body.name = new_name(body.name)
            if any((folder / body.name).exists() for folder in self.server.files.directories(CHECKPOINTS)):
                raise SettingError(f"{body.name} is there already", "Choose another name.")
        return Accepted(body.model_dump(), " ".join([*names, body.name]).strip())

    def run(self, engine: Engine, task: Task, job: Job, finished: Finished) -> Outcome:
        """Merge, unless the new file has its name already."""
        from hires.merging import Merge, checkpoints_folder, merge, remove_left

        body = read(MergeRequest, job.request)
        folder = checkpoints_folder(engine.store)
        finished.know(CHECKPOINTS, folder)
        for path in finished.before(CHECKPOINTS):
            remove_left(path, BEGAN)
            return _said(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB")
        merged = merge(
            engine.store,
            Merge(**body.model_dump(exclude={"name"})),
            folder / body.name if body.name else None,
            stop=engine.stop,
            on_progress=lambda done, total: task(NodeProgress("merge", done, total)),
            ledger=finished,
            left_before=BEGAN,
        )
        return _said(merged.summary)


class Verifying:
    """Pictures drawn again: see `VerifyRequest`. Nothing is written."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def accept(self, request: Mapping[str, Any]) -> Accepted:
        """The request with its picture in a file. Refused, SettingError."""
        from hires.server.pictures import opened

        body = read(VerifyRequest, request)
        if reference_of(body.image) is None:
            opened(body.image, self.server.most_pixels)
        name = Path(body.name.replace("\\", "/")).name or "picture"
        return Accepted(self.server.desk.kept.taken({"image": body.image, "name": name}), name)

    def run(self, engine: Engine, task: Task, job: Job, finished: Finished) -> Outcome:
        """Draw it again; the verdict in lines, and its code as `hires verify` ends with."""
        from hires.server.pictures import stored
        from hires.verifying import verify

        body = read(VerifyRequest, job.request)
        path = stored(body.image, self.server.desk.kept.pictures, self.server.most_pixels)
        verdict = verify(engine, path, task)
        clean = self.server.desk.clean
        lines = [clean(line.replace(str(path), body.name)).strip() for line in verdict.lines()]
        return _said(*lines, code=verdict.code)


def new_name(text: str) -> str:
    """The name of a new checkpoint as a person wrote it. SettingError where it leads elsewhere."""
    text = text.strip()
    try:
        return file_name(text if text.endswith(".safetensors") else f"{text}.safetensors")
    except Refused as error:
        raise SettingError(error.message) from error


def _said(*lines: str, **more: Any) -> Outcome:
    """What came of a job, in lines: for who waits for it, and for the history."""
    told = {SAID: list(lines), **more}
    return Outcome(told, notes=told)
