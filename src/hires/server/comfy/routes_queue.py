"""Prompts: queueing, looking, stopping, the history."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from hires.server.comfy.prompts import PromptRefused, checked_json
from hires.server.comfy.state import Comfy, comfy_of
from hires.server.faults import Refused

if TYPE_CHECKING:
    from hires.api import Engine
    from hires.server.work import Job

router = APIRouter(tags=["comfyui"])
ComfyHere = Annotated[Comfy, Depends(comfy_of)]
NEXT, FIRST = float("-inf"), 1 << 40


async def body_of(request: Request) -> dict[str, Any]:
    """The object in a body, whatever type it is said to be; {} for none. WorkflowError, Refused."""
    data = await request.body()
    if not data.strip():
        return {}
    body = checked_json(data)
    if not isinstance(body, dict):
        raise Refused(400, "Bad Request", "the request must be a JSON object")
    return body


def ids_in(value: Any) -> list[str]:
    """The ids of a list. Refused for anything else."""
    if not isinstance(value, list) or not all(isinstance(id, str) for id in value):
        raise Refused(400, "Bad Request", "delete must be a list of ids")
    return value


@router.post("/prompt")
async def queue_prompt(request: Request, comfy: ComfyHere) -> Any:
    """Check a workflow in API format and put it into the queue."""
    data = await request.body()
    try:
        return await run_in_threadpool(comfy.prompts.submit, data)
    except PromptRefused as error:
        return JSONResponse(dict(error.body), 400)


@router.get("/prompt")
async def remaining(comfy: ComfyHere) -> dict[str, Any]:
    """How many jobs wait or run."""
    return comfy.prompts.status


@router.get("/queue")
def queue(comfy: ComfyHere) -> dict[str, Any]:
    """The prompt that runs and those that wait."""
    return comfy.prompts.queue()


@router.post("/queue")
async def change_queue(request: Request, comfy: ComfyHere) -> Response:
    """Take prompts that wait out of the queue: all with clear, or those of the ids in delete."""
    return await _struck(request, comfy.prompts.remove)


@router.post("/interrupt")
async def interrupt(request: Request, comfy: ComfyHere) -> Response:
    """End the job that runs, if it is the one of prompt_id where that is given."""
    id = (await body_of(request)).get("prompt_id")
    if id is not None and not isinstance(id, str):
        raise Refused(400, "Bad Request", "prompt_id must be a text")
    comfy.server.work.interrupt(id)
    return Response()


@router.post("/free")
async def free(request: Request, comfy: ComfyHere) -> Response:
    """Let go of loaded models, and with free_memory of kept results too, before the next job."""
    body = await body_of(request)
    models, results = body.get("unload_models") is True, body.get("free_memory") is True

    def let_go(engine: Engine, job: Job) -> None:
        engine.store.forget()
        if results:
            engine.results.clear()
            engine.trajectories.clear()

    if (models or results) and comfy.server.work.engine is not None:
        comfy.server.work.submit("free", let_go, number=NEXT, priority=FIRST)
    return Response()


@router.get("/history")
def history(
    comfy: ComfyHere, max_items: Annotated[int | None, Query(ge=0)] = None, offset: int | None = None
) -> dict[str, Any]:
    """Prompts that are over, the oldest first; without an offset the newest max_items."""
    return comfy.prompts.history(max_items, offset)


@router.get("/history/{prompt_id}")
def history_of(prompt_id: str, comfy: ComfyHere) -> dict[str, Any]:
    """A prompt that is over."""
    found = comfy.prompts.remembered(prompt_id)
    return {} if found is None else {prompt_id: found.entry}


@router.post("/history")
async def change_history(request: Request, comfy: ComfyHere) -> Response:
    """Strike prompts from the history: all with clear, or those of the ids in delete."""
    return await _struck(request, comfy.prompts.forget)


async def _struck(request: Request, strike: Callable[[list[str] | None], object]) -> Response:
    body = await body_of(request)
    if body.get("clear") is True:
        await run_in_threadpool(strike, None)
    if "delete" in body:
        await run_in_threadpool(strike, ids_in(body["delete"]))
    return Response()
