"""Jobs that go on with a grid: what is missing of it is drawn, or what more values of its axes add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hires.errors import SettingError
from hires.jobs.record import Job
from hires.server.finished import Finished
from hires.server.kind import Accepted, Outcome
from hires.server.work import Job as Task

if TYPE_CHECKING:
    from hires.api import Engine
    from hires.server.state import Server

MOST_AXES = 3
MOST_TEXT = 20_000


class GoingOn:
    """{"folder": a grid's name below the outputs, "axes": up to three of [label, values] or null for its own}."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def accept(self, request: Mapping[str, Any]) -> Accepted:
        """The request as it is, without what it does not know. SettingError."""
        name = request.get("folder")
        if not isinstance(name, str):
            raise SettingError("the request names no grid")
        self.server.gallery.grid(name)
        axes = _axes(request.get("axes") or [])
        words = " ".join([name, *(text for axis in axes if axis is not None for text in axis)])
        return Accepted({"folder": name, "axes": [None if axis is None else list(axis) for axis in axes]}, words)

    def run(self, engine: Engine, task: Task, job: Job, finished: Finished) -> Outcome:
        """Draw the cells that are missing. Each is in the grid's record as soon as it is drawn, so that a job that was
        stopped, or killed, goes on behind it."""
        from hires.gridding.drawing import CellDone
        from hires.recipes.grids.request import AxisValues

        folder = self.server.gallery.grid(str(job.request["folder"]))
        axes = [None if axis is None else AxisValues(*axis) for axis in _axes(job.request["axes"])]
        task.by_cells = True

        def told(cell: CellDone) -> None:
            task.parts, task.done, task.step = cell.count, cell.number, 0

        made = engine.grid(folder, axes, on_event=task, on_cell=told)
        finished.add(made.paths)
        return Outcome(made.summary, error="; ".join(cell.error or "" for cell in made.failed)[:500])


def _axes(given: Any) -> Sequence[tuple[str, str] | None]:
    if not isinstance(given, list) or len(given) > MOST_AXES:
        raise SettingError(f"a grid has up to {MOST_AXES} axes")
    return [_axis(one) for one in given]


def _axis(one: Any) -> tuple[str, str] | None:
    if one is None:
        return None
    if not isinstance(one, list) or len(one) != 2 or not all(isinstance(text, str) for text in one):
        raise SettingError("an axis is written as its label and its values")
    if len(one[1]) > MOST_TEXT:
        raise SettingError(f"the values of {one[0][:40]!r} are longer than {MOST_TEXT} letters")
    return one[0], one[1]
