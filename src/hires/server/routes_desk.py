"""Jobs as neither dialect has them: listed by states, held back, tried again, moved; and the queue as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse
from pydantic import Field

from hires.jobs.record import Job, JobError, State
from hires.server.bodies import Body
from hires.server.desk import Desk
from hires.server.faults import Refused
from hires.server.kind import SAID
from hires.server.state import Server, server_of

router = APIRouter(prefix="/hires/v1", tags=["jobs"])
ServerHere = Annotated[Server, Depends(server_of)]
MOST_LISTED = 1000
FARTHEST = 1_000_000
DOOR = "http"


class Submission(Body):
    """POST /hires/v1/jobs"""

    kind: str
    request: dict[str, Any]
    title: str = Field(default="", max_length=200)
    priority: int = Field(default=0, ge=-FARTHEST, le=FARTHEST)


class Place(Body):
    """POST /hires/v1/jobs/{id}/move: before which waiting job; behind all of its priority for none."""

    before: str | None = None


class Rank(Body):
    """POST /hires/v1/jobs/{id}/priority"""

    priority: int = Field(ge=-FARTHEST, le=FARTHEST)


@router.get("/jobs")
def jobs(
    server: ServerHere,
    search: Annotated[str, Query(max_length=500)] = "",
    state: str = "",
    kind: str = "",
    model: str = "",
    since: float = 0.0,
    until: float = float("inf"),
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
    offset: Annotated[int, Query(ge=0, le=1 << 40)] = 0,
) -> dict[str, Any]:
    """The jobs whose prompts hold all words of `search`, the newest first; of some states, as "waiting,running"."""
    wanted = [_state(name.strip()) for name in state.split(",") if name.strip()] or list(State)
    store = server.desk.store
    found = store.search(
        search, states=wanted, model=model, kind=kind, since=since, until=until, limit=limit + 1, offset=offset
    )
    told = [described(server.desk, job) for job in found[:limit]]
    counts = {name.value: count for name, count in store.counts().items()}
    return {"jobs": told, "counts": counts, "has_more": len(found) > limit}


def _state(name: str) -> State:
    if name not in list(State):
        raise Refused(400, "Bad Request", f"there is no state {name[:40]!r}", f"Use {', '.join(State)}.")
    return State(name)


@router.post("/jobs")
def submit(body: Submission, server: ServerHere) -> dict[str, Any]:
    """Put a job into the queue without waiting for what it gives."""
    job = server.desk.submit(body.kind, body.request, title=body.title, door=DOOR, priority=body.priority)
    return described(server.desk, job)


@router.get("/queue")
def queue(server: ServerHere) -> dict[str, Any]:
    """Whether jobs are begun, and the ids of those that run or wait, the next one first."""
    standing, jobs = server.desk.state, server.desk.store.order()
    told = {"paused": standing.paused, "why": standing.why, "waits_for_room": standing.waits_for_room}
    states = [state for state in State if not state.has_ended]
    return told | {"jobs": {state.value: [id for id, own in jobs if own is state] for state in states}}


@router.post("/queue/pause")
def pause_queue(server: ServerHere) -> dict[str, Any]:
    """Begin no further job; the one that runs goes on."""
    server.desk.hold("The queue is paused.")
    return queue(server)


@router.post("/queue/resume")
def resume_queue(server: ServerHere) -> dict[str, Any]:
    """Begin jobs again; also after a disk was full, without waiting until that is seen."""
    server.desk.go_on()
    return queue(server)


@router.get("/jobs/{id:path}/pictures/{number}")
def picture(id: str, number: int, server: ServerHere) -> FileResponse:
    """A picture that a job made and that was not to be saved, while it is kept: counted from 0, as `unsaved` says."""
    paths = server.desk.unsaved(_found(server, id))
    if not 0 <= number < len(paths) or not paths[number].is_file():
        raise Refused(404, "Not Found", "the job has no such picture, or it is no longer kept")
    return FileResponse(paths[number])


@router.post("/jobs/{id:path}/pause")
def pause(id: str, server: ServerHere) -> dict[str, Any]:
    """Hold a job back; one that runs stops after its present step, from which it will go on."""
    return _done(server, id, server.desk.pause)


@router.post("/jobs/{id:path}/release")
def release(id: str, server: ServerHere) -> dict[str, Any]:
    """Let a paused job wait again, at its place."""
    return _done(server, id, server.desk.release)


@router.post("/jobs/{id:path}/retry")
def retry(id: str, server: ServerHere) -> dict[str, Any]:
    """Let a job that failed or was cancelled wait again; what it had finished stays."""
    return _done(server, id, server.desk.retry)


@router.post("/jobs/{id:path}/cancel")
def cancel(id: str, server: ServerHere) -> dict[str, Any]:
    """End a job that has not ended."""
    return _done(server, id, server.desk.cancel)


@router.post("/jobs/{id:path}/move")
def move(id: str, body: Place, server: ServerHere) -> dict[str, Any]:
    """Put a waiting job before another."""
    return _done(server, id, lambda id: server.desk.move(id, body.before))


@router.post("/jobs/{id:path}/priority")
def prioritise(id: str, body: Rank, server: ServerHere) -> dict[str, Any]:
    """Do a job before all of less priority."""
    return _done(server, id, lambda id: server.desk.prioritise(id, body.priority))


@router.delete("/jobs/{id:path}")
def forget(id: str, server: ServerHere) -> dict[str, Any]:
    """Take a job that has ended out of the history; its files stay."""
    _found(server, id)
    _asked(lambda: server.desk.store.forget(id))
    return {}


@router.get("/jobs/{id:path}")
def job(id: str, server: ServerHere) -> dict[str, Any]:
    """One job with its request, in which `hires-picture:` and a name stand for a picture that came with it."""
    found = _found(server, id)
    return described(server.desk, found) | {"request": found.request}


def _found(server: Server, id: str) -> Job:
    found = server.desk.store.find(id)
    if found is None:
        raise Refused(404, "Not Found", f"there is no job {id[:200]}")
    return found


def _done(server: Server, id: str, act: Callable[[str], None]) -> dict[str, Any]:
    _found(server, id)
    _asked(lambda: act(id))
    return described(server.desk, _found(server, id))


def _asked(act: Callable[[], None]) -> None:
    try:
        act()
    except JobError as error:
        raise Refused(409, "Conflict", error.message, error.hint) from error


def described(desk: Desk, job: Job) -> dict[str, Any]:
    """A job as these routes tell it; `live` while it runs."""
    told: dict[str, Any] = {
        name: getattr(job, name)
        for name in ("id", "number", "kind", "title", "words", "model", "door", "priority", "made", "begun", "ended")
    }
    told |= {"state": job.state.value, "share": job.share, "results": list(job.results), "error": job.error}
    told["unsaved"] = len(desk.unsaved(job))
    told |= {SAID: job.notes[SAID]} if SAID in job.notes else {}
    live = desk.live(job.id)
    if live is not None:
        told |= {"share": live.share, "live": {"seconds_left": live.seconds_left, "text": live.text}}
        told["live"] |= {"step": live.step, "steps": live.steps}
    return told
