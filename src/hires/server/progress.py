"""What is told of the job that runs, in the web UI's terms."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from hires.server.bodies import ProgressQuestion
from hires.server.encoding import encoded
from hires.server.state import Server, server_of
from hires.server.work import Job

router = APIRouter(tags=["progress"])
ServerHere = Annotated[Server, Depends(server_of)]
API = "/sdapi/v1"


@router.get(f"{API}/progress")
async def progress(server: ServerHere, skip_current_image: bool = False) -> dict[str, Any]:
    """How far the job that runs has come, and what it looks like."""
    job = server.work.current
    if job is None:
        return {
            "progress": 0.0,
            "eta_relative": 0.0,
            "state": state_of(None, len(server.work.waiting())),
            "current_image": None,
            "textinfo": server.work.held or None,
        }
    preview = None if skip_current_image else await _preview(server, job)
    return {
        "progress": job.progress,
        "eta_relative": job.seconds_left,
        "state": state_of(job, len(server.work.waiting())),
        "current_image": encoded(preview) if preview is not None else None,
        "textinfo": None,
    }


def state_of(job: Job | None, waiting: int) -> dict[str, Any]:
    """The `state` of the progress route. job_count counts the parts of the job that runs; 0 where none does."""
    count = job.parts if job is not None else 0
    return {
        "skipped": job is not None and job.skipped,
        "interrupted": job is not None and job.interrupted,
        "stopping_generation": False,
        "job": job.title if job is not None else "",
        "job_count": count,
        "job_timestamp": job.stamp if job is not None else "0",
        "job_no": job.done if job is not None else 0,
        "sampling_step": job.step if job is not None else 0,
        "sampling_steps": job.steps if job is not None else 0,
        "waiting": waiting,
    }


async def _preview(server: Server, job: Job) -> bytes | None:
    if job.preview is None or not server.options.all()["live_previews_enable"]:
        return None
    from hires.server.previews import preview_png

    return await asyncio.to_thread(preview_png, job.preview, job.model, job.family)


@router.post(f"{API}/interrupt")
async def interrupt(server: ServerHere) -> dict[str, Any]:
    """End the job that runs; what it has come to is its answer."""
    server.work.interrupt()
    return {}


@router.post(f"{API}/skip")
async def skip(server: ServerHere) -> None:
    """End the batch that runs; the job goes on with the next one."""
    server.work.skip()


@router.get("/internal/ping")
async def ping() -> dict[str, Any]:
    """Nothing but an answer."""
    return {}


@router.get("/internal/pending-tasks")
async def pending_tasks(server: ServerHere) -> dict[str, Any]:
    """The jobs that have not begun, by their names."""
    waiting = server.work.waiting()
    return {"size": len(waiting), "tasks": [job.id for job in waiting]}


@router.post("/internal/progress")
async def task_progress(body: ProgressQuestion, server: ServerHere) -> dict[str, Any]:
    """How far the job of a name has come."""
    job, waiting = server.work.current, [one.id for one in server.work.waiting()]
    active = job is not None and job.id == body.id_task
    told: dict[str, Any] = {
        "active": active,
        "queued": body.id_task in waiting,
        "completed": server.work.is_finished(body.id_task) or await asyncio.to_thread(_has_ended, server, body.id_task),
        "progress": None,
        "eta": None,
        "live_preview": None,
        "id_live_preview": body.id_live_preview,
        "textinfo": None,
    }
    if server.work.held and not active:
        return told | {"textinfo": server.work.held}
    if body.id_task in waiting:
        return told | {"textinfo": f"In queue: {waiting.index(body.id_task) + 1}/{len(waiting)}"}
    if job is None or not active:
        return told | {"textinfo": "Waiting..."}
    told |= {"progress": job.progress, "eta": job.seconds_left}
    if body.live_preview and job.preview_number != body.id_live_preview:
        number = job.preview_number
        if (preview := await _preview(server, job)) is not None:
            told |= {"live_preview": f"data:image/png;base64,{encoded(preview)}", "id_live_preview": number}
    return told


def _has_ended(server: Server, id: str) -> bool:
    job = server.desk.store.find(id)
    return job is not None and job.state.has_ended


@router.get("/queue/status")
async def queue_status(server: ServerHere) -> dict[str, Any]:
    """How many jobs there are, as Gradio 3 told it."""
    size = len(server.work.waiting()) + (server.work.current is not None)
    unknown = dict.fromkeys(("rank", "avg_event_process_time", "avg_event_concurrent_process_time", "rank_eta"))
    return {"msg": "estimation", "queue_size": size, "queue_eta": size, **unknown}
