"""Routes that draw: txt2img and img2img."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from hires.server.bodies import ImageToImage, TextToImage
from hires.server.state import Server, server_of

router = APIRouter(prefix="/sdapi/v1", tags=["drawing"])
ServerHere = Annotated[Server, Depends(server_of)]


@router.post("/txt2img")
async def txt2img(body: TextToImage, server: ServerHere) -> dict[str, Any]:
    """Draw from text: one pass, or two with `enable_hr`."""
    made: dict[str, Any] = await server.drawn("txt2img", body, body.force_task_id)
    return made


@router.post("/img2img")
async def img2img(body: ImageToImage, server: ServerHere) -> dict[str, Any]:
    """Draw over pictures; with `mask`, inpaint one."""
    made: dict[str, Any] = await server.drawn("img2img", body, body.force_task_id)
    return made
