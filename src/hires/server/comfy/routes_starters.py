"""The templates of the editor's start page."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from hires.server.comfy import starters
from hires.server.comfy.state import Comfy, comfy_of
from hires.server.faults import Refused

router = APIRouter(prefix="/templates", tags=["comfyui"])
ComfyHere = Annotated[Comfy, Depends(comfy_of)]


@router.get("/index.json")
async def index() -> list[dict[str, Any]]:
    """Workflows to start from."""
    return starters.index()


@router.get("/index_logo.json")
async def logos() -> dict[str, str]:
    """Pictures of other makers' signs: there are none."""
    return {}


@router.get("/{name}.json")
def workflow(name: str, comfy: ComfyHere) -> dict[str, Any]:
    """One of them, in the editor's format."""
    if name not in starters.STARTERS:
        raise Refused(404, "Not Found", "there is no such template")
    return starters.editor_file_of(comfy.server.work.ready(), starters.STARTERS[name])


@router.get("/{name}-1.webp")
def picture(name: str) -> Response:
    """What it draws."""
    if name not in starters.STARTERS:
        raise Refused(404, "Not Found", "there is no such template")
    return Response(starters.picture(name), media_type="image/webp", headers={"Cache-Control": "no-cache"})
