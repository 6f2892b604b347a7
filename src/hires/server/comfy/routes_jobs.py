"""Prompts as newer editors list them: jobs, whatever their state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from hires.server.comfy.prompts import Prompt, Remembered
from hires.server.comfy.routes_queue import body_of, ids_in
from hires.server.comfy.state import Comfy, comfy_of
from hires.server.faults import Refused

router = APIRouter(tags=["comfyui"])
ComfyHere = Annotated[Comfy, Depends(comfy_of)]
STATES = ("pending", "in_progress", "completed", "failed", "cancelled")
SHOWN_PLACES = ("output", "input", "temp")
"""Of the pictures of a job, one of the first of these places stands for it."""


@router.get("/jobs")
def jobs(
    comfy: ComfyHere,
    status: str = "",
    limit: Annotated[int | None, Query(ge=1)] = None,
    offset: Annotated[int, Query(ge=0)] = 0,
    sort_by: str = "created_at",
    sort_order: str = "desc",
    workflow_id: str = "",
) -> dict[str, Any]:
    """Jobs of some states, as "pending,in_progress"; the newest first."""
    wanted = [one.strip() for one in status.split(",") if one.strip()] or list(STATES)
    if unknown := [one for one in wanted if one not in STATES]:
        raise Refused(400, "Bad Request", f"there is no state {unknown[0][:40]!r}: use {', '.join(STATES)}")
    if sort_by not in ("created_at", "execution_duration") or sort_order not in ("asc", "desc"):
        raise Refused(400, "Bad Request", "sort_by is created_at or execution_duration, sort_order asc or desc")
    found = [job for job in _all(comfy) if job["status"] in wanted]
    if workflow_id:
        found = [job for job in found if job.get("workflow_id") == workflow_id]

    def place(job: dict[str, Any]) -> float:
        if sort_by == "created_at":
            return float(job["create_time"])
        return float(job.get("execution_end_time", 0) - job.get("execution_start_time", 0))

    found.sort(key=place, reverse=sort_order == "desc")
    part = found[offset:] if limit is None else found[offset : offset + limit]
    pages = {"offset": offset, "limit": limit, "total": len(found), "has_more": offset + len(part) < len(found)}
    return {"jobs": part, "pagination": pages}


@router.get("/jobs/{job_id}")
def job(job_id: str, comfy: ComfyHere) -> dict[str, Any]:
    """One job with what it gave and its workflow."""
    over = comfy.prompts.remembered(job_id)
    told = next((one for one in _all(comfy) if one["id"] == job_id), None)
    prompt = over.prompt if over is not None else comfy.prompts.queued(job_id)
    if told is None or prompt is None:
        raise Refused(404, "Not Found", "there is no such job")
    told |= {"workflow": {"prompt": prompt.as_checked, "extra_data": prompt.extra_data}, "outputs": {}}
    return told if over is None else told | {"outputs": over.entry["outputs"], "execution_status": over.entry["status"]}


@router.post("/jobs/{job_id}/cancel")
def cancel(job_id: str, comfy: ComfyHere) -> dict[str, Any]:
    """Take a job out of the queue, or stop it where it runs."""
    return {"cancelled": _cancelled(comfy, job_id)}


@router.post("/jobs/cancel")
async def cancel_several(request: Request, comfy: ComfyHere) -> dict[str, Any]:
    """The same for the jobs of the ids in job_ids."""
    ids = ids_in((await body_of(request)).get("job_ids"))
    return {"cancelled": await run_in_threadpool(lambda: [id for id in ids if _cancelled(comfy, id)])}


def _cancelled(comfy: Comfy, id: str) -> bool:
    if comfy.prompts.queued(id) is None:
        return False
    if not comfy.prompts.remove([id]):
        comfy.server.work.interrupt(id)
    return True


def _all(comfy: Comfy) -> list[dict[str, Any]]:
    pending, running, over = comfy.prompts.everything()
    found = [_described(prompt, "pending") for prompt in pending]
    found += [_described(prompt, "in_progress") | {"execution_start_time": began} for prompt, began in running]
    return found + [_ended(one) for one in over]


def _described(prompt: Prompt, status: str) -> dict[str, Any]:
    pnginfo = prompt.extra_data.get("extra_pnginfo") or {}
    workflow = pnginfo.get("workflow")
    told = {
        "id": prompt.id,
        "status": status,
        "priority": prompt.number,
        "create_time": prompt.extra_data["create_time"],
        "outputs_count": 0,
        "previewable_outputs_count": 0,
    }
    id = workflow.get("id") if isinstance(workflow, dict) else None
    return told | {"workflow_id": id} if isinstance(id, str) else told


def _ended(one: Remembered) -> dict[str, Any]:
    messages = one.entry["status"]["messages"]
    kind, last = messages[-1]
    state = {"execution_success": "completed", "execution_interrupted": "cancelled"}.get(kind, "failed")
    files = [
        {**file, "nodeId": node_id, "mediaType": kind}
        for node_id, ui in one.entry["outputs"].items()
        for kind, entries in ui.items()
        for file in entries
        if isinstance(file, Mapping) and file.get("type") in SHOWN_PLACES
    ]
    pictures = [file for file in files if file["mediaType"] == "images"]
    told = _described(one.prompt, state) | {
        "execution_start_time": one.began,
        "execution_end_time": one.ended,
        "outputs_count": len(files),
        "previewable_outputs_count": len(pictures),
    }
    if pictures:
        told["preview_output"] = min(pictures, key=lambda picture: SHOWN_PLACES.index(picture["type"]))
    if state == "failed":
        told["execution_error"] = last
    return told
