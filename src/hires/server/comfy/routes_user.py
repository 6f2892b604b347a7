"""What editors keep: settings, workflows and other files of theirs."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from hires.server.comfy.prompts import checked_json
from hires.server.comfy.routes_queue import body_of
from hires.server.comfy.state import Comfy, comfy_of
from hires.server.comfy.store import AT_FIRST
from hires.server.faults import Refused

router = APIRouter(tags=["comfyui"])
ComfyHere = Annotated[Comfy, Depends(comfy_of)]
KINDS = {".json": "application/json", ".css": "text/css"}
NO_PAGE = {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "no-cache"}


@router.get("/users")
async def users() -> dict[str, Any]:
    """There is one user."""
    return {"storage": "server", "migrated": True}


@router.get("/settings")
def settings(comfy: ComfyHere) -> dict[str, Any]:
    """All that an editor has set, by id."""
    return comfy.user.settings()


@router.post("/settings")
async def set_settings(request: Request, comfy: ComfyHere) -> Response:
    """Set some."""
    await run_in_threadpool(comfy.user.change, await body_of(request))
    return Response()


@router.get("/settings/{id}")
def setting(id: str, comfy: ComfyHere) -> Any:
    """One of them; null where it was not set."""
    return JSONResponse(comfy.user.settings().get(id))


@router.post("/settings/{id}")
async def set_setting(id: str, request: Request, comfy: ComfyHere) -> Response:
    """Set one to the JSON value of the body."""
    value = checked_json(await request.body())
    await run_in_threadpool(comfy.user.change, {id: value})
    return Response()


@router.get("/userdata")
def files(comfy: ComfyHere, dir: str = "", recurse: bool = False, full_info: bool = False, split: bool = False) -> Any:
    """The files of a folder, by their paths in it."""
    if not dir:
        raise Refused(400, "Bad Request", "dir must name a folder")
    paths = comfy.user.listed(dir, recurse)
    root = comfy.user.path(dir)
    if full_info:
        return [comfy.user.info(path, root) for path in paths]
    names = [path.relative_to(root).as_posix() for path in paths]
    return [[name, *PurePosixPath(name).parts] for name in names] if split else names


@router.get("/userdata/{name:path}")
def read(name: str, comfy: ComfyHere) -> Response:
    """A file."""
    path = comfy.user.path(name)
    kind = KINDS.get(path.suffix.lower())
    if not path.exists() and name in AT_FIRST:
        return Response(AT_FIRST[name], media_type=kind, headers=NO_PAGE)
    return FileResponse(
        comfy.user.found(name),
        media_type=kind or "application/octet-stream",
        filename=path.name,
        content_disposition_type="inline" if kind else "attachment",
        headers=NO_PAGE,
    )


@router.get("/user.css")
def style(comfy: ComfyHere) -> Response:
    """The user's own style for the editor."""
    return read("user.css", comfy)


@router.get("/v2/userdata")
def entries(comfy: ComfyHere, path: str = "") -> list[dict[str, Any]]:
    """What lies in a folder: files, and folders as such."""
    return comfy.user.entries(path)


@router.post("/userdata/{name:path}/move/{to:path}")
def move(name: str, to: str, comfy: ComfyHere, overwrite: bool = True, full_info: bool = False) -> Any:
    """Give a file another name."""
    path = comfy.user.move(name, to, overwrite)
    return comfy.user.info(path) if full_info else str(comfy.user.relative(path))


@router.post("/userdata/{name:path}")
async def write(name: str, request: Request, comfy: ComfyHere, overwrite: bool = True, full_info: bool = False) -> Any:
    """Write the body into a file."""
    path = await run_in_threadpool(comfy.user.write, name, await request.body(), overwrite)
    return comfy.user.info(path) if full_info else str(comfy.user.relative(path))


@router.delete("/userdata/{name:path}", status_code=204)
def delete(name: str, comfy: ComfyHere) -> Response:
    """Remove a file."""
    comfy.user.found(name).unlink(missing_ok=True)
    return Response(status_code=204)
