"""What the editor's panels ask of the server itself: its log, its folders."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from hires.models.names import FOLDERS
from hires.server.comfy.logs import COLUMNS, ROWS
from hires.server.comfy.routes_queue import body_of
from hires.server.comfy.state import Comfy, comfy_of
from hires.server.faults import Refused

router = APIRouter(prefix="/internal", tags=["comfyui"])
ComfyHere = Annotated[Comfy, Depends(comfy_of)]


@router.get("/logs")
async def text(comfy: ComfyHere) -> str:
    """The last lines of the log."""
    return "".join(entry["m"] for entry in comfy.lines.entries())


@router.get("/logs/raw")
async def lines(comfy: ComfyHere) -> dict[str, Any]:
    """The same, line by line with its time."""
    return {"entries": comfy.lines.entries(), "size": {"cols": COLUMNS, "rows": ROWS}}


@router.patch("/logs/subscribe")
async def subscribe(request: Request, comfy: ComfyHere) -> Response:
    """Send each new line to the websocket of clientId, as long as enabled is set."""
    body = await body_of(request)
    client = body.get("clientId")
    if not isinstance(client, str):
        raise Refused(400, "Bad Request", "clientId must be the id of a websocket")
    comfy.lines.listen(client, body.get("enabled") is True)
    return Response()


@router.get("/folder_paths")
async def folders() -> dict[str, list[str]]:
    """Where models of each kind belong, below the models folder; where that lies is not told."""
    return {kind: [f"models/{name}" for name in names] for kind, names in FOLDERS.items()}
