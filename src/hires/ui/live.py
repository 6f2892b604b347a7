"""What the page asks while jobs run: which of its jobs is on, how far it has come, and what it looks like."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from hires.jobs.record import Job, JobError, State
from hires.server.state import Server, server_of

DOOR, GRIDS_DOOR = "page", "page: grids"
GRID = "grid"
AT_WORK = (State.RUNNING, State.PAUSED, State.WAITING)
router = APIRouter(prefix="/page", include_in_schema=False)
ServerHere = Annotated[Server, Depends(server_of)]


@router.get("/live")
def live(kind: str, server: ServerHere) -> dict[str, Any]:
    """The page's job of a tab's kind that runs or is next, and the id of the one that ended last."""
    jobs = of_page(server, kind, *AT_WORK)
    current = next((job for job in jobs if job.state is State.RUNNING), None) or (jobs[-1] if jobs else None)
    ended = newest_ended(server, kind)
    return {
        "job": None if current is None else _told(server, current),
        "more": max(len(jobs) - 1, 0),
        "ended": "" if ended is None else ended.id,
    }


@router.get("/preview/{id}")
def preview(id: str, server: ServerHere) -> Response:
    """The picture in the making."""
    data = server.desk.preview(id)
    if data is None:
        return Response(status_code=404)
    kind = "image/png" if data[:4] == b"\x89PNG" else "image/jpeg"
    return Response(data, media_type=kind, headers={"cache-control": "no-store"})


def of_page(server: Server, kind: str, *states: State) -> list[Job]:
    """The page's jobs of a kind, the newest first."""
    return [job for job in server.desk.store.search(states=states, limit=1000) if _is_own(job, kind)]


def newest_ended(server: Server, kind: str) -> Job | None:
    """The page's job of a kind that ended last."""
    found = server.desk.store.search(states=[state for state in State if state.has_ended], limit=100)
    own = [job for job in found if _is_own(job, kind)]
    return max(own, key=lambda job: job.ended or 0.0, default=None)


def _is_own(job: Job, kind: str) -> bool:
    """Whether a job is of the tab that shows a kind: new grids of the Grids tab are of txt2img's kind."""
    if job.door == GRIDS_DOOR:
        return kind == GRID
    return job.door == DOOR and job.kind == kind


def _told(server: Server, job: Job) -> dict[str, Any]:
    told: dict[str, Any] = {"id": job.id, "state": str(job.state), "share": job.share, "place": 0}
    if job.state is State.WAITING:
        waiting = [one.id for one in server.desk.store.waiting()]
        told["place"] = waiting.index(job.id) + 1 if job.id in waiting else 0
        return told
    try:
        now = server.desk.live(job.id)
    except JobError:
        now = None
    if now is None:
        return told
    return told | {
        "share": now.share,
        "seconds": now.seconds_left,
        "step": now.step,
        "steps": now.steps,
        "text": now.text,
        "preview": now.preview_number,
    }
